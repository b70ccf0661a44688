"""The folder `shipping/` of a bundle: what the log says about copies on other systems."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from audit.actions.note_shipped import KIND
from audit.evidence.sections import Section, register_section

NAME = "shipping"
ABOUT = (
    "copies on other systems, as the server read them back: its own claim, unless you ask the other system.\n"
    "                  Each root is that of this log at that size"
)


def _lines(section: Section) -> Iterator[dict[str, Any]]:
    for entry in section.entries(KIND):
        yield {"index": entry.index, "time": entry.payload["time"], **entry.payload["body"]}


def fill(section: Section) -> None:
    """One line per `log.shipped`, oldest first."""
    section.add_lines("shipped.jsonl", _lines(section))


register_section(NAME, fill, ABOUT)
