"""A launch is over: its orchestrator says how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audit.log import Actor, Writer
from audit.models import Entry
from governance.errors import Refused
from governance.runtime import statements
from governance.runtime.models import Launch, Service

EXITED, KILLED, LOST = "exited", "killed", "lost"


@dataclass(frozen=True)
class Command:
    """``service`` is who says so; ``code`` the exit status, if there is one."""

    launch: str
    service: str
    how: str
    code: int | None = None


@dataclass(frozen=True)
class Result:
    launch: Launch
    index: int


def apply(writer: Writer, command: Command) -> Result:
    """End it. Requests that were asked under it go on, since no authority came from it; new ones are refused.

    The same end again answers the same. Raises Refused: key-revoked (the service was retired), not-found (no launch of
    this service), wrong-state (it ended in another way).
    """
    service = Service.objects.get(pk=command.service)
    if service.retired_at is not None:
        raise Refused("key-revoked", "This service was retired. What it says no longer counts.")
    launch = Launch.objects.filter(pk=command.launch, service=service).first()
    if launch is None:
        raise Refused("not-found", "This service attested no such launch.")
    if launch.state == Launch.ENDED:
        if (launch.how, launch.code) == (command.how, command.code):
            return Result(launch, ended_index(launch))
        raise Refused("wrong-state", f"This launch has ended already ({launch.how}).")
    service.last_seen_at = writer.now
    service.save(update_fields=["last_seen_at"])
    return Result(launch, end(writer, launch, command.how, command.code, actor=statements.actor_of(service)))


def end(writer: Writer, launch: Launch, how: str, code: int | None, *, actor: Actor) -> int:
    """Write that a live launch is over, and return the index of the entry."""
    launch.state, launch.ended_at, launch.how, launch.code = Launch.ENDED, writer.now, how, code
    launch.save(update_fields=["state", "ended_at", "how", "code"])
    body: dict[str, Any] = {"launch": launch.pk, "how": how}
    if code is not None:
        body["code"] = code
    entry = writer.append("launch.ended", subject=launch.pk, agent=launch.agent_id, actor=actor, body=body)
    return entry.index


def ended_index(launch: Launch) -> int:
    """The index of the entry that ended it."""
    return Entry.objects.filter(kind="launch.ended", subject=launch.pk).values_list("index", flat=True)[0]
