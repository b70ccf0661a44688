"""The freeze calendar of a policy: times in which nothing is approved without a person. All times are UTC.

A window is either one span (``from`` and ``until`` are times) or comes back every week (``days``, with hours). A weekly
window begins on each of its days at ``from`` and ends at the next ``until``: the same day, or the next one where
``until`` is not after ``from``. ``24:00`` is the end of a day.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from imprimatur.formats import shapes
from imprimatur.formats.timestamps import parse_time

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_WINDOWS = 64
_HOUR = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00"
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"
_WHEN = shapes.Text(max=24, pattern=f"{_HOUR}|{_TIME}")
SHAPE = shapes.ListOf(
    shapes.Obj(
        {"name": shapes.Text(max=100), "from": _WHEN, "until": _WHEN},
        {"days": shapes.ListOf(shapes.OneOf(*DAYS), max=7, min=1, unique=True)},
    ),
    max=MAX_WINDOWS,
)


@dataclass(frozen=True, slots=True)
class Span:
    """One stretch of a window, from and (not including) until, in UTC."""

    name: str
    start: datetime
    end: datetime

    def covers(self, at: datetime) -> bool:
        """Whether this moment is within it."""
        return self.start <= at < self.end


@dataclass(frozen=True, slots=True)
class Window:
    """One line of the calendar: a single span, or `days` with the hours of a weekly one as minutes of the day."""

    name: str
    span: Span | None
    days: frozenset[int] = frozenset()  # Monday is 0
    start: int = 0
    end: int = 0

    def spans(self, since: datetime) -> Iterator[Span]:
        """Its spans that end after `since`, in order; a weekly window has those of the week that follows."""
        if self.span is not None:
            if self.span.end > since:
                yield self.span
            return
        midnight = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        for offset in range(-1, 8):
            day = midnight + timedelta(days=offset)
            if day.weekday() in self.days:
                last = self.end if self.end > self.start else self.end + 24 * 60
                span = Span(self.name, day + timedelta(minutes=self.start), day + timedelta(minutes=last))
                if span.end > since:
                    yield span


def read(document: Sequence[Mapping[str, Any]]) -> tuple[Window, ...]:
    """The windows of a calendar. Raises ValueError for one that says nothing, or not what it seems to say."""
    problems = list(faults(document))
    if problems:
        raise ValueError(problems[0][1])
    return tuple(_window(raw) for raw in document)


def faults(document: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, str]]:
    """What is wrong, as the place of the window and a sentence on what to change."""
    for place, raw in enumerate(document):
        start, end = str(raw.get("from", "")), str(raw.get("until", ""))
        hours = re.fullmatch(_HOUR, start) is not None and re.fullmatch(_HOUR, end) is not None
        times = re.fullmatch(_TIME, start) is not None and re.fullmatch(_TIME, end) is not None
        if "days" in raw and not hours:
            yield place, 'A window with days has hours in UTC: from = "16:00", until = "07:00".'
        elif "days" not in raw and not times:
            yield place, "A window without days has two times in UTC: from = 2026-12-24T00:00:00Z, and until likewise."
        elif hours and start == "24:00":
            yield place, 'A day begins at "00:00"; "24:00" is its end.'
        elif hours and start == end:
            yield place, 'This window is empty. For a whole day write from = "00:00", until = "24:00".'
        elif times:
            try:
                empty = parse_time(start) >= parse_time(end)
            except ValueError:
                yield place, "There is no such date. Write times as 2026-12-24T00:00:00Z."
            else:
                if empty:
                    yield place, "This window is empty: it ends before it begins."


def frozen(windows: Iterable[Window], at: datetime) -> str | None:
    """The name of the window that covers this moment, or None. ValueError if the time has no zone."""
    _zone(at)
    return next((span.name for window in windows for span in window.spans(at) if span.covers(at)), None)


def upcoming(windows: Iterable[Window], at: datetime, most: int = 5) -> list[Span]:
    """The spans that cover this moment or come next, in order, at most so many."""
    _zone(at)
    return sorted((span for window in windows for span in window.spans(at)), key=lambda span: span.start)[:most]


def words(window: Mapping[str, Any]) -> str:
    """One line of the calendar, to read."""
    if "days" not in window:
        return f"{window['from'][:16].replace('T', ' ')} to {window['until'][:16].replace('T', ' ')} UTC"
    days = ", ".join(day.capitalize() for day in DAYS if day in window["days"])
    over = window["until"] <= window["from"]
    return f"{days}, {window['from']} to {window['until']}{' the next day' if over else ''} UTC"


def _window(raw: Mapping[str, Any]) -> Window:
    name = str(raw["name"])
    if "days" in raw:
        days = frozenset(DAYS.index(day) for day in raw["days"])
        return Window(name, None, days, _minutes(raw["from"]), _minutes(raw["until"]))
    return Window(name, Span(name, parse_time(raw["from"]), parse_time(raw["until"])))


def _minutes(text: str) -> int:
    hour, _, minute = text.partition(":")
    return int(hour) * 60 + int(minute)


def _zone(at: datetime) -> None:
    if at.tzinfo is None:
        raise ValueError("a time needs a time zone")
