"""Log entries: one closed schema per kind. The payload of the DSSE envelope that is a leaf of the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from imprimatur.formats import attestation, binding, canonical, delegation, digests, selection, signing
from imprimatur.formats.shapes import (
    Amount,
    Binary,
    Bool,
    Commitment,
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
from imprimatur.formats.statement import REVERSIBILITY, RISK
from imprimatur.formats.timestamps import format_time

MAX_PAYLOAD = 45_000
"""Bytes. Base64 adds a third, and an entry in a tile holds at most 65,535."""

GENESIS = "log.genesis"
FIRST_PREV = "0" * 64

ATTEMPT_TAG = "imprimatur/attempt/v1"

ASSURANCE = OneOf("H0", "H1", "H2", "H3")
ENFORCEMENT = OneOf("E0", "E1", "E2", "E3")
STATES = OneOf(
    "REFUSED",
    "DENIED",
    "APPROVED",
    "PENDING",
    "AWAITING_CONFIRMATION",
    "EXPIRED",
    "CANCELLED",
    "INVALIDATED",
    "SUPERSEDED",
    "RECALLED",
    "REDEEMED",
    "SUCCEEDED",
    "FAILED",
    "UNREPORTED",
)
ALLOWED_STATES = ("APPROVED", "REDEEMED")

_NAME = Text(max=128)
_LABEL = Text(max=200)
_REASON = Text(max=2000)
_CODE = Text(max=64, pattern=r"[a-z0-9][a-z0-9-]*")
_INDEX = Int()
_THUMBPRINT = Text(min=43, max=43, pattern=r"[A-Za-z0-9_-]+")
_PUBLIC_KEY = Binary(32, 32)
_ROLES = ListOf(_NAME, max=32, unique=True)
_REQUEST = Id("act")

# The agent's own HTTP signature, kept so that its wish stays provable after the body is erased.
SIGNED_REQUEST = Obj(
    {
        "content_digest": Text(max=200),
        "signature_input": Text(max=1024),
        "signature": Text(max=200),
        "method": Text(max=16),
        "target_uri": Text(max=2048),
        "idempotency_key": Text(max=255),
        "commitments": Digest(),
    }
)

STAGE = Obj({"role": _NAME, "count": Int(1, 100), "kind": OneOf("approve", "confirm")})

EVIDENCE = Tagged(
    "kind",
    {
        "session": Obj({"kind": Const("session")}),
        "ssh": Obj(
            {
                "kind": Const("ssh"),
                "key": Text(min=50, max=50, pattern=r"SHA256:[A-Za-z0-9+/]{43}"),
                "value": Text(max=4096),
            }
        ),
        "webauthn": Obj(
            {
                "kind": Const("webauthn"),
                "credential": Binary(1, 1023),
                "public_key": Binary(1, 2048),
                "client_data": Binary(1, 4096),
                "authenticator_data": Binary(37, 4096),
                "signature": Binary(1, 1024),
            },
            {"enrolment": _INDEX},
        ),
    },
)

SIGNED = Obj({"statement": Text(max=16_384), "evidence": EVIDENCE})
"""What a person signed for an entry (formats.signing), and the evidence that they did."""

_CHANGE = Id("chg")
_HOLD = Id("hld")
_SERVICE = Id("sv")
_LAUNCH = Id("lau")
# The exact text of an envelope with at most `attestation.MAX_PAYLOAD` bytes of payload in it.
_STATEMENT = Text(max=attestation.MAX_PAYLOAD * 4 // 3 + 1_000)
_DECISION_KEY = Obj({"keyid": Text(min=64, max=64, pattern=r"[0-9a-f]+"), "public": _PUBLIC_KEY})
_WITHDRAWN = OneOf("EXPIRED", "RECALLED", "INVALIDATED")
_OUTCOME = OneOf("SUCCEEDED", "FAILED", "UNREPORTED")
_PAUSE = Obj(
    {"scope": OneOf("agent", "tool", "everything"), "target": Text(max=128, min=0), "reason": _REASON},
    {"signed": SIGNED},
)
_AGENT_REASON = Obj({"agent": Id("ag"), "reason": _REASON}, {"signed": SIGNED})

KINDS: dict[str, Obj] = {
    GENESIS: Obj(
        {
            "decision_key": _DECISION_KEY,
            "log_vkey": Text(max=512),
            "roster": Digest(),
            "policy": Digest(),
            "software": _LABEL,
        },
        {"continues": Obj({"log_vkey": Text(max=512), "checkpoint": Text(max=16_384), "reason": _REASON})},
    ),
    "log.decision_key_changed": Obj({"decision_key": _DECISION_KEY, "signature": Binary(64, 64), "reason": _REASON}),
    "log.key_added": Obj({"log_vkey": Text(max=512), "reason": _REASON}),
    "log.key_retired": Obj({"log_vkey": Text(max=512), "reason": _REASON}),
    "log.shipped": Obj({"sink": _NAME, "size": Int(1), "root": Digest()}),
    "person.added": Obj({"person": _NAME, "name": _LABEL, "roles": _ROLES}, {"login": Commitment(), "change": _CHANGE}),
    "person.changed": Obj(
        {"person": _NAME},
        {"roles": _ROLES, "active": Bool(), "name": _LABEL, "reason": _REASON, "change": _CHANGE},
    ),
    "person.login_reset": Obj({"person": _NAME, "what": OneOf("password", "second-factor")}),
    "person.away": Obj({"person": _NAME, "from": Time(), "until": Time()}, {"delegate": _NAME}),
    "person.back": Obj({"person": _NAME}),
    "person.key_added": Obj(
        {
            "person": _NAME,
            "key": Text(max=1024),
            "fingerprint": Text(min=50, max=50, pattern=r"SHA256:[A-Za-z0-9+/]{43}"),
            "purpose": Const("delegation"),
        }
    ),
    "person.key_enrolled": Obj(
        {"person": _NAME, "statement": Text(max=16_384), "evidence": EVIDENCE}, {"attestation": Binary(1, 16_384)}
    ),
    "person.key_vouched": Obj({"person": _NAME, "fingerprint": _NAME}, {"first": Const(True), "signed": SIGNED}),
    "person.key_revoked": Obj(
        {"person": _NAME, "fingerprint": _NAME, "since": Time(), "reason": _REASON},
        {"stolen": Bool(), "signed": SIGNED},
    ),
    "change.proposed": Obj(
        {
            "change": _CHANGE,
            "act": OneOf(*signing.CHANGES),
            "subject": _NAME,
            "document": Document(),
            "expires_at": Time(),
            "signed": SIGNED,
        },
        {"hold": Bool()},
    ),
    "change.seconded": Obj({"change": _CHANGE, "signed": SIGNED}),
    "change.withdrawn": Obj({"change": _CHANGE, "reason": _REASON}),
    "agent.invited": Obj({"name": _LABEL, "owner": _NAME, "token": Digest(), "expires_at": Time()}),
    "agent.enrolled": Obj(
        {
            "agent": Id("ag"),
            "name": _LABEL,
            "owner": _NAME,
            "public_key": _PUBLIC_KEY,
            "thumbprint": _THUMBPRINT,
            "enforcement": ENFORCEMENT,
            "invitation": Digest(),
        }
    ),
    "agent.key_rotated": Obj(
        {
            "agent": Id("ag"),
            "old": _THUMBPRINT,
            "new": _THUMBPRINT,
            "public_key": _PUBLIC_KEY,
            "signature": Binary(64, 64),
        }
    ),
    "agent.key_revoked": Obj(
        {"agent": Id("ag"), "thumbprint": _THUMBPRINT, "since": Time(), "reason": _REASON}, {"signed": SIGNED}
    ),
    "agent.suspended": _AGENT_REASON,
    "agent.resumed": _AGENT_REASON,
    "delegation.issued": Obj({"delegation": Digest(), "document": delegation.SHAPE, "signature": delegation.SIGNATURE}),
    "delegation.revoked": Obj({"delegation": Digest(), "reason": _REASON, "since": Time()}, {"signed": SIGNED}),
    "cascade.swept": Obj({"cause": _INDEX, "ids": ListOf(Text(max=80), max=500, min=1)}),
    "cascade.finished": Obj({"cause": _INDEX, "total": Int()}),
    "tool.registered": Obj(
        {"tool": _NAME, "document": Document(), "digest": Digest()}, {"replaces": Digest(), "change": _CHANGE}
    ),
    "tool.retired": Obj({"tool": _NAME, "digest": Digest(), "reason": _REASON}),
    "policy.activated": Obj(
        {"policy": Digest(), "number": Int(1), "document": Document()}, {"replaces": Digest(), "change": _CHANGE}
    ),
    "pause.set": _PAUSE,
    "pause.lifted": _PAUSE,
    "action.requested": Obj(
        {
            "binding": binding.SHAPE,
            "action_digest": Digest(),
            "risk": RISK,
            "reversibility": REVERSIBILITY,
            "rule": _LABEL,
            "policy": Digest(),
            "stages": ListOf(STAGE, max=16, min=1),
            "display_digest": Digest(),
            "enforcement": ENFORCEMENT,
            "expires_at": Time(),
            "request": SIGNED_REQUEST,
        },
        {"justification": Commitment(), "supersedes": _REQUEST},
    ),
    "vote.cast": Obj(
        {"request": _REQUEST, "version": Int(), "statement": Text(max=16_384), "evidence": EVIDENCE},
        {"reason": Commitment(), "suggestion": Commitment()},
    ),
    "vote.recalled": Obj({"request": _REQUEST, "vote": _INDEX}, {"reason": Commitment(), "signed": SIGNED}),
    "review.asked": Obj({"request": _REQUEST, "level": Int(0, 16), "people": ListOf(_NAME, max=500, unique=True)}),
    "review.claimed": Obj({"request": _REQUEST, "until": Time()}),
    "review.released": Obj({"request": _REQUEST}),
    "grant.issued": Obj({"grant": Digest(), "statement": Text(max=16_384), "evidence": EVIDENCE}),
    "grant.revoked": Obj({"grant": Digest(), "reason": _REASON}, {"signed": SIGNED}),
    "action.decided": Obj(
        {
            "verdict": OneOf("allow", "deny"),
            "state": STATES,
            "binding": binding.SHAPE,
            "action_digest": Digest(),
            "risk": RISK,
            "rule": _LABEL,
            "policy": Digest(),
            "reversibility": REVERSIBILITY,
            "votes": ListOf(_INDEX, max=100, unique=True),
            "enforcement": ENFORCEMENT,
            "request": SIGNED_REQUEST,
        },
        {
            "code": _CODE,
            "grant": Digest(),
            "not_after": Time(),
            "attempt": Digest(),
            "execute_by": Time(),
            "justification": Commitment(),
            "note": Commitment(),
            "suggestion": Commitment(),
            "supersedes": _REQUEST,
        },
    ),
    "action.withdrawn": Obj(
        {"request": _REQUEST, "state": _WITHDRAWN, "code": _CODE, "action_digest": Digest()},
        {"reason": Commitment()},
    ),
    "action.redeemed": Obj({"request": _REQUEST, "action_digest": Digest(), "attempt": Digest(), "execute_by": Time()}),
    "action.reported": Obj(
        {"request": _REQUEST, "action_digest": Digest(), "outcome": _OUTCOME},
        {"late": Bool(), "cost": binding.COST, "result": Commitment()},
    ),
    "action.looked_over": Obj(
        {
            "request": _REQUEST,
            "verdict": OneOf("acknowledged", "flagged"),
            "statement": Text(max=16_384),
            "evidence": EVIDENCE,
        },
        {"reason": Commitment()},
    ),
    "spend.corrected": Obj({"delegation": Digest(), "amount": Amount(), "unit": delegation.UNIT, "reason": _REASON}),
    "comment.added": Obj({"request": _REQUEST, "comment": Commitment()}),
    "service.registered": Obj(
        {
            "service": _SERVICE,
            "name": _LABEL,
            "role": OneOf(*attestation.ROLES),
            "public_key": _PUBLIC_KEY,
            "thumbprint": _THUMBPRINT,
        },
        {"vkey": Text(max=512), "agents": ListOf(Id("ag"), max=16, min=1, unique=True)},
    ),
    "service.retired": Obj({"service": _SERVICE, "reason": _REASON}),
    "launch.attested": Obj({"launch": _LAUNCH, "agent": Id("ag"), "statement": _STATEMENT}),
    "launch.refused": Obj(
        {"reasons": ListOf(attestation.REASON, max=32, min=1), "digest": Digest()}, {"statement": _STATEMENT}
    ),
    "launch.ended": Obj({"launch": _LAUNCH, "how": OneOf("exited", "killed", "lost")}, {"code": Int(0, 255)}),
    "observation.recorded": Obj(
        {"statement": _STATEMENT, "matched": Bool(), "findings": ListOf(attestation.FINDING, max=64)}
    ),
    "canary.reported": Obj({"statement": _STATEMENT, "result": OneOf("PASSED", "WARNED", "FAILED")}),
    "server.started": Obj(
        {
            "software": _LABEL,
            "process": _LABEL,
            "packages": Obj({"checked": Int(), "wrong": ListOf(Text(max=300), max=50)}),
            "lock": Digest(),
            "settings": Digest(),
            "options": ListOf(_NAME, max=200, unique=True),
            "tree": Digest(),
        },
        {
            "commit": Text(min=40, max=64, pattern=r"[0-9a-f]+"),
            "provenance": Obj({"statement": Digest(), "builder": _LABEL}),
        },
    ),
    "door.rejected": Obj({"key": _NAME, "minute": Time(), "codes": MapOf(Int(1), max=64, key=_CODE)}),
    "bundle.issued": Obj({"bundle": _NAME, "manifest": Digest(), "size": Int(), "filters": selection.SHAPE}),
    "export.taken": Obj(
        {
            "what": OneOf("entries", "sample", "comparison", "bundle"),
            "form": OneOf("csv", "jsonl", "page", "zip"),
            "query": Text(max=2000, min=0),
            "size": Int(),
            "count": Int(),
        }
    ),
    "hold.placed": Obj(
        {
            "hold": _HOLD,
            "scope": OneOf("request", "agent", "everything"),
            "target": Text(max=128, min=0),
            "reason": _REASON,
        }
    ),
    "hold.lifted": Obj({"hold": _HOLD, "reason": _REASON}),
    "openings.erased": Obj(
        {
            "rule": OneOf("retention", "request"),
            "agent": Text(max=128, min=0),
            "subjects": ListOf(Text(max=120), max=500, min=1, unique=True),
            "count": Int(1),
            "reason": _REASON,
        },
        {"before": Time()},
    ),
}

ACTOR = Obj(
    {"type": OneOf("agent", "person", "service", "system"), "id": _NAME},
    {"key": _NAME, "assurance": ASSURANCE},
)

ENTRY = Obj(
    {
        "v": Const(1),
        "realm": binding.REALM,
        "index": _INDEX,
        "prev": Text(min=64, max=64, pattern=r"[0-9a-f]+"),
        "time": Time(),
        "kind": OneOf(*KINDS),
        "subject": Text(max=128),
        "actor": ACTOR,
        "refs": ListOf(Obj({"rel": Text(max=32), "index": _INDEX}), max=200),
        "body": Document(),
    }
)


def build(
    *,
    realm: str,
    index: int,
    prev: str,
    time: datetime | str,
    kind: str,
    subject: str,
    actor: Mapping[str, str],
    refs: Iterable[Mapping[str, Any]] = (),
    body: Mapping[str, Any],
) -> bytes:
    """The payload bytes of one entry, checked against its kind's schema. Raises ShapeError or CanonicalError."""
    entry = {
        "v": 1,
        "realm": realm,
        "index": index,
        "prev": prev,
        "time": format_time(time) if isinstance(time, datetime) else time,
        "kind": kind,
        "subject": subject,
        "actor": dict(actor),
        "refs": [dict(ref) for ref in refs],
        "body": dict(body),
    }
    _check(entry)
    payload = canonical.dumps(entry)
    _check_size(payload)
    return payload


