"""Reading back: everything that a sink holds, hashed again and compared with the published tree, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from audit.sinks.sink import Differs, Piece, Shown, Sink, SinkError, Stated
from audit.sinks.tree import Published
from imprimatur.formats import merkle, tiles


@dataclass(frozen=True)
class Agreed:
    """The sink holds so many entries, with this root, and both are as published. ``seen`` says that every entry was
    read, rather than the sink believed; ``tree`` is where the next reading may go on."""

    size: int
    root: bytes
    seen: bool
    tree: merkle.CompactRange


class Reading:
    """One reading, in steps that each take one piece, so that shipping goes on between them. Memory is bounded.

    ``tree`` is what an earlier reading agreed on: only what came since is read. ``least`` is what the sink accepted.
    """

    def __init__(self, sink: Sink, log: Published, least: int, tree: merkle.CompactRange | None = None) -> None:
        self._sink = sink
        self._log = log
        self._least = min(least, log.size)
        self._tree = tree.copy() if tree is not None else merkle.CompactRange()
        self._pieces: Iterator[Piece] | None = None

    def step(self) -> Agreed | None:
        """Take one piece. None as long as there is more. Raises Differs, SinkError, or TileError for our own files."""
        if isinstance(self._sink, Stated):
            return self._believe(self._sink)
        if not isinstance(self._sink, Shown):
            raise SinkError("shows nothing of what it holds")
        if self._pieces is None:
            self._pieces = self._sink.read(self._log, self._tree.size)
        piece = next(self._pieces, None)
        if piece is None:
            return self._end()
        self._compare(piece)
        return None

    def finish(self) -> Agreed:
        """All steps at once."""
        while (found := self.step()) is None:
            pass
        return found

    def _compare(self, piece: Piece) -> None:
        leaves: list[bytes] = []
        known = -1
        for raw in piece.entries:
            index = self._tree.size
            if index // tiles.WIDTH != known:
                known = index // tiles.WIDTH
                leaves = self._log.leaves(known)
            leaf = merkle.leaf_hash(raw)
            if leaf != leaves[index % tiles.WIDTH]:
                raise Differs(f"entry {index} is another one")
            self._tree.append(leaf)
        if piece.checkpoint and not self._log.is_own(piece.checkpoint):
            raise Differs(f"the checkpoint below entry {self._tree.size - 1} is not one of this log")

    def _end(self) -> Agreed:
        size, root = self._tree.size, self._tree.root()
        if size < self._least:
            raise Differs(f"it accepted {self._least} entries and holds {size}")
        if root != self._log.root_at(size):
            raise Differs(f"its {size} entries have another root")
        return Agreed(size, root, True, self._tree)

    def _believe(self, sink: Stated) -> Agreed:
        stated = sink.stated(self._log)
        if stated is None:
            raise NotOffered
        size, root = stated
        if size < self._least:
            raise Differs(f"it accepted {self._least} entries and says that it holds {size}")
        if size > self._log.size:
            raise SinkError(f"says that it holds {size} entries, and {self._log.size} are published")
        if root != self._log.root_at(size):
            raise Differs(f"it states another root for {size} entries")
        return Agreed(size, root, False, merkle.CompactRange())


class NotOffered(SinkError):
    """The sink does not say what it holds: what it accepted is not confirmed."""

    def __str__(self) -> str:
        return "does not say what it holds"
