"""A desk made of nothing but formats: honest by default, and lying in exactly one place when a test says so."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from imprimatur import cards
from imprimatur.errors import APIError
from imprimatur.formats import binding as bindings
from imprimatur.formats import canonical, commitments, digests, merkle, statement
from imprimatur.formats.encoding import b64u
from imprimatur.formats.ids import agent_id
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import tools

REALM, PERSON, OTHER = "desk.example", "pe_01m7vzr4mecxrdqmb9a32t36ag", "pe_01m7vzr4mecxrdqmb9a32t36bh"
REQUEST, ANOTHER = "act_01m7vzr4mecxrdqmb9a32t36ag", "act_01m7vzr4mecxrdqmb9a32t36bh"
AGENT = agent_id(KeyPair.from_seed(b"a" * 32).public_key)
DIGEST, OTHER_DIGEST = digests.sha256(b"one"), digests.sha256(b"another")
SALT = b"s" * 32
PAYMENT = {"payee": "vendor/nordhav", "amount": "42.00", "currency": "USD", "reference": "2026-1187"}
TOOL = tools.DEFAULT_TOOLS["make_payment"]
STAGES = [
    {"role": "reviewer", "count": 1, "kind": "approve"},
    {"role": "reviewer", "count": 1, "kind": "confirm"},
]

Card = dict[str, Any]
Lie = Callable[[Card], None]


def opening(name: str, value: Any, salt: bytes = SALT) -> tuple[str, dict[str, Any]]:
    """A commitment and what opens it, as the desk sends it."""
    commitment, made = commitments.commit(salt, name, value)
    return commitment, {"name": made.name, "key": b64u(made.key), "value": made.value}


def a_binding(values: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The payment, bound."""
    return {
        "typ": bindings.TYP,
        "realm": REALM,
        "agent": AGENT,
        "delegation": DIGEST,
        "tool": {"name": TOOL["name"], "schema": tools.digest(TOOL)},
        "effects": [{"action": "payment:send", "resource": values["payee"]}],
        "parameters": {name: opening(name, value)[0] for name, value in values.items()},
        "cost": {"amount": values["amount"], "unit": values["currency"]},
        "context": {"run": "r1"},
        **changes,
    }


def stated(card: Card, **changes: Any) -> str:
    """The card's statement with changes; a change to None leaves a field out. Canonical, whatever it says."""
    document = {**json.loads(card["statement"]), **changes}
    return canonical.dumps({name: value for name, value in document.items() if value is not None}).decode()


def restate(**changes: Any) -> Lie:
    """Ask to sign something else than what is shown."""

    def lie(card: Card) -> None:
        card["statement"] = stated(card, **changes)

    return lie


def show(**changes: Any) -> Lie:
    """Show something else than what is to be signed."""

    def lie(card: Card) -> None:
        card.update(changes)

    return lie


def rebind(values: dict[str, Any] | None = None, **changes: Any) -> Lie:
    """Bind something else, with every digest made to match: only what the client derives itself can tell."""

    def lie(card: Card) -> None:
        chosen = values or PAYMENT
        card["binding"] = {**a_binding(chosen), **changes}
        card["openings"] = [opening(name, value)[1] for name, value in chosen.items()]
        card["action_digest"] = bindings.action_digest(card["binding"])
        made = cards.render(card["binding"], chosen, card["tool"])
        card["display_digest"] = cards.display_digest(made)
        card["statement"] = stated(card, action_digest=card["action_digest"], display_digest=card["display_digest"])

    return lie


@dataclass
class LyingDesk:
    """Stands in for the way to the desk: ``post`` as the command line calls it."""

    credential: str
    lie: Lie | None = None
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    later: Lie | None = None
    """Told from the second reading on."""
    until: str = field(default_factory=lambda: format_time(datetime.now(UTC) + timedelta(seconds=300)))

    def post(self, server: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert server == "http://127.0.0.1:9"
        self.posted.append((path, body))
        if path == "/terminal/answer":
            return {"request": REQUEST, "state": "APPROVED", "vote": 7}
        if path != "/terminal/card":
            raise APIError("no such page", code="not-found", status=404)
        card = self.honest(body["decision"], body.get("reason", ""))
        lie = self.later if self.later and len(self.posted) > 1 else self.lie
        if lie is not None:
            lie(card)
        return card

    def honest(self, decision: str, reason: str) -> Card:
        """The truth about one payment that waits for this decision."""
        now = datetime.now(UTC)
        binding = a_binding(PAYMENT)
        made = cards.render(binding, PAYMENT, TOOL)
        confirming = decision == "confirm"
        common = {
            "typ": statement.TYP,
            "realm": REALM,
            "request": REQUEST,
            "agent": AGENT,
            "role": "reviewer",
            "risk": "CRITICAL",
            "reversibility": TOOL["reversibility"],
            "action_digest": bindings.action_digest(binding),
            "display_digest": cards.display_digest(made),
            "delegation": DIGEST,
            "policy": DIGEST,
            "log_size": 0,
            "log_root": f"sha256:{merkle.EMPTY_ROOT.hex()}",
            "nonce": b64u(b"n" * 16),
            "issued_at": format_time(now),
            "expires_at": format_time(now + timedelta(seconds=120)),
        }
        said, words = opening("reason", "the usual vendor", b"r" * 32)
        first = {
            **common,
            "version": 1,
            "decision": "approve",
            "stage": 0,
            "reviewer": OTHER,
            "credential": "SHA256:" + "A" * 43,
            "reason_commitment": said,
        }
        before = canonical.dumps(first)
        votes = [
            {
                "person": OTHER,
                "name": "Rosa Imhof",
                "decision": "approve",
                "assurance": "H2",
                "statement": before.decode(),
                "reason": words,
            }
        ]
        mine: dict[str, Any] = {
            **common,
            "version": 2 if confirming else 1,
            "decision": decision,
            "stage": 1 if confirming else 0,
            "reviewer": PERSON,
            "credential": self.credential,
        }
        if confirming:
            mine["prev_vote"] = digests.sha256(before)
        card: Card = {
            "realm": REALM,
            "request": REQUEST,
            "state": "AWAITING_CONFIRMATION" if confirming else "PENDING",
            "version": mine["version"],
            "agent": {"id": AGENT, "name": "robo"},
            "binding": binding,
            "openings": [opening(name, value)[1] for name, value in PAYMENT.items()],
            "tool": copy.deepcopy(TOOL),
            "justification": opening("justification", "The invoice is due.")[1],
            "action_digest": mine["action_digest"],
            "display_digest": mine["display_digest"],
            "risk": "CRITICAL",
            "reversibility": TOOL["reversibility"],
            "stages": copy.deepcopy(STAGES),
            "stage": mine["stage"],
            "role": "reviewer",
            "votes": votes if confirming else [],
            "policy": DIGEST,
            "delegation": DIGEST,
            "target": made.target,
            "expires_at": self.until,
            "ceremony": "cer_01m7vzr4mecxrdqmb9a32t36ag",
        }
        if reason:
            mine["reason_commitment"], card["reason"] = opening("reason", reason, b"m" * 32)
        card["statement"] = canonical.dumps(mine).decode()
        return card
