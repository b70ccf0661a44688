"""Reading a request without trusting whoever shows it: everything is rebuilt here, and compared with what is to sign.

Openings make the commitments, commitments stand in the binding, the binding has a digest; openings and the tool's
document make the card, and the card has a digest. The statement must name exactly these two, and the person, key,
request and decision of whoever asked. One difference, and nothing is signed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from imprimatur import cards
from imprimatur.errors import ImprimaturError
from imprimatur.formats import binding as bindings
from imprimatur.formats import commitments, digests, statement
from imprimatur.formats.canonical import CanonicalError
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.shapes import (
    Any_,
    Binary,
    Digest,
    Document,
    Id,
    Int,
    ListOf,
    Obj,
    OneOf,
    ShapeError,
    Text,
    Time,
    check,
)
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.rules import effects, money, tools
from imprimatur.rules.quorum import KINDS
from imprimatur.rules.risk import Risk

SKEW = timedelta(seconds=60)
"""How far the clocks of server and terminal may differ."""
ALLOWING = frozenset({"approve", "confirm"})
_WAITING = {"approve": "PENDING", "confirm": "AWAITING_CONFIRMATION"}

_OPENING = Obj({"name": Text(max=128), "key": Binary(32, 32), "value": Any_()})
_VOTE = Obj(
    {
        "person": Text(max=128),
        "name": Text(max=256),
        "decision": OneOf(*statement.DECISIONS),
        "assurance": OneOf("H0", "H1", "H2", "H3"),
        "statement": Text(max=16_384),
    },
    {"reason": _OPENING},
)
SHAPE = Obj(
    {
        "realm": bindings.REALM,
        "request": Id("act"),
        "state": Text(max=64),
        "version": Int(),
        "agent": Obj({"id": Id("ag"), "name": Text(max=256)}),
        "binding": bindings.SHAPE,
        "openings": ListOf(_OPENING, max=128),
        "tool": Any_(),
        "action_digest": Digest(),
        "display_digest": Digest(),
        "risk": statement.RISK,
        "reversibility": statement.REVERSIBILITY,
        "stages": ListOf(Obj({"role": Text(max=128), "count": Int(1, 100), "kind": OneOf(*KINDS)}), max=100),
        "stage": Int(0, 100),
        "role": Text(max=128),
        "votes": ListOf(_VOTE, max=1000),
        "policy": Digest(),
        "delegation": Digest(),
        "target": Text(min=0, max=100_000),
        "expires_at": Time(),
        "ceremony": Id("cer"),
        "statement": Text(max=16_384),
    },
    {"justification": _OPENING, "reason": _OPENING},
)
"""What ``/terminal/card`` answers, as far as this client reads it."""


class Mismatch(ImprimaturError):
    """The server shows one thing and asks to sign another, or shows what cannot be. Says what differs."""


@dataclass(frozen=True)
class Asked:
    """What the person asked for, and who they are. Nothing in it comes from the server."""

    realm: str
    request: str
    decision: str
    person: str
    key: str
    reason: str = ""


@dataclass(frozen=True)
class Earlier:
    """An answer before this one, as its own statement has it."""

    person: str
    name: str
    decision: str
    assurance: str
    at: str
    reason: str | None
    digest: str


@dataclass(frozen=True)
class Seen:
    """A request that holds together. ``raw`` is the statement to sign; all but the last four make up what is shown."""

    card: cards.Card
    binding: Mapping[str, Any]
    agent: str
    state: str
    version: int
    risk: str
    reversibility: str
    stages: Sequence[Mapping[str, Any]]
    stage: int
    role: str
    policy: str
    earlier: tuple[Earlier, ...]
    builds_on: Earlier | None
    on_behalf_of: str | None
    justification: str | None
    known: bool
    action_digest: str
    expires_at: datetime
    raw: bytes = field(compare=False)
    document: Mapping[str, Any] = field(compare=False)
    ceremony: str = field(compare=False)

    @property
    def life(self) -> timedelta:
        """How long the statement is good for."""
        return parse_time(self.document["expires_at"]) - parse_time(self.document["issued_at"])


def read(found: Mapping[str, Any], asked: Asked, now: datetime) -> Seen:
    """Rebuild what the server sent and compare it with what it asks to sign. Raises Mismatch at the first difference.

    ``now`` is this machine's clock.
    """
    shown = _shaped(found)
    _same("realm", "is of the realm", shown["realm"], asked.realm)
    _same("request", "is about the request", shown["request"], asked.request)
    binding, values = _binding(shown, asked)
    tool = _tool(shown, binding, values)
    card = _card(shown, binding, values, tool)
    action_digest = bindings.action_digest(binding)
    _same("action digest", "has for the action the digest", shown["action_digest"], action_digest)
    raw = shown["statement"].encode("utf-8")
    document = _statement(raw, now)
    _compare(document, shown, asked, action_digest, cards.display_digest(card))
    earlier = tuple(_earlier(vote, document) for vote in shown["votes"])
    return Seen(
        card=card,
        binding=binding,
        agent=shown["agent"]["name"],
        state=shown["state"],
        version=shown["version"],
        risk=shown["risk"],
        reversibility=shown["reversibility"],
        stages=shown["stages"],
        stage=shown["stage"],
        role=shown["role"],
        policy=shown["policy"],
        earlier=earlier,
        builds_on=_builds_on(document, earlier),
        on_behalf_of=document.get("on_behalf_of"),
        justification=_text(shown["justification"], "justification") if "justification" in shown else None,
        known=tool is not None,
        action_digest=action_digest,
        expires_at=parse_time(shown["expires_at"]),
        raw=raw,
        document=document,
        ceremony=shown["ceremony"],
    )


def _shaped(found: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the answer that this client knows. A newer server may say more; it can ask for nothing more."""
    names = {*SHAPE.required, *SHAPE.optional}
    shown = {name: value for name, value in found.items() if name in names}
    try:
        check(shown, SHAPE)
    except ShapeError as error:
        raise Mismatch(f"The server's answer cannot be read ({error}). Is it of another version?") from None
    return shown


