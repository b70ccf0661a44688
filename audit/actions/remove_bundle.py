"""Say of a bundle that its file is gone from this server, because it held openings that were erased since."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Writer
from audit.models import Bundle

REMOVED = "Removed: it held openings that were erased since."


@dataclass(frozen=True)
class Command:
    """A bundle whose file was deleted."""

    bundle: str


def apply(writer: Writer, command: Command) -> None:
    """Keep the words for the list. The bundle stays issued: what was taken away was taken away."""
    Bundle.objects.filter(pk=command.bundle, state=Bundle.READY).update(error=REMOVED)
