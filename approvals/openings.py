"""Commitments that people and agents make, and the openings kept beside the log so that the words can be erased."""

from __future__ import annotations

import secrets
from typing import Any

from audit.models import Opening
from governance.errors import Refused
from imprimatur.formats import canonical, commitments
from imprimatur.formats.encoding import b64u, un_b64u
from imprimatur.formats.shapes import Commitment, ShapeError, check

LONGEST_TEXT = 10_000


def row(commitment: str, opening: commitments.Opening, subject: str) -> Opening:
    """The row that keeps an opening of something about ``subject``."""
    return Opening(
        commitment=commitment,
        subject=subject,
        name=opening.name,
        key=opening.key,
        value=canonical.dumps_json(opening.value),
    )


def said(name: str, value: Any, subject: str) -> tuple[str, Opening]:
    """Commit to a person's words, or to any JSON they put together, under a random salt.

    Raises Refused ``invalid`` for words without end.
    """
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        raise Refused("invalid", f"At most {LONGEST_TEXT} characters. Say it in fewer.")
    commitment, opening = commitments.commit(secrets.token_bytes(32), name, value)
    return commitment, row(commitment, opening, subject)


def pack(opening: Opening) -> dict[str, str]:
    """An opening as JSON, to wait beside a ceremony until what it opens is signed."""
    return {
        "commitment": opening.commitment,
        "subject": opening.subject,
        "name": opening.name,
        "key": b64u(bytes(opening.key)),
        "value": b64u(bytes(opening.value or b"null")),
    }


def unpack(packed: dict[str, str]) -> Opening:
    """The row again."""
    return Opening(**{**packed, "key": un_b64u(packed["key"]), "value": un_b64u(packed["value"])})


def shown(opening: Opening) -> dict[str, Any]:
    """An opening as whoever checks the commitment reads it: name, key in base64url, value."""
    return {
        "name": opening.name,
        "key": b64u(bytes(opening.key)),
        "value": canonical.loads(bytes(opening.value or b"null")),
    }


def of(subject: str) -> dict[str, Opening]:
    """The openings that are still at hand for a subject, by commitment."""
    rows = Opening.objects.filter(subject=subject, erased_at=None).exclude(value=None)
    return {one.commitment: one for one in rows}


def values(subject: str) -> dict[str, Any]:
    """What is still known about a subject, by commitment; erased values are left out."""
    return {commitment: canonical.loads(bytes(one.value or b"null")) for commitment, one in of(subject).items()}


def value_of(commitment: str) -> Any:
    """What is behind one commitment, or None when there is nothing or it was erased."""
    found = Opening.objects.filter(pk=commitment, erased_at=None).first() if commitment else None
    return None if found is None or found.value is None else canonical.loads(bytes(found.value))


def text_of(commitment: str) -> str | None:
    """The words behind one commitment, or None when there are none or they were erased."""
    value = value_of(commitment)
    return value if isinstance(value, str) else None


def is_commitment(text: str) -> bool:
    """Whether this is the spelling of a commitment."""
    try:
        check(text, Commitment())
    except ShapeError:
        return False
    return True
