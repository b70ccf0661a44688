"""Ed25519 key pairs, how they are named, and how they rest on disk."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path

from imprimatur.formats import canonical, ed25519, ids, key_files
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.key_files import KeyFileError

try:
    from nacl.bindings import crypto_sign as _crypto_sign
except ImportError:  # pragma: no cover - the verifier has no PyNaCl and never signs
    _crypto_sign = None  # type: ignore[assignment]  # absence is a supported configuration


def thumbprint(public_key: bytes) -> str:
    """RFC 7638 JWK thumbprint (SHA-256, base64url) of an Ed25519 key: the ``keyid`` of HTTP signatures."""
    _check_length(public_key)
    jwk = {"crv": "Ed25519", "kty": "OKP", "x": b64u(public_key)}
    return b64u(hashlib.sha256(canonical.dumps(jwk)).digest())


def dsse_keyid(public_key: bytes) -> str:
    """The key id securesystemslib computes; its verifier skips DSSE signatures whose key id differs."""
    _check_length(public_key)
    key = {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public_key.hex()}}
    return hashlib.sha256(canonical.dumps(key)).hexdigest()


class KeyPair:
    """An Ed25519 key pair. Its text form shows the public key only, so it may appear in a traceback.

    ``agent`` names the agent a rotated key belongs to: an agent keeps the id of its first key, which no later key
    shows. None means that the key is the agent's first, or no agent's.
    """

    __slots__ = ("_public_key", "_seed", "agent")

    def __init__(self, seed: bytes, agent: str | None = None) -> None:
        if len(seed) != 32:
            raise ValueError("an Ed25519 seed has 32 bytes")
        self._seed = bytes(seed)
        self._public_key = ed25519.public_key(self._seed)
        self.agent = agent

    @classmethod
    def generate(cls, agent: str | None = None) -> KeyPair:
        """A fresh key from the operating system's randomness."""
        return cls(secrets.token_bytes(32), agent)

    @classmethod
    def from_seed(cls, seed: bytes) -> KeyPair:
        """The key pair of a 32-byte seed."""
        return cls(seed)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> KeyPair:
        """Read a key file written by :meth:`save`.

        Refuses links, files that group or others may read or write, unknown keys, and a public half that does not
        belong to the private one. Raises :class:`KeyFileError`.
        """
        path = Path(path)
        raw = key_files.read(path)
        try:
            document = canonical.loads(raw)
            if not isinstance(document, dict) or set(document) - {"kid"} != {"kty", "crv", "d", "x"}:
                raise ValueError
            agent = document.get("kid")
            if agent is not None and not ids.is_id("ag", agent):
                raise ValueError
            if document["kty"] != "OKP" or document["crv"] != "Ed25519":
                raise ValueError
            pair = cls(un_b64u(document["d"]), agent)
            if un_b64u(document["x"]) != pair.public_key:
                raise ValueError
        except (ValueError, TypeError):
            # The cause is dropped on purpose: it could quote the private half.
            raise KeyFileError(f"{path} is not an Ed25519 key file (JSON with kty, crv, d, x)") from None
        return pair

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the key to a new file that only its owner can read; never overwrites. Raises :class:`KeyFileError`."""
        document = {"kty": "OKP", "crv": "Ed25519", "d": b64u(self._seed), "x": b64u(self._public_key)}
        if self.agent is not None:
            document["kid"] = self.agent
        key_files.create(Path(path), json.dumps(document) + "\n")

    @property
    def seed(self) -> bytes:
        """The private half, 32 bytes."""
        return self._seed

    @property
    def public_key(self) -> bytes:
        """The public half, 32 bytes."""
        return self._public_key

    @property
    def thumbprint(self) -> str:
        """See :func:`thumbprint`."""
        return thumbprint(self._public_key)

    @property
    def keyid(self) -> str:
        """See :func:`dsse_keyid`."""
        return dsse_keyid(self._public_key)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte Ed25519 signature of ``message`` (RFC 8032, deterministic)."""
        if _crypto_sign is not None:
            # Handing libsodium both halves saves deriving the public key again for every signature.
            return _crypto_sign(message, self._seed + self._public_key)[:64]
        return ed25519.sign(self._seed, message)

    def __repr__(self) -> str:
        return f"KeyPair(thumbprint={self.thumbprint!r})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a key pair is not pickled; save it to a key file")


def _check_length(public_key: bytes) -> None:
    if len(public_key) != 32:
        raise ValueError("an Ed25519 public key has 32 bytes")
