"""Enrol an agent: its own key, made on its side, registered against an invitation. It has no authority yet."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Appended, Writer
from governance.actions.invite_agent import token_digest
from governance.actors import agent_actor
from governance.errors import Refused
from governance.log_keys import must_not_be_the_logs
from governance.models import Agent, AgentKey, Invitation, PersonKey
from governance.runtime.models import Service
from imprimatur.formats import ed25519, ids, keys
from imprimatur.formats.encoding import b64u


@dataclass(frozen=True)
class Command:
    """The edge has checked that the request was signed with ``public_key``: the proof of possession."""

    token: str
    public_key: bytes


@dataclass(frozen=True)
class Result:
    """``entry`` is None when the same key enrols again with the same token: the answer is the same agent."""

    agent: Agent
    key: AgentKey
    entry: Appended | None


def apply(writer: Writer, command: Command) -> Result:
    """Use the invitation, once. Raises Refused: not-allowed (token unknown, used, expired), invalid, conflict."""
    try:
        ed25519.check_public_key(command.public_key)
    except ValueError as error:
        raise Refused("invalid", f"This is not a usable Ed25519 key: {error}") from None
    agent_id, thumbprint = ids.agent_id(command.public_key), keys.thumbprint(command.public_key)
    digest = token_digest(command.token)
    invitation = Invitation.objects.select_related("owner__user").filter(pk=digest).first()
    if invitation is None:
        raise Refused("not-allowed", "This invitation is not known. Ask an admin for a new one.")
    known = AgentKey.objects.select_related("agent").filter(pk=thumbprint).first()
    if invitation.used_at is not None:
        if known is not None and known.agent_id == agent_id and known.agent.name == invitation.name:
            return Result(known.agent, known, None)
        raise Refused("not-allowed", "This invitation was used already. Ask an admin for a new one.")
    if writer.now >= invitation.expires_at:
        raise Refused("not-allowed", "This invitation has expired. Ask an admin for a new one.")
    if not invitation.owner.user.is_active:
        raise Refused("not-allowed", "The owner this agent was to have is no longer active. Ask for a new invitation.")
    if known is not None or Agent.objects.filter(pk=agent_id).exists():
        raise Refused("conflict", "This key is registered already. Make a new key for a new agent.")
    if PersonKey.objects.filter(thumbprint=thumbprint).exists():
        raise Refused("conflict", "This key is a person's. No key signs both for a person and for an agent.")
    if Service.objects.filter(thumbprint=thumbprint).exists():
        raise Refused("conflict", "This key is a service's. No key signs both for a service and for an agent.")
    must_not_be_the_logs(thumbprint)
    if Agent.objects.filter(name=invitation.name).exists():
        raise Refused("conflict", f"There is an agent called {invitation.name} already.")
    agent = Agent.objects.create(
        id=agent_id,
        name=invitation.name,
        owner=invitation.owner,
        enforcement=invitation.enforcement,
        enrolled_at=writer.now,
    )
    key = AgentKey.objects.create(
        thumbprint=thumbprint, agent=agent, public_key=command.public_key, added_at=writer.now
    )
    invitation.used_at = writer.now
    invitation.save(update_fields=["used_at"])
    entry = writer.append(
        "agent.enrolled",
        subject=agent.id,
        actor=agent_actor(agent, key=thumbprint),
        body={
            "agent": agent.id,
            "name": agent.name,
            "owner": agent.owner_id,
            "public_key": b64u(command.public_key),
            "thumbprint": thumbprint,
            "enforcement": agent.enforcement,
            "invitation": digest,
        },
    )
    return Result(agent, key, entry)
