"""Mirror mode: the witness keeps the entries too, so that its cosignature also says that they exist somewhere else.

The folder is a C2SP tlog-tiles tree of one log. Invariants: an entry is in it only if it is under a checkpoint that the
log signed; everything under a checkpoint is on the disk before `Mirror.keep` returns, and so before it is cosigned.
"""

from __future__ import annotations

import http.client
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from imprimatur import durable
from imprimatur.formats import merkle, note, tiles
from imprimatur.formats.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from imprimatur.witness.protocol import NotKept

CHECKPOINT, INCOMING = "checkpoint", "incoming"
MOST_BYTES = tiles.WIDTH * (tiles.MAX_ENTRY_SIZE + 2)
PATIENCE = 10.0  # seconds for an answer to go on
WITHIN = 60.0  # seconds for one whole file

Source = Callable[[str], bytes]
"""The bytes of a file of the log by its path, such as ``tile/entries/000``. FileNotFoundError when there is none;
OSError for everything else."""


class MirrorError(Exception):
    """The folder of the mirror cannot be used. The message says what to do."""


class Mirror:
    """One log's entries and tiles in a folder, brought up to a checkpoint before it is cosigned."""

    def __init__(self, folder: Path, source: Source, keys: list[note.Vkey]) -> None:
        """Take up what is in the folder: the tiles must give the root of its checkpoint. Raises MirrorError."""
        self._folder = folder
        self._source = source
        self._lock = threading.Lock()
        self._tree = merkle.CompactRange()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            kept = (folder / CHECKPOINT).read_bytes()
        except FileNotFoundError:
            return
        try:
            checkpoint, _ = open_checkpoint(kept, keys)
            tree = tiles.HashReader(self._kept, checkpoint.size).compact_range()
        except (CheckpointError, note.NoteError, tiles.TileError) as error:
            raise MirrorError(f"the mirror in {folder} is damaged: {error}") from error
        if tree.root() != checkpoint.root:
            raise MirrorError(f"the mirror in {folder} is damaged: its tiles do not give the root of its checkpoint")
        self._tree = tree

    @property
    def size(self) -> int:
        """How many entries are kept."""
        return self._tree.size

    def keep(self, checkpoint: Checkpoint, signed: str) -> None:
        """Fetch, check and store what is missing below this checkpoint. Raises NotKept.

        One copy at a time: meanwhile others are told to come back. What was fetched is moved into its place only when
        it gives the checkpoint's root, so a log that lies leaves nothing here.
        """
        if not self._lock.acquire(blocking=False):
            raise NotKept("this mirror is still copying entries: send the checkpoint again in a moment")
        try:
            self._keep(checkpoint, signed)
        except OSError as error:
            raise NotKept(f"the entries could not be copied ({error.strerror or error})") from error
        except tiles.TileError as error:
            raise NotKept(str(error), wrong=True) from error
        finally:
            self._lock.release()

    def _keep(self, checkpoint: Checkpoint, signed: str) -> None:
        old = self.size
        if checkpoint.size <= old:
            if checkpoint.root != tiles.HashReader(self._kept, old).root(checkpoint.size):
                raise NotKept("the entries that this mirror holds do not give this root", wrong=True)
            return
        incoming = self._folder / INCOMING
        if incoming.exists():
            shutil.rmtree(incoming)
        tree = self._tree.copy()
        names = self._fetch(incoming, old, checkpoint.size, tree)
        if tree.root() != checkpoint.root:
            raise NotKept("the entries that the log shows do not give the root that it signed", wrong=True)
        names += self._add_upper_tiles(incoming, old, checkpoint.size)
        for name in names:
            durable.move(incoming / name, self._folder / name)
        durable.write_file(self._folder / CHECKPOINT, signed.encode("utf-8"), 0o644)
        self._tree = tree
        shutil.rmtree(incoming, ignore_errors=True)
        self._drop_narrow(old, checkpoint.size)

    def _fetch(self, incoming: Path, old: int, size: int, tree: merkle.CompactRange) -> list[str]:
        """Write entry bundles and the hashes of their entries to `incoming`; returns the files' names."""
        names, known = [], tiles.HashReader(self._kept, old)
        for index, width in tiles.bundles_for(old, size):
            raw = self._bundle(index, width)
            hashes = [merkle.leaf_hash(entry) for entry in tiles.bundle_decode(raw)]
            start = index * tiles.WIDTH
            for at, leaf in enumerate(hashes, start=start):
                if at >= old:
                    tree.append(leaf)
                elif leaf != known.node(0, at):
                    raise NotKept(f"entry {at} is not the one that this mirror holds", wrong=True)
            for name, content in (
                (tiles.entries_path(index, width), raw),
                (tiles.tile_path(0, index, width), b"".join(hashes)),
            ):
                durable.write_file(incoming / name, content, 0o644)
                names.append(name)
        return names

    def _bundle(self, index: int, width: int) -> bytes:
        """An entry bundle of exactly `width` entries, cut from the full one when that took its place."""
        try:
            raw = self._source(tiles.entries_path(index, width))
        except FileNotFoundError:
            if width == tiles.WIDTH:
                raise
            raw = self._source(tiles.entries_path(index))
        entries = tiles.bundle_decode(raw)
        if len(entries) < width:
            raise tiles.TileError(f"bundle {index} holds {len(entries)} entries instead of {width}")
        return tiles.bundle_encode(entries[:width])

    def _add_upper_tiles(self, incoming: Path, old: int, size: int) -> list[str]:
        names = []
        for level, index, width in tiles.tiles_for(old, size):
            if level == 0:
                continue
            parts = []
            for child in range(index * tiles.WIDTH, index * tiles.WIDTH + width):
                name = tiles.tile_path(level - 1, child)
                below = incoming / name if (incoming / name).is_file() else self._folder / name
                raw = below.read_bytes()
                parts.append(merkle.root_of(raw[at : at + 32] for at in range(0, len(raw), 32)))
            name = tiles.tile_path(level, index, width)
            durable.write_file(incoming / name, b"".join(parts), 0o644)
            names.append(name)
        return names

    def _drop_narrow(self, old: int, size: int) -> None:
        """Remove partial files that a wider one replaced: the folder then holds each entry once."""
        grown = [(tiles.tile_path(level, index), width) for level, index, width in tiles.tiles_for(old, size)]
        grown += [(tiles.entries_path(index), width) for index, width in tiles.bundles_for(old, size)]
        for path, width in grown:
            partials = self._folder / f"{path}.p"
            for item in partials.iterdir() if partials.is_dir() else ():
                if item.name != str(width) or width == tiles.WIDTH:
                    item.unlink()

    def _kept(self, path: str) -> bytes:
        return (self._folder / path).read_bytes()


