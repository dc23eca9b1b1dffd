"""Html rewritten so that building its tree takes linear time and memory.

The tree that html5 prescribes for tag soup can be far larger than the soup: 35 KB of unclosed
``<b>`` and ``<p>`` become a gigabyte, and 50,000 nested ``<div>`` take half a minute. Such input is
first rewritten here in one pass: end tags where html5 implies them, elements properly nested and at
most so deep, a few formatting elements carried on from one block to the next instead of all. What
the sanitiser then reads has one reading only. Safety does not depend on this module, only time.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Set
from typing import Final, NamedTuple

from activities.mail.html_policy import ATTRIBUTES, HIDDEN, TAGS

_MAX_DEPTH: Final = 150
_MAX_TAGS: Final = 100_000
_MAX_ATTRIBUTES: Final = 100
_MAX_VALUE: Final = 10_000
_MAX_REFERENCES: Final = 1000
_MAX_CARRIED: Final = 8

_FORMATTING_NAMES: Final = "a b big code em font i nobr s small strike strong tt u"
_FORMATTING: Final = frozenset(_FORMATTING_NAMES.split())
_HEADINGS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_VOID: Final = frozenset({"br", "col", "hr", "img", "wbr"})
_INLINE_NAMES: Final = """
    abbr acronym bdi bdo br cite data del dfn img ins kbd mark q rp rt ruby samp span sub sup time
    var wbr
