"""Enrol a person's own signing key: they hold it, and it signed its own enrolment. It counts once it is vouched for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audit.log import Appended, Writer
from governance import ceremonies
from governance.actors import person_actor
from governance.ceremonies import Signed
from governance.errors import Refused
from governance.log_keys import must_not_be_the_logs
from governance.models import AgentKey, Person, PersonKey
from governance.runtime.models import Service
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.signing import ENROLMENT, SSH, WEBAUTHN

MOST_KEYS = 20
"""Keys of one person that are pending or in force, so that nobody floods the list that others vouch from."""


@dataclass(frozen=True)
class Command:
    """``signed`` is the enrolment statement, signed by the key that it enrols; ``by`` is its owner."""

    signed: Signed
    by: Person


@dataclass(frozen=True)
class Result:
    key: PersonKey
    entry: Appended


def apply(writer: Writer, command: Command) -> Result:
    """Write the key down as pending. One key is one person's for ever, in whatever form it comes, and never an agent's.

    Raises Refused: wrong-state, not-allowed, conflict (the key is somebody's), invalid (too many keys).
    """
    signed, person = command.signed, command.by
    ceremonies.use(writer, signed, by=person)
    ceremonies.says(signed, ENROLMENT, person=person.pk, realm=writer.realm)
    document = signed.document
    must_be_free(document["thumbprint"], person)
    kept = ceremonies.kept_of(signed.person, signed.ceremony) if signed.ceremony else {}
    body = {"person": person.pk, **signed.entry}
    if kept.get("attestation"):
        body["attestation"] = kept["attestation"]
    entry = writer.append(
        "person.key_enrolled",
        subject=person.pk,
        actor=person_actor(person, key=document["key"], assurance=signed.assurance),
        body=body,
    )
    key = PersonKey.objects.create(
        fingerprint=document["key"],
        person=person,
        kind=document["kind"],
        purpose=PersonKey.SIGNING,
        label=document["label"],
        thumbprint=document["thumbprint"],
        device_bound=document["device_bound"],
        statement=signed.raw,
        enrolled_index=entry.index,
        added_at=writer.now,
        sign_count=signed.sign_count or 0,
        **_particulars(document, kept),
    )
    return Result(key, entry)


def must_be_free(thumbprint: str, person: Person) -> None:
    """Raise Refused ``conflict`` for a key that a person or agent has, ``invalid`` when this person has enough."""
    known = PersonKey.objects.filter(thumbprint=thumbprint).first()
    if known is not None:
        whose = "already yours" if known.person_id == person.pk else "registered already, in this form or another"
        if known.revoked_at is not None:
            whose = "one that was revoked or lapsed, and cannot come back"
        raise Refused("conflict", f"This key is {whose}. One key belongs to one person for ever: make a new one.")
    if AgentKey.objects.filter(thumbprint=thumbprint).exists():
        raise Refused("conflict", "This key is an agent's. No key signs both for an agent and for a person.")
    if Service.objects.filter(thumbprint=thumbprint).exists():
        raise Refused("conflict", "This key is a service's. No key signs both for a service and for a person.")
    must_not_be_the_logs(thumbprint)
    if person.keys.filter(revoked_at__isnull=True).count() >= MOST_KEYS:
        raise Refused("invalid", f"You have {MOST_KEYS} keys already. Revoke one that you no longer use.")


def _particulars(document: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    if document["kind"] == SSH:
        return {"line": document["public_key"]}
    assert document["kind"] == WEBAUTHN
    return {
        "public_key": un_b64u(document["public_key"]),
        "credential": document["credential"],
        "rp_id": document["rp_id"],
        "attested": bool(kept.get("attested")),
        "aaguid": kept.get("aaguid", ""),
        "transports": kept.get("transports", []),
    }
