"""A signed request counts once: its nonce is spent in the transaction of the change it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import connection

from approvals.models import Nonce as NonceRow
from audit.log import Writer
from governance.errors import Refused


class Replayed(Refused):
    """The nonce was used before. ``key`` is the thumbprint that signed, for the count of what was turned away."""

    def __init__(self, key: str) -> None:
        super().__init__("replayed", "This signed request was received before. Sign again with a new nonce to retry.")
        self.key = key


@dataclass(frozen=True)
class Nonce:
    """The nonce of one signed request, and until when the signature would be accepted at all."""

    key: str
    value: str
    expires_at: datetime


def apply(writer: Writer, nonce: Nonce | None) -> None:
    """Spend a nonce; None (a change that no signed request asked for) spends nothing. Raises Refused ``replayed``.

    The unique constraint decides: either this statement inserts the row or somebody did before.
    """
    if nonce is None:
        return
    quote = connection.ops.quote_name
    columns = ", ".join(quote(name) for name in ("key", "nonce", "expires_at"))
    until = connection.ops.adapt_datetimefield_value(nonce.expires_at)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {quote(NonceRow._meta.db_table)} ({columns}) VALUES (%s, %s, %s) "  # noqa: S608  # our names
            "ON CONFLICT DO NOTHING",
            [nonce.key, nonce.value, until],
        )
        if cursor.rowcount != 1:
            raise Replayed(nonce.key)
