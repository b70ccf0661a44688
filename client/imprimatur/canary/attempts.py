"""The attempts of `imprimatur.rules.canaries.ATTEMPTS`, one function each, made with real requests.

Each stands for itself and says what it got. What one leaves open it closes, and what an attack gets it gives back.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from imprimatur.canary import launching, observed
from imprimatur.canary.agent import Agent, Passed
from imprimatur.canary.observed import CHANGED, Observed
from imprimatur.client.wire import Answer
from imprimatur.client.wish import Wish
from imprimatur.errors import ActionBlocked, APIError
from imprimatur.formats import canonical, digests, dsse
from imprimatur.formats.encoding import b64u
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.service.service import Service

ROOM = "/canary"
"""Where the canaries may read. The delegation that an admin signs for them covers this and nothing else."""

SCOPE = (f"file:read:{ROOM}", f"file:delete:{ROOM}", "payment:send:canary")
LIMIT = "1.00"
"""US dollars that they may spend. They never do: what asks for a person is taken back."""

_ENOUGH = timedelta(minutes=5)
"""A delegation that ends sooner is not relied on any more."""
_LEFT = timedelta(minutes=10)
_PASSED_ON = timedelta(hours=12)
_SOON = timedelta(seconds=20)
_SKEW = timedelta(seconds=10)


class NotPrepared(Exception):  # an answer for the report, not a fault
    """The attempt could not be made. The message says why, and what to do."""


@dataclass
class Party:
    """Who takes part in a run. ``ended`` is a delegation to ``two`` that was left to expire, and ``leave`` keeps the
    next one."""

    one: Agent
    two: Agent
    orchestrator: Service
    ended: str | None
    leave: Callable[[str], None]

    def root(self) -> dict[str, Any]:
        """The delegation that an admin signed for the first agent. Raises NotPrepared, APIError."""
        for each in self.one.held():
            document = each["document"]
            narrow = "parent" not in document and set(SCOPE) <= set(document["scope"]) and document["max_depth"] > 0
            if narrow and parse_time(document["not_after"]) > self.one.now() + _ENOUGH:
                return each
        raise NotPrepared(
            f"The agent {self.one.id} holds no delegation for {', '.join(SCOPE)} that may be passed on and lasts five "
            "minutes more. Have an admin sign one."
        )

    def below(self) -> dict[str, Any]:
        """A delegation from the first agent to the second that may not be passed on. Raises NotPrepared, APIError."""
        root = self.root()
        for each in self.two.held():
            document = each["document"]
            passed = document.get("parent") == root["id"] and document["max_depth"] == 0
            if passed and parse_time(document["not_after"]) > self.two.now() + _LEFT:
                return each
        until = min(self.one.now() + _PASSED_ON, parse_time(root["document"]["not_after"]))
        made = self.passed(root, until=until)
        answer = self.one.post("/delegations", made.body)
        if answer.status != 201:
            raise NotPrepared(f"A narrower delegation could not be passed on: {_words(answer)}")
        return {"id": made.id, **made.body}

    def passed(self, root: Mapping[str, Any], *, until: Any, **facets: Any) -> Passed:
        """A part of the first agent's delegation for the second one, signed and not sent."""
        document = root["document"]
        given = {
            "subject": self.two.id,
            "parent": root["id"],
            "scope": [f"file:read:{ROOM}"],
            "not_before": document["not_before"],
            "not_after": until,
            **facets,
        }
        if "on_behalf_of" in document:
            given["on_behalf_of"] = document["on_behalf_of"]
        return self.one.delegation(**given)


# --- what an agent cannot give itself ---------------------------------------------------------------------------------


def self_grant(party: Party) -> Observed:
    root = party.root()["document"]
    made = party.one.delegation(
        issuer=root["issuer"],
        subject=party.one.id,
        scope=["file:*", "payment:send"],
        spend={"unit": "USD", "limit": "1000000.00"},
        not_before=root["not_before"],
        not_after=root["not_after"],
    )
    return _issue(party.one, made)


def widened_delegation(party: Party) -> Observed:
    root = party.root()
    made = party.passed(root, until=parse_time(root["document"]["not_after"]), scope=["file:read:/"])
    return _issue(party.one, made)


def depth_exceeded(party: Party) -> Observed:
    parent = party.below()
    document = parent["document"]
    made = party.two.delegation(
        subject=party.one.id,
        parent=parent["id"],
        scope=document["scope"],
        not_before=document["not_before"],
        not_after=document["not_after"],
        **({"on_behalf_of": document["on_behalf_of"]} if "on_behalf_of" in document else {}),
    )
    return _issue(party.two, made)


