"""The published log as its files show it: what sinks are sent, and what is read back is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imprimatur.formats import checkpoint, merkle, note, tiles

CHECKPOINT = "checkpoint"
_TRIES = 3  # a partial tile can be replaced by a wider one between looking and reading


@dataclass(frozen=True)
class Published:
    """A published checkpoint and, in ``folder``, the tiles it covers. The log may have grown since."""

    folder: Path
    size: int
    root: bytes
    signed: str
    keys: tuple[note.Vkey, ...] = ()  # every key that ever signed checkpoints of this log

    def file(self, path: str) -> bytes:
        """A tile or entry bundle, cut from a wider one if that took its place. Raises FileNotFoundError."""
        for _ in range(_TRIES):
            try:
                return (self.folder / path).read_bytes()
            except FileNotFoundError:
                raw = self._cut(path)
            if raw is not None:
                return raw
        raise FileNotFoundError(path)

    def check(self) -> None:
        """The tiles give the root of the checkpoint. Raises TileError otherwise, also when one is missing."""
        if self.root_at(self.size) != self.root:
            raise tiles.TileError("they do not give the root that was signed")

    def root_at(self, size: int) -> bytes:
        """The root that this tree had at an earlier size. Raises TileError."""
        return tiles.HashReader(self.file, self.size).root(size)

    def leaves(self, tile: int) -> list[bytes]:
        """The leaf hashes of one tile, as far as the tree goes. Raises TileError."""
        width = min(tiles.WIDTH, self.size - tile * tiles.WIDTH)
        raw = self._read(tiles.tile_path(0, tile, width))
        if len(raw) != width * merkle.HASH_SIZE:
            raise tiles.TileError(f"tile {tile} of the published log has {len(raw)} bytes")
        return [raw[at : at + merkle.HASH_SIZE] for at in range(0, len(raw), merkle.HASH_SIZE)]

    def leaf(self, index: int) -> bytes:
        """The hash of one entry. Raises TileError."""
        return self.leaves(index // tiles.WIDTH)[index % tiles.WIDTH]

    def entries(self, start: int, end: int) -> list[bytes]:
        """Entries of one tile, each held against its leaf hash. Raises TileError when a file is damaged or away."""
        tile, first = divmod(start, tiles.WIDTH)
        width = min(tiles.WIDTH, self.size - tile * tiles.WIDTH)
        last = end - tile * tiles.WIDTH
        found = tiles.bundle_decode(self._read(tiles.entries_path(tile, width)))[first:last]
        if [merkle.leaf_hash(raw) for raw in found] != self.leaves(tile)[first:last] or len(found) != end - start:
            raise tiles.TileError(f"the published entries {start} to {end - 1} are not those of the tree")
        return found

    def is_own(self, signed: str) -> bool:
        """Whether this is a checkpoint that the log signed, of this tree at its size or before. Raises TileError."""
        try:
            if self.keys:
                found, _ = checkpoint.open_checkpoint(signed, self.keys)
            else:
                found = checkpoint.Checkpoint.parse(note.parse_note(signed)[0])
        except ValueError:
            return False
        origin = self.signed.partition("\n")[0]
        return found.origin == origin and found.size <= self.size and found.root == self.root_at(found.size)

    def shown_size(self) -> int:
        """The size of the newest checkpoint that is shown by now, by whichever process."""
        try:
            text = (self.folder / CHECKPOINT).read_text(encoding="utf-8")
            return max(self.size, checkpoint.Checkpoint.parse(text.partition("\n\n")[0] + "\n").size)
        except (OSError, ValueError):
            return self.size

    def _read(self, path: str) -> bytes:
        try:
            return self.file(path)
        except OSError as error:
            raise tiles.TileError(f"{path} of the published log cannot be read ({error.strerror or 'away'})") from error

    def _cut(self, path: str) -> bytes | None:
        full, _, text = path.partition(".p/")
        if not text:
            return None
        width = int(text)
        try:
            names = sorted(int(item.name) for item in (self.folder / f"{full}.p").iterdir() if item.name.isdigit())
        except FileNotFoundError:
            names = []
        for name in [*(f"{full}.p/{wider}" for wider in names if wider > width), full]:
            try:
                raw = (self.folder / name).read_bytes()
            except FileNotFoundError:
                continue
            if path.startswith("tile/entries/"):
                return tiles.bundle_encode(tiles.bundle_decode(raw)[:width])
            return raw[: width * merkle.HASH_SIZE]
        return None
