"""Proof files (C2SP tlog-proof, extension `.tlog-proof`): one file that verifies one entry offline.

    c2sp.org/tlog-proof@v1
    extra <base64>            (optional, covered by nothing)
    index <n>
    <base64 hashes, leaf to root>
    <empty line>
    <signed checkpoint>

The entry itself is not inside: whoever verifies brings its exact bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from imprimatur.formats import merkle, note
from imprimatur.formats.checkpoint import Checkpoint, open_checkpoint
from imprimatur.formats.encoding import b64, un_b64

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63

_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})", re.ASCII)


class ProofError(ValueError):
    """Not a proof file, or one that proves nothing about this entry."""


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A parsed proof file. `checkpoint` is the signed note as it stands; nothing is verified yet."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None


def encode(proof: TlogProof) -> str:
    """Write a proof file. Raises ProofError when it could not be read back."""
    lines = [HEADER]
    if proof.extra is not None:
        lines.append(f"extra {b64(proof.extra)}")
    lines.append(f"index {proof.index}")
    lines += [b64(item) for item in proof.hashes]
    text = "\n".join(lines) + "\n\n" + proof.checkpoint
    if parse(text) != proof:
        raise ProofError("this proof has no written form")
    return text


def parse(text: str) -> TlogProof:
    """Read a proof file. Raises ProofError when it is malformed."""
    head, separator, checkpoint = text.partition("\n\n")
    if not separator or not checkpoint:
        raise ProofError("a proof file has an empty line and then a checkpoint")
    lines = head.split("\n")
    if lines.pop(0) != HEADER:
        raise ProofError(f"a proof file starts with {HEADER}")
    extra: bytes | None = None
    if lines and lines[0].startswith("extra "):
        extra = _decode(lines.pop(0)[len("extra ") :], "the extra data")
    found = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if found is None or int(found[1]) > merkle.MAX_TREE_SIZE:
        raise ProofError("a proof file has a line with the entry's index")
    if len(lines) > MAX_HASHES:
        raise ProofError(f"a proof has at most {MAX_HASHES} hashes")
    hashes = tuple(_decode(line, "a hash") for line in lines)
    if any(len(item) != merkle.HASH_SIZE for item in hashes):
        raise ProofError("a proof's hashes are 32 bytes each")
    return TlogProof(int(found[1]), hashes, checkpoint, extra)


def verify(
    proof: TlogProof,
    entry: bytes,
    log_keys: Iterable[note.Vkey],
    *,
    origin: str | None = None,
    witnesses: Iterable[note.Vkey] = (),
) -> tuple[Checkpoint, note.Note]:
    """Check that `entry` (the exact leaf bytes) is entry `proof.index` of the log that one of `log_keys` signs for.

    Returns the checkpoint and its note (for the witnesses that cosigned). Raises ProofError, CheckpointError or
    NoteError.
    """
    checkpoint, opened = open_checkpoint(proof.checkpoint, log_keys, origin=origin, witnesses=witnesses)
    leaf = merkle.leaf_hash(entry)
    if not merkle.verify_inclusion(leaf, proof.index, checkpoint.size, proof.hashes, checkpoint.root):
        raise ProofError(f"the proof does not show that this entry is number {proof.index} of the log")
    return checkpoint, opened


def _decode(encoded: str, what: str) -> bytes:
    try:
        return un_b64(encoded)
    except ValueError as error:
        raise ProofError(f"bad base64 in {what}: {error}") from error