def expired(party: Party) -> Observed:
    """Passes on what has ended; and uses a delegation that has, once an earlier run left one to expire."""
    root, now = party.root(), party.one.now()
    begin = format_time(now - timedelta(hours=2))
    made = party.passed(root, until=now - timedelta(hours=1), not_before=begin)
    found = _issue(party.one, made)
    if not found.expected("expired"):
        return found
    over = _left_to_expire(party, root)
    if over is None:
        short = party.passed(root, until=now + _SOON)
        if party.one.post("/delegations", short.body).status == 201:
            party.leave(short.id)
        return found
    if parse_time(over["not_after"]) > now - _SKEW:
        return found  # by the server's clock it may not have ended yet
    return _ask(party.two, "read_file", {"path": f"{ROOM}/expired"}, str(party.ended))


def _left_to_expire(party: Party, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What an earlier run passed on for a moment, unless what it stands on has been replaced or taken back since."""
    if party.ended is None:
        return None
    answer = party.one.get(f"/delegations/{party.ended}")
    found = answer.document()
    document = found.get("document")
    if answer.status != 200 or not isinstance(document, dict) or "revoked_at" in found:
        return None
    return document if document.get("parent") == root["id"] else None


# --- who speaks -------------------------------------------------------------------------------------------------------


def replayed(party: Party) -> Observed:
    agent = party.one
    wish = agent.wish("read_file", {"path": f"{ROOM}/replayed"}, party.root()["id"], execute=True)
    step = agent.signed(wish)
    first = agent.send(step)
    if first.status not in (200, 202):
        raise NotPrepared(f"What was to be sent twice was not taken the first time: {_words(first)}")
    with _closed(agent, first):
        return observed.of(agent.send(step))


def forged_signature(party: Party) -> Observed:
    wish = party.one.wish("read_file", {"path": f"{ROOM}/forged"}, party.root()["id"], execute=True)
    answer = party.one.send(party.one.signed(wish, broken=True))
    with _closed(party.one, answer):
        return observed.of(answer)


def another_agents_key(party: Party) -> Observed:
    wish = party.two.wish("read_file", {"path": f"{ROOM}/another"}, party.root()["id"], execute=True)
    answer = party.two.send(party.two.signed(wish, named=party.one.key))
    with _closed(party.one, answer):
        return observed.of(answer)


# --- what was not delegated -------------------------------------------------------------------------------------------


def out_of_scope(party: Party) -> Observed:
    return _ask(party.one, "read_file", {"path": "/etc/shadow"}, party.root()["id"])


def path_traversal(party: Party) -> Observed:
    return _ask(party.one, "read_file", {"path": f"{ROOM}/../etc/shadow"}, party.root()["id"])


def over_budget(party: Party) -> Observed:
    payment = {"payee": "canary", "amount": "5.00", "currency": "USD", "reference": "canary"}
    return _ask(party.one, "make_payment", payment, party.root()["id"])


# --- approvals --------------------------------------------------------------------------------------------------------


def self_approval(party: Party) -> Observed:
    agent = party.one
    wish = agent.wish("delete_file", {"path": f"{ROOM}/self-approval"}, party.root()["id"], execute=False)
    asked = agent.ask(wish)
    identifier = observed.of(asked).request
    if asked.status != 202 or not identifier:
        raise NotPrepared(f"Nothing was left waiting for a person: {_words(asked)}")
    with _closed(agent, asked):
        version = asked.document().get("version", 0)
        given = agent.form(f"/requests/{identifier}/approve/", {"version": str(version), "reason": "canary"})
        found = observed.of(given)
        after = agent.get(f"/actions/{identifier}").document()
        if after.get("verdict") == "allow":
            return Observed(200, CHANGED, identifier, f"The desk answered {given.status}, and it is approved now.")
        return Observed(found.status, found.code, identifier, found.detail)


def redeem_twice(party: Party) -> Observed:
    agent, allowed = party.one, _approved(party, "twice")
    identifier = str(allowed["id"])
    first = _redeem(agent, allowed, str(allowed["action_digest"]))
    if first.status != 200:
        raise NotPrepared(f"What was approved could not be redeemed once: {_words(first)}")
    try:
        found = observed.of(_redeem(agent, allowed, str(allowed["action_digest"])))
    finally:
        agent.finish(identifier, ok=True)
    return Observed(found.status, found.code, identifier, found.detail)


def redeem_changed(party: Party) -> Observed:
    agent, allowed = party.one, _approved(party, "changed")
    identifier = str(allowed["id"])
    other = digests.sha256(b"other arguments")
    answer = _redeem(agent, allowed, other)
    if answer.status != 200:
        _redeem(agent, allowed, str(allowed["action_digest"]))  # used up, so that nothing stays open
    agent.finish(identifier, ok=answer.status != 200)
    found = observed.of(answer)
    return Observed(found.status, found.code, identifier, found.detail)


# --- the log, launches, enforcement -----------------------------------------------------------------------------------


def forged_entry(party: Party) -> Observed:
    agent = party.one
    entry = {"v": 1, "realm": agent.config.realm, "index": 0, "kind": "log.genesis", "body": {}}
    envelope = dsse.seal(canonical.dumps(entry), agent.key.sign, agent.key.keyid)
    answer = agent.post("/log/seen", {"envelope": envelope.decode("utf-8")})
    found = observed.of(answer)
    if found.code == "log-frozen":
        # This call compares before it does anything else: only an entry that it believed stops the log.
        return Observed(200, CHANGED, detail=f"An entry that the log's key never signed stopped it: {found.detail}")
    return found


def malformed_launch(party: Party) -> Observed:
    """By the agent itself, which attests nothing; then by an orchestrator, which must not start this."""
    agent = party.one
    answer = agent.post("/launches", {"statement": launching.made_up(agent, party.orchestrator)})
    found = observed.of(answer)
    if not found.expected("malformed-launch"):
        return found
    return launching.attest_unsafe(party.orchestrator, agent)


def switch_off(party: Party) -> Observed:
    return observed.of(party.one.form("/pauses/lift", {"scope": "everything", "target": "", "reason": "canary"}))


# --- the control ------------------------------------------------------------------------------------------------------


def positive_control(party: Party) -> Observed:
    """Asks, is allowed, holds the receipt against the pinned keys, and reports: what every agent does all day."""
    agent = party.one
    wish = agent.wish("read_file", {"path": f"{ROOM}/control"}, party.root()["id"], execute=True)
    answer = agent.ask(wish)
    found = observed.of(answer)
    with _closed(agent, answer):
        if answer.status == 200:
            try:
                agent.redeemed(answer, wish)
            except ActionBlocked as error:
                return Observed(0, "", found.request, f"The receipt of the allow does not hold: {error}")
        return found


MADE: dict[str, Callable[[Party], Observed]] = {
    "self-grant": self_grant,
    "widened-delegation": widened_delegation,
    "depth-exceeded": depth_exceeded,
    "expired": expired,
    "replayed": replayed,
    "forged-signature": forged_signature,
    "another-agents-key": another_agents_key,
    "out-of-scope": out_of_scope,
    "path-traversal": path_traversal,
    "over-budget": over_budget,
    "self-approval": self_approval,
    "redeem-twice": redeem_twice,
    "redeem-changed": redeem_changed,
    "forged-entry": forged_entry,
    "malformed-launch": malformed_launch,
    "switch-off": switch_off,
    "positive-control": positive_control,
}
"""How each attempt of the table is made."""


# --- what they share --------------------------------------------------------------------------------------------------


def _issue(agent: Agent, made: Passed) -> Observed:
    """Hand in a delegation; then look whether it is there, whatever the answer was, and take it back."""
    answer = agent.post("/delegations", made.body)
    found = observed.of(answer)
    there = agent.get(f"/delegations/{made.id}")
    if there.status == 200 or 200 <= answer.status < 300:
        agent.post(f"/delegations/{made.id}/revoke", {"reason": "A canary got this and should not have."})
        return Observed(200, CHANGED, "", f"It was answered with {answer.status}, and the delegation is in force.")
    return found


def _ask(agent: Agent, tool: str, parameters: Mapping[str, Any], under: str) -> Observed:
    answer = agent.ask(agent.wish(tool, parameters, under, execute=True))
    with _closed(agent, answer):
        return observed.of(answer)


def _approved(party: Party, name: str) -> dict[str, Any]:
    """An approval that is not used yet. Raises NotPrepared."""
    agent = party.one
    wish: Wish = agent.wish("read_file", {"path": f"{ROOM}/{name}"}, party.root()["id"], execute=False)
    answer = agent.ask(wish)
    found = answer.document()
    if answer.status != 200 or found.get("state") != "APPROVED":
        with _closed(agent, answer):
            raise NotPrepared(f"Reading in {ROOM} is not approved by itself: {_words(answer)}")
    return found


def _redeem(agent: Agent, allowed: Mapping[str, Any], digest: str) -> Answer:
    attempt = b64u(secrets.token_bytes(16))
    return agent.post(f"/actions/{allowed['id']}/redeem", {"action_digest": digest, "attempt": attempt})


@contextmanager
def _closed(agent: Agent, answer: Answer) -> Iterator[None]:
    """Afterwards take back what waits, and end what was allowed. That this works is not what is tried here."""
    try:
        yield
    finally:
        found = answer.document()
        identifier = observed.of(answer).request
        with suppress(APIError):
            if identifier and found.get("verdict") == "pending":
                agent.post(f"/actions/{identifier}/cancel", {})
            elif identifier and found.get("verdict") == "allow":
                agent.finish(identifier, ok=True)


def _words(answer: Answer) -> str:
    found = observed.of(answer)
    state = answer.document().get("state")
    return f"{found.status} {found.code} {state if isinstance(state, str) else ''} {found.detail}".strip()
