"""What the clock does for retention: erase by the rule, and remove bundles here that hold what was erased since."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta

from django.db import connection

from audit import log, retention
from audit.actions import erase_openings, remove_bundle
from audit.evidence import jobs
from audit.models import Bundle, Entry, LogHead

EVERY = timedelta(minutes=10)
"""How long the clock rests after it went through everything that is old enough."""


class Rounds:
    """Goes through what is old enough, one batch a tick, and rests when it came to the end."""

    def __init__(self) -> None:
        self._after = ""
        self._resumes: datetime | None = None

    def step(self, now: datetime) -> int:
        """Erase the next batch by the rule. Returns how many openings were erased."""
        kept_for = retention.days()
        if not kept_for or (self._resumes is not None and now < self._resumes):
            return 0
        before = now - timedelta(days=kept_for)
        batch = retention.due(before, after=self._after)
        if len(batch) < retention.MOST_SUBJECTS:
            self._after, self._resumes = "", now + EVERY
        else:
            # What is held, or has not ended, is passed by; the next round looks at it again.
            self._after = batch[-1]
        if not batch:
            return 0
        reason = f"older than {kept_for} day{'' if kept_for == 1 else 's'}"
        done = log.commit(erase_openings.apply, erase_openings.Command(tuple(batch), reason, before=before))
        if done:
            scrub()
        return sum(erasure.count for erasure in done)


_rounds = Rounds()


def look_after(now: datetime) -> None:
    """For the clock of the writer: erase by the rule, and remove bundles that hold what was erased since."""
    if not LogHead.objects.filter(state=LogHead.OPEN).exists():
        return
    _rounds.step(now)
    remove_bundles()


def scrub() -> None:
    """Have SQLite write erased bytes over in its file and empty the write-ahead log, which still has the old pages.

    ``secure_delete`` zeroes what an update frees; a reader may keep the write-ahead log a while, and then the next
    checkpoint does it. PostgreSQL removes old rows when it vacuums. Does nothing inside a transaction.
    """
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")


_looked_at: dict[str, int] = {}  # by bundle, the last erasure that was held against it and left it alone


def remove_bundles() -> list[str]:
    """Delete the files of bundles that hold openings erased since they were built. Returns their ids.

    Derived from the log alone, so that a bundle that was being built meanwhile, or a crash before the file was gone,
    is made up for the next time.
    """
    removed = []
    for bundle in Bundle.objects.filter(state=Bundle.READY, error="", size__isnull=False):
        if not _holds_erased(bundle):
            continue
        jobs.path_of(bundle.id).unlink(missing_ok=True)  # first the file: the mark says that it is gone
        log.commit(remove_bundle.apply, remove_bundle.Command(bundle.id))
        removed.append(bundle.id)
    return removed


def _holds_erased(bundle: Bundle) -> bool:
    if bundle.filters.get("openings") is False or bundle.size is None:
        return False
    for erasure in _erasures_from(max(bundle.size, _looked_at.get(bundle.id, -1) + 1)):
        # An erasure that the bundle covers came before its openings were read.
        if _speaks_of(erasure.subjects, below=bundle.size):
            _looked_at.pop(bundle.id, None)
            return True
        _looked_at[bundle.id] = erasure.index
    return False


def _erasures_from(index: int) -> Iterator[retention.Erasure]:
    for row in Entry.objects.filter(kind=retention.ERASED, index__gte=index).order_by("index").iterator(chunk_size=50):
        yield retention.read(row)


def _speaks_of(subjects: Collection[str], *, below: int) -> bool:
    return Entry.objects.filter(subject__in=subjects, index__lt=below).exists()
