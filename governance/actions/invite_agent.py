"""Invite an agent: a one-time token, good for fifteen minutes, against which it registers a key."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import timedelta

from audit.log import Appended, Writer
from governance.actors import must_be_admin, person_actor
from governance.errors import Refused
from governance.models import Agent, Invitation, Person
from imprimatur.formats import digests
from imprimatur.formats.timestamps import format_time

GOOD_FOR = timedelta(minutes=15)
ENFORCEMENT = ("E0", "E1", "E2", "E3")
DIGEST_TAG = "imprimatur/invitation/v1"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}")


@dataclass(frozen=True)
class Command:
    """``token`` is the digest of the token; the token itself is shown once and kept nowhere."""

    name: str
    owner: Person
    by: Person
    token: str
    enforcement: str = "E0"


@dataclass(frozen=True)
class Result:
    invitation: Invitation
    entry: Appended


def new(name: str, owner: Person, by: Person, enforcement: str = "E0") -> tuple[Command, str]:
    """A command and the token that goes with it."""
    token = "inv_" + secrets.token_urlsafe(32)
    return Command(name, owner, by, token_digest(token), enforcement), token


def token_digest(token: str) -> str:
    """What is stored and logged of a token."""
    return digests.tagged(DIGEST_TAG, token.encode("utf-8"))


def apply(writer: Writer, command: Command) -> Result:
    """Write the invitation. Raises Refused: not-allowed (admins only), invalid, conflict (the name is taken)."""
    must_be_admin(command.by)
    if not _NAME.fullmatch(command.name):
        raise Refused("invalid", "An agent's name has letters, digits, spaces, dots, dashes and underscores, up to 80.")
    if command.enforcement not in ENFORCEMENT:
        raise Refused("invalid", f"The enforcement level is one of {', '.join(ENFORCEMENT)}.")
    if not Person.objects.filter(pk=command.owner.pk, user__is_active=True).exists():
        raise Refused("invalid", "An agent needs an owner who is an active person.")
    if Agent.objects.filter(name=command.name).exists():
        raise Refused("conflict", f"There is an agent called {command.name} already.")
    invitation = Invitation.objects.create(
        token=command.token,
        name=command.name,
        owner=command.owner,
        enforcement=command.enforcement,
        expires_at=writer.now + GOOD_FOR,
    )
    entry = writer.append(
        "agent.invited",
        subject=command.name,
        actor=person_actor(command.by),
        body={
            "name": command.name,
            "owner": command.owner.pk,
            "token": command.token,
            "expires_at": format_time(invitation.expires_at),
        },
    )
    return Result(invitation, entry)
