"""Second a change: another person, with another key, signs the same. Then it is done, or held ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audit.log import Writer
from governance import ceremonies
from governance.actions import propose_change, put_in_force
from governance.actors import must_be_active, person_actor, roles_of
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.models import Change, Person
from imprimatur.formats.signing import CHANGE
from imprimatur.rules import administration


@dataclass(frozen=True)
class Command:
    change: str
    signed: Signed
    by: Person


def apply(writer: Writer, command: Command) -> Change:
    """Write the second signature down and, unless the change is to be held, do it in the same transaction.

    Invariant: two people who may, with two keys in force, signed exactly this change, this document. Everything is read
    again here. Raises Refused: not-found, not-allowed (not a second person), wrong-state (over, another base, another
    statement), and whatever the change itself is refused for: then nothing is written at all.
    """
    row, by = put_in_force.one(command.change), command.by
    must_be_active(by)
    if row.state != Change.PROPOSED:
        raise Refused("wrong-state", "Nobody has to second this any more: it was seconded, withdrawn, or is over.")
    objection = administration.against_second(row.proposed_by_id, by.pk, roles_of(by), bool(by.user.is_active))
    if objection is not None:
        raise Refused("not-allowed", objection.message)
    if command.signed.key is None or command.signed.key == row.kept["keys"]["propose"]:
        raise Refused("not-allowed", "A change is seconded with a signing key of your own, and not with a click.")
    ceremonies.says(command.signed, CHANGE, realm=writer.realm, hold=row.hold or None, **_named(row))
    ceremonies.use(writer, command.signed, by=by)
    put_in_force.must_stand(writer, row)
    entry = writer.append(
        "change.seconded",
        subject=row.id,
        actor=person_actor(by, key=command.signed.key, assurance=command.signed.assurance),
        refs=[("change", row.proposed_index)],
        body={"change": row.id, "signed": command.signed.entry},
    )
    row.state, row.seconded_by, row.seconded_at, row.seconded_index = Change.READY, by, writer.now, entry.index
    row.kept = {**row.kept, "keys": {**row.kept["keys"], "second": command.signed.key}}
    row.save(update_fields=["state", "seconded_by", "seconded_at", "seconded_index", "kept"])
    if not row.hold:
        put_in_force.carry_out(writer, row, row.proposed_by)
    return row


def _named(row: Change) -> dict[str, Any]:
    fields = propose_change.statement_fields(row, "second")
    return {name: value for name, value in fields.items() if name not in ("typ", "hold")}
