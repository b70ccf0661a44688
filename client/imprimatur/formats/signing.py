"""Everything a person signs besides a decision and a delegation: one closed schema, tag and SSH namespace for each.

All of them are JCS objects that name the realm, the person, the log they have seen, a nonce and a short life. A key
signs ``SHA-256(typ 0x00 JCS)`` as a WebAuthn challenge, or the JCS bytes as an SSHSIG in the namespace of its ``typ``.
Nothing signed as one of them is ever read as another (invariant 12).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from imprimatur.formats import canonical, delegation, digests, statement
from imprimatur.formats.binding import REALM
from imprimatur.formats.shapes import (
    Amount,
    Any_,
    Binary,
    Bool,
    Const,
    Digest,
    Document,
    Id,
    Int,
    ListOf,
    MapOf,
    Obj,
    OneOf,
    ShapeError,
    Tagged,
    Text,
    Time,
    check,
)
from imprimatur.formats.timestamps import parse_time

ENROLMENT = "imprimatur/enrolment/v1"
VOUCH = "imprimatur/vouch/v1"
CHANGE = "imprimatur/change/v1"
ACT = "imprimatur/act/v1"
GRANT = "imprimatur/grant/v1"
READ = "imprimatur/read/v1"

SSH, WEBAUTHN = "ssh", "webauthn"

PERSON = Text(max=128)
FINGERPRINT = Text(max=71, min=43, pattern=r"SHA256:[A-Za-z0-9+/]{43}|[A-Za-z0-9_-]{43}")
"""A person's key: ``SHA256:…`` of an SSH key, or the RFC 7638 thumbprint of a WebAuthn key."""
THUMBPRINT = Text(max=43, min=43, pattern=r"[A-Za-z0-9_-]+")

CHANGES = ("person.added", "person.changed", "policy.activated", "tool.registered")
"""What takes two people, once two hold signing keys. The words are the kinds of the entries that result."""

ACTS = (
    "delegation.revoked",
    "person.key_revoked",
    "agent.key_revoked",
    "agent.suspended",
    "grant.revoked",
    "pause.set",
    "pause.lifted",
)
"""What one person may sign on their own. All but the last only take authority away, so a click will do as well."""

_COMMON: dict[str, Any] = {
    "realm": REALM,
    "person": PERSON,
    "log_size": Int(),
    "log_root": Digest(),
    "nonce": Text(min=22, max=86, pattern=r"[A-Za-z0-9_-]+"),
    "issued_at": Time(),
    "expires_at": Time(),
}

PREDICATE = Tagged(
    "op",
    {
        "equals": Obj({"op": Const("equals"), "value": Any_()}),
        "one_of": Obj({"op": Const("one_of"), "values": ListOf(Any_(), max=32, min=1)}),
        "starts_with": Obj({"op": Const("starts_with"), "value": Text(max=1024)}),
        "at_most": Obj({"op": Const("at_most"), "value": Amount()}),
        "any": Obj({"op": Const("any")}),
    },
)
"""What a grant says of one parameter. ``at_most`` compares money, never text; ``any`` leaves it open, by name."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one sort of statement looks, and how long it may live before it is used."""

    shape: Obj
    ssh_namespace: str
    life: timedelta


