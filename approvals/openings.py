"""Commitments that people and agents make, and the openings kept beside the log so that the words can be erased."""

from __future__ import annotations

import secrets
from typing import Any

from audit.models import Opening
from imprimatur.formats import canonical, commitments
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


def said(name: str, text: str, subject: str) -> tuple[str, Opening]:
    """Commit to a person's words under a random salt."""
    commitment, opening = commitments.commit(secrets.token_bytes(32), name, text)
    return commitment, row(commitment, opening, subject)


def values(subject: str) -> dict[str, Any]:
    """What is still known about a subject, by commitment; erased values are left out."""
    rows = Opening.objects.filter(subject=subject, erased_at=None).exclude(value=None)
    return {one.commitment: canonical.loads(bytes(one.value or b"null")) for one in rows}


def text_of(commitment: str) -> str | None:
    """The words behind one commitment, or None when there are none or they were erased."""
    if not commitment:
        return None
    found = Opening.objects.filter(pk=commitment, erased_at=None).first()
    if found is None or found.value is None:
        return None
    value = canonical.loads(bytes(found.value))
    return value if isinstance(value, str) else None


def is_commitment(text: str) -> bool:
    """Whether this is the spelling of a commitment."""
    try:
        check(text, Commitment())
    except ShapeError:
        return False
    return True
