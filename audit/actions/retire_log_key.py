"""End the use of a log key: checkpoints that cover the entry are signed by the others alone."""

from __future__ import annotations

from dataclasses import dataclass

from audit import keyring
from audit.errors import KeyRefused
from audit.log import CONSOLE, Appended, Writer
from audit.models import LogKey


@dataclass(frozen=True)
class Command:
    """The verifier key to retire."""

    vkey: str
    reason: str


def apply(writer: Writer, command: Command) -> Appended:
    """Write `log.key_retired`. Raises KeyRefused for a key that is not in use, and for the last one."""
    in_use = keyring.in_use()
    if command.vkey not in in_use:
        raise KeyRefused("This log key is not in use. `manage.py log_keys list` shows those that are.")
    if len(in_use) == 1:
        raise KeyRefused("This is the only log key: put another one in use first.")
    body = {"log_vkey": command.vkey, "reason": command.reason}
    entry = writer.append("log.key_retired", subject=writer.realm, actor=CONSOLE, body=body)
    LogKey.objects.update_or_create(
        key=command.vkey,
        defaults={"until": entry.index},
        create_defaults={"role": LogKey.LOG, "since": in_use[command.vkey], "until": entry.index},
    )
    return entry