KINDS: dict[str, Kind] = {
    ENROLMENT: Kind(
        Obj(
            {
                "typ": Const(ENROLMENT),
                **_COMMON,
                "kind": OneOf(SSH, WEBAUTHN),
                "key": FINGERPRINT,
                "thumbprint": THUMBPRINT,
                "public_key": Text(max=3000),  # a line of a .pub file, or the COSE key in base64url
                "label": Text(max=80),
                "device_bound": Bool(),
            },
            {"credential": Binary(1, 1023), "rp_id": Text(max=253)},
        ),
        "imprimatur-enrolment-v1",
        timedelta(minutes=15),
    ),
    VOUCH: Kind(
        Obj(
            {
                "typ": Const(VOUCH),
                **_COMMON,
                "credential": FINGERPRINT,
                "for": PERSON,
                "key": FINGERPRINT,
                "enrolment": Digest(),  # of the newcomer's enrolment statement
            }
        ),
        "imprimatur-vouch-v1",
        statement.MAX_LIFE,
    ),
    CHANGE: Kind(
        Obj(
            {
                "typ": Const(CHANGE),
                **_COMMON,
                "credential": FINGERPRINT,
                "role": OneOf("propose", "second"),
                "change": Id("chg"),
                "act": OneOf(*CHANGES),
                "subject": Text(max=128),
                "document": Digest(),  # of the proposed body, as in change.proposed
            },
            {"hold": Bool()},
        ),
        "imprimatur-change-v1",
        statement.MAX_LIFE,
    ),
    ACT: Kind(
        Obj(
            {
                "typ": Const(ACT),
                **_COMMON,
                "credential": FINGERPRINT,
                "act": OneOf(*ACTS),
                "subject": Text(max=128),
                "content": Document(),  # the fields of the entry's body that the person chose
            }
        ),
        "imprimatur-act-v1",
        statement.MAX_LIFE,
    ),
    GRANT: Kind(
        Obj(
            {
                "typ": Const(GRANT),
                **_COMMON,
                "request": Id("act"),  # the card it was made from
                "agent": Id("ag"),
                "delegation": Digest(),
                "tool": Text(max=128),
                "tool_digest": Digest(),
                "effects": ListOf(Text(max=4096), max=16, min=1, unique=True),  # scopes: every effect within one
                "parameters": MapOf(PREDICATE, max=64),
                "max_uses": Int(1, 100),
                "not_after": Time(),
                "policy": Digest(),
            },
            {
                "credential": FINGERPRINT,  # absent: a session, where policy takes H0
                "max_total": Obj({"amount": Amount(), "unit": delegation.UNIT}),
            },
        ),
        "imprimatur-grant-v1",
        statement.MAX_LIFE,
    ),
    READ: Kind(
        Obj(
            {
                "typ": Const(READ),
                **_COMMON,
                "credential": FINGERPRINT,
                "request": Id("act"),
            }
        ),
        "imprimatur-read-v1",
        statement.MAX_LIFE,
    ),
}

GRANT_LIFE = timedelta(minutes=60)


def encode(document: Mapping[str, Any]) -> bytes:
    """The bytes to sign. Raises ShapeError unless the document is one of `KINDS`, or a decision, and short-lived."""
    if document.get("typ") == statement.TYP:
        return statement.encode(document)
    _check(document, str(document.get("typ")))
    return canonical.dumps(document)


def parse(raw: bytes, typ: str) -> dict[str, Any]:
    """The statement of this ``typ`` in these bytes, canonical and closed. Raises CanonicalError or ShapeError."""
    if typ == statement.TYP:
        return statement.parse(raw)
    document: dict[str, Any] = canonical.loads_canonical(raw)
    _check(document, typ)
    return document


def challenge(typ: str, raw: bytes) -> bytes:
    """The 32-byte WebAuthn challenge: SHA-256 of the tag, a zero byte and the statement."""
    return digests.tagged_bytes(typ, raw)


def ssh_namespace(typ: str) -> str:
    """The SSHSIG namespace of a typ. Raises KeyError for a typ that nobody signs."""
    if typ == statement.TYP:
        return statement.SSH_NAMESPACE
    if typ == delegation.TYP:
        return delegation.SSH_NAMESPACE
    return KINDS[typ].ssh_namespace


def document_digest(document: Mapping[str, Any]) -> str:
    """What a change statement names: the digest of the proposed body."""
    return digests.tagged(CHANGE, canonical.dumps(document))


def grant_id(raw: bytes) -> str:
    """The content address of a grant."""
    return digests.tagged(GRANT, raw)


def _check(document: Mapping[str, Any], typ: str) -> None:
    kind = KINDS.get(typ)
    if kind is None:
        raise ShapeError("typ", "is nothing that people sign")
    check(document, kind.shape)
    life = parse_time(document["expires_at"]) - parse_time(document["issued_at"])
    if not timedelta(0) < life <= kind.life:
        raise ShapeError("expires_at", f"must be within {int(kind.life.total_seconds())} seconds after issued_at")
    if typ == GRANT:
        lasts = parse_time(document["not_after"]) - parse_time(document["issued_at"])
        if not timedelta(0) < lasts <= GRANT_LIFE:
            raise ShapeError("not_after", "must be within 60 minutes after issued_at")
    if typ == ENROLMENT and (document["kind"] == WEBAUTHN) != ("credential" in document and "rp_id" in document):
        raise ShapeError("credential", "and rp_id go with a WebAuthn key, and only with one")
