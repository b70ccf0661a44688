"""A log to be witnessed: leaves, checkpoints and proofs, and requests about them."""

from __future__ import annotations

from pathlib import Path

from imprimatur.formats import ed25519, merkle, note, tiles
from imprimatur.formats.checkpoint import Checkpoint
from imprimatur.formats.cosignature import Cosigner
from imprimatur.witness.protocol import Request

ORIGIN = "log.example"
SEED = bytes(range(32))
VKEY = note.Vkey(ORIGIN, ed25519.public_key(SEED))
COSIGNER = Cosigner("witness.example/w1", bytes(range(1, 33)))


class Log:
    """Entries of one history; another `salt` makes another history."""

    def __init__(self, salt: str = "", same: int = 0, size: int = 600) -> None:
        self.entries = [f"{salt if place >= same else ''}{place}".encode() for place in range(size)]
        self.leaves = [merkle.leaf_hash(entry) for entry in self.entries]

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint(ORIGIN, size, merkle.root_at(self.leaves, size))

    def request(self, old: int, size: int, *, seed: bytes = SEED) -> bytes:
        proof = merkle.consistency_proof(self.leaves[:size], old, size) if 0 < old < size else []
        return Request(old, tuple(proof), self.checkpoint(size).sign(seed)).encode()

    def write(self, folder: Path, size: int) -> None:
        """The entry bundles of a tlog-tiles tree of this size."""
        for index, width in tiles.bundles_for(0, size):
            path = folder / tiles.entries_path(index, width)
            path.parent.mkdir(parents=True, exist_ok=True)
            start = index * tiles.WIDTH
            path.write_bytes(tiles.bundle_encode(self.entries[start : start + width]))
