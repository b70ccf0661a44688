"""Propose a change that takes two people: one admin writes it down and signs it. Nothing happens yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from audit.log import Writer
from governance import ceremonies, changes, newcomer_logins
from governance.actions import activate_policy, add_person, change_person, register_tool
from governance.actors import must_be_admin, person_actor
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.models import Change, Person
from imprimatur.formats import entries, shapes, signing
from imprimatur.formats.ids import is_id, new_id
from imprimatur.formats.signing import CHANGE
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import administration, policy


@dataclass(frozen=True)
class Draft:
    """What somebody wants to change, made on how things are now. ``document`` is the body of the entry that results.

    ``kept`` never enters the log: login and mail of a newcomer. ``hold``: signed by two in advance, for an emergency,
    and put in force later. ``days``: how long it waits, or is held.
    """

    id: str
    act: str
    subject: str
    document: Mapping[str, Any]
    toml: str = ""
    kept: Mapping[str, Any] = field(default_factory=dict)
    hold: bool = False
    days: int = changes.LIFE.days

    def statement(self, role: str) -> dict[str, Any]:
        """The fields that a CHANGE statement has besides the common ones."""
        return statement_fields(self, role)


@dataclass(frozen=True)
class Command:
    draft: Draft
    signed: Signed
    by: Person


def statement_fields(change: Draft | Change, role: str) -> dict[str, Any]:
    """What whoever proposes or seconds this signs of it. Absent ``hold`` means: done as soon as it is seconded."""
    return {
        "typ": CHANGE,
        "role": role,
        "change": change.id,
        "act": change.act,
        "subject": change.subject,
        "document": signing.document_digest(change.document),
        **({"hold": True} if change.hold else {}),
    }


def draft(writer_now: Any, act: str, subject: str, document: Mapping[str, Any], **more: Any) -> Draft:
    """A draft with an id of its own."""
    return Draft(new_id("chg", writer_now), act, subject, dict(document), **more)


def apply(writer: Writer, command: Command) -> Change:
    """Write the proposal down. Raises Refused: not-allowed (no admin, no signing key), invalid, conflict (one person
    is enough, or it could not be done as things are), wrong-state (something else was signed, or it is used up)."""
    wanted, by = command.draft, command.by
    must_be_admin(by)
    _check_shape(wanted)
    if not changes.two_person():
        raise Refused("conflict", "One admin is enough here until two people hold signing keys. Just do it.")
    ceremonies.says(command.signed, CHANGE, realm=writer.realm, hold=wanted.hold or None, **_named(wanted))
    if command.signed.key is None:
        raise Refused("not-allowed", "A change is proposed with a signing key of your own, not with a click.")
    ceremonies.use(writer, command.signed, by=by)
    kept = {**_possible(wanted), "keys": {"propose": command.signed.key}, "assurance": command.signed.assurance}
    expires_at = writer.now + timedelta(days=wanted.days)
    entry = writer.append(
        "change.proposed",
        subject=wanted.id,
        actor=person_actor(by, key=command.signed.key, assurance=command.signed.assurance),
        body={
            "change": wanted.id,
            "act": wanted.act,
            "subject": wanted.subject,
            "document": dict(wanted.document),
            "expires_at": format_time(expires_at),
            "signed": command.signed.entry,
            **({"hold": True} if wanted.hold else {}),
        },
    )
    return Change.objects.create(
        id=wanted.id,
        act=wanted.act,
        subject=wanted.subject,
        document=dict(wanted.document),
        toml=_own_words(wanted),
        kept=kept,
        hold=wanted.hold,
        proposed_by=by,
        proposed_at=writer.now,
        proposed_index=entry.index,
        expires_at=expires_at,
    )


def _own_words(wanted: Draft) -> str:
    """The text of a policy as its author wrote it, if it is the text of this very document."""
    try:
        return wanted.toml if policy.from_toml(wanted.toml) == wanted.document.get("document") else ""
    except policy.PolicyError:
        return ""


def _named(wanted: Draft) -> dict[str, Any]:
    fields = statement_fields(wanted, "propose")
    return {name: value for name, value in fields.items() if name not in ("typ", "hold")}


def _check_shape(wanted: Draft) -> None:
    longest = changes.LONGEST_HOLD.days if wanted.hold else changes.LIFE.days
    if not is_id("chg", wanted.id) or Change.objects.filter(pk=wanted.id).exists():
        raise Refused("invalid", "This is not a free id of a change. Begin again.")
    if wanted.act not in signing.CHANGES:
        raise Refused("invalid", "This is nothing that takes two people.")
    try:
        shapes.check(dict(wanted.document), entries.KINDS[wanted.act], "document")
    except shapes.ShapeError as error:
        raise Refused("invalid", f"This change cannot be written down: {error}") from None
    if not 1 <= wanted.days <= longest:
        raise Refused("invalid", f"It waits for 1 to {longest} days.")


def _possible(wanted: Draft) -> dict[str, Any]:
    """What to keep beside the change, after asking whether it could be done as things are now."""
    document = wanted.document
    kept: dict[str, Any]
    if wanted.act == "policy.activated":
        body, _ = activate_policy.planned(document.get("document", {}))
        subject, kept = body["policy"], {}
    elif wanted.act == "tool.registered":
        body = register_tool.planned(document.get("document", {}))
        subject, kept = body["tool"], {}
    elif wanted.act == "person.added":
        kept = {name: str(wanted.kept.get(name, "")) for name in ("username", "email", "login_key")}
        body = add_person.planned(
            str(document.get("person", "")),
            kept["username"],
            document.get("name", ""),
            document.get("roles", ()),
            document.get("login", ""),
        )
        newcomer_logins.must_open(document, kept)
        subject = body["person"]
    else:
        person = Person.objects.select_related("user").filter(pk=wanted.subject).first()
        if person is None:
            raise Refused("not-found", "There is no such person.")
        fields = {name: document[name] for name in ("roles", "active", "name", "reason") if name in document}
        body = change_person.planned(person, **fields)
        subject, kept = body["person"], {"before": changes.state_of(person)}
    if body != dict(document) or wanted.subject != subject:
        raise Refused("conflict", "This is not how the change would be written down now. Begin again.")
    if not administration.takes_two(wanted.act, body, kept.get("before", {}).get("roles", ())):
        raise Refused("conflict", "One admin is enough for this. Just do it.")
    return kept
