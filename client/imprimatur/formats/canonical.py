"""Canonical JSON (RFC 8785, JCS) for everything that is hashed or signed, and the strict parser that goes with it.

Signed objects use a narrow part of JSON: strings, booleans, integers within 2**53 - 1, lists and objects. There is one
encoding of a value, whichever library produced it: orjson where its order equals JCS order, else ``rfc8785``, else the
standard library alone (the single-file verifier runs there).
"""

from __future__ import annotations

import json
import math
from typing import Any

try:
    import orjson as _orjson
except ImportError:  # pragma: no cover - exercised by the fallback tests, which hide the module
    _orjson = None  # type: ignore[assignment]  # absence is a supported configuration

MAX_INT = 2**53 - 1
MAX_DEPTH = 64

_escape = json.encoder.encode_basestring


class CanonicalError(ValueError):
    """The value or the bytes have no place in a canonical document."""


def dumps(value: Any) -> bytes:
    """Encode a signed object as JCS bytes.

    Invariant: ``loads(dumps(x)) == x``, and equal values give equal bytes. Floats, ``None``, integers beyond
    2**53 - 1, lone surrogates, keys that are not strings and nesting beyond 64 raise :class:`CanonicalError`.
    Source: RFC 8785, narrowed.
    """
    ascii_keys, _ = _inspect(value, 0, any_json=False)
    return _encode(value, ascii_keys=ascii_keys, floats=False)


def dumps_json(value: Any) -> bytes:
    """Encode any JSON value (null and finite floats included) as JCS bytes; only for parameters under a commitment.

    Raises :class:`CanonicalError` for NaN, infinities and whatever :func:`dumps` refuses for other reasons.
    """
    ascii_keys, floats = _inspect(value, 0, any_json=True)
    return _encode(value, ascii_keys=ascii_keys, floats=floats)


def loads(raw: bytes) -> Any:
    """Parse JSON strictly: UTF-8 without BOM, no duplicate keys, no NaN or Infinity, no lone surrogates, integers
    within 2**53 - 1, finite floats, depth at most 64, nothing after the value.

    Raises :class:`CanonicalError` with words that are safe to show (they never repeat the document).
    """
    try:
        text = bytes(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise CanonicalError(f"not UTF-8 at byte {error.start}") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_int=_bounded_int,
            parse_float=_finite_float,
        )
    except CanonicalError:
        raise
    except RecursionError:
        raise CanonicalError(f"nested deeper than {MAX_DEPTH}") from None
    except json.JSONDecodeError as error:
        raise CanonicalError(f"not JSON: {error.msg} at character {error.pos}") from None
    _inspect(value, 0, any_json=True)
    return value


def loads_canonical(raw: bytes) -> Any:
    """Parse a signed object and demand that ``dumps`` of the result gives back exactly ``raw``.

    Raises :class:`CanonicalError` otherwise, so one document has one spelling.
    """
    raw = bytes(raw)
    if _orjson is not None:
        # orjson keeps the last of two equal keys, but then re-encoding cannot give the same bytes.
        try:
            value = _orjson.loads(raw)
            if dumps(value) == raw:
                return value
        except (CanonicalError, _orjson.JSONDecodeError):
            pass  # the strict parser below says what is wrong
    value = loads(raw)
    if dumps(value) != raw:
        raise CanonicalError("not in canonical form (RFC 8785)")
    return value


def _inspect(value: Any, depth: int, *, any_json: bool) -> tuple[bool, bool]:
    """Refuse what has no canonical form; say whether all keys are ASCII and whether a float occurs."""
    if isinstance(value, str):
        _check_text(value)
        return True, False
    kind = type(value)
    if kind is bool or (value is None and any_json):
        return True, False
    if kind is int:
        if not -MAX_INT <= value <= MAX_INT:
            raise CanonicalError("integer beyond 2**53 - 1; write it as a string")
        return True, False
    if kind is float:
        if not any_json:
            raise CanonicalError("a float has no place in a signed object; write a decimal string")
        if not math.isfinite(value):
            raise CanonicalError("NaN and infinities are not JSON")
        return True, True
    if kind is list or kind is dict:
        if depth >= MAX_DEPTH:
            raise CanonicalError(f"nested deeper than {MAX_DEPTH}")
        ascii_keys, floats = True, False
        if kind is dict:
            for key in value:
                if not isinstance(key, str):
                    raise CanonicalError("object keys must be strings")
                if not key.isascii():
                    _check_text(key)
                    ascii_keys = False
        for item in value.values() if kind is dict else value:
            if type(item) is str and item.isascii():
                continue  # most of what is signed, and a call for each would be most of the time
            inner_ascii, inner_floats = _inspect(item, depth + 1, any_json=any_json)
            ascii_keys = ascii_keys and inner_ascii
            floats = floats or inner_floats
        return ascii_keys, floats
    if value is None:
        raise CanonicalError("null has no place in a signed object; leave the key out")
    raise CanonicalError(f"{kind.__name__} is not a JSON type")


def _check_text(text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise CanonicalError("lone surrogate in a string") from None


def _encode(value: Any, *, ascii_keys: bool, floats: bool) -> bytes:
    # orjson sorts keys by code point and prints floats its own way; both agree with JCS only under these conditions.
    if _orjson is not None and ascii_keys and not floats:
        return _orjson.dumps(value, option=_orjson.OPT_SORT_KEYS)
    try:
        import rfc8785
    except ImportError:
        return _encode_plain(value)
    return rfc8785.dumps(value)


def _encode_plain(value: Any) -> bytes:
    """JCS with the standard library only; the input has been inspected."""
    parts: list[str] = []
    _write(value, parts)
    return "".join(parts).encode("utf-8")


def _write(value: Any, parts: list[str]) -> None:
    if isinstance(value, str):
        parts.append(_escape(value))
    elif value is None:
        parts.append("null")
    elif value is True:
        parts.append("true")
    elif value is False:
        parts.append("false")
    elif isinstance(value, int):
        parts.append(str(value))
    elif isinstance(value, float):
        parts.append(_number(value))
    elif isinstance(value, list):
        parts.append("[")
        for position, item in enumerate(value):
            if position:
                parts.append(",")
            _write(item, parts)
        parts.append("]")
    else:
        parts.append("{")
        # JCS orders by UTF-16 code unit, which differs from code point order above U+FFFF.
        for position, key in enumerate(sorted(value, key=_utf16)):
            if position:
                parts.append(",")
            parts.append(_escape(key))
            parts.append(":")
            _write(value[key], parts)
        parts.append("}")


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be")


def _number(value: float) -> str:
    """ECMA-262 Number::toString; Python's repr already finds the shortest digits that round-trip."""
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    if fraction == "0":
        fraction = ""
    point = len(whole) + int(exponent or 0)
    digits = whole + fraction
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    power = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return sign + digits[0] + ("." + digits[1:] if count > 1 else "") + power


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise CanonicalError("duplicate key in an object")
    return result


def _no_constant(text: str) -> Any:
    raise CanonicalError(f"{text} is not JSON")


def _bounded_int(text: str) -> int:
    # The length test comes first: int() of a very long string costs quadratic time.
    if len(text) > 17 or not -MAX_INT <= (number := int(text)) <= MAX_INT:
        raise CanonicalError("integer beyond 2**53 - 1; write it as a string")
    return number


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise CanonicalError("number too large")
    return number
