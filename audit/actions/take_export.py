"""Enter into the log that somebody takes a list away, before the first byte of it leaves."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth import get_user_model

from audit.errors import Declined
from audit.log import Actor, Appended, Writer
from imprimatur.formats.ids import new_id


@dataclass(frozen=True)
class Command:
    """``person`` takes ``count`` items out of the first ``size`` entries; ``query`` are the filters, as in an address.
    ``user_id`` is their login.

    ``what`` is entries, sample, comparison or bundle; ``form`` csv, jsonl, page or zip.
    """

    user_id: int
    person: str
    what: str
    form: str
    query: str
    size: int
    count: int


def apply(writer: Writer, command: Command) -> Appended:
    """Write `export.taken`. Raises Declined for somebody who was switched off since the page asked: the log would name
    a person who can act no more, and the notary would refuse it; EntryError when the entry is not of its shape.
    """
    if not get_user_model().objects.filter(pk=command.user_id, is_active=True).exists():
        raise Declined("Your account is not active.")
    return writer.append(
        "export.taken",
        subject=new_id("exp", writer.now),
        actor=Actor("person", command.person),
        body={
            "what": command.what,
            "form": command.form,
            "query": command.query,
            "size": command.size,
            "count": command.count,
        },
    )
