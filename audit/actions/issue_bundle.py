"""Enter a finished evidence bundle into the log: who took what, up to which entry, chosen how."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Actor, Appended, Writer
from audit.models import Bundle

SWITCHED_OFF = "Whoever asked for it was switched off before it was done."


@dataclass(frozen=True)
class Command:
    """A bundle whose file is complete: the digest of MANIFEST.sha256, the entries covered, those of
    them that are in it, its length in bytes."""

    bundle: str
    manifest: str
    size: int
    shown: int
    bytes: int


def apply(writer: Writer, command: Command) -> Appended | None:
    """Write `bundle.issued` and make the bundle ready. A second time changes nothing and returns None.

    A bundle for somebody who was switched off meanwhile fails, and stays out of the log.
    """
    bundle = Bundle.objects.select_related("asked_by").get(pk=command.bundle)
    if bundle.state == Bundle.READY:
        return None
    if not bundle.asked_by.is_active:
        # The log names who takes it, and somebody who was switched off since then takes nothing.
        bundle.state, bundle.error = Bundle.FAILED, SWITCHED_OFF
        bundle.save(update_fields=["state", "error"])
        return None
    entry = writer.append(
        "bundle.issued",
        subject=bundle.id,
        actor=Actor("person", bundle.asked_as),
        body={"bundle": bundle.id, "manifest": command.manifest, "size": command.size, "filters": bundle.filters},
    )
    bundle.state, bundle.error = Bundle.READY, ""
    bundle.size, bundle.shown, bundle.bytes = command.size, command.shown, command.bytes
    bundle.manifest = command.manifest
    bundle.ready_at, bundle.issued_index = writer.now, entry.index
    bundle.save()
    return entry
