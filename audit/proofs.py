"""Proofs about the published log, read from its tiles: what anyone can check with C2SP and RFC 6962 tools."""

from __future__ import annotations

from audit import witnesses
from audit.errors import NotPublished
from audit.models import Checkpoint
from audit.publisher import read_tile
from imprimatur.formats import tiles, tlog_proof


def latest_checkpoint() -> Checkpoint:
    """The newest published checkpoint. Raises NotPublished before the first."""
    newest = Checkpoint.objects.order_by("-size").first()
    if newest is None:
        raise NotPublished("no checkpoint is published yet")
    return newest


def proof_for(index: int) -> str:
    """The proof file (C2SP tlog-proof) of entry ``index`` under the newest checkpoint, as far as that is cosigned.

    Raises NotPublished when no checkpoint covers the entry, TileError when the log's files are damaged.
    """
    newest = latest_checkpoint()
    if not 0 <= index < newest.size:
        raise NotPublished(f"no published checkpoint covers entry {index} yet")
    hashes = tiles.HashReader(read_tile, newest.size).inclusion_proof(index)
    return tlog_proof.encode(tlog_proof.TlogProof(index, tuple(hashes), witnesses.cosigned(newest)))


def consistency(old_size: int, new_size: int | None = None) -> list[bytes]:
    """The proof that the log of ``old_size`` entries is a prefix of that of ``new_size`` (the newest by default).

    Raises NotPublished beyond the newest checkpoint, MerkleError for sizes that make no proof.
    """
    newest = latest_checkpoint()
    size = newest.size if new_size is None else new_size
    if size > newest.size:
        raise NotPublished(f"no published checkpoint covers {size} entries yet")
    return tiles.HashReader(read_tile, newest.size).consistency_proof(old_size, size)
