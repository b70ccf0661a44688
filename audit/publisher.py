"""The publisher: turns committed entries into tiles and signed checkpoints, within two seconds.

Invariants: one publisher at a time (a lock on a file); a checkpoint is signed only after the tiles that prove it are
on disk and the high-water mark, kept outside the database, has moved to exactly that size and root; the mark never
moves back and a size never gets a second root; a file of the log is never replaced by different bytes. A crash
between any two steps is repaired by the next round, with the same bytes, since Ed25519 is deterministic.
"""

from __future__ import annotations

import fcntl
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import close_old_connections, connection

from audit import keyring, log, witnesses
from audit.errors import PublishRefused, SignerUnavailable
from audit.evidence.assessment import Assessor
from audit.models import Checkpoint, Entry, LogHead
from audit.notary import Notary, NotaryRefused
from audit.signer import Signer
from audit.sinks import shipping
from imprimatur import durable
from imprimatur.formats import canonical, merkle, note, tiles
from imprimatur.formats.checkpoint import Checkpoint as TreeHead
from imprimatur.formats.checkpoint import signed_by_all

logger = logging.getLogger(__name__)

PAUSE = 1.0  # seconds between rounds when nobody kicks
LEAST_PAUSE = 0.25  # seconds after a round, so that a busy log is not published after every single commit
MOST_IN_A_ROUND = 4 * tiles.WIDTH
# Beyond this many unpublished entries new work is refused: what is decided must soon be provable.
MOST_UNPUBLISHED = 4_096
# A client that holds a checkpoint a moment old may still ask for the narrower tile of that moment.
PARTIALS_KEPT = 8

CHECKPOINT = "checkpoint"
HIGH_WATER, NOTARY, LOCK = "high-water.json", "notary.json", "publisher.lock"
ADVISORY_LOCK = 0x696D7072696D6174  # "imprimat"

# What a tile can be called; nothing else is read from the folder of the log.
_TILE = re.compile(r"tile/(entries|[0-7])/(x[0-9]{3}/)*[0-9]{3}(\.p/[1-9][0-9]{0,2})?", re.ASCII)

_kicked = threading.Event()
_looked = (float("-inf"), False)  # when `behind` was last looked up, and the answer


def kick() -> None:
    """Tell this process's publisher that there is something to publish."""
    _kicked.set()


def behind() -> bool:
    """Whether so much waits to be published that new work must be refused (`log-behind`). Looked up once a second."""
    global _looked
    now = time.monotonic()
    if now - _looked[0] >= PAUSE:
        _looked = (now, lag() > MOST_UNPUBLISHED)
    return _looked[1]


def lag() -> int:
    """How many committed entries no checkpoint covers yet."""
    head = LogHead.objects.values_list("size", flat=True).first() or 0
    return head - published_size()


