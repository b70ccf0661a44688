"""Retention: which openings are old enough to be erased, and what else held the same words.

A commitment stays in the log for ever; what opens it lies beside the log and is erased here. The log room knows
subjects and entries only: whether a request has ended, whose it is, and where else its words lie is known by the room
above, which registers that. Without a registration nothing is erased.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from django.conf import settings
from django.db.models import Exists, Max, OuterRef

from audit import log
from audit.models import Entry, Opening
from audit.selectors import payload_of
from imprimatur.formats.timestamps import parse_time

ERASED = "openings.erased"
RETENTION, REQUEST = "retention", "request"
MOST_SUBJECTS = 500


@dataclass(frozen=True)
class Subject:
    """A request, as far as this room needs to know it. ``state`` is a word for people."""

    id: str
    agent: str
    ended: bool
    state: str


@dataclass(frozen=True)
class Erasure:
    """One ``openings.erased`` entry: when, by which rule, for what reason, and which subjects."""

    index: int
    at: datetime
    rule: str
    reason: str
    agent: str
    subjects: frozenset[str]
    count: int


class Room(Protocol):
    """What the room above knows about subjects."""

    def find(self, subjects: Collection[str]) -> dict[str, Subject]:
        """The subjects that exist, as they are now."""
        ...

    def forget(self, writer: log.Writer, erasure: Erasure) -> None:
        """Erase every copy of the words of these subjects outside the openings. In the erasing transaction."""
        ...


_rooms: list[Room] = []


def register(room: Room) -> None:
    """Called once by the room above, when the application starts."""
    if room not in _rooms:
        _rooms.append(room)


def find(subjects: Collection[str]) -> dict[str, Subject]:
    """What is known about these subjects; one that nobody knows is left out, and so is never erased."""
    return {name: subject for room in _rooms for name, subject in room.find(subjects).items()}


def forget(writer: log.Writer, erasure: Erasure) -> None:
    """Have the rooms above erase their copies."""
    for room in _rooms:
        room.forget(writer, erasure)


def repeat(writer: log.Writer, rows: Iterable[Entry]) -> None:
    """Erase again what these entries erased: a backup that was put back brought the words back with it."""
    for row in rows:
        if row.kind == ERASED:
            erasure = read(row)
            held = Opening.objects.filter(subject__in=erasure.subjects, value__isnull=False)
            held.update(value=None, key=b"", erased_at=erasure.at)
            forget(writer, erasure)


def due(before: datetime, *, after: str = "", most: int = MOST_SUBJECTS) -> list[str]:
    """Subjects behind ``after`` with openings left, and no entry at or since ``before``. In the order of their ids."""
    since = Entry.objects.filter(subject=OuterRef("subject"), time__gte=before)
    held = Opening.objects.filter(value__isnull=False, subject__gt=after).exclude(Exists(since))
    return list(held.order_by("subject").values_list("subject", flat=True).distinct()[:most])


def last_entries(subjects: Sequence[str]) -> dict[str, datetime]:
    """The time of the last entry about each of these subjects."""
    rows = Entry.objects.filter(subject__in=subjects).order_by().values_list("subject").annotate(last=Max("time"))
    return dict(rows)


def days() -> int:
    """How many days openings are kept after the last entry about their request; 0 keeps them."""
    return int(settings.RETENTION_DAYS)


def erasures(newest: int) -> list[Erasure]:
    """The newest erasures, newest first."""
    return [read(row) for row in Entry.objects.filter(kind=ERASED).order_by("-index")[:newest]]


def erasure_of(openings: Iterable[Opening]) -> dict[str, Erasure]:
    """By commitment, the entry that erased each of these openings. What no entry covers is left out."""
    gone = [row for row in openings if row.erased_at is not None]
    entries = Entry.objects.filter(kind=ERASED, time__in={row.erased_at for row in gone})
    read_ones = [read(row) for row in entries]
    return {
        row.commitment: erasure
        for row in gone
        for erasure in read_ones
        if erasure.at == row.erased_at and row.subject in erasure.subjects
    }


def read(row: Entry) -> Erasure:
    """What an ``openings.erased`` entry says."""
    payload = payload_of(row)
    body = payload["body"]
    return Erasure(
        index=row.index,
        at=parse_time(payload["time"]),
        rule=body["rule"],
        reason=body["reason"],
        agent=body["agent"],
        subjects=frozenset(body["subjects"]),
        count=body["count"],
    )
