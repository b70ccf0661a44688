"""What one person may do alone, and sign if they like: the signature says the act and every field that they chose."""

from __future__ import annotations

from typing import Any

from audit.log import Actor, Writer
from governance import ceremonies
from governance.actors import person_actor
from governance.ceremonies import Signed
from governance.models import Person
from imprimatur.formats.signing import ACT


def fields(act: str, subject: str, content: dict[str, Any]) -> dict[str, Any]:
    """What an ACT statement says besides the common fields. ``content``: what the person chose of the entry's body."""
    return {"typ": ACT, "act": act, "subject": subject, "content": content}


def signed_by(writer: Writer, by: Person, signed: Signed, said: dict[str, Any]) -> tuple[Actor, dict[str, Any]]:
    """Use the signature up; the actor and the part of the body that go with it.

    ``said`` is `fields` of exactly what is done. Raises Refused: wrong-state (something else was signed, or it is used
    up), not-allowed (somebody else's), key-revoked.
    """
    wanted = {name: value for name, value in said.items() if name != "typ"}
    ceremonies.says(signed, ACT, realm=writer.realm, person=by.pk, **wanted)
    ceremonies.use(writer, signed, by=by)
    return person_actor(by, key=signed.key or "", assurance=signed.assurance), {"signed": signed.entry}
