"""What was turned away at the door, counted by key and minute: an entry for each would let anybody fill the log."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import datetime

UNKNOWN = "unknown"
MOST_KEYS = 1000

_lock = threading.Lock()
_counts: dict[tuple[datetime, str], Counter[str]] = {}


def note(key: str, code: str, now: datetime) -> None:
    """Count one rejection. ``key`` is the thumbprint of a key we know, else :data:`UNKNOWN`."""
    minute = now.replace(second=0, microsecond=0)
    with _lock:
        if (minute, key) not in _counts and len(_counts) >= MOST_KEYS:
            key = UNKNOWN
        _counts.setdefault((minute, key), Counter())[code] += 1


def take_finished(now: datetime) -> list[tuple[datetime, str, dict[str, int]]]:
    """Remove and return the counts of minutes that are over."""
    minute = now.replace(second=0, microsecond=0)
    with _lock:
        over = sorted(at for at in _counts if at[0] < minute)
        return [(at[0], at[1], dict(_counts.pop(at))) for at in over]


def put_back(taken: list[tuple[datetime, str, dict[str, int]]]) -> None:
    """Keep counts that could not be written, for the next time."""
    with _lock:
        for minute, key, codes in taken:
            _counts.setdefault((minute, key), Counter()).update(codes)


def clear() -> None:
    """Forget everything."""
    with _lock:
        _counts.clear()
