"""Html of received mail, made safe to show (ammonia through nh3, with a policy for mail).

Kept: layout tags and attributes, inline styles by grammar (``inline_style``), links that a person
clicks. Removed: everything that runs, submits, embeds or loads. A mail's pictures are shown only
from its own parts, by the ``cid:`` address (RFC 2392), unless remote pictures are asked for.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from html import escape
from typing import Final
from urllib.parse import unquote

import nh3

from activities.mail.inline_style import clean_style

_log = logging.getLogger(__name__)

_TAG_NAMES: Final = """
    a abbr acronym address article aside b bdi bdo big blockquote br caption center cite code col
    colgroup data dd del details dfn dir div dl dt em figcaption figure font footer h1 h2 h3 h4 h5
    h6 header hgroup hr i img ins kbd li main mark nav nobr ol p pre q rp rt ruby s samp section
    small span strike strong sub summary sup table tbody td tfoot th thead time tr tt u ul var wbr
"""
# Elements that go with everything inside them; of others unknown only the tags go.
_WITH_CONTENT_NAMES: Final = """
    script style title noscript iframe frameset noframes noembed template svg math xmp plaintext
    textarea select datalist object applet audio video canvas
"""
_TAGS: Final = frozenset(_TAG_NAMES.split())
_WITH_CONTENT: Final = frozenset(_WITH_CONTENT_NAMES.split())
_EVERYWHERE: Final = frozenset({"style", "align", "dir", "lang", "title"})
_BOX: Final = frozenset({"bgcolor", "height", "valign", "width"})
_CELL: Final = _BOX | {"abbr", "axis", "char", "charoff", "colspan", "nowrap", "rowspan", "scope"}
_ATTRIBUTES: Final = {
    "*": _EVERYWHERE,
    "a": {"href"},
    "bdo": {"dir"},
    "br": {"clear"},
    "col": _BOX | {"span"},
    "colgroup": _BOX | {"span"},
    "details": {"open"},
    "div": _BOX,
    "del": {"datetime"},
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
_LINK: Final = re.compile(r"(?:https?://|mailto:|tel:|cid:)[^\s\x00-\x20\x7f-\xa0]+", re.I)
_REMOTE: Final = re.compile(r"https?://[^\s\x00-\x20\x7f-\xa0\\]+", re.I)
_DATA_IMAGE: Final = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*")
# ammonia judges schemes before our filter sees the value; ours is the narrower judgement.
_SCHEMES: Final = frozenset({"http", "https", "mailto", "tel", "cid", "data"})
_BODY_TAG: Final = re.compile(r"<body(?=[\s/>])", re.I)

_Filter = Callable[[str, str, str], str | None]


def sanitize(
    html: str, *, inline_images: Mapping[str, str] | None = None, remote_images: bool = False
) -> str:
    """Clean the html of a mail; never raises.

    Args:
        html: What the mail says; anything.
        inline_images: Where to load the mail's own pictures, by Content-ID without brackets: a
            ``data:`` URL of a PNG, JPEG, GIF or WebP, or our own address. Others are not shown.
        remote_images: Whether pictures may be loaded from the web, which tells the sender that,
            when and where the mail was read.

    Returns:
        A fragment to be put into a page; cleaning it again changes nothing.
    """
    try:
        cleaner = _cleaner(inline_images, remote_images)
        # The fragment has no body, but its colours and fonts matter: they move to a block.
        return cleaner.clean(_BODY_TAG.sub("<div", html, count=1))
    except Exception as error:  # noqa: BLE001 - html of strangers never stops the reader
        _log.warning("html of %d characters shown as text: %s", len(html), type(error).__name__)
        return f"<pre>{escape(html)}</pre>"


def _cleaner(inline_images: Mapping[str, str] | None, remote_images: bool) -> nh3.Cleaner:
    if inline_images:
        return _build(remote_images, dict(inline_images))
    return _WITH_REMOTE if remote_images else _WITHOUT_REMOTE


def _build(remote_images: bool, images: Mapping[str, str]) -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=_TAGS,
        clean_content_tags=_WITH_CONTENT,
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute_filter(remote_images, images),
        link_rel="noopener noreferrer nofollow",
        url_schemes=_SCHEMES,
    )


def _attribute_filter(remote_images: bool, images: Mapping[str, str]) -> _Filter:
    own = frozenset(images.values())

    def judge(_tag: str, name: str, value: str) -> str | None:
        if name == "style":
            return clean_style(value)
        if name == "href":
            value = value.strip()
            return value if _LINK.fullmatch(value) else None
        if name == "src":
            return source(value.strip())
        return value

    def source(value: str) -> str | None:
        if value[:4].lower() == "cid:":
            return images.get(value[4:]) or images.get(unquote(value[4:]))
        if value in own or _DATA_IMAGE.fullmatch(value):
            return value
        return value if remote_images and _REMOTE.fullmatch(value) else None

    return judge


_WITHOUT_REMOTE: Final = _build(False, {})
_WITH_REMOTE: Final = _build(True, {})
