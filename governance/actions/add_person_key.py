"""Register an SSH key with which a person signs delegations, and nothing else.

It is how the first admin begins. Keys that sign answers as well are enrolled and vouched for: ``enrol_key``.
"""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Appended, Writer
from governance.actions.add_person import actor_of
from governance.actors import roles_of
from governance.changes import two_person
from governance.errors import Refused
from governance.log_keys import must_not_be_the_logs
from governance.models import ADMIN, AgentKey, Person, PersonKey
from governance.runtime.models import Service
from imprimatur.formats import keys, sshsig


@dataclass(frozen=True)
class Command:
    """``line`` is one line of a ``.pub`` file. ``by`` is the person themselves; None: the console."""

    person: Person
    line: str
    by: Person | None = None


@dataclass(frozen=True)
class Result:
    key: PersonKey
    entry: Appended


def apply(writer: Writer, command: Command) -> Result:
    """Add the key. A key belongs to one person, for ever: a revoked one cannot come back under any name.

    Once two people hold signing keys nobody does this from a session any more, not even for themselves: whoever sat at
    it would get a key that delegates, on nobody else's word.

    Raises Refused: invalid (not an Ed25519 key), not-allowed, conflict (registered already).
    """
    person = Person.objects.select_related("user").get(pk=command.person.pk)
    if ADMIN not in roles_of(person):
        raise Refused("not-allowed", "Only an admin signs delegations, so only an admin's key is registered.")
    # Whoever registers a key can sign with it: an admin who did so for another could delegate in their name.
    if command.by is not None and command.by.pk != person.pk:
        raise Refused("not-allowed", f"Only {person.name} registers a key of {person.name}, or the operator's console.")
    if command.by is not None and two_person():
        raise Refused(
            "not-allowed",
            "Two people hold signing keys here, so keys are enrolled and vouched for: see Your keys. "
            "The operator's console can still register one.",
        )
    try:
        key = sshsig.parse_public_key(command.line)
    except sshsig.SshSigError as error:
        raise Refused("invalid", f"This key cannot be used: {error}") from None
    if PersonKey.objects.filter(fingerprint=key.fingerprint).exists():
        raise Refused("conflict", "This key is registered already. Make a new one with: ssh-keygen -t ed25519")
    thumbprint = keys.thumbprint(key.public_key)
    if PersonKey.objects.filter(thumbprint=thumbprint).exists():
        raise Refused("conflict", "This key is registered already in another form. One key belongs to one person.")
    if AgentKey.objects.filter(thumbprint=thumbprint).exists():
        raise Refused("conflict", "This key is an agent's. No key signs both for an agent and for a person.")
    if Service.objects.filter(thumbprint=thumbprint).exists():
        raise Refused("conflict", "This key is a service's. No key signs both for a service and for a person.")
    must_not_be_the_logs(thumbprint)
    row = PersonKey.objects.create(
        fingerprint=key.fingerprint,
        thumbprint=thumbprint,
        person=person,
        line=key.line,
        purpose=PersonKey.DELEGATION,
        added_at=writer.now,
    )
    entry = writer.append(
        "person.key_added",
        subject=person.id,
        actor=actor_of(command.by),
        body={"person": person.id, "key": key.line, "fingerprint": key.fingerprint, "purpose": row.purpose},
    )
    return Result(row, entry)
