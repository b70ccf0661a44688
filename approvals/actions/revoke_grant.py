"""A grant is taken back: from now on what it was for is asked about again. What ran on it, ran."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from approvals.models import Grant
from audit.log import Writer
from governance import acts
from governance.actors import must_be, must_be_active, person_actor
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.models import ADMIN, REVIEWER, Person


@dataclass(frozen=True)
class Command:
    """``by``: whoever gave it, any reviewer, or an admin. It takes authority away, so a click is enough."""

    grant: str
    by: Person
    reason: str = ""
    signed: Signed | None = None  # see governance.acts; a click will do


ACTED = "grant.revoked"


def apply(writer: Writer, command: Command) -> Grant:
    """Revoke it, once; asking again changes nothing. Raises Refused: not-found, not-allowed, and what a signature is
    refused for."""
    grant = Grant.objects.select_related("reviewer", "agent").filter(pk=command.grant).first()
    if grant is None:
        raise Refused("not-found", "There is no such grant.")
    must_be_allowed(command.by, grant)
    if grant.revoked_at is not None:
        return grant
    body: dict[str, Any] = {"grant": grant.id, "reason": command.reason.strip() or "no reason given"}
    actor = person_actor(command.by)
    if command.signed is not None:
        said = acts.fields(ACTED, grant.id, dict(body))
        actor, part = acts.signed_by(writer, command.by, command.signed, said)
        body |= part
    writer.append(
        ACTED,
        subject=grant.id,
        actor=actor,
        body=body,
        refs=[("grant", grant.index)],
        agent=grant.agent_id,
    )
    grant.revoked_at = writer.now
    grant.revoked_by = command.by.pk
    grant.save(update_fields=["revoked_at", "revoked_by"])
    return grant


def must_be_allowed(person: Person, grant: Grant) -> None:
    """Raise Refused(not-allowed) for whoever may not take this grant back."""
    if person.pk == grant.reviewer_id:
        must_be_active(person)
    else:
        must_be(person, REVIEWER, ADMIN)