"""
_ENDS_PARAGRAPH: Final = TAGS - _FORMATTING - frozenset(_INLINE_NAMES.split())
# What an opening element ends, and what shields from that (html5 "scope").
_CELLS: Final = frozenset({"td", "th"})
_ROWS: Final = _CELLS | {"tr"}
_GROUPS: Final = _ROWS | {"tbody", "thead", "tfoot", "caption", "colgroup"}
_TABLE: Final = frozenset({"table"})
_SHIELDS: Final = frozenset({"table", "td", "th", "caption"})
_IMPLIED: Final = {
    "li": (frozenset({"li"}), _SHIELDS | {"ul", "ol", "dir"}),
    "dt": (frozenset({"dt", "dd"}), _SHIELDS | {"dl"}),
    "dd": (frozenset({"dt", "dd"}), _SHIELDS | {"dl"}),
    "td": (_CELLS, _TABLE),
    "th": (_CELLS, _TABLE),
    "tr": (_ROWS, _TABLE),
    **dict.fromkeys(("tbody", "thead", "tfoot", "caption", "colgroup"), (_GROUPS, _TABLE)),
    "a": (frozenset({"a"}), _SHIELDS),
    "nobr": (frozenset({"nobr"}), _SHIELDS),
}
_RAW_NAMES: Final = "script style title iframe noframes noembed xmp textarea"
_RAW: Final = {
    name: re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE) for name in _RAW_NAMES.split()
}

_NAME: Final = re.compile(r"/?([A-Za-z][^\t\n\f\r />]*+)")
_ATTRIBUTE: Final = re.compile(
    r"[\t\n\f\r /]*+(=?[^\t\n\f\r />=]*+)"
    r"(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"([^\"]*+)\"|'([^']*+)'|(?![\"'])([^\t\n\f\r >]*+)))?"
)
_NOTHING: Final[Set[str]] = frozenset()
_WANTED: Final[Mapping[str, Set[str]]] = {
    name: ATTRIBUTES["*"] | ATTRIBUTES.get(name, _NOTHING) for name in TAGS
}
_ANY_TAG: Final = re.compile(r"<[^<>]*+>")
_COMMENT_END: Final = re.compile(r"--!?>")

_COSTLY_LENGTH: Final = 256 * 1024
_COSTLY_TAGS: Final = 4000
_COSTLY_REFERENCES: Final = 5000
_COSTLY_GAP: Final = 20_000
_COSTLY_PRODUCT: Final = 50_000
_FORMATTING_TAG: Final = re.compile(
    rf"<(?:{_FORMATTING_NAMES.replace(' ', '|')})(?=[\s/>])", re.IGNORECASE
)


def is_costly(html: str) -> bool:
    """Whether building the tree of ``html`` might take more than a tenth of a second."""
    tags = html.count("<")
    return (
        len(html) > _COSTLY_LENGTH
        or tags > _COSTLY_TAGS
        or html.count("&") > _COSTLY_REFERENCES
        # Every formatting element may be built again after every tag.
        or (tags > 400 and tags * len(_FORMATTING_TAG.findall(html)) > _COSTLY_PRODUCT)
        # A tag with thousands of attributes, each compared with all others.
        or (len(html) > _COSTLY_GAP and max(map(len, html.split(">"))) > _COSTLY_GAP)
    )


def well_nested(html: str) -> str:
    """Rewrite ``html``; what shows stays what it was as far as the bounds allow."""
    return _Writer(html).write()


class _Element(NamedTuple):
    name: str
    tag: str


class _Writer:
    """Reads the tags one by one as html5 tokenises them (WHATWG §13.2.5)."""

    def __init__(self, html: str) -> None:
        self._html = html
        self._out: list[str] = []
        self._stack: list[_Element] = []
        self._open_names: Counter[str] = Counter()
        self._too_deep: Counter[str] = Counter()
        self._hidden: list[str] = []

    def write(self) -> str:
        html, position, tags = self._html, 0, 0
        while True:
            tags += 1
            if tags > _MAX_TAGS:
                self._text(_ANY_TAG.sub("", html[position:]).replace("<", "&lt;"))
                break
            start = html.find("<", position)
            if start < 0:
                self._text(html[position:])
                break
            self._text(html[position:start])
            match = _NAME.match(html, start + 1)
            if match:
                position = self._tag(match, html.startswith("/", start + 1))
            elif html.startswith(("!", "?", "/"), start + 1):
                position = self._comment(start)
            else:
                self._text("&lt;")
                position = start + 1
            if position < 0:
                break  # Cut inside a tag or comment: html5 drops it.
        self._close_to(0)
        return "".join(self._out)

    def _text(self, text: str) -> None:
        if not text or self._hidden:
            return
        if text.count("&") > _MAX_REFERENCES:
            # The tree builder takes quadratic time over the references of one text.
            pieces = text.split("&")
            groups = range(0, len(pieces), _MAX_REFERENCES)
            text = "<!---->&".join("&".join(pieces[i : i + _MAX_REFERENCES]) for i in groups)
        self._out.append(text)

    def _comment(self, start: int) -> int:
        html = self._html
        if html.startswith("<!--", start):
            for short in ("<!-->", "<!--->"):
                if html.startswith(short, start):
                    return start + len(short)
            match = _COMMENT_END.search(html, start + 4)
            return match.end() if match else -1
        return html.find(">", start) + 1 or -1

    def _tag(self, match: re.Match[str], closing: bool) -> int:
        name = match[1].lower()
        wanted = _NOTHING if closing else _WANTED.get(name, _NOTHING)
        attributes, position = self._attributes(match.end(), wanted)
        if position < 0:
            return position
        if closing:
            self._end(name)
        elif name in _RAW:
            end = _RAW[name].search(self._html, position)
            return end.start() if end else -1
        elif name == "plaintext":
            return -1
        elif name in HIDDEN:
            self._hidden.append(name)
        elif name in TAGS and not self._hidden:
            self._start(name, f"<{name}{attributes}>")
        return position

    def _attributes(self, position: int, wanted: Set[str]) -> tuple[str, int]:
        """The wanted attributes as text, and the end of the tag (-1 if it has none)."""
        html = self._html
        found: dict[str, str] = {}
        while not html.startswith(">", position):
            match = _ATTRIBUTE.match(html, position)
            if match is None or match.end() == position or match.end() == len(html):
                # Only a quote that nothing closes stops the expression.
                return "", -1
            position = match.end()
            if html.startswith(('"', "'"), position) and match[2] is match[3] is match[4] is None:
                return "", -1
            name = match[1].lower()
            if name in wanted and name not in found and len(found) < _MAX_ATTRIBUTES:
                value = match[2] or match[3] or match[4] or ""
                if len(value) <= _MAX_VALUE or "&" not in value:
                    found[name] = value.replace('"', "&quot;")
        return "".join(f' {name}="{value}"' for name, value in found.items()), position + 1

    def _start(self, name: str, tag: str) -> None:
        carried: list[_Element] = []
        if self._open_names["p"] and name in _ENDS_PARAGRAPH:
            carried += self._close_implied(frozenset({"p"}), _SHIELDS)
        if name in _HEADINGS and self._stack and self._stack[-1].name in _HEADINGS:
            self._close_to(len(self._stack) - 1)
        if name in _IMPLIED:
            carried += self._close_implied(*_IMPLIED[name])
        if name in _VOID:
            self._out.append(tag)
        elif len(self._stack) < _MAX_DEPTH:
            self._open(_Element(name, tag))
        else:
            self._too_deep[name] += 1
        for element in carried[-_MAX_CARRIED:]:
            if name not in _GROUPS and len(self._stack) < _MAX_DEPTH and element.name != name:
                self._open(element)

    def _open(self, element: _Element) -> None:
        self._out.append(element.tag)
        self._stack.append(element)
        self._open_names[element.name] += 1

    def _close_implied(self, names: frozenset[str], shields: frozenset[str]) -> list[_Element]:
        """Close up to the outermost of ``names`` that nothing shields.

        Returns:
            The formatting elements that were closed with it: html5 opens them again.
        """
        open_names = self._open_names
        if not any(open_names[name] for name in names):
            return []
        lowest = -1
        for index in range(len(self._stack) - 1, -1, -1):
            name = self._stack[index].name
            if name in names:
                lowest = index
                if len(names) == 1:
                    break
            elif name in shields:
                break
        if lowest < 0:
            return []
        carried = [element for element in self._stack[lowest:] if element.name in _FORMATTING]
        self._close_to(lowest)
        return carried

    def _end(self, name: str) -> None:
        if self._hidden:
            if name in self._hidden:
                while self._hidden.pop() != name:
                    pass
            return
        if self._too_deep[name]:
            self._too_deep[name] -= 1
            return
        if name == "br":
            self._out.append("<br>")
        names = _HEADINGS if name in _HEADINGS else frozenset({name})
        if not any(self._open_names[name] for name in names):
            return
        shields = _TABLE if name in _GROUPS else frozenset() if name == "table" else _SHIELDS
        for index in range(len(self._stack) - 1, -1, -1):
            found = self._stack[index].name
            if found in names:
                reopened = self._stack[index + 1 :] if name in _FORMATTING else []
                self._close_to(index)
                for element in reopened[:_MAX_CARRIED]:
                    self._open(element)
                break
            if found in shields:
                break

    def _close_to(self, depth: int) -> None:
        while len(self._stack) > depth:
            name = self._stack.pop().name
            self._open_names[name] -= 1
            self._out.append(f"</{name}>")
