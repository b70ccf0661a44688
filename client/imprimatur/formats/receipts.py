"""Receipts: the signed log entry of a decision in the agent's hands, and everything that must hold before it acts.

On the wire a receipt is ``{index, envelope, votes: [envelope], redeemed?: envelope}``. Each envelope is a string that
holds the exact bytes of a log leaf, so whoever keeps a receipt can later demand a proof that the leaf is in the log.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from imprimatur.formats import binding, canonical, dsse, entries, sshsig, statement
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.shapes import Int, ListOf, Obj, ShapeError, Text
from imprimatur.formats.shapes import check as check_shape
from imprimatur.formats.timestamps import parse_time
from imprimatur.formats.trust import DecisionKey

_ENVELOPE = Text(max=65_535)
SHAPE = Obj({"index": Int(), "envelope": _ENVELOPE, "votes": ListOf(_ENVELOPE, max=100)}, {"redeemed": _ENVELOPE})

_LEVELS = {"H0": 0, "H1": 1, "H2": 2, "H3": 3}
# What a kind of evidence can establish at most, whatever the entry claims.
_CEILING = {"session": "H0", "ssh": "H2", "webauthn": "H3"}
_USER_VERIFIED = 0x04


class ReceiptError(Exception):
    """The receipt does not allow the action. ``code`` is stable; ``message`` is for people.

    Codes: ``malformed decision-key realm decision agent delegation tool parameters cost context idempotency-key
    verdict expired votes assurance not-redeemed``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Receipt:
    """A parsed receipt. Parsing believes nothing: no signature has been verified yet."""

    index: int
    envelope: bytes
    entry: dict[str, Any]
    votes: list[dict[str, Any]]
    vote_envelopes: list[bytes]
    redeemed: dict[str, Any] | None = None
    redeemed_envelope: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What this client asked for, from its own memory.

    ``decision_keys`` are the pinned public keys: for every entry (32 bytes) or for some (DecisionKey). ``parameters``
    are this client's own commitments.
    ``schema`` and ``cost`` are compared only when the client knows them: the server derives the cost from the
    parameters, which are bound. ``attempt`` is the secret of this execution; without it a receipt proves an approval
    but not that *this* execution claimed it. ``redeemed=False`` is for looking at an approval before redeeming it.
    """

    realm: str
    decision_keys: Sequence[bytes | DecisionKey]
    agent: str
    delegation: str
    tool: str
    parameters: Mapping[str, str]
    context: Mapping[str, str]
    idempotency_key: str
    cost: Mapping[str, str] | None = None
    schema: str | None = None
    require_human: str | None = None
    attempt: str | None = None
    redeemed: bool = True


def make(index: int, envelope: bytes, votes: Iterable[bytes] = (), redeemed: bytes | None = None) -> dict[str, Any]:
    """The wire form of a receipt from the exact bytes of its leaves."""
    document: dict[str, Any] = {
        "index": index,
        "envelope": envelope.decode("utf-8"),
        "votes": [vote.decode("utf-8") for vote in votes],
    }
    if redeemed is not None:
        document["redeemed"] = redeemed.decode("utf-8")
    return document


def parse(receipt: Mapping[str, Any]) -> Receipt:
    """Open a receipt's envelopes and check every shape. Raises ReceiptError ``malformed``."""
    try:
        document = dict(receipt)
        check_shape(document, SHAPE, "receipt")
        envelope = document["envelope"].encode("utf-8")
        vote_envelopes = [vote.encode("utf-8") for vote in document["votes"]]
        redeemed_envelope = document["redeemed"].encode("utf-8") if "redeemed" in document else None
        return Receipt(
            index=document["index"],
            envelope=envelope,
            entry=_entry(envelope, "action.decided"),
            votes=[_entry(vote, "vote.cast") for vote in vote_envelopes],
            vote_envelopes=vote_envelopes,
            redeemed=None if redeemed_envelope is None else _entry(redeemed_envelope, "action.redeemed"),
            redeemed_envelope=redeemed_envelope,
        )
    except (ValueError, TypeError) as error:
        raise ReceiptError("malformed", f"not a receipt: {error}") from None