def parse(payload: bytes) -> dict[str, Any]:
    """The entry in these bytes: canonical, within the size limit, closed schema. Raises ShapeError or
    CanonicalError."""
    _check_size(payload)
    entry: dict[str, Any] = canonical.loads_canonical(payload)
    _check(entry)
    return entry


def attempt_digest(attempt: str) -> str:
    """What the log holds of a redeeming attempt: a hash, so that the log does not give away the attempt itself."""
    return digests.tagged(ATTEMPT_TAG, attempt.encode("utf-8"))


def _check_size(payload: bytes) -> None:
    if len(payload) > MAX_PAYLOAD:
        raise ShapeError("entry", f"has {len(payload)} bytes; an entry holds at most {MAX_PAYLOAD}")


def _check(entry: dict[str, Any]) -> None:
    check(entry, ENTRY)
    kind, index, body = entry["kind"], entry["index"], entry["body"]
    KINDS[kind].check(body, "body")
    if (index == 0) != (kind == GENESIS):
        raise ShapeError("kind", f"{GENESIS} is entry 0 and nothing else is")
    if (index == 0) != (entry["prev"] == FIRST_PREV):
        raise ShapeError("prev", "is 64 zeros in entry 0 and nowhere else")
    if any(ref["index"] >= index for ref in entry["refs"]):
        raise ShapeError("refs", "may only point at earlier entries")
    if kind == "delegation.issued":
        delegation.validate(body["document"])
        if body["delegation"] != delegation.delegation_id(body["document"]):
            raise ShapeError("body.delegation", "is not the id of the document")
    elif kind == "action.decided":
        _check_decision(entry)
    if kind in ("action.requested", "action.decided"):
        if body["action_digest"] != binding.action_digest(body["binding"]):
            raise ShapeError("body.action_digest", "is not the hash of the binding")
        if body["binding"]["realm"] != entry["realm"]:
            raise ShapeError("body.binding.realm", "is not the realm of the log")


def _check_decision(entry: dict[str, Any]) -> None:
    body = entry["body"]
    allowed = body["verdict"] == "allow"
    if allowed != (body["state"] in ALLOWED_STATES):
        raise ShapeError("body.state", "does not go with the verdict")
    if allowed != ("not_after" in body):
        raise ShapeError("body.not_after", "is required for allow and has no place in deny")
    if ("attempt" in body) != ("execute_by" in body):
        raise ShapeError("body.execute_by", "goes with attempt, and only with it")
    if "attempt" in body and not allowed:
        raise ShapeError("body.attempt", "has no place in deny")
    if any(vote >= entry["index"] for vote in body["votes"]):
        raise ShapeError("body.votes", "may only point at earlier entries")
