"""Delegations: signed, content-addressed grants of authority, from a person (root) or from an agent to a sub-agent.

This module knows their bytes and signatures. Whether a child is narrower than its parent is a rule, not a format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imprimatur.formats import canonical, digests, ed25519, ids, keys
from imprimatur.formats.binding import REALM
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.shapes import (
    Amount,
    Binary,
    Const,
    Digest,
    Id,
    Int,
    ListOf,
    Obj,
    ShapeError,
    Tagged,
    Text,
    Time,
    check,
)

TYP = "imprimatur/delegation/v1"
SSH_NAMESPACE = "imprimatur-delegation-v1"
MAX_CHAIN = 16

UNIT = Text(max=16, pattern=r"[A-Za-z][A-Za-z0-9_.-]*")

CONSTRAINTS = Obj(
    {},
    {
        "paths": ListOf(Text(max=4096), max=256, unique=True),
        "domains": ListOf(Text(max=253), max=256, unique=True),
        "max_file_size": Int(),
        "tools": ListOf(Text(max=128), max=256, unique=True),
    },
)
SPEND = Obj({"unit": UNIT, "limit": Amount()}, {"per_action": Amount()})

SHAPE = Obj(
    {
        "typ": Const(TYP),
        "realm": REALM,
        "issuer": Text(max=128),
        "subject": Id("ag"),
        "scope": ListOf(Text(max=4096), max=256, min=1, unique=True),
        "not_before": Time(),
        "not_after": Time(),
        "max_depth": Int(0, MAX_CHAIN - 1),
        "nonce": Text(min=16, max=128, pattern=r"[A-Za-z0-9_-]+"),
    },
    {
        "parent": Digest(),
        "constraints": CONSTRAINTS,
        "spend": SPEND,
        "on_behalf_of": Text(max=128),
        "purpose": Text(max=2000),
    },
)

SIGNATURE = Tagged(
    "kind",
    {
        "ed25519": Obj({"kind": Const("ed25519"), "key": Text(max=43, min=43), "value": Binary(64, 64)}),
        "ssh": Obj(
            {
                "kind": Const("ssh"),
                "key": Text(max=50, min=50, pattern=r"SHA256:[A-Za-z0-9+/]{43}"),
                "value": Text(max=4096),
            }
        ),
        "webauthn": Obj(
            {
                "kind": Const("webauthn"),
                "key": Text(max=43, min=43, pattern=r"[A-Za-z0-9_-]+"),
                "credential": Binary(1, 1023),
                "public_key": Binary(1, 2048),
                "client_data": Binary(1, 4096),
                "authenticator_data": Binary(37, 4096),
                "signature": Binary(1, 1024),
            }
        ),
    },
)
"""A person signs by SSHSIG over the JCS bytes, or by WebAuthn with the delegation's id as challenge."""


def validate(document: Mapping[str, Any]) -> None:
    """Check the shape, and what a shape cannot say: the window is not empty, and exactly an agent has a parent to
    narrow. Raises ShapeError."""
    check(document, SHAPE)
    if not document["not_before"] < document["not_after"]:
        raise ShapeError("not_after", "must be later than not_before")
    if ids.is_id("ag", document["issuer"]) != ("parent" in document):
        raise ShapeError("parent", "is for delegations that an agent issues, and for those it is required")


def parse(raw: bytes) -> dict[str, Any]:
    """The delegation in these canonical bytes. Raises CanonicalError or ShapeError."""
    document = canonical.loads_canonical(raw)
    validate(document)
    result: dict[str, Any] = document
    return result


def preimage(document: Mapping[str, Any]) -> bytes:
    """``imprimatur/delegation/v1 0x00 JCS(document)``: what an agent signs and what the id hashes.

    A document that is not a valid delegation has no preimage (ShapeError, CanonicalError), so none is ever signed.
    """
    validate(document)
    return TYP.encode("ascii") + b"\0" + canonical.dumps(document)


def delegation_id(document: Mapping[str, Any]) -> str:
    """The content address of a delegation."""
    return digests.sha256(preimage(document))


def sign_as_agent(document: Mapping[str, Any], key: keys.KeyPair) -> dict[str, str]:
    """An agent's signature object over a delegation it issues."""
    return {"kind": "ed25519", "key": key.thumbprint, "value": b64u(key.sign(preimage(document)))}


def verify_agent_signature(document: Mapping[str, Any], signature: Mapping[str, Any], public_key: bytes) -> bool:
    """Whether ``signature`` is this key's Ed25519 signature over this delegation. Malformed input is simply no."""
    try:
        check(signature, SIGNATURE)
        if signature["kind"] != "ed25519" or signature["key"] != keys.thumbprint(public_key):
            return False
        return ed25519.verify(public_key, preimage(document), un_b64u(signature["value"]))
    except ValueError:
        return False


def verify_ssh_signature(document: Mapping[str, Any], signature: Mapping[str, Any], ssh_public_key_line: str) -> bool:
    """Whether ``signature`` is an SSHSIG by this key, in the delegation namespace, over the canonical bytes.

    Malformed input is simply no.
    """
    from imprimatur.formats import sshsig

    try:
        check(signature, SIGNATURE)
        validate(document)
        key = sshsig.parse_public_key(ssh_public_key_line)
        if signature["kind"] != "ssh" or signature["key"] != key.fingerprint:
            return False
        return sshsig.verify(signature["value"], canonical.dumps(document), SSH_NAMESPACE, key)
    except ValueError:
        return False
