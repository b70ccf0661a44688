"""Cosignatures (C2SP tlog-cosignature, Ed25519): a witness says that it saw a log grow, and nothing else, until then.

    cosignature/v1
    time <Unix seconds>
    <the text of the checkpoint>

That is what is signed; the line below the note holds the key id (type 0x04), the time in 8 bytes, and the signature.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imprimatur.formats import checkpoint, ed25519, key_files, note
from imprimatur.formats.encoding import b64, un_b64
from imprimatur.formats.key_files import KeyFileError

_PRIVATE = "PRIVATE+KEY+"


class CosignatureError(ValueError):
    """Not a cosignature by the witness it should be from, or not over this checkpoint."""


@dataclass(frozen=True, slots=True)
class Cosignature:
    """One checked cosignature: whose, at which time (Unix seconds), and its line with the newline."""

    witness: note.Vkey
    time: int
    line: str


class Cosigner:
    """A witness's name and private key. Its text form shows the public half only."""

    __slots__ = ("_seed", "vkey")

    def __init__(self, name: str, seed: bytes) -> None:
        """Raises NoteError for a name that no key may have, ValueError for a seed that is not 32 bytes."""
        if len(seed) != 32:
            raise ValueError("an Ed25519 seed has 32 bytes")
        self._seed = bytes(seed)
        self.vkey = note.Vkey(name, ed25519.public_key(self._seed), note.COSIGNATURE)

    def cosign(self, text: str, unix_time: int) -> str:
        """The line to put below a checkpoint with this text. Raises CheckpointError when it is none.

        Whoever calls this has seen that the checkpoint continues the last one: this only signs.
        """
        checkpoint.parse(text)
        return note.cosignature_line(text, self.vkey.name, self._seed, unix_time)

    @classmethod
    def load(cls, path: Path) -> Cosigner:
        """Read a file that `save` wrote, refusing one that others may read or change. Raises KeyFileError."""
        raw = key_files.read(path)
        try:
            text = raw.decode("utf-8")
            name, identifier, encoded = text.removeprefix(_PRIVATE).removesuffix("\n").split("+", 2)
            private = un_b64(encoded)
            found = cls(name, private[1:])
            if not text.startswith(_PRIVATE) or private[0] != note.COSIGNATURE or identifier != found.vkey.id.hex():
                raise ValueError
        except (ValueError, IndexError):
            # The cause is dropped on purpose: it could quote the private half.
            raise KeyFileError(f"{path} is not a witness's key: make one with imprimatur witness keygen") from None
        return found

    def save(self, path: Path) -> None:
        """Write the key to a new file that only its owner can read. Raises KeyFileError; never overwrites."""
        encoded = b64(bytes([note.COSIGNATURE]) + self._seed)
        key_files.create(path, f"{_PRIVATE}{self.vkey.name}+{self.vkey.id.hex()}+{encoded}\n")

    def __repr__(self) -> str:
        return f"Cosigner({self.vkey.format()!r})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a witness's key is not pickled; save it to a key file")


def verify(text: str, line: str, witness: note.Vkey) -> Cosignature:
    """Check one line against the text of a checkpoint. Raises CosignatureError unless `witness` cosigned it."""
    found = accept(text, line, [witness])
    if len(found) != 1:
        raise CosignatureError(f"this is no line of the witness {witness.name}")
    return found[0]


def accept(text: str, answer: str, witnesses: Iterable[note.Vkey]) -> list[Cosignature]:
    """Take from a witness's answer the cosignatures over `text` by keys we know; lines by unknown keys are ignored.

    Raises CosignatureError when the answer is no signature lines at all, or a known key's signature is wrong.
    """
    known = {(key.name, key.id): key for key in witnesses if key.algorithm == note.COSIGNATURE}
    try:
        above, signatures = note.parse_note(f"{text}\n{answer}")
    except note.NoteError as error:
        raise CosignatureError(str(error)) from error
    if above != text:
        raise CosignatureError("a witness answers with signature lines and nothing else")
    found: dict[note.Vkey, Cosignature] = {}
    for each, line in zip(signatures, answer[:-1].split("\n"), strict=True):
        witness = known.get((each.name, each.key_id))
        if witness is None:
            continue
        if not witness.verify(text, each.signature):
            raise CosignatureError(f"the cosignature of {witness.name} is wrong")
        found.setdefault(witness, Cosignature(witness, timestamp(each.signature), f"{line}\n"))
    return list(found.values())


def timestamp(signature: bytes) -> int:
    """The time that a cosignature (without its key id) states, in Unix seconds. Raises CosignatureError."""
    time = int.from_bytes(signature[:8], "big")
    if len(signature) != 8 + ed25519.SIGNATURE_SIZE or time > note.MAX_TIME:
        raise CosignatureError("a cosignature is a time of 8 bytes and an Ed25519 signature")
    return time


def attach(signed: str, lines: Iterable[str]) -> str:
    """Append cosignature lines to a signed checkpoint, leaving what is there as it is. Lines it has are not doubled."""
    present = set(signed.split("\n"))
    return signed + "".join(line for line in dict.fromkeys(lines) if line.removesuffix("\n") not in present)
