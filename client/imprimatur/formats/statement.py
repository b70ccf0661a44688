"""A person's statement: the canonical bytes that a reviewer's own key signs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from imprimatur.formats import canonical, digests
from imprimatur.formats.binding import REALM
from imprimatur.formats.shapes import (
    Commitment,
    Const,
    Digest,
    Document,
    Id,
    Int,
    Obj,
    OneOf,
    ShapeError,
    Text,
    Time,
    check,
)
from imprimatur.formats.timestamps import parse_time

TYP = "imprimatur/decision/v1"
SSH_NAMESPACE = "imprimatur-decision-v1"
MAX_LIFE = timedelta(seconds=120)

RISK = OneOf("LOW", "MEDIUM", "HIGH", "CRITICAL")
REVERSIBILITY = OneOf("read-only", "reversible", "externally-reversible", "irreversible")
DECISIONS = ("approve", "deny", "confirm", "grant", "recall", "acknowledge", "flag")

SHAPE = Obj(
    {
        "typ": Const(TYP),
        "realm": REALM,
        "request": Id("act"),
        "version": Int(),
        "agent": Id("ag"),
        "decision": OneOf(*DECISIONS),
        "stage": Int(0, 100),
        "role": Text(max=128),
        "risk": RISK,
        "reversibility": REVERSIBILITY,
        "action_digest": Digest(),
        "display_digest": Digest(),
        "delegation": Digest(),
        "policy": Digest(),
        "reviewer": Text(max=128),
        "log_size": Int(),
        "log_root": Digest(),
        "nonce": Text(min=22, max=86, pattern=r"[A-Za-z0-9_-]+"),
        "issued_at": Time(),
        "expires_at": Time(),
    },
    {
        "constraints": Document(),
        "on_behalf_of": Text(max=128),
        "credential": Text(max=1400),
        "prev_vote": Digest(),
        "reason_commitment": Commitment(),
        "suggestion_commitment": Commitment(),
    },
)


def encode(document: Mapping[str, Any]) -> bytes:
    """The bytes to sign. Raises ShapeError unless the document is a statement that lives at most 120 s."""
    _check(document)
    return canonical.dumps(document)


def parse(raw: bytes) -> dict[str, Any]:
    """The statement in these bytes: canonical, closed, short-lived. Raises CanonicalError or ShapeError."""
    document = canonical.loads_canonical(raw)
    _check(document)
    result: dict[str, Any] = document
    return result


def challenge(statement_bytes: bytes) -> bytes:
    """The 32-byte WebAuthn challenge for a statement: SHA-256 of the tag, a zero byte and the statement."""
    return digests.tagged_bytes(TYP, statement_bytes)


def _check(document: Mapping[str, Any]) -> None:
    check(document, SHAPE)
    life = parse_time(document["expires_at"]) - parse_time(document["issued_at"])
    if not timedelta(0) < life <= MAX_LIFE:
        raise ShapeError("expires_at", "must be within 120 seconds after issued_at")
