"""Receipts: the signed log entry of a decision with the votes behind it, as handed to the agent (DESIGN 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from audit.log import Appended
from audit.models import Entry
from imprimatur.formats.encoding import b64


def receipt(index: int, votes: Sequence[int] = ()) -> dict[str, Any]:
    """The receipt of entry ``index``: ``{index, envelope, votes: [{index, envelope}]}``, envelopes in padded base64.

    The votes are in the order given. Raises Entry.DoesNotExist when one of them is not in the log: a receipt that
    lacks a vote would be refused by whoever checks it.
    """
    found = {row.index: bytes(row.envelope) for row in Entry.objects.filter(index__in={index, *votes})}
    for wanted in (index, *votes):
        if wanted not in found:
            raise Entry.DoesNotExist(f"entry {wanted} is not in the log")
    return {
        "index": index,
        "envelope": b64(found[index]),
        "votes": [{"index": at, "envelope": b64(found[at])} for at in votes],
    }


def receipt_of(entry: Appended, votes: Sequence[int] = ()) -> dict[str, Any]:
    """The receipt of an entry that was just appended, without reading it back. The votes are read, if there are any."""
    if votes:
        return receipt(entry.index, votes)
    return {"index": entry.index, "envelope": b64(entry.envelope), "votes": []}
