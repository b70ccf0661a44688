"""Signed notes (C2SP signed-note): text that people can read with signatures below it.

    <text, ending in a newline>
    <empty line>
    — <key name> base64(key id, 4 bytes || signature)

What is signed is the text with its final newline. Ed25519 keys (type 0x01) sign exactly that; Ed25519 cosignature
keys (type 0x04, C2SP tlog-cosignature) put a time in front of it. Signatures by unknown keys are ignored by rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from imprimatur.formats import ed25519
from imprimatur.formats.encoding import b64, un_b64

ED25519 = 0x01
COSIGNATURE = 0x04

# The spec asks for at least 16; Go's implementation stops at 100, and so do we.
MAX_SIGNATURES = 100
MAX_NOTE_SIZE = 1_000_000
MAX_TIME = 2**63 - 1  # of a cosignature, in Unix seconds

_DASH = "\N{EM DASH} "


class NoteError(ValueError):
    """The note is malformed, or no key that we know signed it."""


def key_id(name: str, public_key: bytes, algorithm: int = ED25519) -> bytes:
    """Return the 4-byte key id: SHA-256(name || newline || algorithm || public key), cut."""
    return hashlib.sha256(name.encode("utf-8") + b"\n" + bytes([algorithm]) + public_key).digest()[:4]


@dataclass(frozen=True, slots=True)
class Vkey:
    """A verifier key: who signs, with what. Written `<name>+<8 hex of the key id>+<base64 of type and key>`."""

    name: str
    public_key: bytes
    algorithm: int = ED25519

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.algorithm not in (ED25519, COSIGNATURE):
            raise NoteError(f"verifier keys of type {self.algorithm:#04x} are not supported; use an Ed25519 key")
        try:
            ed25519.check_public_key(self.public_key)
        except ValueError as error:
            raise NoteError(f"bad verifier key {self.name}: {error}") from error

    @property
    def id(self) -> bytes:
        """The 4-byte key id."""
        return key_id(self.name, self.public_key, self.algorithm)

    @classmethod
    def parse(cls, text: str) -> Vkey:
        """Read a verifier key. Raises NoteError when it is malformed or its key id does not belong to it."""
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise NoteError("a verifier key looks like name+key id+base64")
        name, identifier, encoded = parts
        try:
            raw = un_b64(encoded)
        except ValueError as error:
            raise NoteError(f"bad base64 in the verifier key {name}: {error}") from error
        if not raw:
            raise NoteError(f"the verifier key {name} is empty")
        vkey = cls(name, raw[1:], raw[0])
        if identifier != vkey.id.hex():
            raise NoteError(f"the key id of the verifier key {name} does not belong to it: copy the line again")
        return vkey

    def format(self) -> str:
        """Return the written form that `parse` reads."""
        return f"{self.name}+{self.id.hex()}+{b64(bytes([self.algorithm]) + self.public_key)}"

    def __str__(self) -> str:
        return self.format()

    def verify(self, text: str, signature: bytes) -> bool:
        """Tell whether this key signed the text of a note (for a cosignature, at the time it states)."""
        if self.algorithm == ED25519:
            return ed25519.verify(self.public_key, text.encode("utf-8"), signature)
        if len(signature) != 8 + ed25519.SIGNATURE_SIZE or _unix_time(signature) > MAX_TIME:
            return False
        return ed25519.verify(self.public_key, _cosigned(text, _unix_time(signature)), signature[8:])


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: the name and key id it claims, and the bytes. Nothing is checked yet."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A note that at least one known key signed.

    `verified` and `unverified` hold key names in the order of the lines; unverified ones are by unknown keys.
    `verified_by` holds the keys themselves and `cosigned_at` the Unix time each cosigner states, by name.
    """

    text: str
    verified: list[str] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    verified_by: list[Vkey] = field(default_factory=list)
    cosigned_at: dict[str, int] = field(default_factory=dict)


def signature_line(text: str, name: str, seed: bytes) -> str:
    """Sign the text of a note with an Ed25519 seed and return the line to put below it, newline included."""
    _check_text(text)
    vkey = Vkey(name, ed25519.public_key(seed))
    return _line(vkey, ed25519.sign(seed, text.encode("utf-8")))


def signed_line(text: str, vkey: Vkey, signature: bytes) -> str:
    """The line of a signature that was made elsewhere. Raises NoteError unless this key signed exactly this text."""
    _check_text(text)
    if vkey.algorithm != ED25519 or not vkey.verify(text, signature):
        raise NoteError(f"this is no signature of the key {vkey} over this text")
    return _line(vkey, signature)