def check(receipt: Receipt | Mapping[str, Any], *, expected: Expected, now: datetime) -> Receipt:
    """Raise :class:`ReceiptError` unless this receipt allows exactly the expected action, now.

    All of it must hold: every envelope signed by a pinned decision key; the realm; a binding with the client's own
    agent, delegation, tool, commitments, cost and context whose hash is the action digest; its idempotency key; verdict
    allow; ``not_after`` ahead; votes that speak of this action, by different people, at the required assurance;
    redeemed by this attempt with its time to execute ahead.

    The client has no directory of people: it relies on the decision key for who voted. An SSH signature is verified
    against the key it carries, a WebAuthn assertion for its challenge and flags; tying keys to people is the
    verifier's work.
    """
    if not isinstance(receipt, Receipt):
        receipt = parse(receipt)
    if expected.require_human is not None and expected.require_human not in _LEVELS:
        raise ValueError("require_human is one of " + ", ".join(_LEVELS))
    body = receipt.entry["body"]
    _check_origin(receipt, expected)
    _check_binding(body, expected)
    if body["request"]["idempotency_key"] != expected.idempotency_key:
        raise ReceiptError("idempotency-key", "the receipt answers another request")
    if body["verdict"] != "allow" or body["state"] not in entries.ALLOWED_STATES:
        raise ReceiptError("verdict", "the receipt does not allow the action")
    _check_votes(receipt, expected)
    if "not_after" not in body or not now < parse_time(body["not_after"]):
        raise ReceiptError("expired", "the approval has expired")
    if expected.redeemed:
        _check_redeemed(receipt, expected, now)
    return receipt


def _entry(envelope: bytes, kind: str) -> dict[str, Any]:
    opened = dsse.open_envelope(envelope)
    if opened.payload_type != dsse.PAYLOAD_TYPE:
        raise ShapeError("payloadType", "is not that of a log entry")
    entry = entries.parse(opened.payload)
    if entry["kind"] != kind:
        raise ShapeError("kind", f"must be {kind}")
    return entry


def _keys(known: Sequence[bytes | DecisionKey], index: int) -> list[bytes]:
    """The keys that may have signed the entry with this index."""
    every = [key for key in known if isinstance(key, bytes)]
    return every + [key.public_key for key in known if not isinstance(key, bytes) and key.covers(index)]


def _check_origin(receipt: Receipt, expected: Expected) -> None:
    signed = [(receipt.envelope, receipt.entry), *zip(receipt.vote_envelopes, receipt.votes, strict=True)]
    if receipt.redeemed_envelope is not None and receipt.redeemed is not None:
        signed.append((receipt.redeemed_envelope, receipt.redeemed))
    for envelope, entry in signed:
        opened = dsse.open_envelope(envelope)
        if not any(dsse.verify(opened, key) for key in _keys(expected.decision_keys, entry["index"])):
            raise ReceiptError("decision-key", "not signed by a pinned decision key")
        if entry["realm"] != expected.realm:
            raise ReceiptError("realm", "the receipt belongs to another realm")
    if receipt.entry["index"] != receipt.index:
        raise ReceiptError("malformed", "the index is not that of the entry")


def _check_binding(body: dict[str, Any], expected: Expected) -> None:
    bound = body["binding"]
    tool = bound["tool"]
    wanted = {
        "realm": (bound["realm"], expected.realm),
        "agent": (bound["agent"], expected.agent),
        "delegation": (bound["delegation"], expected.delegation),
        "tool": (tool["name"], expected.tool),
        "parameters": (bound["parameters"], dict(expected.parameters)),
        "context": (bound["context"], dict(expected.context)),
    }
    if expected.schema is not None:
        wanted["tool schema"] = (tool.get("schema"), expected.schema)
    if expected.cost is not None:
        wanted["cost"] = (bound["cost"], dict(expected.cost))
    for name, (found, own) in wanted.items():
        if found != own:
            raise ReceiptError(name.split()[0], f"the receipt is for another {name}")
    if binding.action_digest(bound) != body["action_digest"]:
        raise ReceiptError("decision", "the action digest is not the hash of the binding")


