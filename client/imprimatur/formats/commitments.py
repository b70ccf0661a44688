"""Commitments: what lets a parameter be bound by a signature and still be erased.

The log holds ``c:…``; the opening (name, derived key, value) lives beside it. Without the opening the commitment says
nothing, because the salt comes from the agent's own private key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from imprimatur.formats import canonical, digests
from imprimatur.formats.encoding import b64u

SALT_TAG = b"imprimatur/salt/v1\0"
COMMIT_TAG = "imprimatur/commit/v1"
COMMITMENTS_TAG = "imprimatur/commitments/v1"


@dataclass(frozen=True)
class Opening:
    """What opens one commitment: the name, ``HMAC-SHA-256(salt, name)`` and the value. Its repr shows the name only."""

    name: str
    key: bytes = field(repr=False)
    value: Any = field(repr=False)


def salt_for(sign: Callable[[bytes], bytes], idempotency_key: str) -> bytes:
    """The 32-byte salt of one request: SHA-256 of the agent's signature over a tagged idempotency key.

    Ed25519 is deterministic, so a retry finds the same salt without storing it.
    """
    return hashlib.sha256(sign(SALT_TAG + idempotency_key.encode("utf-8"))).digest()


def commit(salt: bytes, name: str, value: Any) -> tuple[str, Opening]:
    """Commit to any JSON value under a name. ValueError for a salt that is not 32 bytes, CanonicalError for a value
    that is not JSON."""
    if len(salt) != 32:
        raise ValueError("a salt has 32 bytes")
    opening = Opening(name, hmac.new(salt, name.encode("utf-8"), hashlib.sha256).digest(), value)
    return commitment_of(opening), opening


def commitment_of(opening: Opening) -> str:
    """The commitment that this opening opens."""
    if len(opening.key) != 32:
        raise ValueError("an opening's key has 32 bytes")
    raw = opening.key + canonical.dumps_json(opening.value)
    return "c:" + b64u(digests.tagged_bytes(COMMIT_TAG, raw))


def commitments_digest(parameters: Mapping[str, str], justification: str | None) -> str:
    """What the covered header ``Imprimatur-Commitments`` carries: one digest over all commitments of a request.

    ``justification`` is itself a commitment; absent when there is none.
    """
    document: dict[str, Any] = {"parameters": dict(parameters)}
    if justification is not None:
        document["justification"] = justification
    return digests.tagged(COMMITMENTS_TAG, canonical.dumps(document))
