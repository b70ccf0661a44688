"""Ed25519 (RFC 8032), strict: what one auditor accepts, every other accepts too.

Implementations disagree about odd signatures. `verify` accepts a signature only when the scalar is canonical (S < L),
when the public key and R are canonical points of large order, and when the equation holds without the cofactor; each
of these is needed by some verifier in use. PyNaCl does the work when it is installed; otherwise `verify_pure` does,
with the standard library alone, so that an auditor needs nothing but Python.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import types

from imprimatur.formats import naf

KEY_SIZE = 32
SEED_SIZE = 32
SIGNATURE_SIZE = 64

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_D2 = 2 * _D % _P
_SQRT_M1 = pow(2, (_P - 1) // 4, _P)

# A point in extended coordinates (X, Y, Z, T): x = X/Z, y = Y/Z, T = XY/Z (RFC 8032, 5.1.4).
_Point = tuple[int, int, int, int]
# A point prepared for addition: (Y-X, Y+X, 2dT, 2Z).
_Cached = tuple[int, int, int, int]

_IDENTITY: _Point = (0, 1, 1, 0)


class SigningUnavailableError(RuntimeError):
    """Signing was asked for, but PyNaCl is not installed."""


def verify(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Tell whether `signature` (64 bytes) by `public_key` (32 bytes) covers `message`.

    Never raises for bad input: a wrong length is simply not a signature. PyNaCl when importable, else `verify_pure`.
    """
    if len(public_key) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    bindings = _bindings()
    if bindings is None:
        return verify_pure(public_key, message, signature)
    try:
        bindings.crypto_sign_open(bytes(signature) + bytes(message), bytes(public_key))
    except _bad_signature():
        return False
    return True


