"""What the log shows now: the statements of the claims page, worked out by the verifier's own code.

Nobody replays a long log for a page. The publisher, which reads every entry as a notary before it signs, leaves a small
file behind (`assessment.json`), and pages of any process read that. For a bundle the facts are worked out up to its own
checkpoint, from the notary's snapshot where that is not ahead of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import Max

from audit.models import Entry
from imprimatur import durable
from imprimatur.formats import canonical, dsse, tiles

if TYPE_CHECKING:
    from audit.evidence.source import Source
    from imprimatur.verify.facts import Facts
    from imprimatur.verify.history import History

logger = logging.getLogger(__name__)

FILE = "assessment.json"
LEAST_PAUSE = 5.0  # seconds between two assessments
MOST = 20_000
"""Entries about grants that one round reads: publishing does not wait for a whole history."""
_PAGE = 500


class Assessor:
    """Leaves an assessment behind for the entries that were signed, at most every few seconds. Never raises: what
    fails is reported, and the file stays as it was, which says of which size it is."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._written = -1
        self._next = 0.0
        self._begin()

    def _begin(self) -> None:
        from imprimatur.verify.assessment import Marks  # only publishers need the verifier
        from imprimatur.verify.grant_history import GrantHistory

        self._grants, self._marks = GrantHistory(), Marks()
        self._size = self._marked = 0

    def leave(self, history: History, root_at: Callable[[int], bytes]) -> None:
        """Assess what this history, which breaks no rule and is signed, amounts to."""
        if history.size in (0, self._written) or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LEAST_PAUSE
        try:
            if self._read(history.size):
                self._write(history, root_at)
        except Exception:
            logger.exception("the claims page stays as it was: what the log shows could not be assessed")
            self._begin()

    def _read(self, size: int) -> bool:
        """Take in the entries about grants up to this size; whether that was all of them."""
        from imprimatur.verify.grant_history import KINDS, USE

        found = Entry.objects.filter(kind__in=KINDS - {USE}, index__gte=self._size, index__lt=size)
        indexes = list(found.order_by("index").values_list("index", flat=True)[: MOST + 1])
        complete = len(indexes) <= MOST
        indexes = indexes[:MOST]
        for at in range(0, len(indexes), _PAGE):
            for row in Entry.objects.filter(index__in=indexes[at : at + _PAGE]).order_by("index"):
                self._grants.read(row.index, bytes(row.envelope))
        self._size = size if complete else indexes[-1] + 1
        return complete

    def _write(self, history: History, root_at: Callable[[int], bytes]) -> None:
        from imprimatur.verify import assessment as rules

        size = history.size
        for entry in _newest(self._marked, size):
            self._marks.entry(entry)
        self._marked = size
        known = rules.Known(history.facts, self._grants, self._marks, size, history.root(), True, root_at)
        durable.write_file(self._file or path(), rules.encode(rules.assess(known)), 0o644)
        self._written = size


def _newest(first: int, size: int) -> Iterator[dict[str, Any]]:
    """The newest entries of each kind, each sink and each monitor, from ``first`` up to before ``size``; rows only help
    to find them."""
    from imprimatur.verify.assessment import Marks

    rows = Entry.objects.filter(index__gte=first, index__lt=size).order_by()
    newest: set[int] = set()
    for kinds, by in ((Marks.KINDS, "kind"), (["log.shipped"], "subject"), (["observation.recorded"], "actor_id")):
        found = rows.filter(kind__in=kinds).values(by).annotate(at=Max("index"))
        newest.update(found.values_list("at", flat=True))
    for row in Entry.objects.filter(index__in=newest).order_by("index"):
        yield canonical.loads_canonical(dsse.open_envelope(bytes(row.envelope)).payload)


def path() -> Path:
    """Where the newest assessment lies: with the published log, which a publisher apart shares with the web process."""
    return Path(settings.LOG_DIR) / FILE


def current() -> dict[str, Any] | None:
    """The newest assessment, or None where there is none of this log yet."""
    from imprimatur.verify.assessment import NAMES, TYPE

    try:
        document: dict[str, Any] = canonical.loads(path().read_bytes())
        named = tuple(statement["name"] for statement in document["statements"])
        if document["typ"] != TYPE or document["realm"] != settings.REALM or named != NAMES:
            return None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        logger.warning("%s cannot be read; the publisher writes it anew", FILE, exc_info=True)
        return None
    return document


def facts_of(source: Source, at_entry: Callable[[int], object] = lambda index: None) -> tuple[Facts, str]:
    """The facts of what a bundle keeps of the log, and which rule an entry breaks ("" as long as none does)."""
    from imprimatur.verify.history import BrokenRule

    history = _taken_up(source)
    try:
        for index, raw, kept in source.steps(history.size):
            if index % tiles.WIDTH == 0:
                at_entry(index)
            if kept:
                history.feed(index, raw)
            else:
                history.skip(source.reader.node(0, index))
    except BrokenRule as error:
        return history.facts, str(error)
    return history.facts, ""


def _taken_up(source: Source) -> History:
    """The notary's history, if it is of this log and not ahead of the bundle; else an empty one."""
    from audit.publisher import NOTARY
    from imprimatur.verify.history import History

    if not source.whole:  # what it knows is of all entries, and this bundle has not all
        return History(source.realm)
    try:
        document = canonical.loads((Path(settings.DATA_DIR) / NOTARY).read_bytes())
        size = document["size"]
        same = document["realm"] == source.realm and 0 < size <= source.size
        if same and source.reader.node(0, size - 1).hex() == document["leaf"]:
            return History.restore(document["state"], source.realm)
    except FileNotFoundError:
        pass
    except (ValueError, KeyError, TypeError):
        logger.warning("the notary's snapshot cannot be used; every entry is read again", exc_info=True)
    return History(source.realm)
