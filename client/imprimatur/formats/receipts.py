"""Receipts: the signed log entry of a decision in the agent's hands, and everything that must hold before it acts.

On the wire a receipt is ``{index, envelope, votes: [envelope], redeemed?: envelope, grant?: {index, envelope}}``. Each
envelope is a string that holds the exact bytes of a log leaf, so whoever keeps a receipt can later demand a proof that
the leaf is in the log. ``grant`` is there when nobody voted, because somebody had approved in advance.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from imprimatur.formats import binding, dsse, entries, receipt_signatures, signing, statement
from imprimatur.formats.shapes import Int, ListOf, Obj, ShapeError, Text
from imprimatur.formats.shapes import check as check_shape
from imprimatur.formats.timestamps import parse_time
from imprimatur.formats.trust import DecisionKey, PersonKey

_ENVELOPE = Text(max=65_535)
_LEAF: dict[str, Any] = {"index": Int(), "envelope": _ENVELOPE}
SHAPE = Obj({**_LEAF, "votes": ListOf(_ENVELOPE, max=100)}, {"redeemed": _ENVELOPE, "grant": Obj(_LEAF)})

_LEVELS = {"H0": 0, "H1": 1, "H2": 2, "H3": 3}
_REDEEMABLE = timedelta(minutes=5)
"""How long an approval may be redeemed, as the protocol has it: that long after its end a grant allows nothing."""

_ALONE = (
    "one person, or one key, gave two of the answers it takes. Where your policy lets one person answer alone "
    "(single_human), accept that by passing single_human=True; otherwise tell an admin"
)

_NOT_PINNED = (
    "not signed by a decision key that is pinned for this entry. If the server has a new key, a person who runs it "
    "hands out a new trust.json, by another way than through the server; nothing runs without it"
)

Covers = Callable[[Mapping[str, Any], Mapping[str, Any]], str]
"""Given the statement of a grant and the body of a decision: why the grant does not cover it, or ``""``."""


class ReceiptError(Exception):
    """The receipt does not allow the action. ``code`` is stable; ``message`` is for people.

    Codes: ``malformed decision-key realm decision agent delegation tool parameters cost context idempotency-key
    verdict expired votes grant assurance not-redeemed``.
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
    grant: dict[str, Any] | None = None
    grant_envelope: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What this client asked for, from its own memory.

    ``decision_keys`` are the pinned public keys: for every entry (32 bytes) or for some (DecisionKey). ``parameters``
    are this client's own commitments.
    ``schema`` and ``cost`` are compared only when the client knows them: the server derives the cost from the
    parameters, which are bound. ``attempt`` is the secret of this execution; without it a receipt proves an approval
    but not that *this* execution claimed it. ``redeemed=False`` is for looking at an approval before redeeming it.
    ``people`` are pinned keys of people, ``origins`` the pinned pages on which they sign (None: nothing is pinned).
    ``covers`` holds a decision that somebody approved in advance against what they agreed to, which takes the values of
    the parameters (``rules.grants.covers``). Without it no such decision is accepted.
    ``single_human`` accepts that one person, with one key, answered in more than one stage: what a policy with
    ``single_human`` allows. A receipt names the policy by its digest alone, so this is for the client to know.
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
    people: Sequence[PersonKey] | None = None
    origins: Sequence[str] | None = None
    covers: Covers | None = None
    single_human: bool = False


def make(
    index: int,
    envelope: bytes,
    votes: Iterable[bytes] = (),
    redeemed: bytes | None = None,
    grant: tuple[int, bytes] | None = None,
) -> dict[str, Any]:
    """The wire form of a receipt from the exact bytes of its leaves."""
    document: dict[str, Any] = {
        "index": index,
        "envelope": envelope.decode("utf-8"),
        "votes": [vote.decode("utf-8") for vote in votes],
    }
    if redeemed is not None:
        document["redeemed"] = redeemed.decode("utf-8")
    if grant is not None:
        document["grant"] = {"index": grant[0], "envelope": grant[1].decode("utf-8")}
    return document


