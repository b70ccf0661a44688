"""The kill switch: from the commit on nothing it covers is redeemed. Clocks run on, nothing is approved by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from audit.log import Actor, Appended, Writer
from governance import acts
from governance.actors import must_be_admin, person_actor
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.models import Agent, Pause, Person


@dataclass(frozen=True)
class Command:
    """``target`` is an agent's id or a tool's name; empty when everything is paused. ``signed``: see `governance.acts`;
    a click will do."""

    scope: str
    target: str
    reason: str
    by: Person
    signed: Signed | None = None


@dataclass(frozen=True)
class Result:
    """``entry`` is None when the same pause stood already."""

    pause: Pause
    entry: Appended | None


def apply(writer: Writer, command: Command) -> Result:
    """Set it. Raises Refused: not-allowed (admins only), not-found, invalid (no reason, or a target that is none), and
    what a signature is refused for."""
    must_be_admin(command.by)
    if command.scope not in (Pause.AGENT, Pause.TOOL, Pause.EVERYTHING):
        raise Refused("invalid", "A pause covers an agent, a tool or everything.")
    if not command.reason.strip():
        raise Refused("invalid", "Say why: the reason goes into the log.")
    if (command.scope == Pause.EVERYTHING) != (command.target == "") or len(command.target) > 80:
        raise Refused("invalid", "A pause of an agent or a tool names it; a pause of everything names nothing.")
    if command.scope == Pause.AGENT and not Agent.objects.filter(pk=command.target).exists():
        raise Refused("not-found", "There is no such agent.")
    standing = Pause.objects.filter(scope=command.scope, target=command.target, lifted_at__isnull=True).first()
    if standing is not None:
        return Result(standing, None)
    pause = Pause.objects.create(
        scope=command.scope,
        target=command.target,
        reason=command.reason,
        set_at=writer.now,
        set_by=command.by.pk,
    )
    return Result(pause, write(writer, "pause.set", pause, command))


def everything(writer: Writer, *, reason: str, actor: Actor, refs: Sequence[tuple[str, int]] = ()) -> Appended | None:
    """Pause everything in the server's own name; None when that stands already. Whether it may is asked before."""
    where = {"scope": Pause.EVERYTHING, "target": ""}
    if Pause.objects.filter(**where, lifted_at__isnull=True).exists():
        return None
    Pause.objects.create(**where, reason=reason, set_at=writer.now, set_by=actor.id)
    return writer.append(
        "pause.set", subject=Pause.EVERYTHING, actor=actor, refs=refs, body={**where, "reason": reason}
    )


class Wish(Protocol):
    """What setting and lifting have in common."""

    @property
    def reason(self) -> str: ...

    @property
    def by(self) -> Person: ...

    @property
    def signed(self) -> Signed | None: ...


def write(writer: Writer, kind: str, pause: Pause, wish: Wish) -> Appended:
    """The entry of a pause that was set or lifted."""
    body: dict[str, Any] = {"scope": pause.scope, "target": pause.target, "reason": wish.reason}
    subject, actor = pause.target or pause.scope, person_actor(wish.by)
    if wish.signed is not None:
        actor, part = acts.signed_by(writer, wish.by, wish.signed, acts.fields(kind, subject, dict(body)))
        body |= part
    agent = pause.target if pause.scope == Pause.AGENT else ""
    return writer.append(kind, subject=subject, agent=agent, actor=actor, body=body)