def _check_votes(receipt: Receipt, expected: Expected) -> None:
    body = receipt.entry["body"]
    if [vote["index"] for vote in receipt.votes] != body["votes"]:
        raise ReceiptError("votes", "the votes are not those the decision rests on")
    people: set[str] = set()
    keys: set[str] = set()
    lowest = len(_LEVELS)
    for vote in receipt.votes:
        lowest = min(lowest, _check_vote(vote, receipt.entry))
        evidence = vote["body"]["evidence"]
        key = evidence.get("key") or evidence.get("credential")
        if vote["actor"]["id"] in people or (key is not None and key in keys):
            raise ReceiptError("votes", "the same person or key counts twice")
        people.add(vote["actor"]["id"])
        if key is not None:
            keys.add(key)
    if expected.require_human is not None:
        if not receipt.votes:
            raise ReceiptError("assurance", "nobody voted on this action, and a person is required")
        if lowest < _LEVELS[expected.require_human]:
            raise ReceiptError("assurance", f"a vote is below the required assurance {expected.require_human}")


def _check_vote(vote: dict[str, Any], decision: dict[str, Any]) -> int:
    """The assurance level a vote reaches; refuses one that does not speak of this action."""
    body, decided = vote["body"], decision["body"]
    raw = body["statement"].encode("utf-8")
    try:
        said = statement.parse(raw)
    except ValueError as error:
        raise ReceiptError("votes", f"a vote holds no valid statement: {error}") from None
    subject_matter = {
        "realm": decision["realm"],
        "request": decision["subject"],
        "agent": decided["binding"]["agent"],
        "delegation": decided["binding"]["delegation"],
        "action_digest": decided["action_digest"],
        "risk": decided["risk"],
        "reviewer": vote["actor"]["id"],
    }
    if body["request"] != decision["subject"] or any(said[name] != value for name, value in subject_matter.items()):
        raise ReceiptError("votes", "a vote is about something else")
    if vote["actor"]["type"] != "person" or said["decision"] not in ("approve", "confirm"):
        raise ReceiptError("votes", "a vote is not a person's approval")
    evidence = body["evidence"]
    claimed = _LEVELS[vote["actor"].get("assurance", "H0")]
    level = min(claimed, _LEVELS[_CEILING[evidence["kind"]]])
    if evidence["kind"] == "ssh":
        _check_ssh(evidence, raw)
    elif evidence["kind"] == "webauthn":
        verified = _check_webauthn(evidence, raw)
        level = level if verified else min(level, _LEVELS["H1"])
    return level


def _check_ssh(evidence: dict[str, Any], raw: bytes) -> None:
    try:
        key = sshsig.parse(evidence["value"]).key
        good = sshsig.verify(evidence["value"], raw, statement.SSH_NAMESPACE, key)
    except sshsig.SshSigError as error:
        raise ReceiptError("votes", f"a vote's SSH signature is unusable: {error}") from None
    if not good or key.fingerprint != evidence["key"]:
        raise ReceiptError("votes", "a vote's SSH signature does not verify")


def _check_webauthn(evidence: dict[str, Any], raw: bytes) -> bool:
    """Whether the authenticator verified its user; refuses an assertion made for other bytes."""
    try:
        client_data = canonical.loads(un_b64u(evidence["client_data"]))
    except ValueError:
        client_data = None
    wanted = b64u(statement.challenge(raw))
    if (
        not isinstance(client_data, dict)
        or client_data.get("type") != "webauthn.get"
        or client_data.get("challenge") != wanted
    ):
        raise ReceiptError("votes", "a vote's passkey signed something else")
    return bool(un_b64u(evidence["authenticator_data"])[32] & _USER_VERIFIED)


def _check_redeemed(receipt: Receipt, expected: Expected, now: datetime) -> None:
    if expected.attempt is None:
        raise ReceiptError("not-redeemed", "redeem the approval first, with an attempt of this execution")
    decision = receipt.entry
    claim = decision["body"]
    if receipt.redeemed is not None:
        claim = receipt.redeemed["body"]
        if (
            claim["request"] != decision["subject"]
            or claim["action_digest"] != decision["body"]["action_digest"]
            or receipt.redeemed["index"] <= decision["index"]
        ):
            raise ReceiptError("not-redeemed", "the redemption belongs to another decision")
    wanted = entries.attempt_digest(expected.attempt)
    if not hmac.compare_digest(claim.get("attempt", ""), wanted):
        raise ReceiptError("not-redeemed", "the approval was not redeemed by this attempt")
    if not now < parse_time(claim["execute_by"]):
        raise ReceiptError("expired", "too late: the time to execute has passed; do not start")
