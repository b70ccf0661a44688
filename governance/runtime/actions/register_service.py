"""Register an orchestrator, a monitor or a canary runner: a principal that attests and decides nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from audit import keyring
from audit.errors import KeyRefused
from audit.log import Appended, Writer
from governance.actors import must_be_admin, person_actor
from governance.errors import Refused
from governance.models import Agent, AgentKey, Person, PersonKey
from governance.runtime.models import CanaryAgent, Service
from imprimatur.formats import attestation, ed25519, ids, keys, note
from imprimatur.formats.encoding import b64u

MOST_AGENTS = 16
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}")


@dataclass(frozen=True)
class Command:
    """``vkey`` is the verifier key with which a monitor cosigns checkpoints, if it does. ``agents`` are the ids of the
    agents with which a canary runner tries things: lists and notifications leave out what they ask."""

    name: str
    role: str
    public_key: bytes
    by: Person
    vkey: str = ""
    agents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    service: Service
    entry: Appended


def apply(writer: Writer, command: Command) -> Result:
    """Register it, for ever under this key. Another key is another service.

    Raises Refused: not-allowed (admins only), invalid, conflict (the name or the key is taken: no key has two owners).
    """
    must_be_admin(command.by)
    if not _NAME.fullmatch(command.name):
        raise Refused("invalid", "A service's name has letters, digits, spaces, dots, dashes, underscores, up to 80.")
    if command.role not in attestation.ROLES:
        raise Refused("invalid", f"A service is one of {', '.join(attestation.ROLES)}.")
    try:
        ed25519.check_public_key(command.public_key)
    except ValueError as error:
        raise Refused("invalid", f"This is not a usable Ed25519 key: {error}") from None
    identifier, thumbprint = ids.service_id(command.public_key), keys.thumbprint(command.public_key)
    _must_be_free(thumbprint, command.public_key)
    if Service.objects.filter(name=command.name).exists():
        raise Refused("conflict", f"There is a service called {command.name} already.")
    if command.vkey:
        _check_vkey(command)
    _check_agents(command)
    service = Service.objects.create(
        id=identifier,
        name=command.name,
        role=command.role,
        public_key=command.public_key,
        thumbprint=thumbprint,
        vkey=command.vkey,
        registered_at=writer.now,
        registered_by=command.by.pk,
    )
    CanaryAgent.objects.bulk_create(CanaryAgent(agent_id=name, service=service) for name in command.agents)
    body: dict[str, Any] = {
        "service": identifier,
        "name": command.name,
        "role": command.role,
        "public_key": b64u(command.public_key),
        "thumbprint": thumbprint,
    }
    if command.vkey:
        body["vkey"] = command.vkey
    if command.agents:
        body["agents"] = list(command.agents)
    entry = writer.append("service.registered", subject=identifier, actor=person_actor(command.by), body=body)
    return Result(service, entry)


def _must_be_free(thumbprint: str, public_key: bytes) -> None:
    if Service.objects.filter(thumbprint=thumbprint).exists():
        raise Refused("conflict", "This key is or was a service's already. A new service makes a new key.")
    if AgentKey.objects.filter(thumbprint=thumbprint).exists():
        raise Refused("conflict", "This key is an agent's. No key signs both for an agent and for a service.")
    if PersonKey.objects.filter(thumbprint=thumbprint).exists():
        raise Refused("conflict", "This key is a person's. No key signs both for a person and for a service.")
    _must_not_be_the_logs(public_key)


def _must_not_be_the_logs(public_key: bytes) -> None:
    try:
        keyring.must_be_unused(public_key)
    except KeyRefused:
        raise Refused("conflict", "This key is the log's own. A service makes a key of its own.") from None


def _check_agents(command: Command) -> None:
    if not command.agents:
        return
    if command.role != attestation.CANARIES:
        raise Refused("invalid", "Only a canary runner has agents of its own. Leave them out.")
    if len(set(command.agents)) != len(command.agents) or len(command.agents) > MOST_AGENTS:
        raise Refused("invalid", f"Name each agent of the canaries once, and at most {MOST_AGENTS}.")
    if Agent.objects.filter(pk__in=command.agents).count() != len(command.agents):
        raise Refused("not-found", "An agent of the canaries is not enrolled here. Enrol it first.")
    if CanaryAgent.objects.filter(agent__in=command.agents, service__retired_at=None).exists():
        raise Refused("conflict", "One of these agents belongs to another canary runner. Retire that one first.")
    CanaryAgent.objects.filter(agent__in=command.agents).delete()


def _check_vkey(command: Command) -> None:
    if command.role != attestation.MONITOR:
        raise Refused("invalid", "Only a monitor cosigns checkpoints. Leave the verifier key out.")
    try:
        vkey = note.Vkey.parse(command.vkey)
    except note.NoteError as error:
        raise Refused("invalid", f"The verifier key cannot be read: {error}") from None
    if vkey.algorithm != note.COSIGNATURE:
        raise Refused("invalid", "This verifier key is not one for cosignatures.")
    if vkey.public_key == command.public_key:
        raise Refused("invalid", "Cosignatures take a key of their own, other than the one that signs statements.")
    _must_not_be_the_logs(vkey.public_key)
