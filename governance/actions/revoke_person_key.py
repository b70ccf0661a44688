"""Revoke a person's SSH key: what it signed from the stated time on is dead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from audit.log import Appended, Writer
from governance import cascade
from governance.actions.add_person import actor_of
from governance.actors import must_be_active, must_be_admin
from governance.errors import Refused
from governance.models import Delegation, Person, PersonKey
from imprimatur.formats.timestamps import format_time


@dataclass(frozen=True)
class Command:
    """``since``: when the key may have been lost, None for now. ``by`` is its owner or an admin; None: the console."""

    fingerprint: str
    reason: str
    since: datetime | None = None
    by: Person | None = None


def apply(writer: Writer, command: Command) -> Appended:
    """Revoke the key. Revoking again with an earlier time widens what is dead, a later time is refused.

    Raises Refused: not-found, not-allowed, invalid (a time in the future, no reason), conflict.
    """
    key = PersonKey.objects.select_related("person__user").filter(pk=command.fingerprint).first()
    if key is None:
        raise Refused("not-found", "There is no such key.")
    if command.by is not None:
        must_be_active(command.by)
        if command.by.pk != key.person_id:
            must_be_admin(command.by)
    since = since_when(writer, command.since, command.reason, key.revoked_at)
    key.revoked_at = since
    key.save(update_fields=["revoked_at"])
    entry = writer.append(
        "person.key_revoked",
        subject=key.person_id,
        actor=actor_of(command.by),
        body={
            "person": key.person_id,
            "fingerprint": key.fingerprint,
            "since": format_time(since),
            "reason": command.reason,
        },
    )
    signed = Delegation.objects.filter(issuer_person=key.person, issued_at__gte=since)
    fallen = {row.id for row in signed.only("id", "signature") if row.signature["key"] == key.fingerprint}
    cascade.sweep(writer, entry, keys={key.fingerprint: since}, delegations=fallen)
    return entry


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
