"""Tiles (C2SP tlog-tiles): a Merkle tree as plain files of at most 256 hashes, and proofs read from them.

Tile `(level, index, width)` holds `width` hashes of height `8 * level`, starting at `256 * index`. A full tile has
width 256 and never changes. The newest, partial tile of a level is a file of its own per width. Entry bundles mirror
the tiles of level 0 and hold the entries themselves. Widths of 0 do not exist.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator

from imprimatur.formats import merkle

WIDTH = 256
HEIGHT = 8
MAX_ENTRY_SIZE = 65_535
_KEPT = 128  # tiles of a reader, some 40 kB each

TileGetter = Callable[[str], bytes]
"""Returns the bytes of a tile by its path; raises KeyError or FileNotFoundError when there is none."""


class TileError(ValueError):
    """A tile or bundle is malformed or missing, or was asked for outside the tree."""


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """Return the path of a hash tile, such as `tile/0/x001/234.p/5`. Raises TileError for impossible ones."""
    if not 0 <= level < HEIGHT:
        raise TileError(f"there is no tile level {level}")
    return f"tile/{level}/{_number(index, width)}"


def entries_path(index: int, width: int = WIDTH) -> str:
    """Return the path of an entry bundle, such as `tile/entries/000.p/7`. Raises TileError for impossible ones."""
    return f"tile/entries/{_number(index, width)}"


def tiles_for(old_size: int, new_size: int) -> Iterator[tuple[int, int, int]]:
    """Yield the hash tiles `(level, index, width)` to write when the tree grows from old_size to new_size leaves.

    Full tiles come once, when they fill; each level that grew gets at most one partial tile, for the new size. From 0
    it is the whole file set of that size. Raises TileError when the tree would shrink.
    """
    if not 0 <= old_size <= new_size <= merkle.MAX_TREE_SIZE:
        raise TileError(f"a tree cannot grow from {old_size} to {new_size} leaves")
    level = 0
    while new_size >> (HEIGHT * level):
        old, new = old_size >> (HEIGHT * level), new_size >> (HEIGHT * level)
        if new > old:
            for index in range(old // WIDTH, new // WIDTH):
                yield level, index, WIDTH
            if new % WIDTH:
                yield level, new // WIDTH, new % WIDTH
        level += 1


def bundles_for(old_size: int, new_size: int) -> Iterator[tuple[int, int]]:
    """Yield the entry bundles `(index, width)` to write when the tree grows: those of the level 0 tiles."""
    for level, index, width in tiles_for(old_size, new_size):
        if level == 0:
            yield index, width


def bundle_encode(entries: Iterable[bytes]) -> bytes:
    """Encode 1 to 256 entries, each after its length in two bytes, big-endian. Raises TileError."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_SIZE:
            raise TileError(f"an entry of {len(entry)} bytes does not fit: the limit is {MAX_ENTRY_SIZE}")
        parts.append(struct.pack(">H", len(entry)) + entry)
    if not 1 <= len(parts) <= WIDTH:
        raise TileError(f"a bundle holds 1 to {WIDTH} entries, not {len(parts)}")
    return b"".join(parts)


def bundle_decode(raw: bytes) -> list[bytes]:
    """Decode an entry bundle. Raises TileError when it is cut short, empty or holds more than 256 entries."""
    entries: list[bytes] = []
    position = 0
    while position < len(raw):
        start = position + 2
        if start > len(raw):
            raise TileError("the bundle is cut short")
        position = start + int.from_bytes(raw[position:start], "big")
        if position > len(raw):
            raise TileError("the bundle is cut short")
        entries.append(raw[start:position])
    if not 1 <= len(entries) <= WIDTH:
        raise TileError(f"a bundle holds 1 to {WIDTH} entries, not {len(entries)}")
    return entries


