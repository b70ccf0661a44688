"""Place a legal hold: from its entry on, nothing it covers is erased, by rule or by wish."""

from __future__ import annotations

from dataclasses import dataclass

from audit import holds, retention
from audit.admins import Admin
from audit.errors import Declined
from audit.log import Writer
from audit.models import Entry, Hold
from imprimatur.formats.ids import new_id

SCOPES = (Hold.REQUEST, Hold.AGENT, Hold.EVERYTHING)


@dataclass(frozen=True)
class Command:
    """``scope`` is request, agent or everything; ``target`` the id of the request or agent, else empty."""

    by: Admin
    scope: str
    target: str
    reason: str


def apply(writer: Writer, command: Command) -> Hold:
    """Place it. Raises Declined: no admin, no reason, nothing of that id, or the same hold stands already."""
    actor = command.by.actor()
    target, reason = command.target.strip(), command.reason.strip()
    if not reason:
        raise Declined("Say why: the log keeps the reason, and auditors read it.")
    if command.scope not in SCOPES or (command.scope == Hold.EVERYTHING) != (target == ""):
        raise Declined("A hold is on one request or one agent, with its id, or on everything, without one.")
    agent = _agent_of(command.scope, target)
    standing = holds.standing().holds
    same = next((hold for hold in standing if (hold.scope, hold.target) == (command.scope, target)), None)
    if same is not None:
        raise Declined(f"A hold on {holds.what(same)} stands already, since entry {same.placed_index}.")
    identifier = new_id("hld", writer.now)
    entry = writer.append(
        holds.PLACED,
        subject=identifier,
        actor=actor,
        body={"hold": identifier, "scope": command.scope, "target": target, "reason": reason},
        agent=agent,
    )
    return Hold.objects.create(
        id=identifier,
        scope=command.scope,
        target=target,
        reason=reason,
        placed_index=entry.index,
        placed_at=writer.now,
    )


def _agent_of(scope: str, target: str) -> str:
    """The agent that the hold is about. A hold on nothing would protect nothing, and nobody would notice."""
    if scope == Hold.REQUEST:
        known = retention.find([target]).get(target)
        if known is None:
            raise Declined(f"There is no request {target}. Copy its id from its page or from the log.")
        return known.agent
    if scope == Hold.AGENT and not Entry.objects.filter(agent=target).exists():
        raise Declined(f"The log knows no agent {target}. Copy its id from the page of the agent.")
    return target
