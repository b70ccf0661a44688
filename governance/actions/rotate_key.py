"""Give an agent a new key, on the word of its old one. A lost key is a new agent: there is no other way in."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Appended, Writer
from governance.actors import agent_actor
from governance.errors import Refused
from governance.log_keys import must_not_be_the_logs
from governance.models import Agent, AgentKey, PersonKey
from governance.runtime.models import Service
from imprimatur.formats import ed25519, keys
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.rotation import rotation_preimage


@dataclass(frozen=True)
class Command:
    """``signature`` is unpadded base64url: the old key over :func:`preimage`."""

    agent: Agent
    old: str
    public_key: bytes
    signature: str


@dataclass(frozen=True)
class Result:
    key: AgentKey
    entry: Appended | None


def preimage(*, realm: str, agent: str, old: str, public_key: bytes) -> bytes:
    """What the old key signs, from the new key's bytes. See :func:`imprimatur.formats.rotation.rotation_preimage`."""
    new = keys.thumbprint(public_key)
    return rotation_preimage(realm=realm, agent=agent, old=old, new=new, public_key=b64u(public_key))


def apply(writer: Writer, command: Command) -> Result:
    """Retire the old key and add the new one; what the old one signed stays good. Asking again answers the same.

    Raises Refused: key-revoked, key-unknown, signature, suspended, invalid, conflict (the new key is somebody's).
    """
    agent = Agent.objects.get(pk=command.agent.pk)
    old = AgentKey.objects.filter(pk=command.old, agent=agent).first()
    if old is None:
        raise Refused("key-unknown", "The old key is not a key of this agent.")
    try:
        ed25519.check_public_key(command.public_key)
        signature = un_b64u(command.signature)
    except ValueError as error:
        raise Refused("invalid", f"The new key or the signature cannot be read: {error}") from None
    message = preimage(realm=writer.realm, agent=agent.id, old=old.thumbprint, public_key=command.public_key)
    if not ed25519.verify(bytes(old.public_key), message, signature):
        raise Refused("signature", "The old key did not sign this rotation.")
    new = keys.thumbprint(command.public_key)
    existing = AgentKey.objects.filter(pk=new).first()
    if existing is not None:
        if existing.agent_id == agent.id and old.retired_at == existing.added_at and existing.revoked_since is None:
            return Result(existing, None)
        raise Refused("conflict", "The new key is registered already. Make a fresh one.")
    if PersonKey.objects.filter(thumbprint=new).exists():
        raise Refused("conflict", "The new key is a person's. No key signs both for a person and for an agent.")
    if Service.objects.filter(thumbprint=new).exists():
        raise Refused("conflict", "The new key is a service's. No key signs both for a service and for an agent.")
    must_not_be_the_logs(new)
    if old.revoked_since is not None or old.retired_at is not None:
        raise Refused("key-revoked", "The old key is no longer in use, so it cannot name its successor.")
    if agent.state != Agent.ACTIVE:
        raise Refused("suspended", "The agent is suspended, so its keys stay as they are.")
    old.retired_at = writer.now
    old.save(update_fields=["retired_at"])
    key = AgentKey.objects.create(thumbprint=new, agent=agent, public_key=command.public_key, added_at=writer.now)
    entry = writer.append(
        "agent.key_rotated",
        subject=agent.id,
        actor=agent_actor(agent, key=old.thumbprint),
        body={
            "agent": agent.id,
            "old": old.thumbprint,
            "new": new,
            "public_key": b64u(command.public_key),
            "signature": command.signature,
        },
    )
    return Result(key, entry)
