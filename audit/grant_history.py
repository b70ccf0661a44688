"""The grant history of this installation's own log: read once, and from then on only what came since.

Derived from the signed bytes by the code that derives it for bundles and verifiers; rows only help to find the entries.
Each process keeps one. Its memory is bounded by what was ever given, not by the log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from audit.models import Entry, LogHead
from imprimatur.verify.grant_history import KINDS, USE, GrantHistory

MOST = 10_000
"""Entries that one look reads: what is more is read by the next, so that nobody waits for minutes."""
_PAGE = 500

Uses = Callable[[int, int], Iterable[int]]
"""The indexes, from the first up to before the last, of decisions that rest on a vote in advance."""

_uses: list[Uses] = []
_lock = threading.Lock()


def register_uses(find: Uses) -> None:
    """Say where to find the uses of votes in advance: of a million decisions, few are such."""
    if find not in _uses:
        _uses.append(find)


@dataclass
class Read:
    """How far the history was read: up to before entry ``size`` of ``end``. ``leaf`` is of the last entry taken in."""

    history: GrantHistory = field(default_factory=GrantHistory)
    size: int = 0
    end: int = 0
    last: int = -1
    leaf: str = ""

    @property
    def complete(self) -> bool:
        """Whether every entry that there is was looked at."""
        return self.size == self.end


_read = Read()


@contextmanager
def reading(most: int | None = None) -> Iterator[Read]:
    """The history as of now, for as long as the block lasts; nobody else reads it meanwhile."""
    with _lock:
        _go_on(MOST if most is None else most)
        yield _read


def _go_on(most: int) -> None:
    global _read
    end = LogHead.objects.values_list("size", flat=True).first() or 0
    if _read.last >= 0 and not Entry.objects.filter(index=_read.last, leaf=_read.leaf).exists():
        _read = Read()  # another log: each entry holds the hash of the one before, so this one was never in it
    start = _read.size
    found = Entry.objects.order_by().filter(kind__in=KINDS - {USE}, index__gte=start, index__lt=end)
    wanted = set(found.values_list("index", flat=True))
    for find in _uses:
        wanted.update(find(start, end))
    indexes = sorted(wanted)
    reached = end if len(indexes) <= most else indexes[most]
    indexes = indexes[:most]
    for at in range(0, len(indexes), _PAGE):
        for row in Entry.objects.filter(index__in=indexes[at : at + _PAGE]).order_by("index"):
            _read.history.read(row.index, bytes(row.envelope))
            _read.last, _read.leaf, _read.size = row.index, row.leaf, row.index + 1
    _read.size, _read.end = reached, end