def _binding(shown: Mapping[str, Any], asked: Asked) -> tuple[dict[str, Any], dict[str, Any]]:
    """The binding, and every parameter whose opening opens its commitment."""
    binding: dict[str, Any] = shown["binding"]
    _same("binding", "binds the action to the realm", binding["realm"], asked.realm)
    _same("binding", "binds the action to the agent", binding["agent"], shown["agent"]["id"])
    _same("binding", "binds the action to the delegation", binding["delegation"], shown["delegation"])
    values: dict[str, Any] = {}
    for opening in shown["openings"]:
        name = opening["name"]
        if name in values:
            raise Mismatch(f"The server shows the parameter {name} twice.")
        if _committed(opening) != binding["parameters"].get(name):
            raise Mismatch(f"The server shows a value of {name} that is not the one the action is bound to.")
        values[name] = opening["value"]
    return binding, values


def _committed(opening: Mapping[str, Any]) -> str:
    try:
        made = commitments.Opening(opening["name"], un_b64u(opening["key"]), opening["value"])
        return commitments.commitment_of(made)
    except ValueError as error:
        raise Mismatch(f"The server shows a value that cannot be committed to ({error}).") from None


def _tool(shown: Mapping[str, Any], binding: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any] | None:
    """The registry's document of the tool, if the action is bound to one: that one, with the effects it derives."""
    named, document = binding["tool"].get("schema"), shown["tool"]
    if named is None or document is None:
        if (named is None) != (document is None):
            raise Mismatch("The server shows the tool as known where it is not, or leaves its document out.")
        return None
    try:
        check(document, Document())
        made = tools.digest(document)
        _same("tool", "shows a tool whose document has the digest", made, named)
        tools.check(document)
        derived = effects.derive(document, values)
    except (tools.ToolError, effects.DeriveError, ShapeError, CanonicalError) as error:
        raise Mismatch(f"What this tool does cannot be derived from what the server shows: {error}") from None
    _same("tool", "shows a document of the tool", document["name"], binding["tool"]["name"])
    if derived.effects != binding["effects"]:
        raise Mismatch("The action is bound to other effects than this tool has with these parameters.")
    amount, unit = derived.cost or (money.format_amount(0), binding["cost"]["unit"])
    if (amount, unit) != (binding["cost"]["amount"], binding["cost"]["unit"]):
        raise Mismatch("The action is bound to another cost than this tool has with these parameters.")
    _same("reversibility", "says of going back", shown["reversibility"], document["reversibility"])
    least = Risk(document.get("minimum_risk", Risk.LOW))
    if Risk(shown["risk"]) < least:
        raise Mismatch(f"The server shows the risk {shown['risk']}, but this tool is never below {least}.")
    return dict(document)


def _card(
    shown: Mapping[str, Any], binding: Mapping[str, Any], values: Mapping[str, Any], tool: Mapping[str, Any] | None
) -> cards.Card:
    try:
        card = cards.render(binding, values, tool)
    except (ValueError, TypeError, KeyError) as error:
        raise Mismatch(f"No card can be made of what the server shows ({type(error).__name__}).") from None
    if cards.display_digest(card) != shown["display_digest"]:
        raise Mismatch(
            "The card that this client makes is not the card the server names. If something was erased meanwhile, this "
            "can no longer be answered here; otherwise compare the versions of client and server."
        )
    _same("target", "names the target", shown["target"], card.target)
    return card