def from_folder(folder: Path) -> Source:
    """A log whose files are in a folder of this machine."""
    return lambda path: (folder / path).read_bytes()


def from_url(url: str, token: str = "") -> Source:
    """A log that serves its files below this address; `token` goes along as a bearer token. Raises MirrorError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise MirrorError(f"{url} is no address of a log: it looks like https://desk.example.org/log")
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if token and parts.scheme != "https" and not local:
        raise MirrorError("a token travels over https only")
    prefix = parts.path.rstrip("/")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection

    def fetch(path: str) -> bytes:
        connection = kind(parts.hostname or "", parts.port, timeout=PATIENCE)
        try:
            connection.request("GET", f"{prefix}/{path}", headers=headers)
            answer = connection.getresponse()
            if answer.status == http.client.NOT_FOUND:
                raise FileNotFoundError(f"the log does not show {path}")
            if answer.status != http.client.OK:
                raise OSError(f"the log answered {answer.status} for {path}")
            return _read(answer, path)
        except http.client.HTTPException as error:
            raise OSError(f"the log's answer for {path} cannot be read") from error
        finally:
            connection.close()

    return fetch


def _read(answer: http.client.HTTPResponse, path: str) -> bytes:
    parts, size, until = [], 0, time.monotonic() + WITHIN
    while part := answer.read1(65_536):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES or time.monotonic() > until:
            raise OSError(f"{path} is too large or too slow")
    return b"".join(parts)
