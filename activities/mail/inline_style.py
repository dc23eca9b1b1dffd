"""Inline styles of html mail, filtered by a grammar so narrow that nothing can hide in it.

A declaration survives if its property is known to be harmless and its value is made of numbers,
words, colours, balanced strings and a few arithmetic functions. Everything that has served to
smuggle (backslash escapes, comments, ``url()``, ``expression()``, ``var()``, at-rules, colons,
braces) has no place in that grammar, so it need not be recognised: it is simply not CSS here.
Filtering happens before any other CSS parser sees the text, and none rewrites it afterwards.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_MAX_STYLE: Final = 10_000
_CACHED: Final = 400

_BOXES: Final = ("", "-top", "-right", "-bottom", "-left")
_SINGLE: Final = """
    color background background-color background-position background-repeat background-size
    background-clip background-origin opacity visibility
    font font-family font-size font-style font-variant font-weight font-stretch line-height
    letter-spacing word-spacing text-align text-align-last text-decoration text-decoration-color
    text-decoration-line text-decoration-style text-decoration-thickness text-indent text-overflow
    text-shadow text-transform text-underline-offset text-size-adjust text-rendering
    vertical-align white-space word-break word-wrap overflow-wrap hyphens line-break tab-size
    direction unicode-bidi writing-mode quotes
    width height min-width min-height max-width max-height box-sizing aspect-ratio object-fit
    object-position display float clear overflow overflow-x overflow-y
    border-collapse border-spacing border-radius border-top-left-radius border-top-right-radius
    border-bottom-left-radius border-bottom-right-radius border-width border-style border-color
    box-shadow outline outline-color outline-style outline-width outline-offset
    table-layout caption-side empty-cells list-style list-style-type list-style-position
    flex flex-basis flex-direction flex-flow flex-grow flex-shrink flex-wrap order
    align-content align-items align-self justify-content justify-items justify-self
    gap row-gap column-gap columns column-count column-width column-fill column-span
    page-break-after page-break-before page-break-inside break-after break-before break-inside
    orphans widows interpolation-mode image-rendering color-scheme accent-color
    """
_PROPERTIES: Final = frozenset(_SINGLE.split()) | frozenset(
    name
    for side in _BOXES
    for name in (
        f"margin{side}",
        f"padding{side}",
        f"border{side}",
        *((f"border{side}-{kind}" for kind in ("width", "style", "color")) if side else ()),
    )
)

_STRING: Final = re.compile(r"\"[\w\s.,#%&+/'-]*+\"|'[\w\s.,#%&+/\"-]*+'")
_PLAIN: Final = re.compile(r"[\w\s%.,#/*+()-]*+(?:!\s*important\s*)?", re.IGNORECASE)
_CALL: Final = re.compile(r"(?<![\w-])([\w-]*+)\(")
_NEGATIVE: Final = re.compile(r"(?:^|[\s(])-[\d.]")
_FUNCTIONS: Final = frozenset(
    {"", "rgb", "rgba", "hsl", "hsla", "calc", "min", "max", "clamp"}
    | {"linear-gradient", "radial-gradient"}
    | {"repeating-linear-gradient", "repeating-radial-gradient"}
)


def clean_style(style: str) -> str | None:
    """The declarations of a ``style`` attribute that may stay, or None if there are none."""
    if len(style) <= _CACHED:
        return _clean_cached(style)
    return _clean(style[:_MAX_STYLE].rpartition(";")[0] if len(style) > _MAX_STYLE else style)


def _clean(style: str) -> str | None:
    kept = []
    for declaration in style.split(";"):
        name, _, value = declaration.partition(":")
        name = name.strip().lower()
        if value.strip() and name in _PROPERTIES and _is_plain(value) and not _strays(name, value):
            kept.append(f"{name}:{' '.join(value.split())}")
    return ";".join(kept) or None


# Mail repeats its few styles in every cell.
_clean_cached = lru_cache(maxsize=4096)(_clean)


def _is_plain(value: str) -> bool:
    """Whether a value holds nothing but what it shows."""
    value = _STRING.sub("s", value)
    if _PLAIN.fullmatch(value) is None or "/*" in value or "*/" in value:
        return False
    return ("(" not in value and ")" not in value) or _calls_plainly(value)


def _calls_plainly(value: str) -> bool:
    depth = 0
    for character in value:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return False
    return depth == 0 and all(name.lower() in _FUNCTIONS for name in _CALL.findall(value))


def _strays(name: str, value: str) -> bool:
    """Whether a declaration moves content out of its place, over that of others."""
    return name.startswith(("margin", "text-indent")) and _NEGATIVE.search(value) is not None
