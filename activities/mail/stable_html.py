"""Cleaned html that a second reading would nest differently.

A few trees have no text that leads back to them: a heading in a heading, an item in an item, a link
in a link, made by markup that has since been removed (a form, a misplaced table). Reading the text
again gives another tree, and what one reader judged is not what the next one shows; hence this
check, after which the sanitiser cleans again.
"""

from __future__ import annotations

import re
from typing import Final

from activities.mail.html_policy import TAGS

_NAMES: Final = re.compile(r"<([A-Za-z][A-Za-z0-9]*)")
_HEADINGS: Final = frozenset(f"h{level}" for level in range(1, 7))
# All others come between two elements and are then removed, or move their content elsewhere.
_SETTLED: Final = (TAGS - {"table"}) | {"body", "head", "html", "link", "meta", "style", "title"}

# Beginning of a start tag, what may follow it, the end tags, and the lists that may hold a second.
_KINDS: Final = (
    ("<a", " ", ("</a>",), ()),
    ("<p", " >", ("</p>",), ()),
    ("<h", "123456", tuple(f"</{name}>" for name in _HEADINGS), ()),
    ("<li", " >", ("</li>",), ("ul", "ol")),
    ("<d", "dt", ("</dd>", "</dt>"), ("dl",)),
    ("<nobr", " >", ("</nobr>",), ()),
)


def may_be_unsettled(html: str) -> bool:
    """Whether ``html``, as it came, holds anything that makes such trees."""
    names = [name.lower() for name in _NAMES.findall(html)]
    return not _SETTLED.issuperset(names) or sum(map(_HEADINGS.__contains__, names)) > 1


def reads_differently(html: str) -> bool:
    """Whether ``html``, which a sanitiser has written, may hold such a tree.

    It may err on the side of yes, for an element in a table in its like.
    """
    return any(_holds_its_like(html, *kind) for kind in _KINDS)


def _holds_its_like(
    html: str, start: str, after: str, ends: tuple[str, ...], lists: tuple[str, ...]
) -> bool:
    pieces = html.split(start)
    if len(pieces) < 3:
        return False
    is_open = False
    for piece in pieces[1:]:
        if piece[:1] in after:
            if is_open:
                return True
            is_open = True
        if is_open:
            inner = sum(piece.count(f"<{name}") - piece.count(f"</{name}>") for name in lists)
            is_open = inner <= 0 and not any(end in piece for end in ends)
    return False
