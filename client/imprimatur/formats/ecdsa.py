"""ECDSA over P-256 with SHA-256 (FIPS 186-5, SEC 1), strict: ES256 as security keys and passkeys make it.

A signature is accepted only in DER (X.690): one encoding, shortest lengths, positive integers, nothing after them. This
parser runs before either path, because libraries differ in what they forgive. `cryptography` does the arithmetic when
it is installed; otherwise `verify_pure` does, with the standard library alone.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
from typing import Any

from imprimatur.formats import naf

KEY_SIZE = 65
MAX_SIGNATURE_SIZE = 72

_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_GX = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
_GY = 0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5

# A point in Jacobian coordinates: x = X/Z^2, y = Y/Z^3. Z = 0 is the point at infinity.
_Point = tuple[int, int, int]

_INFINITY: _Point = (1, 1, 0)
_WIDTH = 5


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` (DER) by `public_key` (65-byte uncompressed point) covers `message`.

    Never raises for bad input: a key or a signature in another form simply verifies nothing.
    """
    library = _library()
    if library is None:
        return verify_pure(public_key, message, signature)
    if parse_signature(signature) is None:
        return False
    try:
        key = library.key(bytes(public_key))
    except ValueError:
        return False
    return library.verify(key, bytes(message), bytes(signature))


