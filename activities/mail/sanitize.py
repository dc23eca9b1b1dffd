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

from activities.mail.html_policy import ATTRIBUTES, HIDDEN, TAGS
from activities.mail.inline_style import clean_style
from activities.mail.stable_html import may_be_unsettled, reads_differently
from activities.mail.well_nested import is_costly, well_nested

_log = logging.getLogger(__name__)

# Exactly what a person may click; what has no such beginning has none of browsers' guesses either.
_LINK: Final = re.compile(
    r"(?:https?://|mailto:|tel:|cid:)[^\s\x00-\x20\x7f-\xa0\\]+", re.IGNORECASE
)
_REMOTE: Final = re.compile(r"https?://[^\s\x00-\x20\x7f-\xa0\\]+", re.IGNORECASE)
_DATA_IMAGE: Final = re.compile(r"data:image/(?:png|jpe?g|gif|webp);base64,[A-Za-z0-9+/=]*+")
_OWN_PATH: Final = re.compile(r"/[^/\s\x00-\x20\\][^\s\x00-\x20\\]*")
_LINE_BREAKS: Final = re.compile(r"[\t\r\n]+")
# The library judges schemes before our filter sees the value; ours is the narrower judgement.
_SCHEMES: Final = frozenset({"http", "https", "mailto", "tel", "cid", "data"})
_BODY_TAG: Final = re.compile(r"<body(?=[\s/>])", re.IGNORECASE)
_MAX_READINGS: Final = 3
_MAX_LENGTH: Final = 5_000_000

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
        A fragment to be put into a page, in an element of its own that contains its layout (a
        sandboxed frame, or ``contain: content``). Cleaning it again changes nothing. Of more than
        five million characters the rest is left out; time is about a second for a million at worst
        (``well_nested``).
    """
    try:
        return _clean(html, inline_images, remote_images)
    except Exception as error:  # noqa: BLE001 - html of strangers never stops the reader
        _log.warning("html of %d characters shown as text: %s", len(html), type(error).__name__)
        return f"<pre>{escape(html.encode('utf-8', 'replace').decode(), quote=False)}</pre>"


def _clean(html: str, inline_images: Mapping[str, str] | None, remote_images: bool) -> str:
    # The fragment has no body, but its colours and fonts matter: they move to a block.
    html = _BODY_TAG.sub("<div", html[:_MAX_LENGTH], count=1)
    if is_costly(html):
        html = well_nested(html)
    if inline_images:
        cleaner = _build(remote_images, _showable(inline_images))
    else:
        cleaner = _WITH_REMOTE if remote_images else _WITHOUT_REMOTE
    cleaned = cleaner.clean(html)
    if may_be_unsettled(html):
        for _ in range(_MAX_READINGS):
            if not reads_differently(cleaned):
                break
            cleaned = cleaner.clean(cleaned)
    return cleaned


def _showable(images: Mapping[str, str]) -> dict[str, str]:
    """The pictures whose address is one of a picture, or of ours."""
    return {
        content_id: url
        for content_id, url in images.items()
        if _DATA_IMAGE.fullmatch(url) or _REMOTE.fullmatch(url) or _OWN_PATH.fullmatch(url)
    }


def _build(remote_images: bool, images: Mapping[str, str]) -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=TAGS,
        clean_content_tags=HIDDEN,
        attributes=ATTRIBUTES,
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
            return _link(value)
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


def _link(value: str) -> str | None:
    value = _LINE_BREAKS.sub("", value.strip()).replace(" ", "%20")
    return value if _LINK.fullmatch(value) else None


_WITHOUT_REMOTE: Final = _build(False, {})
_WITH_REMOTE: Final = _build(True, {})
