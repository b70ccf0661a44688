"""Put a change in force that two people signed in advance: one click of an admin, when the emergency is there."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.hashers import make_password

from audit.log import Appended, Writer
from governance import changes, newcomer_logins
from governance.actions import activate_policy, add_person, change_person, register_tool
from governance.actors import must_be_admin, roles_of
from governance.errors import Refused
from governance.models import ADMIN, Change, Person, PersonKey
from imprimatur.rules import administration


@dataclass(frozen=True)
class Command:
    change: str
    by: Person


def apply(writer: Writer, command: Command) -> Change:
    """Do what was signed. Raises Refused: not-allowed (admins only), not-found, wrong-state (not held ready, over, or
    what it was made on has changed), and whatever the change itself is refused for."""
    must_be_admin(command.by)
    row = one(command.change)
    if row.state != Change.READY or not row.hold:
        raise Refused("wrong-state", "This is not held ready: it was done, withdrawn, or nobody has seconded it yet.")
    carry_out(writer, row, command.by)
    return row


def one(change_id: str) -> Change:
    """A change with the people who signed it. Raises Refused(not-found)."""
    rows = Change.objects.select_related("proposed_by__user", "seconded_by__user")
    row = rows.filter(pk=change_id).first()
    if row is None:
        raise Refused("not-found", "There is no such change.")
    return row


def must_stand(writer: Writer, row: Change) -> None:
    """Raise Refused unless this change may still be done: in time, on the same base, by people who still may.

    Everything is read as it is under the lock. A key that was revoked takes its signature back.
    """
    if changes.over(row, writer.now):
        raise Refused("wrong-state", "This change is over. Propose it again if it is still wanted.")
    reason = changes.stale(row)
    if reason is not None:
        raise Refused("wrong-state", reason)
    if row.act == "person.added":
        newcomer_logins.must_open(row.document, row.kept)
    author = row.proposed_by
    if ADMIN not in roles_of(author):
        raise Refused("wrong-state", f"{author.name} proposed this and is no longer an active admin. Propose it again.")
    _key_stands(author, row.kept["keys"]["propose"])
    if row.seconded_by is None:
        return
    second = row.seconded_by
    objection = administration.against_second(author.pk, second.pk, roles_of(second), bool(second.user.is_active))
    if objection is not None:
        raise Refused("wrong-state", f"{second.name} seconded this and may no longer. Propose it again.")
    _key_stands(second, row.kept["keys"]["second"])


def carry_out(writer: Writer, row: Change, by: Person) -> Appended:
    """Do what two people signed, in this transaction. ``by`` is the admin in whose name it is written down."""
    must_stand(writer, row)
    body = row.document
    if row.act == "policy.activated":
        entry = activate_policy.apply(
            writer, activate_policy.Command(body["document"], by, toml=row.toml, change=row.id)
        ).entry
    elif row.act == "tool.registered":
        entry = register_tool.apply(writer, register_tool.Command(body["document"], by, change=row.id)).entry
    elif row.act == "person.added":
        command = add_person.Command(
            username=row.kept["username"],
            name=body["name"],
            roles=tuple(body["roles"]),
            # Nobody who signs sees a password. The author makes the first one afterwards, and as their introducer
            # never vouches for the newcomer; whoever seconds may.
            password=make_password(None),
            email=row.kept["email"],
            by=by,
            person_id=body["person"],
            login=body["login"],
            change=row.id,
        )
        entry = add_person.apply(writer, command).entry
    else:
        person = Person.objects.get(pk=row.subject)
        roles = tuple(body["roles"]) if "roles" in body else None
        wanted = change_person.Command(
            person, roles, body.get("active"), body.get("name"), body.get("reason", ""), by, change=row.id
        )
        entry = change_person.apply(writer, wanted)
    if entry is None:
        raise Refused("wrong-state", "This is in force already.")
    row.state, row.ended_at = Change.DONE, writer.now
    row.save(update_fields=["state", "ended_at"])
    return entry


def _key_stands(person: Person, fingerprint: str) -> None:
    key = PersonKey.objects.filter(pk=fingerprint, person=person).first()
    if key is None or not key.signs_decisions:
        raise Refused("wrong-state", f"The key with which {person.name} signed this was revoked. Propose it again.")