def parse(receipt: Mapping[str, Any]) -> Receipt:
    """Open a receipt's envelopes and check every shape. Raises ReceiptError ``malformed``."""
    try:
        document = dict(receipt)
        check_shape(document, SHAPE, "receipt")
        envelope = document["envelope"].encode("utf-8")
        vote_envelopes = [vote.encode("utf-8") for vote in document["votes"]]
        redeemed_envelope = document["redeemed"].encode("utf-8") if "redeemed" in document else None
        grant_envelope = document["grant"]["envelope"].encode("utf-8") if "grant" in document else None
        grant = None if grant_envelope is None else _entry(grant_envelope, "grant.issued")
        if grant is not None and grant["index"] != document["grant"]["index"]:
            raise ShapeError("grant.index", "is not that of the entry")
        return Receipt(
            index=document["index"],
            envelope=envelope,
            entry=_entry(envelope, "action.decided"),
            votes=[_entry(vote, "vote.cast") for vote in vote_envelopes],
            vote_envelopes=vote_envelopes,
            redeemed=None if redeemed_envelope is None else _entry(redeemed_envelope, "action.redeemed"),
            redeemed_envelope=redeemed_envelope,
            grant=grant,
            grant_envelope=grant_envelope,
        )
    except (ValueError, TypeError) as error:
        raise ReceiptError("malformed", f"not a receipt: {error}") from None


