"""The one spelling of a time: ``YYYY-MM-DDTHH:MM:SS.mmmZ``, UTC, so that text order is time order."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


def format_time(when: datetime) -> str:
    """An aware datetime in UTC with milliseconds, truncated (never rounded into the future). ValueError if naive."""
    if when.tzinfo is None:
        raise ValueError("a time needs a time zone")
    when = when.astimezone(UTC)
    # Not strftime: it leaves out leading zeros of early years on some platforms.
    return f"{when.replace(tzinfo=None, microsecond=0).isoformat()}.{when.microsecond // 1000:03d}Z"


def parse_time(text: str) -> datetime:
    """The aware datetime of a canonical time string; ValueError for any other spelling or an impossible date."""
    if not _TIME.fullmatch(text):
        raise ValueError("not a time of the form YYYY-MM-DDTHH:MM:SS.mmmZ")
    return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC)
