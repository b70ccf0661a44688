"""Have a further log key sign the checkpoints, beside those in use, so that everybody can get to know it."""

from __future__ import annotations

from dataclasses import dataclass

from audit import keyring
from audit.errors import KeyRefused
from audit.log import CONSOLE, Appended, Writer
from audit.models import LogKey
from audit.signer import Signer
from imprimatur.formats import note

MOST = 8


@dataclass(frozen=True)
class Command:
    """The key that signs as well, wherever its private half is."""

    signer: Signer
    reason: str


def apply(writer: Writer, command: Command) -> Appended:
    """Write `log.key_added`; checkpoints that cover this entry carry the new signature as well.

    Raises KeyRefused for a key that this log ever had, and beyond eight at once.
    """
    keyring.must_be_unused(command.signer.public_key)
    if len(keyring.in_use()) >= MOST:
        raise KeyRefused(f"{MOST} log keys are in use: retire one first.")
    vkey = note.Vkey(writer.realm, command.signer.public_key).format()
    body = {"log_vkey": vkey, "reason": command.reason}
    entry = writer.append("log.key_added", subject=writer.realm, actor=CONSOLE, body=body)
    LogKey.objects.create(key=vkey, role=LogKey.LOG, since=entry.index)
    return entry
