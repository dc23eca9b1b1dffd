"""Which elements and attributes of html mail are kept: layout and text, nothing that acts."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final

_TAG_NAMES: Final = """
    a abbr acronym address article aside b bdi bdo big blockquote br caption center cite code col
    colgroup data dd del details dfn dir div dl dt em figcaption figure font footer h1 h2 h3 h4 h5
    h6 header hgroup hr i img ins kbd li main mark nav nobr ol p pre q rp rt ruby s samp section
    small span strike strong sub summary sup table tbody td tfoot th thead time tr tt u ul var wbr
"""
TAGS: Final = frozenset(_TAG_NAMES.split())
"""Elements that stay."""

_HIDDEN_NAMES: Final = """
    script style title noscript iframe frameset noframes noembed template svg math xmp plaintext
    textarea select datalist object applet audio video canvas
"""
HIDDEN: Final = frozenset(_HIDDEN_NAMES.split())
"""Elements that go with everything inside them; of all others only the tags go."""

_BOX: Final = frozenset({"bgcolor", "height", "valign", "width"})
_CELL: Final = _BOX | {"abbr", "axis", "char", "charoff", "colspan", "nowrap", "rowspan", "scope"}
ATTRIBUTES: Final[Mapping[str, Set[str]]] = {
    "*": frozenset({"style", "align", "dir", "lang", "title"}),
    "a": {"href"},
    "br": {"clear"},
    "col": _BOX | {"span"},
    "colgroup": _BOX | {"span"},
    "del": {"datetime"},
    "details": {"open"},
    "div": _BOX,
    "dl": {"compact"},
    "font": {"color", "face", "size"},
    "hr": {"color", "noshade", "size", "width"},
    "img": {"alt", "border", "height", "hspace", "src", "vspace", "width"},
    "ins": {"datetime"},
    "li": {"type", "value"},
    "ol": {"compact", "reversed", "start", "type"},
    "p": _BOX,
    "pre": {"width"},
    "span": _BOX,
    "table": _BOX
    | {"border", "bordercolor", "cellpadding", "cellspacing", "frame", "rules", "summary"},
    "tbody": _BOX,
    "td": _CELL,
    "tfoot": _BOX,
    "th": _CELL,
    "thead": _BOX,
    "time": {"datetime"},
    "tr": _BOX,
    "ul": {"compact", "type"},
}
"""Attributes that stay, by element; ``*`` is every element."""
