"""A signed request counts once: its nonce is spent in the transaction of the change it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from approvals.models import Nonce as NonceRow
from audit.log import Writer
from governance.errors import Refused


@dataclass(frozen=True)
class Nonce:
    """The nonce of one signed request, and until when the signature would be accepted at all."""

    key: str
    value: str
    expires_at: datetime


def apply(writer: Writer, nonce: Nonce | None) -> None:
    """Spend a nonce; None (a change that no signed request asked for) spends nothing. Raises Refused ``replayed``.

    Looking first is enough, because every writer holds the head lock; the unique constraint is the second defence.
    """
    if nonce is None:
        return
    if NonceRow.objects.filter(key=nonce.key, nonce=nonce.value).exists():
        raise Refused("replayed", "This signed request was received before. Sign again with a new nonce to retry.")
    NonceRow.objects.create(key=nonce.key, nonce=nonce.value, expires_at=nonce.expires_at)
