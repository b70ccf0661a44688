"""Give a saved view of the log explorer another name."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Writer
from audit.models import SavedView


class NameTakenError(Exception):
    """This person has another view of that name."""


@dataclass(frozen=True)
class Command:
    """``user_id`` is the login that asks: only its own views change."""

    user_id: int
    view: int
    name: str


def apply(writer: Writer, command: Command) -> bool:
    """Rename it, and tell whether there was such a view of this person. Raises NameTakenError."""
    own = SavedView.objects.filter(owner_id=command.user_id)
    if own.filter(name=command.name).exclude(pk=command.view).exists():
        raise NameTakenError
    return bool(own.filter(pk=command.view).update(name=command.name))
