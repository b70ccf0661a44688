"""What was turned away at the door, as one entry for each key and minute."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from audit.log import SYSTEM, Writer
from imprimatur.formats.timestamps import format_time


@dataclass(frozen=True)
class Command:
    """``(minute, key, count by code)``; the key is a known thumbprint or ``unknown``."""

    counts: tuple[tuple[datetime, str, dict[str, int]], ...]


def apply(writer: Writer, command: Command) -> int:
    """Append the entries and return how many."""
    for minute, key, codes in command.counts:
        body = {"key": key, "minute": format_time(minute), "codes": dict(sorted(codes.items()))}
        writer.append("door.rejected", subject=f"key:{key}", actor=SYSTEM, body=body)
    return len(command.counts)
