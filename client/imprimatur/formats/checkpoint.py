"""Checkpoints (C2SP tlog-checkpoint): what a log signs about its tree.

    <origin>
    <tree size, decimal>
    <base64 of the root hash>

Our logs put nothing else there, so extension lines are refused: no proof would cover them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from imprimatur.formats import merkle, note
from imprimatur.formats.encoding import b64, un_b64

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class Signer(Protocol):
    """Whoever holds the private half of an Ed25519 key: a key file, or something that signs on demand."""

    @property
    def public_key(self) -> bytes:
        """The public half, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature (RFC 8032)."""


class CheckpointError(ValueError):
    """Not a checkpoint, or not one that the expected log signed."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree of log `origin` at `size` leaves has this root (32 bytes). Checked when made: CheckpointError."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or any(character < " " for character in self.origin):
            raise CheckpointError("a checkpoint's origin is one line and not empty")
        if not 0 <= self.size <= merkle.MAX_TREE_SIZE:
            raise CheckpointError("a checkpoint's tree size is out of range")
        if len(self.root) != merkle.HASH_SIZE:
            raise CheckpointError("a checkpoint's root hash is 32 bytes")
        if self.size == 0 and self.root != merkle.EMPTY_ROOT:
            raise CheckpointError("the root of an empty tree is the hash of nothing")

    def text(self) -> str:
        """Return the text to sign: three lines."""
        return f"{self.origin}\n{self.size}\n{b64(self.root)}\n"

    def sign(self, seed: bytes) -> str:
        """Return the signed note, by the log key of this seed; the key's name is the origin."""
        return note.sign_note(self.text(), self.origin, seed)

    def sign_with(self, signers: Iterable[Signer]) -> str:
        """Return the note with one signature of each log key, in this order; each signature is checked.

        Raises CheckpointError without any signer, note.NoteError for a signature that does not hold.
        """
        text = self.text()
        lines = [
            note.signed_line(text, note.Vkey(self.origin, signer.public_key), signer.sign(text.encode("utf-8")))
            for signer in signers
        ]
        if not lines:
            raise CheckpointError("no log key is there to sign this checkpoint")
        return f"{text}\n{''.join(lines)}"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read the text of a checkpoint. Raises CheckpointError unless it is exactly what `text` would give."""
        return parse(text)


def parse(text: str) -> Checkpoint:
    """Read the text of a checkpoint. Raises CheckpointError unless it is exactly what `Checkpoint.text` would give."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise CheckpointError("a checkpoint is exactly three lines: origin, tree size, root hash")
    origin, size, encoded, _ = lines
    if not _SIZE.fullmatch(size):
        raise CheckpointError("a checkpoint's tree size is a decimal number without leading zeros")
    try:
        root = un_b64(encoded)
    except ValueError as error:
        raise CheckpointError(f"bad base64 in a checkpoint's root hash: {error}") from error
    return Checkpoint(origin, int(size), root)


def signed_by_all(raw: str | bytes, log_keys: Iterable[note.Vkey]) -> Checkpoint:
    """The checkpoint, if every one of these log keys signed it. Raises CheckpointError or note.NoteError."""
    wanted = list(log_keys)
    checkpoint, opened = open_checkpoint(raw, wanted)
    for key in wanted:
        if key not in opened.verified_by:
            raise CheckpointError(f"the log key {key} was in use, and did not sign this checkpoint")
    return checkpoint


def open_checkpoint(
    raw: str | bytes, log_keys: Iterable[note.Vkey], *, origin: str | None = None, witnesses: Iterable[note.Vkey] = ()
) -> tuple[Checkpoint, note.Note]:
    """Check a signed checkpoint and return it with its note.

    Holds that one of `log_keys` (plain Ed25519, named like the origin) signed it; a witness alone is not enough. When
    `origin` is given it must be that log's. Raises CheckpointError or note.NoteError.
    """
    log_keys = list(log_keys)
    opened = note.open_note(raw, [*log_keys, *witnesses])
    checkpoint = parse(opened.text)
    if origin is not None and checkpoint.origin != origin:
        raise CheckpointError(f"this checkpoint is of the log {checkpoint.origin}, not of {origin}")
    if not any(
        key in log_keys and key.algorithm == note.ED25519 and key.name == checkpoint.origin
        for key in opened.verified_by
    ):
        raise CheckpointError(f"the log {checkpoint.origin} did not sign this checkpoint with a key that we know")
    return checkpoint, opened