class HashReader:
    """Hashes and proofs of a tree of `size` leaves, read from its tiles; only the few tiles needed are fetched.

    The tiles are not checked against a root here: whoever receives a proof verifies it against a signed checkpoint.
    The tiles that were used last are kept, a bounded number of them, so make a reader per use or per published size.
    """

    def __init__(self, get: TileGetter, size: int) -> None:
        if not 0 <= size <= merkle.MAX_TREE_SIZE:
            raise TileError("tree size out of range")
        self._get = get
        self._size = size
        self._tiles: dict[tuple[int, int], list[list[bytes]]] = {}

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of the complete subtree `(level, index)`. Raises TileError outside the tree."""
        if level < 0 or index < 0 or (index + 1) << level > self._size:
            raise TileError(f"node {index} of level {level} is not in a tree of {self._size} leaves")
        tile_level, height = divmod(level, HEIGHT)
        tile_index, offset = divmod(index, WIDTH >> height)
        rows = self._rows(tile_level, tile_index)
        return rows[height][offset]

    def root(self, size: int | None = None) -> bytes:
        """Return the root at this size (the newest by default)."""
        return merkle.root_at(self.node, self._within(size))

    def compact_range(self) -> merkle.CompactRange:
        """The whole tree, to go on from: the root of every complete subtree along its right edge."""
        hashes, start = [], 0
        for level in reversed(range(self._size.bit_length())):
            if self._size >> level & 1:
                hashes.append(self.node(level, start >> level))
                start += 1 << level
        return merkle.CompactRange(self._size, hashes)

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Prove leaf `index` in the tree of `size` leaves (the newest by default)."""
        return merkle.inclusion_proof(self.node, index, self._within(size))

    def consistency_proof(self, old_size: int, new_size: int | None = None) -> list[bytes]:
        """Prove that the tree of old_size leaves is a prefix of that of new_size (the newest by default)."""
        return merkle.consistency_proof(self.node, old_size, self._within(new_size))

    def _within(self, size: int | None) -> int:
        if size is None:
            return self._size
        if not 0 <= size <= self._size:
            raise TileError(f"size {size} is beyond the {self._size} leaves of this tree")
        return size

    def _rows(self, level: int, index: int) -> list[list[bytes]]:
        """Return the tile's hashes and, above them, the nodes they make within the tile."""
        known = self._tiles.pop((level, index), None)
        if known is not None:
            self._tiles[level, index] = known
            return known
        width = min(WIDTH, (self._size >> (HEIGHT * level)) - WIDTH * index)
        raw = self._fetch(level, index, width)
        row = [raw[start : start + merkle.HASH_SIZE] for start in range(0, len(raw), merkle.HASH_SIZE)]
        rows = [row]
        for _ in range(HEIGHT - 1):
            row = [merkle.node_hash(row[place], row[place + 1]) for place in range(0, len(row) - 1, 2)]
            rows.append(row)
        if len(self._tiles) >= _KEPT:
            del self._tiles[next(iter(self._tiles))]
        self._tiles[level, index] = rows
        return rows

    def _fetch(self, level: int, index: int, width: int) -> bytes:
        path, wanted = tile_path(level, index, width), width
        try:
            raw = self._get(path)
        except (KeyError, FileNotFoundError) as missing:
            if width == WIDTH:
                raise TileError(f"the tile {path} is missing") from missing
            # Once a tile is full its partial forms may be removed; the full one starts with the same hashes.
            path, wanted = tile_path(level, index), WIDTH
            try:
                raw = self._get(path)
            except (KeyError, FileNotFoundError) as error:
                raise TileError(f"the tile {tile_path(level, index, width)} is missing") from error
        if len(raw) != wanted * merkle.HASH_SIZE:
            raise TileError(f"the tile {path} has {len(raw)} bytes instead of {wanted * merkle.HASH_SIZE}")
        return raw[: width * merkle.HASH_SIZE]


def _number(index: int, width: int) -> str:
    if index < 0 or not 1 <= width <= WIDTH:
        raise TileError(f"there is no tile with index {index} and width {width}")
    digits = str(index)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[start : start + 3] for start in range(0, len(digits), 3)]
    path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return path if width == WIDTH else f"{path}.p/{width}"
