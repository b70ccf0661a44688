"""Derives everything again from the entries, and says where what is stored differs: rows, files, signatures, marks.

It changes nothing and asks nobody's word: every hash is computed from bytes, every rule applied again by the verifier's
own code. Entries are read 256 at a time, all in one snapshot of the database, so that the desk may go on meanwhile;
memory is bounded by what is live in the history, not by its length.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from audit import guards, keyring, log, mirrors, publisher, recovery, retention, signer, witnesses
from audit.errors import PublishRefused, SignerUnavailable
from audit.evidence.source import Source
from audit.models import Checkpoint, Entry, LogHead, LogKey, Opening
from audit.selectors import commitments_in, payload_of
from imprimatur import durable
from imprimatur.formats import canonical, commitments, dsse, merkle, tiles
from imprimatur.formats.checkpoint import signed_by_all
from imprimatur.formats.keyring import Keyring
from imprimatur.formats.timestamps import format_time
from imprimatur.verify.history import BrokenRule, History

LAST = "fsck.json"
MOST_KEPT = 200  # findings that are told one by one; all are counted
_MIRRORED = ("time", "kind", "subject", "actor_type", "actor_id", "agent", "verdict", "risk")

Progress = Callable[[int, int], object]
"""Called with how many entries were read, and how many there are."""


@dataclass(frozen=True)
class Finding:
    """One difference. ``where`` is an entry, a file, a table or a mark; ``what`` says how it differs."""

    where: str
    what: str


@dataclass
class Result:
    """What a run found. ``findings`` are the first 200 of ``count``."""

    started_at: str
    quick: bool
    size: int = 0
    published: int = 0
    checkpoints: int = 0
    openings: int = 0
    seconds: float = 0.0
    count: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether everything agrees."""
        return self.count == 0

    def add(self, where: str, what: str) -> None:
        """Note a difference."""
        self.count += 1
        if len(self.findings) < MOST_KEPT:
            self.findings.append(Finding(where, what))

    def as_dict(self) -> dict[str, Any]:
        """As JSON values, for the file of the last run and for ``--json``."""
        return {**asdict(self), "seconds": f"{self.seconds:.1f}", "good": self.good}


def run(*, quick: bool = False, progress: Progress = lambda done, total: None) -> Result:
    """Check everything, keep the result for the pages, and return it.

    ``quick`` leaves out what costs most: signatures of entries, the rules, openings and rows of other rooms. Hashes,
    files, checkpoints and marks are always checked.
    """
    began = time.monotonic()
    result = Result(started_at=format_time(log.utc_now()), quick=quick)
    with _snapshot():
        _Run(result, quick, progress).go()
    result.seconds = time.monotonic() - began
    durable.write_file(Path(settings.DATA_DIR) / LAST, canonical.dumps(result.as_dict()))
    return result


def last() -> dict[str, Any] | None:
    """The result of the last run, as `Result.as_dict` gave it; None when there was none or it cannot be read."""
    try:
        found: dict[str, Any] = canonical.loads((Path(settings.DATA_DIR) / LAST).read_bytes())
    except (OSError, ValueError):
        return None
    return found


@contextmanager
def _snapshot() -> Iterator[None]:
    """Read everything as of one moment, without holding the writer up: Django would take SQLite's write lock."""
    if connection.in_atomic_block:
        yield
        return
    connection.ensure_connection()
    begin = "BEGIN DEFERRED" if connection.vendor == "sqlite" else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
    with connection.cursor() as cursor:
        cursor.execute(begin)
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


