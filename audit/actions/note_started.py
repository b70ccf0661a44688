"""Enter into the log what a process of the server found itself to be made of when it started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.log import SYSTEM, Appended, Writer

KIND = "server.started"


@dataclass(frozen=True)
class Command:
    """``body`` as the entry's form has it: digests, counts and names, no value of a setting (invariant 11)."""

    body: Mapping[str, Any]


def apply(writer: Writer, command: Command) -> Appended:
    """Write ``server.started``. Every start is an entry of its own, also when nothing changed since the last."""
    return writer.append(KIND, subject=writer.realm, actor=SYSTEM, body=dict(command.body))
