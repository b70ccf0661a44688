"""Reads CBOR in its one canonical form (RFC 8949, as CTAP 2.1, section 8, narrows it) and writes nothing.

Authenticators must write that form, so whatever has another is refused: lengths that are not definite or not the
shortest, keys out of order or twice, floats, tags, undefined, nesting beyond `MAX_DEPTH`.
"""

from __future__ import annotations

from typing import Any

MAX_DEPTH = 8
"""CTAP stops at four levels; a compound attestation (WebAuthn level 3, 8.9) needs five."""


class CborError(ValueError):
    """The bytes are not canonical CBOR of the kinds we read."""


def loads(raw: bytes) -> Any:
    """The one value in `raw`: integers, byte strings, text, true, false, null, lists and maps.

    Raises CborError, also for bytes after the value. One value has one spelling, so the bytes may stand for it.
    """
    value, end = load_first(raw)
    if end != len(raw):
        raise CborError("bytes after the CBOR value")
    return value


def load_first(raw: bytes, at: int = 0) -> tuple[Any, int]:
    """The value that starts at `at`, and where it ends. Raises CborError."""
    return _read(bytes(raw), at, 0)


def _read(raw: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise CborError(f"CBOR nested deeper than {MAX_DEPTH}")
    major, argument, at = _head(raw, at)
    if major == 0:
        return argument, at
    if major == 1:
        return -1 - argument, at
    if major in (2, 3):
        end = at + argument
        if end > len(raw):
            raise CborError("CBOR cut short")
        piece = raw[at:end]
        if major == 2:
            return piece, end
        try:
            return piece.decode("utf-8"), end
        except UnicodeDecodeError:
            raise CborError("a CBOR text is not UTF-8") from None
    if major == 4:
        items: list[Any] = []
        for _ in range(argument):
            item, at = _read(raw, at, depth + 1)
            items.append(item)
        return items, at
    if major == 5:
        return _read_map(raw, at, argument, depth)
    if major == 7 and argument in (20, 21, 22):
        return {20: False, 21: True, 22: None}[argument], at
    raise CborError("CBOR tags, floats and other simple values have no place here")


def _read_map(raw: bytes, at: int, count: int, depth: int) -> tuple[dict[Any, Any], int]:
    result: dict[Any, Any] = {}
    before: tuple[int, int, bytes] | None = None
    for _ in range(count):
        start = at
        key, at = _read(raw, at, depth + 1)
        if isinstance(key, bool) or not isinstance(key, int | str | bytes):
            raise CborError("a CBOR key is a number, a text or bytes")
        spelled = raw[start:at]
        # By type, then shorter first, then bytewise; strictly upwards, so no key comes twice.
        order = (spelled[0] >> 5, len(spelled), spelled)
        if before is not None and order <= before:
            raise CborError("CBOR keys out of order, or one comes twice")
        before = order
        result[key], at = _read(raw, at, depth + 1)
    return result, at


def _head(raw: bytes, at: int) -> tuple[int, int, int]:
    """The major type and the argument at `at`, and where the head ends."""
    if at >= len(raw):
        raise CborError("CBOR cut short")
    major, short = raw[at] >> 5, raw[at] & 31
    at += 1
    if short < 24:
        return major, short, at
    if short > 27 or major == 7:
        raise CborError("CBOR of indefinite length, or of a kind that has no place here")
    size = 1 << (short - 24)
    if at + size > len(raw):
        raise CborError("CBOR cut short")
    argument = int.from_bytes(raw[at : at + size], "big")
    if argument < (24 if size == 1 else 1 << (4 * size)):
        raise CborError("a CBOR number is not in its shortest form")
    return major, argument, at + size
