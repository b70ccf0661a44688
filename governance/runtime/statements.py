"""A statement on its way into the log: opened and checked outside the lock, put into its service's tree under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from audit.log import Actor, Writer
from audit.models import Entry
from governance.errors import Refused
from governance.runtime import trees
from governance.runtime.models import Service
from imprimatur.formats import attestation, canonical, digests, dsse
from imprimatur.formats.timestamps import parse_time

AHEAD = timedelta(seconds=60)
AGAIN = 20
"""So many of its newest statements a service may send again to read the answer it missed: one whole batch."""

KINDS = ("launch.attested", "launch.refused", "observation.recorded", "canary.reported")


@dataclass(frozen=True)
class Said:
    """A statement that its service signed, about this realm and of the wanted type. Nothing else is known of it yet."""

    service: str
    text: str
    predicate: Mapping[str, Any]
    subjects: Mapping[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of the exact text."""
        return digests.sha256(self.text.encode("utf-8"))


def read(service: Service, text: str, predicate_type: str, now: datetime) -> Said:
    """Open a statement and check who signed it. Raises Refused ``malformed``: what is not even that leaves no entry."""
    try:
        statement = attestation.open_statement(text.encode("utf-8"), predicate_type)
    except (attestation.AttestationError, UnicodeEncodeError) as error:
        raise Refused("malformed", f"This is no such statement: {error}") from None
    predicate = statement.predicate
    if predicate["realm"] != settings.REALM:
        raise Refused("malformed", f"This statement is for another realm. Here it is {settings.REALM}.")
    if predicate["service"] != service.pk:
        raise Refused("malformed", "This statement is in another service's name. A service signs for itself.")
    if not statement.signed_by(bytes(service.public_key)):
        raise Refused("malformed", "This service's key did not sign the statement.")
    if parse_time(predicate["at"]) > now + AHEAD:
        raise Refused("malformed", "This statement is from the future. Compare the service's clock with the server's.")
    return Said(service.pk, text, predicate, statement.subjects)


def signer_of(writer: Writer, said: Said) -> Service:
    """The service as it is under the lock, seen just now. Raises Refused ``key-revoked`` when it was retired since."""
    service = Service.objects.get(pk=said.service)
    if service.retired_at is not None:
        raise Refused("key-revoked", "This service was retired. What it signs no longer counts.")
    service.last_seen_at = writer.now
    return service


def written_before(service: Service, said: Said) -> int | None:
    """The index of the entry that holds this very text, when it is one of the newest statements of the service."""
    behind = service.size - said.predicate["own"]["size"]
    if not 0 < behind <= AGAIN:
        return None
    written = Entry.objects.filter(actor_type="service", actor_id=service.pk, kind__in=KINDS).order_by("-index")
    for entry in written[: 2 * AGAIN]:  # refusals without a statement stand between
        text = text_of(entry)
        behind -= text is not None
        if behind == 0:
            return entry.index if text == said.text else None
    return None


def text_of(entry: Entry) -> str | None:
    """The statement in an entry; None in a refusal that keeps a secret out of the log."""
    body = canonical.loads(dsse.open_envelope(bytes(entry.envelope)).payload)["body"]
    found: str | None = body.get("statement")
    return found


def actor_of(service: Service) -> Actor:
    """A service with its one key."""
    return Actor("service", service.pk, key=service.thumbprint)


__all__ = ["AGAIN", "KINDS", "Said", "actor_of", "read", "signer_of", "text_of", "trees", "written_before"]
