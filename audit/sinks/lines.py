"""The lines that files and collectors get: one entry each, one checkpoint, or a note that what precedes was torn.

Canonical JSON (RFC 8785), so that the same entry is always the same line:

    {"envelope":"<base64>","index":7,"leaf":"<hex>"}
    {"checkpoint":"<the signed note>"}
    {"torn":41}
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from imprimatur.formats import canonical, merkle, tiles
from imprimatur.formats.encoding import b64, un_b64

# Base64 of the largest entry and what stands around it, or the longest checkpoint.
LONGEST = tiles.MAX_ENTRY_SIZE * 4 // 3 + 1024

_ENTRY, _CHECKPOINT, _TORN = b'{"envelope":"', b'{"checkpoint":"', b'{"torn":'
_BEGUN = re.compile(rb'\{"checkpoint":"(?:[^"\\]|\\.)*(?:\\|")?|\{"torn":[0-9]*', re.ASCII)


@dataclass(frozen=True)
class EntryLine:
    """An entry; its leaf hash was compared with its bytes."""

    index: int
    envelope: bytes


@dataclass(frozen=True)
class CheckpointLine:
    """A checkpoint over all entries above it."""

    signed: str


@dataclass(frozen=True)
class TornLine:
    """So many bytes above this line are what a crash left of a line that comes again, whole, below."""

    length: int


def entry(index: int, envelope: bytes) -> bytes:
    """The line of an entry, with its end."""
    leaf = merkle.leaf_hash(envelope).hex()
    return canonical.dumps({"index": index, "leaf": leaf, "envelope": b64(envelope)}) + b"\n"


def checkpoint(signed: str) -> bytes:
    """The line of a checkpoint, with its end."""
    return canonical.dumps({"checkpoint": signed}) + b"\n"


def torn(length: int) -> bytes:
    """The line after so many bytes that are to be passed by, with its end."""
    return canonical.dumps({"torn": length}) + b"\n"


def parse(line: bytes) -> EntryLine | CheckpointLine | TornLine:
    """What a line says, without its end. Raises ValueError when it is not exactly as we write it."""
    found = canonical.loads_canonical(line)
    match found:
        case {"index": int(index), "leaf": str(leaf), "envelope": str(text), **others} if not others:
            envelope = un_b64(text)
            if merkle.leaf_hash(envelope).hex() != leaf:
                raise ValueError("the leaf hash is not that of the entry")
            return EntryLine(index, envelope)
        case {"checkpoint": str(signed), **others} if not others:
            return CheckpointLine(signed)
        case {"torn": int(length), **others} if not others:
            return TornLine(length)
    raise ValueError("not a line of ours")


def is_beginning(raw: bytes, expected: bytes | None) -> bool:
    """Whether a crash could have left these bytes of a line: of the entry ``expected`` (of any entry when that is not
    known), of a checkpoint, or of a note. A line that was whole once and was changed since is no beginning."""
    if expected is None:
        of_entry = _ENTRY.startswith(raw) or (raw.startswith(_ENTRY) and not raw.endswith(b"}"))
    else:
        of_entry = len(raw) < len(expected) and expected.startswith(raw)
    if of_entry or _CHECKPOINT.startswith(raw) or _TORN.startswith(raw):
        return True
    return _BEGUN.fullmatch(raw) is not None and not raw.endswith(b"}")
