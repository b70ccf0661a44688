"""Vouch for a person's enrolled key: somebody who knows them says, with a key of their own, that it is theirs."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Appended, Writer
from governance import ceremonies, changes
from governance.actions.add_person import actor_of
from governance.actors import person_actor, roles_of
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.models import Person, PersonKey
from imprimatur.formats import digests
from imprimatur.formats.signing import VOUCH
from imprimatur.rules import administration
from imprimatur.rules.administration import Objection, Vouching

CONSOLE, FIRST = "console", "first"


@dataclass(frozen=True)
class Command:
    """``signed`` is the voucher's statement; only the very first key is vouched without one, by its own admin.

    ``by`` None: the console, which has no key. What it vouches for is counted and said in reports.
    """

    fingerprint: str
    by: Person | None
    signed: Signed | None = None


@dataclass(frozen=True)
class Result:
    key: PersonKey
    entry: Appended


def apply(writer: Writer, command: Command) -> Result:
    """Put the key in force. Who may is asked again here, under the lock (`rules.administration.vouching`).

    Raises Refused: not-found, wrong-state (vouched already, revoked, lapsed), not-allowed, signature, key-revoked.
    """
    key = pending(command.fingerprint)
    if not key.person.user.is_active:
        raise Refused("not-allowed", f"{key.person.name} is switched off, so their key is not put in force.")
    body: dict[str, object] = {"person": key.person_id, "fingerprint": key.fingerprint}
    if command.by is None:
        actor, vouched_by, first = actor_of(None), CONSOLE, False
    else:
        verdict = may_vouch(command.by, key)
        if isinstance(verdict, Objection):
            raise Refused("not-allowed", verdict.message)
        first = verdict.first
        actor, vouched_by = person_actor(command.by), command.by.pk
        if command.by.pk == key.person_id:
            vouched_by = FIRST
        else:
            signed = _signed(writer, command, command.by, key)
            body["signed"] = signed.entry
            actor = person_actor(command.by, key=signed.key or "", assurance=signed.assurance)
    if first:
        body["first"] = True
    key.vouched_at, key.vouched_by, key.first = writer.now, vouched_by, first
    key.save(update_fields=["vouched_at", "vouched_by", "first"])
    refs = [("enrolment", key.enrolled_index)] if key.enrolled_index is not None else []
    entry = writer.append("person.key_vouched", subject=key.person_id, actor=actor, refs=refs, body=body)
    return Result(key, entry)


def pending(fingerprint: str) -> PersonKey:
    """An enrolled key that waits for somebody to vouch for it. Raises Refused not-found or wrong-state."""
    key = PersonKey.objects.select_related("person__user").filter(pk=fingerprint, purpose=PersonKey.SIGNING).first()
    if key is None:
        raise Refused("not-found", "There is no such key that waits for somebody to vouch for it.")
    if key.revoked_at is not None:
        raise Refused("wrong-state", "This key was revoked, or lapsed when the login was reset. Enrol a new one.")
    if key.vouched_at is not None:
        raise Refused("wrong-state", "Somebody has vouched for this key already.")
    return key


def may_vouch(person: Person, key: PersonKey) -> Vouching | Objection:
    """Whether this person may vouch for this key, as the database says now."""
    active = type(person.user).objects.filter(pk=person.user_id, is_active=True).exists()
    return administration.vouching(
        newcomer=key.person_id,
        voucher=person.pk,
        voucher_roles=roles_of(person),
        voucher_active=active,
        introducers=key.person.introducers,
        holders=changes.holders(),
    )


def enrolment_digest(key: PersonKey) -> str:
    """What a vouch names: the digest of the enrolment statement, so that it is for these bytes and no others."""
    return digests.sha256(bytes(key.statement))


def _signed(writer: Writer, command: Command, by: Person, key: PersonKey) -> Signed:
    signed = command.signed
    if signed is None or signed.key is None:
        raise Refused("not-allowed", "Vouching takes a signature with your own signing key.")
    ceremonies.use(writer, signed, by=by)
    fields = {"for": key.person_id, "key": key.fingerprint, "enrolment": enrolment_digest(key)}
    ceremonies.says(signed, VOUCH, person=by.pk, realm=writer.realm, **fields)
    return signed