def verify_pure(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Do what `verify` does with the standard library alone; it accepts nothing that libsodium rejects.

    Not constant-time: use it on public data only. Takes about a millisecond.
    """
    if len(public_key) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    scalar = int.from_bytes(signature[32:], "little")
    if scalar >= _L:
        return False
    encoded_r = bytes(signature[:32])
    tables = _key_tables(bytes(public_key))
    if tables is None:
        return False
    r_point = _decode(encoded_r)
    if r_point is None or _is_small_order(r_point):
        return False
    digest = hashlib.sha512(encoded_r + bytes(public_key) + bytes(message)).digest()
    challenge = int.from_bytes(digest, "little") % _L
    # No cofactor: the bytes of sB - hA must be exactly R.
    return _encode(_double_multiply(scalar, challenge, tables)) == encoded_r


def check_public_key(public_key: bytes) -> None:
    """Refuse a public key that some verifier would treat differently, before it is ever registered.

    Raises ValueError unless it is 32 bytes, the canonical encoding of a point on the curve, and of prime order (no
    low-order point, none with a low-order part): every key made from a seed is.
    """
    if len(public_key) != KEY_SIZE:
        raise ValueError(f"an Ed25519 public key is 32 bytes, not {len(public_key)}")
    point = _decode(bytes(public_key))
    if point is None:
        raise ValueError("not the canonical encoding of an Ed25519 public key")
    if _is_small_order(point):
        raise ValueError("this Ed25519 public key has low order: anyone could sign for it; make a new key")
    if not _is_identity(_multiply(_L, point)):
        raise ValueError("this Ed25519 public key has a low-order part: verifiers would disagree; make a new key")


def public_key(seed: bytes) -> bytes:
    """Return the public key (32 bytes) of a private seed (32 bytes). Raises ValueError, SigningUnavailableError."""
    return _secret(seed)[0]


def sign(seed: bytes, message: bytes) -> bytes:
    """Sign `message` with a private seed (32 bytes) and return 64 bytes.

    Only through PyNaCl: a pure Python signature would leak the key through its timing. Raises ValueError for a seed
    of another length and SigningUnavailableError without PyNaCl.
    """
    _, secret = _secret(seed)
    signed: bytes = _signing_bindings().crypto_sign(bytes(message), secret)
    return signed[:SIGNATURE_SIZE]


@functools.cache
def _bindings() -> types.ModuleType | None:
    try:
        return importlib.import_module("nacl.bindings")
    except ImportError:
        return None


@functools.cache
def _bad_signature() -> type[Exception]:
    error: type[Exception] = importlib.import_module("nacl.exceptions").BadSignatureError
    return error


def _signing_bindings() -> types.ModuleType:
    bindings = _bindings()
    if bindings is None:
        raise SigningUnavailableError("signing needs PyNaCl: install it with `pip install PyNaCl`")
    return bindings


def _secret(seed: bytes) -> tuple[bytes, bytes]:
    if len(seed) != SEED_SIZE:
        raise ValueError(f"an Ed25519 seed is 32 bytes, not {len(seed)}")
    pair: tuple[bytes, bytes] = _signing_bindings().crypto_sign_seed_keypair(bytes(seed))
    return pair


def _add(p: _Point, q: _Cached) -> _Point:
    x1, y1, z1, t1 = p
    minus, plus, t2d, z2 = q
    a = (y1 - x1) * minus % _P
    b = (y1 + x1) * plus % _P
    c = t1 * t2d % _P
    d = z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _double(p: _Point) -> _Point:
    x1, y1, z1, _ = p
    a = x1 * x1 % _P
    b = y1 * y1 % _P
    h = a + b
    e = h - (x1 + y1) * (x1 + y1) % _P
    g = a - b
    f = 2 * z1 * z1 % _P + g
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _cache(p: _Point) -> _Cached:
    x, y, z, t = p
    return (y - x) % _P, (y + x) % _P, t * _D2 % _P, 2 * z % _P


def _negate(q: _Cached) -> _Cached:
    minus, plus, t2d, z2 = q
    return plus, minus, -t2d % _P, z2


def _is_identity(p: _Point) -> bool:
    x, y, z, _ = p
    return x % _P == 0 and (y - z) % _P == 0


def _is_small_order(p: _Point) -> bool:
    return _is_identity(_double(_double(_double(p))))


def _multiply(scalar: int, p: _Point) -> _Point:
    result, addend = _IDENTITY, _cache(p)
    for bit in bin(scalar)[2:]:
        result = _double(result)
        if bit == "1":
            result = _add(result, addend)
    return result


def _encode(p: _Point) -> bytes:
    x, y, z, _ = p
    inverse = pow(z, -1, _P)
    return (y * inverse % _P | (x * inverse % _P & 1) << 255).to_bytes(32, "little")


def _decode(encoded: bytes) -> _Point | None:
    """Decode a point (RFC 8032, 5.1.3), or None when it is off the curve or not in its one canonical form."""
    value = int.from_bytes(encoded, "little")
    sign_bit, y = value >> 255, value & (1 << 255) - 1
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    v3 = v * v * v % _P
    x = u * v3 * pow(u * v3 * v3 * v % _P, (_P - 5) // 8, _P) % _P
    square = v * x * x % _P
    if square == -u % _P:
        x = x * _SQRT_M1 % _P
    elif square != u:
        return None
    if x == 0 and sign_bit:
        return None
    if x & 1 != sign_bit:
        x = _P - x
    return x, y, 1, x * y % _P


def _odd_multiples(p: _Point, count: int) -> tuple[list[_Cached], list[_Cached]]:
    """Return p, 3p, 5p, … (`count` of them) prepared for addition, and their negatives."""
    twice = _cache(_double(p))
    points = [p]
    for _ in range(count - 1):
        points.append(_add(points[-1], twice))
    cached = [_cache(item) for item in points]
    return cached, [_negate(item) for item in cached]


_KEY_WIDTH = 5
_BASE_WIDTH = 8


@functools.lru_cache(maxsize=256)
def _key_tables(encoded: bytes) -> tuple[list[_Cached], list[_Cached]] | None:
    point = _decode(encoded)
    if point is None or _is_small_order(point):
        return None
    return _odd_multiples(point, 1 << (_KEY_WIDTH - 2))


@functools.cache
def _base_tables() -> tuple[list[_Cached], list[_Cached]]:
    base = _decode((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))
    if base is None:
        raise AssertionError("the Ed25519 base point is on the curve")
    return _odd_multiples(base, 1 << (_BASE_WIDTH - 2))


def _double_multiply(base_scalar: int, key_scalar: int, key: tuple[list[_Cached], list[_Cached]]) -> _Point:
    """Return base_scalar * B - key_scalar * A, both scalars read together from the top."""
    base_plus, base_minus = _base_tables()
    key_plus, key_minus = key
    base_digits, key_digits = naf.digits(base_scalar, _BASE_WIDTH), naf.digits(key_scalar, _KEY_WIDTH)
    length = max(len(base_digits), len(key_digits))
    base_digits += [0] * (length - len(base_digits))
    key_digits += [0] * (length - len(key_digits))
    result = _IDENTITY
    for position in range(length - 1, -1, -1):
        result = _double(result)
        digit = base_digits[position]
        if digit > 0:
            result = _add(result, base_plus[digit >> 1])
        elif digit:
            result = _add(result, base_minus[-digit >> 1])
        digit = key_digits[position]
        if digit > 0:
            result = _add(result, key_minus[digit >> 1])
        elif digit:
            result = _add(result, key_plus[-digit >> 1])
    return result