def check(receipt: Receipt | Mapping[str, Any], *, expected: Expected, now: datetime) -> Receipt:
    """Raise :class:`ReceiptError` unless this receipt allows exactly the expected action, now.

    All of it must hold: every envelope signed by a pinned decision key; the realm; a binding with the client's own
    agent, delegation, tool, commitments, cost and context whose hash is the action digest; its idempotency key; verdict
    allow; ``not_after`` ahead; votes that speak of this action, by different people, or the one grant that covers it,
    at the required assurance; redeemed by this attempt with its time to execute ahead. HIGH takes an approval or a
    grant, CRITICAL an approval and a confirmation, whatever assurance is required.

    Every signature of a person is verified. Without ``people`` the client has no directory: it relies on the decision
    key for whose key that is. With them only a signature by a pinned key of its reviewer is more than the operator's
    word (H0). How often a grant was used, and whether it was taken back, only the log says.
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
    _check_people(receipt, expected, now)
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
    if receipt.grant_envelope is not None and receipt.grant is not None:
        signed.append((receipt.grant_envelope, receipt.grant))
    for envelope, entry in signed:
        opened = dsse.open_envelope(envelope)
        if not any(dsse.verify(opened, key) for key in _keys(expected.decision_keys, entry["index"])):
            raise ReceiptError("decision-key", _NOT_PINNED)
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


def _check_people(receipt: Receipt, expected: Expected, now: datetime) -> None:
    """Who approved it, by a vote or in advance, and whether each of them is as sure as required."""
    levels = _check_votes(receipt, expected)
    if receipt.grant is not None or "grant" in receipt.entry["body"]:
        levels.append(_check_grant(receipt, expected, now))
    _check_enough(receipt)
    if expected.require_human is not None:
        if not levels:
            raise ReceiptError("assurance", "nobody voted on this action, and a person is required")
        if min(levels) < _LEVELS[expected.require_human]:
            raise ReceiptError("assurance", f"an approval is below the required assurance {expected.require_human}")


def _check_votes(receipt: Receipt, expected: Expected) -> list[int]:
    """The assurance levels of the votes, each by somebody else."""
    body = receipt.entry["body"]
    if [vote["index"] for vote in receipt.votes] != body["votes"]:
        raise ReceiptError("votes", "the votes are not those the decision rests on")
    stages: dict[str, set[int]] = {}
    levels = []
    for vote in receipt.votes:
        said = _said(vote)
        levels.append(_check_vote(vote, said, receipt.entry, expected))
        key = receipt_signatures.thumbprint(vote["body"]["evidence"])
        for name in (f"person {vote['actor']['id']}", *([f"key {key}"] if key else [])):
            before = stages.setdefault(name, set())
            if said["stage"] in before:
                raise ReceiptError("votes", "the same person or key counts twice")
            if before and not expected.single_human:
                raise ReceiptError("votes", _ALONE)
            before.add(said["stage"])
    return levels


def _check_enough(receipt: Receipt) -> None:
    """As many people as the risk takes at least: no policy asks for fewer."""
    risk = receipt.entry["body"]["risk"]
    decisions = {_said(vote)["decision"] for vote in receipt.votes}
    if risk == "HIGH" and "approve" not in decisions and receipt.grant is None:
        raise ReceiptError("votes", "a HIGH action takes a person's approval, and the receipt holds none")
    if risk == "CRITICAL" and decisions != {"approve", "confirm"}:
        raise ReceiptError("votes", "a CRITICAL action takes a person's approval and somebody else's confirmation")


def _said(vote: dict[str, Any]) -> dict[str, Any]:
    try:
        return statement.parse(vote["body"]["statement"].encode("utf-8"))
    except ValueError as error:
        raise ReceiptError("votes", f"a vote holds no valid statement: {error}") from None


def _check_vote(vote: dict[str, Any], said: dict[str, Any], decision: dict[str, Any], expected: Expected) -> int:
    """The assurance level a vote reaches; refuses one that does not speak of this action."""
    body, decided = vote["body"], decision["body"]
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
    if "constraints" in said:
        raise ReceiptError("votes", "a vote names conditions, and nobody holds the action to them")
    return _assurance(vote, said, expected, code="votes", used=vote["time"])


def _check_grant(receipt: Receipt, expected: Expected, now: datetime) -> int:
    """The assurance level of the grant the decision rests on; refuses one that does not cover this action."""
    entry, decision = receipt.grant, receipt.entry
    decided = decision["body"]
    if entry is None:
        raise ReceiptError("grant", "it was approved in advance, and the receipt does not hold what was approved")
    if "grant" not in decided:
        raise ReceiptError("grant", "the receipt holds a grant that the decision does not rest on")
    if receipt.votes:
        raise ReceiptError("grant", "what was approved in advance rests on no votes")
    raw = entry["body"]["statement"].encode("utf-8")
    try:
        said = signing.parse(raw, signing.GRANT)
    except ValueError as error:
        raise ReceiptError("grant", f"the grant holds no valid statement: {error}") from None
    if not decided["grant"] == entry["body"]["grant"] == signing.grant_id(raw):
        raise ReceiptError("grant", "the grant is not the one the decision rests on")
    author = entry["actor"]
    if author["type"] != "person" or said["person"] != author["id"] or said["realm"] != decision["realm"]:
        raise ReceiptError("grant", "the grant is not a person's own statement in this realm")
    if entry["index"] >= decision["index"] or not entry["time"] <= decision["time"] <= said["not_after"]:
        raise ReceiptError("grant", "the grant was issued too late, or was over by then")
    if expected.covers is None:
        raise ReceiptError("grant", "it was approved in advance, which cannot be held against the parameters here")
    problem = expected.covers(said, decided)
    if problem:
        raise ReceiptError("grant", f"it is not within what was approved in advance: {problem}")
    if not now < parse_time(said["not_after"]) + _REDEEMABLE:
        raise ReceiptError("expired", "what was approved in advance is over")
    # A grant dies with the key that signed it, so the key has to count when the grant is used as well.
    return _assurance(entry, said, expected, code="grant", used=decision["time"])


_NAMES = {"votes": "a vote", "grant": "the grant"}


def _assurance(entry: dict[str, Any], said: dict[str, Any], expected: Expected, *, code: str, used: str) -> int:
    """The level that the evidence for a person's statement reaches. Raises ReceiptError ``code`` when it is false."""
    claimed = entry["actor"].get("assurance", "H0")
    if entry["body"]["evidence"]["kind"] == "session":
        return _LEVELS["H0"]
    try:
        given = receipt_signatures.check(entry, said["typ"], expected.origins)
    except ValueError as error:
        raise ReceiptError(code, f"the signature of {_NAMES[code]} does not hold: {error}") from None
    if said.get("credential", given.key) != given.key:
        raise ReceiptError(code, f"{_NAMES[code]} names another key than the one that signed it")
    if expected.people is not None and not receipt_signatures.is_pinned(entry, given.key, expected.people, used):
        return _LEVELS["H0"]
    return min(_LEVELS[claimed], _LEVELS[given.assurance])


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
