"""Public keys of authenticators: COSE_Key (RFC 9052, RFC 9053, RFC 8230) as WebAuthn stores them.

Three kinds, each in one spelling: Ed25519 (-8), ECDSA on P-256 with SHA-256 (-7), RSA PKCS #1 v1.5 with SHA-256 (-257).
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from typing import Any

from imprimatur.formats import canonical, cbor, ecdsa, ed25519, keys, rsa
from imprimatur.formats.encoding import b64u

EDDSA = -8
ES256 = -7
RS256 = -257
ALGORITHMS = (EDDSA, ES256, RS256)
"""What we accept, best first: the list that an enrolment asks for."""

MAX_SIZE = 1024

_KTY, _ALG = 1, 3


class CoseError(ValueError):
    """The key is malformed, of an unsupported kind, or not in its one spelling. Says what is wrong."""


@dataclass(frozen=True, slots=True)
class CoseKey:
    """A public key that `parse` has checked.

    `kind` is `EdDSA`, `ES256` or `RS256`; `thumbprint` is the RFC 7638 SHA-256 thumbprint (base64url), so that a key
    has one name in whatever encoding it comes: for Ed25519 it is that of `keys.thumbprint`.
    """

    alg: int
    kind: str
    raw: bytes
    thumbprint: str
    _parts: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def parse(cls, raw: bytes) -> CoseKey:
        """The key in these bytes, and nothing else in them. Raises CoseError."""
        if len(raw) > MAX_SIZE:
            raise CoseError(f"a public key has at most {MAX_SIZE} bytes")
        return _parse(bytes(raw))

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Tell whether `signature` covers `message`: 64 bytes for EdDSA, DER for ES256, the modulus' length for RS256.

        Never raises for a bad signature.
        """
        if self.alg == EDDSA:
            return ed25519.verify(self._parts[0], message, signature)
        if self.alg == ES256:
            return ecdsa.verify(b"\4" + self._parts[0] + self._parts[1], message, signature)
        n, e = (int.from_bytes(part, "big") for part in self._parts)
        return rsa.verify(n, e, message, signature)


@functools.lru_cache(maxsize=1024)  # checking a point costs milliseconds, and the same few keys come again
def _parse(raw: bytes) -> CoseKey:
    try:
        document = cbor.loads(raw)
    except cbor.CborError as error:
        raise CoseError(f"not a public key in canonical form: {error}") from None
    if not isinstance(document, dict):
        raise CoseError("not a public key: a COSE key is a map")
    alg = document.get(_ALG)
    try:
        if _is(alg, EDDSA):
            return _ed25519(raw, document)
        if _is(alg, ES256):
            return _p256(raw, document)
        if _is(alg, RS256):
            return _rsa(raw, document)
    except CoseError:
        raise
    except ValueError as error:
        raise CoseError(str(error)) from None
    raise CoseError("this key's algorithm is not accepted; use a key that signs with EdDSA, ES256 or RS256")


def _ed25519(raw: bytes, document: dict[Any, Any]) -> CoseKey:
    _expect(document, kty=1, others={-1, -2})
    if not _is(document[-1], 6):
        raise CoseError("an EdDSA key must be on the curve Ed25519")
    x = _bytes(document, -2, 32)
    ed25519.check_public_key(x)
    return CoseKey(EDDSA, "EdDSA", raw, keys.thumbprint(x), (x,))


def _p256(raw: bytes, document: dict[Any, Any]) -> CoseKey:
    _expect(document, kty=2, others={-1, -2, -3})
    if not _is(document[-1], 1):
        raise CoseError("an ES256 key must be on the curve P-256")
    x, y = _bytes(document, -2, 32), _bytes(document, -3, 32)
    ecdsa.check_public_key(b"\4" + x + y)
    return CoseKey(ES256, "ES256", raw, _thumbprint(crv="P-256", kty="EC", x=b64u(x), y=b64u(y)), (x, y))


def _rsa(raw: bytes, document: dict[Any, Any]) -> CoseKey:
    _expect(document, kty=3, others={-1, -2})
    n, e = _bytes(document, -1), _bytes(document, -2)
    if n[:1] in (b"", b"\0") or e[:1] in (b"", b"\0"):
        raise CoseError("the numbers of an RSA key must not start with a zero byte")
    rsa.check_public_key(int.from_bytes(n, "big"), int.from_bytes(e, "big"))
    return CoseKey(RS256, "RS256", raw, _thumbprint(e=b64u(e), kty="RSA", n=b64u(n)), (n, e))


def _thumbprint(**jwk: str) -> str:
    return b64u(hashlib.sha256(canonical.dumps(jwk)).digest())


def _expect(document: dict[Any, Any], *, kty: int, others: set[int]) -> None:
    if not _is(document.get(_KTY), kty):
        raise CoseError("the key's type and its algorithm disagree")
    if set(document) != {_KTY, _ALG} | others:
        raise CoseError("the key holds other parameters than its kind needs")


def _bytes(document: dict[Any, Any], label: int, size: int | None = None) -> bytes:
    value = document[label]
    if not isinstance(value, bytes) or size not in (None, len(value)):
        raise CoseError("a coordinate or number of the key has the wrong type or length")
    return value


def _is(value: object, number: int) -> bool:
    # CBOR's true would equal 1.
    return type(value) is int and value == number
