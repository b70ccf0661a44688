"""Keep how the building of an evidence bundle goes: begun, or failed and why."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Writer
from audit.models import Bundle


@dataclass(frozen=True)
class Command:
    """What became of it: an error to show, or none while a worker is at it."""

    bundle: str
    error: str = ""


def apply(writer: Writer, command: Command) -> None:
    """Note the error, or the beginning. A bundle that is ready stays ready."""
    state = Bundle.FAILED if command.error else Bundle.BUILDING
    Bundle.objects.filter(pk=command.bundle).exclude(state=Bundle.READY).update(state=state, error=command.error)