def cosignature_line(text: str, name: str, seed: bytes, unix_time: int) -> str:
    """Cosign the text of a checkpoint at a time (Unix seconds) and return the line (C2SP tlog-cosignature)."""
    _check_text(text)
    if not 0 <= unix_time <= MAX_TIME:
        raise NoteError("the time of a cosignature is out of range")
    vkey = Vkey(name, ed25519.public_key(seed), COSIGNATURE)
    signed = ed25519.sign(seed, _cosigned(text, unix_time))
    return f"{_DASH}{name} {b64(vkey.id + unix_time.to_bytes(8, 'big') + signed)}\n"


def sign_note(text: str, name: str, seed: bytes) -> str:
    """Return the note: text, empty line, one signature. More signature lines may be appended to it as they are.

    Raises NoteError when the text does not end in a newline or holds control characters, or the name is not allowed.
    """
    return f"{text}\n{signature_line(text, name, seed)}"


def parse_note(raw: str | bytes) -> tuple[str, list[Signature]]:
    """Split a note into its text and its signature lines without checking who signed. Raises NoteError."""
    if len(raw) > MAX_NOTE_SIZE:
        raise NoteError("malformed note: too large")
    if isinstance(raw, bytes):
        try:
            raw = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise NoteError("malformed note: not UTF-8") from error
    split = raw.rfind("\n\n")
    if split < 0:
        raise NoteError("malformed note: no empty line before the signatures")
    text, block = raw[: split + 1], raw[split + 2 :]
    _check_text(text)
    if not block.endswith("\n"):
        raise NoteError("malformed note: it must end in a signature line with its newline")
    lines = block[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError(f"malformed note: more than {MAX_SIGNATURES} signatures")
    return text, [_parse_line(line) for line in lines]


def open_note(raw: str | bytes, vkeys: Iterable[Vkey]) -> Note:
    """Check a note against the keys we know.

    Raises NoteError when it is malformed, when a known key's signature is wrong, or when no known key signed it.
    """
    text, signatures = parse_note(raw)
    known: dict[tuple[str, bytes], Vkey] = {}
    for vkey in vkeys:
        if known.setdefault((vkey.name, vkey.id), vkey) != vkey:
            raise NoteError(f"two different verifier keys share the name and key id of {vkey.name}")
    note = Note(text)
    for line in signatures:
        signer = known.get((line.name, line.key_id))
        if signer is None:
            note.unverified.append(line.name)
            continue
        if not signer.verify(text, line.signature):
            raise NoteError(f"the signature of {line.name} is wrong: the note was changed after signing")
        if signer in note.verified_by:
            continue
        note.verified.append(line.name)
        note.verified_by.append(signer)
        if signer.algorithm == COSIGNATURE:
            note.cosigned_at[line.name] = _unix_time(line.signature)
    if not note.verified:
        raise NoteError("no key that we know signed this note")
    return note


def _line(vkey: Vkey, signature: bytes) -> str:
    return f"{_DASH}{vkey.name} {b64(vkey.id + signature)}\n"


def _parse_line(line: str) -> Signature:
    if not line.startswith(_DASH):
        raise NoteError("malformed note: a signature line starts with an em dash and a space")
    name, space, encoded = line[len(_DASH) :].partition(" ")
    if not space:
        raise NoteError("malformed note: a signature line has a name and a signature")
    _check_name(name)
    try:
        raw = un_b64(encoded)
    except ValueError as error:
        raise NoteError(f"malformed note: bad base64 in the signature of {name}") from error
    if len(raw) < 5:
        raise NoteError(f"malformed note: the signature of {name} is too short")
    return Signature(name, raw[:4], raw[4:])


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise NoteError("malformed note: the text must end in a newline")
    if any(character < " " and character != "\n" for character in text):
        raise NoteError("malformed note: control character in the text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise NoteError("malformed note: the text is not valid Unicode") from error


def _check_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() or character < " " for character in name):
        raise NoteError("a key name is not empty and has no spaces, control characters or plus signs")
    try:
        name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise NoteError("a key name must be valid Unicode") from error


def _unix_time(signature: bytes) -> int:
    return int.from_bytes(signature[:8], "big")


def _cosigned(text: str, unix_time: int) -> bytes:
    return f"cosignature/v1\ntime {unix_time}\n{text}".encode()