def verify_pure(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Do what `verify` does with the standard library alone; it accepts nothing that `cryptography` rejects.

    Not constant-time: use it on public data only. Takes a few milliseconds.
    """
    numbers = parse_signature(signature)
    if numbers is None:
        return False
    table = _key_table(bytes(public_key))
    if table is None:
        return False
    r, s = numbers
    inverse = pow(s, -1, _N)
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    x, _, z = _double_multiply(digest * inverse % _N, r * inverse % _N, table)
    if z == 0:
        return False
    return x * pow(z, -2, _P) % _P % _N == r


def check_public_key(public_key: bytes) -> None:
    """Raise ValueError unless this is an uncompressed point on P-256: 0x04, x, y, both below the field's prime.

    The curve has prime order, so every point on it but infinity (which has no such encoding) is a good key.
    """
    if len(public_key) != KEY_SIZE or public_key[0] != 4:
        raise ValueError(f"a P-256 public key is {KEY_SIZE} bytes that start with 4 (an uncompressed point)")
    if _decode(bytes(public_key)) is None:
        raise ValueError("this P-256 public key is not a point on the curve")


def parse_signature(signature: bytes) -> tuple[int, int] | None:
    """Return (r, s) of a DER signature, both from 1 to n - 1, or None for any other encoding or value."""
    # Two integers below 2**256 fill 70 bytes at most, so a length is always one byte below 0x80.
    if not 8 <= len(signature) <= MAX_SIGNATURE_SIZE or signature[0] != 0x30 or signature[1] != len(signature) - 2:
        return None
    first = _integer(signature, 2)
    if first is None:
        return None
    r, at = first
    second = _integer(signature, at)
    if second is None:
        return None
    s, at = second
    if at != len(signature) or not 0 < r < _N or not 0 < s < _N:
        return None
    return r, s


class _Cryptography:
    """The few calls we need of `cryptography`, imported when first wanted."""

    def __init__(self) -> None:
        ec = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ec")
        hashes = importlib.import_module("cryptography.hazmat.primitives.hashes")
        self._bad_signature: type[Exception] = importlib.import_module("cryptography.exceptions").InvalidSignature
        self._from_point = ec.EllipticCurvePublicKey.from_encoded_point
        self._curve = ec.SECP256R1()
        self._algorithm = ec.ECDSA(hashes.SHA256())
        self.key = functools.lru_cache(maxsize=256)(self._load)

    def verify(self, key: Any, message: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, message, self._algorithm)
        except self._bad_signature:
            return False
        return True

    def _load(self, public_key: bytes) -> Any:
        check_public_key(public_key)
        return self._from_point(self._curve, public_key)


@functools.cache
def _library() -> _Cryptography | None:
    try:
        return _Cryptography()
    except ImportError:
        return None


def _integer(raw: bytes, at: int) -> tuple[int, int] | None:
    """The positive DER INTEGER at `at`, and where it ends; None unless it is the one right encoding."""
    if len(raw) < at + 3 or raw[at] != 0x02:
        return None
    start, end = at + 2, at + 2 + raw[at + 1]
    if not start < end <= len(raw) or end - start > 33 or raw[start] >= 0x80:
        return None
    if raw[start] == 0 and (end - start == 1 or raw[start + 1] < 0x80):
        return None
    return int.from_bytes(raw[start:end], "big"), end


def _decode(encoded: bytes) -> _Point | None:
    if len(encoded) != KEY_SIZE or encoded[0] != 4:
        return None
    x, y = int.from_bytes(encoded[1:33], "big"), int.from_bytes(encoded[33:], "big")
    if x >= _P or y >= _P or (y * y - (x * x - 3) * x - _B) % _P:
        return None
    return x, y, 1


def _double(p: _Point) -> _Point:
    """Twice a point, for a curve with a = -3 (dbl-2001-b of the Explicit-Formulas Database)."""
    x, y, z = p
    delta = z * z % _P
    gamma = y * y % _P
    beta = x * gamma % _P
    alpha = 3 * (x - delta) * (x + delta) % _P
    x3 = (alpha * alpha - 8 * beta) % _P
    z3 = 2 * y * z % _P
    return x3, (alpha * (4 * beta - x3) - 8 * gamma * gamma) % _P, z3


def _add(p: _Point, q: _Point) -> _Point:
    """The sum of any two points; equal, opposite and infinite ones included."""
    x1, y1, z1 = p
    x2, y2, z2 = q
    if z1 == 0:
        return q
    if z2 == 0:
        return p
    z1z1, z2z2 = z1 * z1 % _P, z2 * z2 % _P
    u1, u2 = x1 * z2z2 % _P, x2 * z1z1 % _P
    s1, s2 = y1 * z2 * z2z2 % _P, y2 * z1 * z1z1 % _P
    h, r = (u2 - u1) % _P, (s2 - s1) % _P
    if h == 0:
        return _double(p) if r == 0 else _INFINITY
    hh = h * h % _P
    hhh = h * hh % _P
    v = u1 * hh % _P
    x3 = (r * r - hhh - 2 * v) % _P
    return x3, (r * (v - x3) - s1 * hhh) % _P, z1 * z2 * h % _P


def _negate(p: _Point) -> _Point:
    return p[0], -p[1] % _P, p[2]


def _odd_multiples(p: _Point) -> list[_Point]:
    """p, 3p, 5p, … as many as digits of `_WIDTH` bits need."""
    twice = _double(p)
    points = [p]
    for _ in range((1 << (_WIDTH - 2)) - 1):
        points.append(_add(points[-1], twice))
    return points


@functools.lru_cache(maxsize=256)
def _key_table(encoded: bytes) -> list[_Point] | None:
    point = _decode(encoded)
    return None if point is None else _odd_multiples(point)


@functools.cache
def _base_table() -> list[_Point]:
    return _odd_multiples((_GX, _GY, 1))


def _double_multiply(base_scalar: int, key_scalar: int, key_table: list[_Point]) -> _Point:
    """base_scalar * G + key_scalar * Q, both scalars read together from the top."""
    pairs = [(_base_table(), naf.digits(base_scalar, _WIDTH)), (key_table, naf.digits(key_scalar, _WIDTH))]
    result = _INFINITY
    for position in range(max(len(digits) for _, digits in pairs) - 1, -1, -1):
        result = _double(result)
        for table, digits in pairs:
            digit = digits[position] if position < len(digits) else 0
            if digit > 0:
                result = _add(result, table[digit >> 1])
            elif digit:
                result = _add(result, _negate(table[-digit >> 1]))
    return result
