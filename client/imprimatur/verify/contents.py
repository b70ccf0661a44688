"""What is inside a bundle, read strictly and without believing any of it: texts, hash tiles, entries, the selection.

A whole bundle holds every entry in `log/tile/entries/`. A selective one holds some in `log/selected.jsonl`. Both hold
every hash, so each entry that is there can be held against its place in the one tree.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imprimatur.formats import canonical, evidence_zip, merkle, selection, shapes, tiles
from imprimatur.formats.encoding import un_b64

CHECKPOINT, SELECTION, SELECTED = "log/checkpoint", "SELECTION.json", "log/selected.jsonl"

_SMALL = 1_000_000
_LONGEST_ENTRY = 100_000  # an envelope of 65,535 bytes in base64, with its index
_SHAPE = shapes.Obj({"filters": selection.SHAPE, "size": shapes.Int(1), "shown": shapes.Int()})
_SHOWN = shapes.Obj({"index": shapes.Int(), "envelope": shapes.Text(max=_LONGEST_ENTRY)})


class BundleError(ValueError):
    """Something in the bundle is not as it must be. The message says what."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a bundle says it was asked to show: `shown` of the `size` entries of the log."""

    filters: Mapping[str, Any]
    size: int
    shown: int

    @property
    def whole(self) -> bool:
        """Whether every entry is said to be there."""
        return selection.is_whole(self.filters)


class Contents:
    """A bundle whose zip is being read. Raises BundleError, and evidence_zip.EvidenceZipError for damage."""

    def __init__(self, reader: evidence_zip.Reader) -> None:
        self.zip = reader

    def need(self, name: str) -> bytes:
        """A tile or entry bundle, whose size is bounded by its kind."""
        if name not in self.zip:
            raise BundleError(f"the file {name} is missing")
        entries = name.startswith("log/tile/entries/")
        each = tiles.MAX_ENTRY_SIZE + 2 if entries else merkle.HASH_SIZE
        return self.zip.read(name, tiles.WIDTH * each)

    def text(self, name: str) -> str:
        """A small file of text."""
        if name not in self.zip:
            raise BundleError(f"the file {name} is missing")
        try:
            return self.zip.read(name, _SMALL).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BundleError(f"{name} is not text") from error

    def lines(self, name: str, most: int) -> Iterator[bytes]:
        """The lines of a file, without their ends, each of at most so many bytes."""
        rest = b""
        for chunk in self.zip.chunks(name):
            whole = (rest + chunk).split(b"\n")
            rest = whole.pop()
            if len(rest) > most:
                raise BundleError(f"{name} has a line of more than {most:,} bytes")
            yield from whole
        if rest:
            raise BundleError(f"{name} ends in the middle of a line")

    @functools.cached_property
    def selection(self) -> Selection:
        """What the bundle was asked to show."""
        if SELECTION not in self.zip:
            raise BundleError(f"the file {SELECTION} is missing")
        raw = self.zip.read(SELECTION, _SMALL)
        try:
            said = canonical.loads_canonical(raw)
            shapes.check(said, _SHAPE)
            selection.validate(said["filters"])
        except (canonical.CanonicalError, shapes.ShapeError) as error:
            raise BundleError(f"{SELECTION}: {error}") from error
        return Selection(said["filters"], said["size"], said["shown"])

    @property
    def whole(self) -> bool:
        """Whether every entry is said to be there."""
        return self.selection.whole

    def entries(self, size: int, first: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield the index and the exact bytes of every entry that is there, in order, from `first` on."""
        if not self.whole:
            yield from (shown for shown in self._selected(size) if shown[0] >= first)
            return
        for number, width in tiles.bundles_for(first - first % tiles.WIDTH, size):
            path = f"log/{tiles.entries_path(number, width)}"
            found = self._entry_bundle(path)
            start = number * tiles.WIDTH
            for index, raw in enumerate(found[:width], start):
                if index >= first:
                    yield index, raw
            if len(found) != width:
                gone = f"entry {start + len(found)} is missing: " if len(found) < width else ""
                raise BundleError(f"{gone}{path} holds {len(found)} entries, not {width}")

    def hashes(self, size: int) -> bytes:
        """Hold that the hash tiles of a tree of this size are all there and belong together; return the root they give.

        Each tile is read once, and nothing is kept but the roots of full tiles: one hash for 256 entries.
        """
        row: list[bytes] = []
        newest: list[bytes] = []
        for number, width in tiles.bundles_for(0, size):
            found = self._tile(0, number, width)
            if width == tiles.WIDTH:
                row.append(merkle.root_of(found))
            else:
                newest = found
        full, level = row, 1
        while row:
            above: list[bytes] = []
            for at in range(0, len(row), tiles.WIDTH):
                wanted = row[at : at + tiles.WIDTH]
                if self._tile(level, at // tiles.WIDTH, len(wanted)) != wanted:
                    path = tiles.tile_path(level, at // tiles.WIDTH, len(wanted))
                    raise BundleError(f"log/{path} does not hold the hashes of the tiles below it")
                if len(wanted) == tiles.WIDTH:
                    above.append(merkle.root_of(wanted))
            row, level = above, level + 1
        upper = merkle.CompactRange()
        for item in full:
            upper.append(item)
        tree = merkle.CompactRange(len(full) * tiles.WIDTH, upper.hashes)
        for item in newest:
            tree.append(item)
        return tree.root()

    def tree(self, size: int) -> tiles.HashReader:
        """The tree that the hash tiles make; `hashes` has held that they belong together."""
        return tiles.HashReader(lambda path: self.need(f"log/{path}"), size)

    def _tile(self, level: int, number: int, width: int) -> list[bytes]:
        path = f"log/{tiles.tile_path(level, number, width)}"
        raw = self.need(path)
        if len(raw) != width * merkle.HASH_SIZE:
            raise BundleError(f"{path} has {len(raw)} bytes instead of {width * merkle.HASH_SIZE}")
        return [raw[at : at + merkle.HASH_SIZE] for at in range(0, len(raw), merkle.HASH_SIZE)]

    def _entry_bundle(self, path: str) -> list[bytes]:
        raw = self.need(path)
        try:
            found = tiles.bundle_decode(raw)
        except tiles.TileError as error:
            raise BundleError(f"{path}: {error}") from error
        if tiles.bundle_encode(found) != raw:
            raise BundleError(f"{path} is not in its one exact form")
        return found

    def _selected(self, size: int) -> Iterator[tuple[int, bytes]]:
        if SELECTED not in self.zip:
            raise BundleError(f"the file {SELECTED} is missing")
        last = -1
        for line in self.lines(SELECTED, _LONGEST_ENTRY):
            try:
                said = canonical.loads_canonical(line)
                shapes.check(said, _SHOWN)
                raw = un_b64(said["envelope"])
            except ValueError as error:
                raise BundleError(f"{SELECTED}: the line after entry {last} is no entry: {error}") from error
            if not last < said["index"] < size:
                raise BundleError(f"{SELECTED}: entry {said['index']} cannot follow entry {last} of {size}")
            last = said["index"]
            yield last, raw