@dataclass(frozen=True)
class HighWater:
    """The largest tree that was ever signed for, kept on disk beside the database and never inside it."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def read(cls, path: Path, origin: str) -> HighWater:
        """The mark on disk; that of the empty tree when there is none. Raises PublishRefused when it is not ours."""
        try:
            document = canonical.loads(path.read_bytes())
            mark = cls(document["origin"], int(document["size"]), bytes.fromhex(document["root"]))
        except FileNotFoundError:
            return cls(origin, 0, merkle.EMPTY_ROOT)
        except (ValueError, KeyError, TypeError) as error:
            raise PublishRefused(f"the high-water mark {path.name} cannot be read ({error})") from error
        if mark.origin != origin:
            raise PublishRefused(f"the high-water mark {path.name} is of another realm, {mark.origin}")
        return mark

    def write(self, path: Path) -> None:
        """Put the mark on disk, durably."""
        durable.write_file(
            path, canonical.dumps({"origin": self.origin, "size": self.size, "root": self.root.hex()}), 0o644
        )


class Publisher(threading.Thread):
    """Publishes every second, or at once when kicked. A failing round is reported and tried again.

    ``at_step`` is called with the name of each step before it is taken; tests crash there. ``asking`` asks witnesses
    to cosign; what they answer is kept and shown here, and publishing never waits for it. ``shipping`` sends what is
    published to sinks, likewise.
    """

    def __init__(
        self,
        at_step: Callable[[str], object] = lambda step: None,
        *,
        asking: witnesses.Client | None = None,
        shipping: shipping.Client | None = None,
    ) -> None:
        super().__init__(name="publisher", daemon=True)
        self._ending = threading.Event()
        self._at_step = at_step
        self._asking = asking
        self._shipping = shipping
        self._notary: Notary | None = None
        self._note: tuple[HighWater, str] | None = None  # the newest that was signed
        self._tree: merkle.CompactRange | None = None
        self._assessor = Assessor()

    def run(self) -> None:
        try:
            while not self._ending.wait(LEAST_PAUSE):
                _kicked.wait(PAUSE)
                _kicked.clear()
                close_old_connections()
                self._round()
            self._round()
        finally:
            connection.close()

    def stop(self) -> None:
        """Publish what is committed, then end."""
        self._ending.set()
        kick()
        if self.is_alive():
            self.join(10)

    def _round(self) -> None:
        try:
            self.publish_once()
        except (PublishRefused, SignerUnavailable) as error:
            logger.critical("nothing is published: %s", error)
        except Exception:
            logger.exception("publishing failed; the next round tries again")
            connection.close()  # it may outlive its failure as one that can only read

    def publish_once(self) -> int:
        """Publish everything committed so far and return the published size.

        Returns the old size when another publisher holds the lock, before the log has begun, and while it is frozen.
        Raises PublishRefused, with the log frozen, when the database contradicts what was signed or the notary finds
        a broken rule. Raises SignerUnavailable, and publishes nothing, while a log key in use cannot sign.
        """
        with _only_publisher() as alone:
            if not alone:
                return published_size()
            head = LogHead.objects.first()
            if head is None or head.state != LogHead.OPEN:
                return published_size()
            try:
                return self._publish(head)
            except (PublishRefused, NotaryRefused, durable.ContradictionError) as error:
                self._forget()
                log.freeze(str(error))
                raise PublishRefused(str(error)) from error
            except BaseException:
                # Half a step may have been taken: the next round starts from what is on disk.
                self._forget()
                raise

    def _forget(self) -> None:
        self._tree = self._notary = self._note = None

    def _publish(self, head: LogHead) -> int:
        mark = HighWater.read(mark_path(), head.realm)
        _check_not_behind(mark, head)
        if self._tree is None or self._tree.size != mark.size or self._tree.root() != mark.root:
            # A publisher that died may have left names that a power cut would still take.
            durable.sync_folder(mark_path().parent)
            durable.sync_all_folders(Path(settings.LOG_DIR))
            self._tree, self._notary = self._tree_at(mark), None
        tree = self._tree
        if self._notary is None:
            self._notary = _notary_at(mark, head.realm)
        notary = self._notary
        if self._asking is not None:
            with self._asking.taken() as said:
                witnesses.keep(said)
        self._publish_checkpoint(mark)
        while mark.size < head.size:
            size = min(head.size, mark.size + MOST_IN_A_ROUND)
            keyring.log_signers(size)  # whoever cannot sign is found before anything is marked
            mark = self._grow(mark, tree, notary, size)
            self._publish_checkpoint(mark)
        if self._asking is not None and mark.size:
            self._asking.offer(mark.size, mark.root, self._signed(mark))
        if self._shipping is not None and mark.size:
            self._shipping.offer(mark.size, mark.root, self._signed(mark))
            self._shipping.keep()
        self._assessor.leave(notary.history, tiles.HashReader(read_tile, mark.size).root)
        return mark.size

    def _grow(self, mark: HighWater, tree: merkle.CompactRange, notary: Notary, new_size: int) -> HighWater:
        """Judge the new entries, write their tiles, and move the mark."""
        rows = _Rows(mark.size, new_size)
        for index in range(mark.size, new_size):
            notary.feed(index, rows.envelope(index))
            tree.append(rows.hash(index))
        self._at_step("tiles")
        self._write_tiles(mark.size, new_size, rows)
        grown = HighWater(mark.origin, new_size, tree.root())
        # The tiles must give the root that is about to be signed: a bit that flipped on the disk ends here.
        if tiles.HashReader(read_tile, new_size).root() != grown.root:
            raise PublishRefused("the tiles on disk do not give the root of the tree: a file or the disk is damaged")
        self._at_step("mark")
        if HighWater.read(mark_path(), mark.origin) != mark:
            raise PublishRefused("the high-water mark was moved by somebody else")
        grown.write(mark_path())
        notary.save(rows.hash(new_size - 1).hex())
        _prune(mark.size, new_size)
        return grown

    def _write_tiles(self, old_size: int, new_size: int, rows: _Rows) -> None:
        folder = Path(settings.LOG_DIR)
        for index, width in tiles.bundles_for(old_size, new_size):
            start = index * tiles.WIDTH
            raw = tiles.bundle_encode(rows.envelope(at) for at in range(start, start + width))
            self._at_step("bundle")
            durable.write_once(folder / tiles.entries_path(index, width), raw)
        for level, index, width in tiles.tiles_for(old_size, new_size):
            if level == 0:
                start = index * tiles.WIDTH
                raw = b"".join(rows.hash(at) for at in range(start, start + width))
            else:
                raw = _upper_tile(level, index, width, old_size)
            self._at_step("tile")
            durable.write_once(folder / tiles.tile_path(level, index, width), raw)

    def _publish_checkpoint(self, mark: HighWater) -> None:
        """Sign exactly the marked tree, keep the checkpoint, and show it, unless all that is done already.

        It is shown with the cosignatures that it has by now.
        """
        if mark.size == 0:
            return
        self._at_step("sign")
        row = Checkpoint.objects.filter(size=mark.size).first()
        if row is not None and row.root != mark.root.hex():
            raise PublishRefused(f"another root was already signed for {mark.size} entries")
        signed = self._signed(mark)
        if row is None:
            self._at_step("row")
            Checkpoint.objects.create(size=mark.size, root=mark.root.hex(), note=signed, published_at=log.utc_now())
        shown, cosigned = Path(settings.LOG_DIR) / CHECKPOINT, witnesses.attached(signed, mark.size)
        if not shown.exists() or shown.read_text(encoding="utf-8") != cosigned:
            self._at_step("show")
            durable.write_file(shown, cosigned.encode("utf-8"), 0o644)

    def _signed(self, mark: HighWater) -> str:
        """The note over the marked tree, with one signature of each log key in use: the published one, if there is.

        A signer elsewhere may answer a second time with other bytes, though Ed25519 has only one answer.
        """
        if self._note is None or self._note[0] != mark:
            signers = keyring.log_signers(mark.size)
            signed = TreeHead(mark.origin, mark.size, mark.root).sign_with(signers)
            for before in _published_notes(mark):
                if before == signed or not _holds(before, mark, signers):
                    continue
                logger.warning("the log key signed %d entries differently before; the first note stays", mark.size)
                signed = before
                break
            self._note = mark, signed
        return self._note[1]

    def _tree_at(self, mark: HighWater) -> merkle.CompactRange:
        """The right edge of the marked tree, from its tiles. Missing tiles are written again from the database."""
        reader = tiles.HashReader(read_tile, mark.size)
        try:
            tree = reader.compact_range()
        except tiles.TileError as error:
            logger.warning("tiles are written again from the database: %s", error)
            tree = merkle.CompactRange()
            while tree.size < mark.size:
                old_size, new_size = tree.size, min(mark.size, tree.size + MOST_IN_A_ROUND)
                rows = _Rows(old_size, new_size)
                for index in range(old_size, new_size):
                    tree.append(rows.hash(index))
                self._write_tiles(old_size, new_size, rows)
                _prune(old_size, new_size)
        if tree.root() != mark.root:
            raise PublishRefused("the tiles or the database do not give the root that was signed last")
        return tree


class _Rows:
    """The entries of a round, from the start of the tile in which it begins; hashes computed from the bytes."""

    def __init__(self, old_size: int, new_size: int) -> None:
        self._first = old_size - old_size % tiles.WIDTH
        self._envelopes: list[bytes] = []
        self._hashes: list[bytes] = []
        found = Entry.objects.filter(index__gte=self._first, index__lt=new_size).order_by("index")
        for index, leaf, envelope in found.values_list("index", "leaf", "envelope").iterator():
            raw = bytes(envelope)
            computed = merkle.leaf_hash(raw)
            if computed.hex() != leaf:
                raise PublishRefused(f"the bytes of entry {index} were changed in the database")
            if index != self._first + len(self._hashes):
                break
            self._envelopes.append(raw)
            self._hashes.append(computed)
        missing = self._first + len(self._hashes)
        if missing < new_size:
            raise PublishRefused(f"entry {missing} is missing from the database")

    def envelope(self, index: int) -> bytes:
        return self._envelopes[index - self._first]

    def hash(self, index: int) -> bytes:
        return self._hashes[index - self._first]


def published_size() -> int:
    """The size of the newest published checkpoint; 0 before the first."""
    return Checkpoint.objects.order_by("-size").values_list("size", flat=True).first() or 0


def read_tile(path: str) -> bytes:
    """The bytes of a tile or entry bundle of the published log. Raises FileNotFoundError, also for any other path."""
    if not _TILE.fullmatch(path):
        raise FileNotFoundError(path)
    return (Path(settings.LOG_DIR) / path).read_bytes()


def mark_path() -> Path:
    """Where the high-water mark lies: beside the database, never inside it."""
    return Path(settings.DATA_DIR) / HIGH_WATER


def _check_not_behind(mark: HighWater, head: LogHead) -> None:
    """Refuse to sign when database, mark and published checkpoint contradict each other: never sign backwards."""
    if head.size < mark.size:
        raise PublishRefused(
            f"the database holds {head.size} entries, but a checkpoint for {mark.size} was signed: it looks like a "
            "restored backup. Recover the missing entries from the tiles or a mirror"
        )
    known = max(published_size(), _shown_size())
    if known > mark.size:
        raise PublishRefused(
            f"a checkpoint for {known} entries was published, but {HIGH_WATER} says {mark.size}: it is lost or old"
        )


def _shown_size() -> int:
    try:
        text = (Path(settings.LOG_DIR) / CHECKPOINT).read_text(encoding="utf-8")
        return TreeHead.parse(text.partition("\n\n")[0] + "\n").size
    except FileNotFoundError:
        return 0
    except ValueError:
        logger.warning("the published checkpoint cannot be read and is written again")
        return 0


def _published_notes(mark: HighWater) -> Iterator[str]:
    """The notes over this tree that were published before, without cosignatures: as kept, and as shown."""
    row = Checkpoint.objects.filter(size=mark.size).first()
    if row is not None:
        yield row.note
    if _shown_size() == mark.size:
        text, _, lines = (Path(settings.LOG_DIR) / CHECKPOINT).read_text(encoding="utf-8").partition("\n\n")
        own = [line for line in lines.splitlines(keepends=True) if line.startswith(f"\N{EM DASH} {mark.origin} ")]
        yield f"{text}\n\n{''.join(own)}"


def _holds(signed: str, mark: HighWater, signers: list[Signer]) -> bool:
    keys = [note.Vkey(mark.origin, each.public_key) for each in signers]
    try:
        found = signed_by_all(signed, keys)
    except ValueError:
        return False
    return (found.origin, found.size, found.root) == (mark.origin, mark.size, mark.root)


def _notary_at(mark: HighWater, realm: str) -> Notary:
    """A notary that has seen the marked entries, each held against what was published."""
    reader = tiles.HashReader(read_tile, mark.size)
    notary = Notary(realm, Path(settings.DATA_DIR) / NOTARY)
    notary.resume(mark.size, lambda index: reader.node(0, index).hex())
    while notary.size < mark.size:
        rows = _Rows(notary.size, min(mark.size, notary.size + MOST_IN_A_ROUND))
        for index in range(notary.size, min(mark.size, notary.size + MOST_IN_A_ROUND)):
            if rows.hash(index) != reader.node(0, index):
                raise PublishRefused(f"entry {index} in the database is not the one that was published")
            notary.feed(index, rows.envelope(index))
    return notary


def _upper_tile(level: int, index: int, width: int, old_size: int) -> bytes:
    """A tile above the leaves: what was there, and the root of each full tile that came below."""
    known = min(max((old_size >> (tiles.HEIGHT * level)) - tiles.WIDTH * index, 0), width)
    parts = [read_tile(tiles.tile_path(level, index, known))] if known else []
    for place in range(known, width):
        raw = read_tile(tiles.tile_path(level - 1, index * tiles.WIDTH + place))
        parts.append(merkle.root_of(raw[at : at + merkle.HASH_SIZE] for at in range(0, len(raw), merkle.HASH_SIZE)))
    return b"".join(parts)


def _prune(old_size: int, new_size: int) -> None:
    """Delete partial tiles that a wider one replaced; a client that asks for them takes the full one instead."""
    folder = Path(settings.LOG_DIR)
    grown = [(tiles.tile_path(level, index), width) for level, index, width in tiles.tiles_for(old_size, new_size)]
    grown += [(tiles.entries_path(index), width) for index, width in tiles.bundles_for(old_size, new_size)]
    for path, width in grown:
        partials = folder / f"{path}.p"
        if not partials.is_dir():
            continue
        widths = sorted((int(item.name) for item in partials.iterdir() if item.name.isdigit()), reverse=True)
        for old in widths[0 if width == tiles.WIDTH else PARTIALS_KEPT :]:
            (partials / str(old)).unlink()
        if width == tiles.WIDTH and not any(partials.iterdir()):
            partials.rmdir()


@contextmanager
def _only_publisher() -> Iterator[bool]:
    """Hold the publishers' lock, if it is free: a file lock here, and on PostgreSQL one that all machines share."""
    path = Path(settings.DATA_DIR) / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        if connection.vendor != "postgresql":
            yield True
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [ADVISORY_LOCK])
            alone = bool(cursor.fetchone()[0])
        try:
            yield alone
        finally:
            if alone:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_advisory_unlock(%s)", [ADVISORY_LOCK])
