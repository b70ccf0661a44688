"""Forget a saved view of the log explorer."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Writer
from audit.models import SavedView


@dataclass(frozen=True)
class Command:
    """``user_id`` is the login that asks: only its own views go."""

    user_id: int
    view: int


def apply(writer: Writer, command: Command) -> bool:
    """Delete it, and tell whether there was such a view of this person."""
    deleted, _ = SavedView.objects.filter(owner_id=command.user_id, pk=command.view).delete()
    return bool(deleted)