def _statement(raw: bytes, now: datetime) -> dict[str, Any]:
    try:
        document = statement.parse(raw)
    except (CanonicalError, ShapeError) as error:
        raise Mismatch(f"What the server asks to sign is no decision on one request: {error}.") from None
    issued, until = parse_time(document["issued_at"]), parse_time(document["expires_at"])
    if issued > now + SKEW or until < now - SKEW:
        raise Mismatch(
            f"What the server asks to sign is from {document['issued_at']}, and here it is {format_time(now)}. "
            "Compare this machine's clock with the server's."
        )
    return document


def _compare(
    document: Mapping[str, Any], shown: Mapping[str, Any], asked: Asked, action_digest: str, display_digest: str
) -> None:
    """Every field of the statement against what was asked for, shown, or made here. None is left out."""
    expected = {
        "typ": statement.TYP,
        "realm": asked.realm,
        "request": asked.request,
        "decision": asked.decision,
        "reviewer": asked.person,
        "credential": asked.key,
        "action_digest": action_digest,
        "display_digest": display_digest,
        "agent": shown["binding"]["agent"],
        "delegation": shown["binding"]["delegation"],
        **{name: shown[name] for name in ("version", "risk", "reversibility", "stage", "role", "policy")},
    }
    for name, value in expected.items():
        _same(name, f"asks to sign as {name.replace('_', ' ')}", document.get(name), value)
    for name in ("constraints", "suggestion_commitment"):
        if name in document:
            raise Mismatch(f"The server asks to sign {name.replace('_', ' ')} that it does not show.")
    if asked.decision in ALLOWING:
        _same("state", "shows the state", shown["state"], _WAITING[asked.decision])
        stage = dict(shown["stages"][shown["stage"]]) if shown["stage"] < len(shown["stages"]) else {}
        _same("stage", "asks at this stage for", stage.get("kind"), asked.decision)
        _same("stage", "asks at this stage for a", stage.get("role"), shown["role"])
    said = _reason(shown.get("reason"), document.get("reason_commitment")) or ""
    if said != asked.reason or (not said and "reason_commitment" in document):
        raise Mismatch("The server asks to sign another reason than you gave.")


def _text(opening: Mapping[str, Any], name: str) -> str:
    value = opening["value"]
    if opening["name"] != name or not isinstance(value, str):
        raise Mismatch(f"The server shows something else as {name}.")
    return value


def _reason(opening: Mapping[str, Any] | None, commitment: str | None) -> str | None:
    """The words of a reason, held against the commitment in the signed bytes."""
    if opening is None:
        return None
    words = _text(opening, "reason")
    if _committed(opening) != commitment:
        raise Mismatch("The server shows another reason than the one that is signed.")
    return words


def _earlier(vote: Mapping[str, Any], mine: Mapping[str, Any]) -> Earlier:
    """An earlier answer: its own statement must be about this very action, and say what the server says it says."""
    raw = vote["statement"].encode("utf-8")
    try:
        document = statement.parse(raw)
    except (CanonicalError, ShapeError):
        raise Mismatch(f"The answer shown as {vote['name']}'s is not a statement that can be read.") from None
    about = ("realm", "request", "agent", "action_digest", "display_digest", "delegation", "risk")
    if any(document[name] != mine[name] for name in about):
        raise Mismatch(f"The answer shown as {vote['name']}'s is about something else than this request.")
    _same("answer before", "shows an answer of", vote["person"], document["reviewer"])
    _same("answer before", "shows an answer that says", vote["decision"], document["decision"])
    if ("credential" in document) == (vote["assurance"] == "H0"):
        raise Mismatch(f"The strength shown of {vote['name']}'s answer is not that of what was signed.")
    return Earlier(
        person=vote["person"],
        name=vote["name"],
        decision=vote["decision"],
        assurance=vote["assurance"],
        at=document["issued_at"],
        reason=_reason(vote.get("reason"), document.get("reason_commitment")),
        digest=digests.sha256(raw),
    )


def _builds_on(document: Mapping[str, Any], earlier: Sequence[Earlier]) -> Earlier | None:
    """The answer that a confirmation names: one of those shown, by somebody who allowed it."""
    named = document.get("prev_vote")
    if document["decision"] != "confirm":
        if named is not None:
            raise Mismatch(
                "The server asks to sign an answer that builds on another one, which only a confirmation does."
            )
        return None
    found = next((one for one in earlier if one.digest == named and one.decision in ALLOWING), None)
    if found is None:
        raise Mismatch("The server asks to confirm another answer than the one it shows.")
    return found


def _same(what: str, verb: str, got: Any, expected: Any) -> None:
    if got != expected:
        raise Mismatch(f"Another {what.replace('_', ' ')}: the server {verb} {got}, and it should be {expected}.")
