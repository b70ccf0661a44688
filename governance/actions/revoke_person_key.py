"""Revoke a person's key: what it signed from the stated time on is dead, and with ``stolen`` the log says why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from audit import selectors
from audit.log import Appended, Writer
from audit.models import Entry
from governance import cascade, ceremonies
from governance.actions.add_person import actor_of
from governance.actors import must_be_active, must_be_admin, person_actor
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.models import Delegation, Person, PersonKey
from imprimatur.formats.signing import ACT
from imprimatur.formats.timestamps import format_time

ACTED = "person.key_revoked"


@dataclass(frozen=True)
class Command:
    """``since``: when the key may have been lost, None for now. ``by`` is its owner or an admin; None: the console.

    ``signed`` is an ACT statement whose ``content`` is `chosen`, when whoever revokes it signs that; a click will do.
    """

    fingerprint: str
    reason: str
    since: datetime | None = None
    by: Person | None = None
    stolen: bool = False
    signed: Signed | None = None


def chosen(key: PersonKey, reason: str, since: datetime, stolen: bool) -> dict[str, Any]:
    """The fields of the entry that the person chooses, and that a signature covers."""
    body: dict[str, Any] = {
        "person": key.person_id,
        "fingerprint": key.fingerprint,
        "since": format_time(since),
        "reason": reason,
    }
    return {**body, "stolen": True} if stolen else body


def apply(writer: Writer, command: Command) -> Appended:
    """Revoke the key. Revoking again with an earlier time widens what is dead, a later time is refused.

    With it end: delegations, grants and answers that it signed from then on, and what rests on those. Keys that it
    vouched for from then on lapse, since nobody whom we know has vouched for them; each is written down as revoked.
    Raises Refused: not-found, not-allowed, invalid (a time in the future, no reason), conflict, wrong-state.
    """
    key = PersonKey.objects.select_related("person__user").filter(pk=command.fingerprint).first()
    if key is None:
        raise Refused("not-found", "There is no such key.")
    if command.by is not None:
        must_be_active(command.by)
        if command.by.pk != key.person_id:
            must_be_admin(command.by)
    since = since_when(writer, command.since, command.reason, key.revoked_at)
    entry = _revoke(writer, key, since, command)
    dead = {key.fingerprint: since}
    for vouched in vouched_with(key.fingerprint, since):
        dead[vouched.fingerprint] = vouched.vouched_at or since
        _revoke(writer, vouched, dead[vouched.fingerprint], command, cause=entry)
    fallen = {
        row.id
        for row in Delegation.objects.filter(issuer_person__isnull=False).only("id", "signature", "issued_at")
        if row.signature["key"] in dead and row.issued_at >= dead[row.signature["key"]]
    }
    cascade.sweep(writer, entry, keys=dead, delegations=fallen)
    return entry


def _revoke(
    writer: Writer, key: PersonKey, since: datetime, command: Command, cause: Appended | None = None
) -> Appended:
    body, actor = chosen(key, command.reason, since, command.stolen), actor_of(command.by)
    if cause is None and command.signed is not None and command.by is not None:
        if command.signed.key == key.fingerprint:
            raise Refused("invalid", "A key is not revoked by its own signature. Sign with another, or just confirm.")
        ceremonies.use(writer, command.signed, by=command.by)
        ceremonies.says(command.signed, ACT, realm=writer.realm, act=ACTED, subject=key.person_id, content=dict(body))
        actor = person_actor(command.by, key=command.signed.key or "", assurance=command.signed.assurance)
        body["signed"] = command.signed.entry
    if cause is not None:
        body = chosen(key, f"vouched for with a key that was revoked: {command.reason}"[:2000], since, False)
    key.revoked_at, key.stolen = since, key.stolen or (command.stolen and cause is None)
    key.save(update_fields=["revoked_at", "stolen"])
    refs = [("cause", cause.index)] if cause is not None else []
    return writer.append(ACTED, subject=key.person_id, actor=actor, refs=refs, body=body)


def vouched_with(fingerprint: str, since: datetime) -> list[PersonKey]:
    """The keys that this key vouched for from then on, and that those vouched for in turn, as far as they still count.

    Read from the log, which names the key behind every vouch. A key that was revoked already belongs to them while
    anything that it signed before still counts, and whoever it vouched for does in any case: retiring a key in good
    order hides nobody from the theft of the key above it. The verifier follows the same chain.
    """
    found: dict[str, PersonKey] = {}
    known = {fingerprint: since}
    for entry in _vouches(since):  # in the order of the log, so one pass follows every chain
        voucher, newcomer = entry["actor"].get("key", ""), entry["body"]["fingerprint"]
        key = PersonKey.objects.select_related("person__user").filter(pk=newcomer, vouched_at__isnull=False).first()
        if key is None or key.vouched_at is None or voucher not in known or key.vouched_at < known[voucher]:
            continue
        known[newcomer] = key.vouched_at
        if key.revoked_at is None or key.revoked_at > key.vouched_at:
            found[newcomer] = key
    return list(found.values())


def _vouches(since: datetime) -> list[dict[str, Any]]:
    rows = Entry.objects.filter(kind="person.key_vouched", time__gte=since).order_by("index")
    return [selectors.payload_of(row) for row in rows]


def since_when(writer: Writer, since: datetime | None, reason: str, already: datetime | None) -> datetime:
    """The time from which a key is dead: never in the future, and never later than what was said before."""
    if not reason.strip():
        raise Refused("invalid", "Say why: the reason goes into the log.")
    when = since or writer.now
    when = when.replace(microsecond=when.microsecond // 1000 * 1000)
    if when > writer.now:
        raise Refused("invalid", "A key is revoked from now or from an earlier time, not from a later one.")
    if already is not None and already <= when:
        raise Refused("conflict", "This key is revoked from that time or earlier already.")
    return when
