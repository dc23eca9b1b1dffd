"""A server's reply, made safe to keep: short, clean, its codes taken out (RFC 5321 §4.2)."""

from __future__ import annotations

import re
from datetime import timedelta

from activities.ports import Reply
from models.errors import bounded

MAX_TEXT_CHARS = 500
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")
_HINT = re.compile(
    r"\b(?:in|after|for)\s+(\d{1,5})\s*(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?)\b", re.I
)
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600}
_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(hours=1)


def parse_reply(code: int, text: str) -> Reply:
    r"""Return the reply ``text``, its lines separated by ``\n`` and free of the code.

    The enhanced status code (RFC 2034) counts only when its class agrees with ``code``. A 4xx may
    say when to come back ("try again in 5 minutes"); that hint is kept within 1 s and 1 h.
    """
    lines = text.split("\n")
    match = _ENHANCED.match(lines[0])
    enhanced = match[1] if match and match[1][0] == str(code)[0] else None
    if enhanced:
        lines = [line.removeprefix(enhanced) for line in lines]
    clean = " ".join(line.strip() for line in lines).strip()
    if len(clean) > MAX_TEXT_CHARS or not clean.isprintable():
        clean = bounded(clean, MAX_TEXT_CHARS)
    return Reply(code, clean, enhanced, _retry_after(clean) if 400 <= code < 500 else None)


def _retry_after(text: str) -> timedelta | None:
    match = _HINT.search(text)
    if match is None:
        return None
    hint = timedelta(seconds=int(match[1]) * _UNIT_SECONDS[match[2][0].lower()])
    return min(max(hint, _SHORTEST), _LONGEST)
