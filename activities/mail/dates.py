"""Dates of received mail (RFC 5322 §3.3), tolerant, always aware and in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_tz
from typing import Final

_MAX_LENGTH: Final = 200
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
        start=1,
    )
}
_USUAL: Final = re.compile(
    r"(?:[A-Za-z]{3}, ?)?(\d{1,2}) ([A-Za-z]{3}) (\d{4}) (\d\d):(\d\d)(?::(\d\d))? "
    r"([+-])(\d\d)(\d\d)\b"
)

_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:")


def read_date(value: str) -> datetime | None:
    """The instant that a Date field names, or None; never raises.

    A date without a zone is taken for UTC, as RFC 5322 §3.3 reads ``-0000``.
    """
    text = value[:_MAX_LENGTH].strip()
    try:
        usual = _USUAL.match(text)
        if usual:
            day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = usual.groups()
            # A leap second has no place in datetime.
            seconds = min(int(second or 0), 59)
            local = datetime(
                int(year), _MONTHS[month.lower()], int(day), int(hour), int(minute), seconds, 0, UTC
            )
            zone = int(zone_hours) * 60 + int(zone_minutes)
            return local - timedelta(minutes=zone if sign == "+" else -zone) if zone else local
    except (ValueError, KeyError, OverflowError):
        pass  # Perhaps the more tolerant readings know better.
    return _unusual(text)


def _unusual(text: str) -> datetime | None:
    try:
        fields = parsedate_tz(text)
        if fields is not None:
            year, month, day, hour, minute, second = fields[:6]
            local = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
            return local - timedelta(seconds=fields[9] or 0)
    except (ValueError, OverflowError, TypeError, IndexError):
        pass
    if not _ISO.match(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