class _Run:
    """One pass over everything."""

    def __init__(self, result: Result, quick: bool, progress: Progress) -> None:
        self._result = result
        self._quick = quick
        self._progress = progress
        self._tree = merkle.CompactRange()
        self._levels: list[list[bytes]] = [[]]  # of each level, the hashes of its newest, unfinished tile
        self._filled: list[int] = [0]  # and how many of its tiles are full
        self._source: Source | None = None
        self._history: History | None = None
        self._ring = Keyring()

    def go(self) -> None:
        add = self._result.add
        for problem in guards.problems():
            add("guards", problem)
        head = LogHead.objects.first()
        if head is None:
            add("head", "there is no log: run `manage.py begin`")
            return
        self._result.size = head.size
        if head.realm != settings.REALM:
            add("head", f"it is of the realm {head.realm}, and this installation is {settings.REALM}")
        mark = self._mark(head)
        self._result.published = mark.size
        compared = min(max(mark.size, publisher.published_size()), head.size)
        self._source = Source(Checkpoint(size=compared, note=f"{head.realm}\n"))
        if not self._quick:
            self._history = History(head.realm, [signer.public_key(signer.DECISION)])
        seen = {name: make() for name, make in mirrors.registered().items()} if not self._quick else {}
        signed = Checkpoint.objects.order_by("size").iterator()
        waiting = next(signed, None)
        for first in range(0, head.size, tiles.WIDTH):
            raws, payloads = self._read(first, min(first + tiles.WIDTH, head.size))
            for at, raw in enumerate(raws, start=first):
                self._grow(merkle.leaf_hash(raw), compared)
                while waiting is not None and waiting.size <= at + 1:
                    self._checkpoint(waiting)
                    waiting = next(signed, None)
                if at + 1 == mark.size and self._tree.root() != mark.root:
                    add(publisher.HIGH_WATER, f"its root is not that of the first {mark.size} entries")
            self._bundle(first, raws, compared)
            for name, mirror in seen.items():
                for line in mirror.see(payloads):
                    add(name, line)
            self._progress(min(first + tiles.WIDTH, head.size), head.size)
        self._last_tiles()
        self._ends(head)
        self._key_rows()
        while waiting is not None:
            add(f"checkpoint {waiting.size}", f"it covers more than the {head.size} entries in the database")
            waiting = next(signed, None)
        self._shown(mark)
        if self._quick:
            return
        self._openings()
        self._erased()
        if self._history is None:
            add("rows", "rows of other tables were not compared: the history they repeat breaks a rule")
            return
        for name, mirror in seen.items():
            for line in mirror.end(self._history.facts):
                add(name, line)

    def _mark(self, head: LogHead) -> publisher.HighWater:
        try:
            mark = publisher.HighWater.read(publisher.mark_path(), head.realm)
        except PublishRefused as error:
            self._result.add(publisher.HIGH_WATER, str(error))
            mark = publisher.HighWater(head.realm, 0, merkle.EMPTY_ROOT)
        known = publisher.published_size()
        if mark.size < known:
            self._result.add(
                publisher.HIGH_WATER, f"it says {mark.size}, but a checkpoint for {known} entries was signed"
            )
        if mark.size > head.size:
            self._result.add(
                "database",
                f"it holds {head.size} entries, but a tree of {mark.size} was signed: it is an older copy, such as a "
                "restored backup",
            )
        return mark

    def _read(self, start: int, end: int) -> tuple[list[bytes], list[dict[str, Any]]]:
        """The entries of one bundle, each checked by itself and against its row. A missing one ends the batch."""
        rows = {row.index: row for row in Entry.objects.filter(index__gte=start, index__lt=end)}
        raws: list[bytes] = []
        payloads: list[dict[str, Any]] = []
        for index in range(start, end):
            row = rows.get(index)
            if row is None:
                self._result.add(f"entry {index}", "it is missing from the database")
                raws.append(b"")
                self._history = None
                continue
            raw = bytes(row.envelope)
            raws.append(raw)
            if merkle.leaf_hash(raw).hex() != row.leaf:
                self._result.add(f"entry {index}", "its bytes do not give the leaf hash that its row has")
            payload, judged = self._judge(index, raw)
            if payload is not None and judged:
                payloads.append(payload)
            if payload is not None:
                self._compare_columns(index, row, raw, payload)
        return raws, payloads

    def _judge(self, index: int, raw: bytes) -> tuple[dict[str, Any] | None, bool]:
        """The payload, None when the bytes are no entry, and whether the rules accepted it: none are applied in a
        quick run, nor after one was broken."""
        if self._history is not None:
            try:
                payload = self._history.feed(index, raw)
            except BrokenRule as error:
                self._result.add(f"entry {index}", f"{error}. The rules were not applied to any entry after it")
                self._history = None
            else:
                self._keys_of(payload)
                return payload, True
        found: dict[str, Any] | None = None
        try:
            found = canonical.loads_canonical(dsse.open_envelope(raw).payload)
            self._keys_of(found)
        except (ValueError, KeyError, TypeError) as error:
            if self._quick:
                self._result.add(f"entry {index}", f"it is not an entry: {error}")
        return found, False

    def _keys_of(self, payload: dict[str, Any]) -> None:
        self._ring.see(payload)
        if payload["index"] == 0:
            try:
                own = signer.public_key(signer.LOG)
            except SignerUnavailable as error:
                self._result.add("log.key", str(error))
                return
            if self._ring.log[0].vkey.public_key != own:
                self._result.add("log.key", "it is not the key that entry 0 names")

    def _key_rows(self) -> None:
        """The rows that say which key signs, against the entries."""
        wanted = {(row.role, row.key, row.since, row.until) for row in keyring.rows_of(self._ring)}
        stored = set(LogKey.objects.values_list("role", "key", "since", "until"))
        for role, key, _, _ in sorted(wanted ^ stored, key=lambda row: (row[0], row[1])):
            self._result.add(f"{role} key {key[:64]}", "its row is not what the entries say of it")

    def _compare_columns(self, index: int, row: Entry, raw: bytes, payload: dict[str, Any]) -> None:
        try:
            wanted = recovery.row_with(index, raw, payload)
        except (ValueError, KeyError, TypeError):
            return  # told already, by the rules or as no entry at all
        for column in _MIRRORED:
            # An agent that a body does not name was known to whoever wrote it; only what the bytes say is compared.
            if column == "agent" and wanted.agent in ("", wanted.actor_id):
                continue
            stored, derived = getattr(row, column), getattr(wanted, column)
            if stored != derived:
                self._result.add(f"entry {index}", f"its column {column} says {stored!r}, its bytes {derived!r}")

    def _grow(self, leaf: bytes, published: int) -> None:
        """Add a leaf to the tree and to the tiles; a tile that is full is compared with its file."""
        self._tree.append(leaf)
        if self._tree.size > published:
            return
        level, item = 0, leaf
        while True:
            row = self._levels[level]
            row.append(item)
            if len(row) < tiles.WIDTH:
                return
            self._tile(level, self._filled[level], row)
            item = merkle.root_of(row)
            row.clear()
            self._filled[level] += 1
            level += 1
            if level == len(self._levels):
                self._levels.append([])
                self._filled.append(0)

    def _last_tiles(self) -> None:
        for level, row in enumerate(self._levels):
            if row:
                self._tile(level, self._filled[level], row)

    def _tile(self, level: int, index: int, row: list[bytes]) -> None:
        self._file(tiles.tile_path(level, index, len(row)), b"".join(row))

    def _bundle(self, first: int, raws: list[bytes], published: int) -> None:
        width = min(tiles.WIDTH, published - first)
        if width <= 0 or not all(raws[:width]):
            return  # not published yet, or an entry is missing, which is told already
        self._file(tiles.entries_path(first // tiles.WIDTH, width), tiles.bundle_encode(raws[:width]))

    def _file(self, path: str, wanted: bytes) -> None:
        assert self._source is not None
        try:
            found = self._source.tile(path)
        except FileNotFoundError:
            self._result.add(f"file {path}", "it is missing")
        except (OSError, ValueError) as error:
            self._result.add(f"file {path}", f"it cannot be read: {error}")
        else:
            if found != wanted:
                place = next((at for at, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), len(wanted))
                self._result.add(f"file {path}", f"it differs from the entries in the database from byte {place} on")

    def _checkpoint(self, row: Checkpoint) -> None:
        """All checkpoints are checked against one tree as it grows, so all are consistent with each other."""
        self._result.checkpoints += 1
        where = f"checkpoint {row.size}"
        if row.size != self._tree.size:
            self._result.add(where, "its size is none that this log had")
            return
        root = self._tree.root()
        if row.root != root.hex():
            self._result.add(where, "its root is not that of the entries it covers")
        keys = self._ring.log_at(row.size)
        if not keys:
            self._result.add(where, "its signature was not checked: entry 0 names no log key")
            return
        try:
            head = signed_by_all(row.note, keys)
        except ValueError as error:
            self._result.add(where, f"its signed note does not hold: {error}")
            return
        if (head.origin, head.size, head.root) != (keys[0].name, row.size, root):
            self._result.add(where, "its signed note is about another tree")

    def _shown(self, mark: publisher.HighWater) -> None:
        path = Path(settings.LOG_DIR) / publisher.CHECKPOINT
        newest = Checkpoint.objects.order_by("-size").first()
        try:
            shown = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            if newest is not None:
                self._result.add(f"file {publisher.CHECKPOINT}", f"it cannot be read: {error}")
            return
        signed = "".join(shown.partition("\n\n")[:2])  # one text of a size, and below it who signed and cosigned
        row = Checkpoint.objects.filter(note__startswith=signed).first()
        told = row.size if row is not None and witnesses.is_shown(row, shown) else None
        # A round may be under way: what is shown is then the newest of this moment, beyond this snapshot.
        size = _size_of(shown)
        if told is None and (size is None or size <= (newest.size if newest else 0)):
            self._result.add(f"file {publisher.CHECKPOINT}", "it is no checkpoint that the database holds")
        elif told is not None and newest is not None and told < newest.size < mark.size:
            self._result.add(f"file {publisher.CHECKPOINT}", f"it shows {told} entries, {newest.size} were signed")

    def _ends(self, head: LogHead) -> None:
        newest = Entry.objects.order_by("-index").first()
        size, leaf = (newest.index + 1, newest.leaf) if newest else (0, "0" * 64)
        if head.size != size:
            self._result.add("head", f"it says {head.size} entries, the table holds {size}")
        elif head.last_leaf != leaf:
            self._result.add("head", "the last leaf it names is not that of the last entry")
        elif newest is not None and head.last_time != newest.time:
            self._result.add("head", "its time is not that of the last entry")

    def _openings(self) -> None:
        for row in Opening.objects.order_by("commitment").iterator(chunk_size=500):
            self._result.openings += 1
            where = f"opening {row.commitment}"
            if row.value is None:
                if row.erased_at is None:
                    self._result.add(where, "its value is gone, and nothing says that it was erased")
                elif row.key:
                    self._result.add(where, "its value was erased, and its key is still there")
                continue
            try:
                opening = commitments.Opening(row.name, bytes(row.key), canonical.loads(bytes(row.value)))
                same = commitments.commitment_of(opening) == row.commitment
            except ValueError as error:
                self._result.add(where, f"it cannot be read: {error}")
                continue
            if not same:
                self._result.add(where, "it does not open its commitment: key or value was changed")

    def _erased(self) -> None:
        """What is erased was erased by an entry, and what an entry erased is gone. One moment at a time."""
        gone = Opening.objects.filter(erased_at__isnull=False)
        for moment in gone.order_by("erased_at").values_list("erased_at", flat=True).distinct().iterator():
            told = {name for row in _erasures(time=moment) for name in retention.read(row).subjects}
            for row in gone.filter(erased_at=moment).exclude(subject__in=told):
                self._result.add(f"opening {row.commitment}", "it was erased, and no entry of the log says so")
        for entry in _erasures().order_by("index").iterator(chunk_size=50):
            left = Opening.objects.filter(subject__in=retention.read(entry).subjects, erased_at=None)
            for row in left:
                # Words said after an erasure are erased in their own time.
                about = Entry.objects.filter(subject=row.subject, index__lt=entry.index)
                if any(row.commitment in commitments_in(payload_of(one)["body"]) for one in about):
                    self._result.add(
                        f"opening {row.commitment}", f"entry {entry.index} erased it, and it is still there"
                    )


def _erasures(**wanted: Any) -> QuerySet[Entry]:
    return Entry.objects.filter(kind=retention.ERASED, **wanted)


def _size_of(shown: str) -> int | None:
    lines = shown.split("\n")
    return int(lines[1]) if len(lines) > 1 and lines[1].isascii() and lines[1].isdecimal() else None
