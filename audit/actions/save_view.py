"""Keep the filters of the log explorer under a name, for whoever saved them. Nothing of the record changes."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Writer
from audit.models import SavedView

MOST = 50
"""Saved views of one person: more would be a list to search through again."""


class TooManyError(Exception):
    """This person keeps as many views as anybody may."""


@dataclass(frozen=True)
class Command:
    """``user_id`` is the login; ``query`` the filters, as in an address."""

    user_id: int
    name: str
    query: str


def apply(writer: Writer, command: Command) -> SavedView:
    """Keep the view. A view of the same name of the same person is replaced. Raises TooManyError."""
    own = SavedView.objects.filter(owner_id=command.user_id)
    if not own.filter(name=command.name).exists() and own.count() >= MOST:
        raise TooManyError
    saved, _ = SavedView.objects.update_or_create(
        owner_id=command.user_id, name=command.name, defaults={"query": command.query, "saved_at": writer.now}
    )
    return saved
