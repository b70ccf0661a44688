"""The folder `grants/` of a bundle: every capability that an agent ever held, as rows, as a drawing, and as counts.

Derived from the entries alone, by the code with which whoever verifies derives it again
(`imprimatur.verify.grant_history`).
"""

from __future__ import annotations

from collections.abc import Iterable

from audit.evidence.sections import Section, register_section
from imprimatur.verify import grant_files
from imprimatur.verify.grant_history import GrantHistory

ABOUT = (
    "who was given what: every capability that an agent ever held, which key gave it, how it ended. tree.txt\n"
    "                  draws the chains. The verifier derives all three files from the entries and compares them"
)


def fill(section: Section) -> None:
    """One pass over the entries that the bundle keeps, then the three files. Memory holds what was ever given."""
    history = GrantHistory(whole=section.source.whole)
    for entry in section.entries():
        history.entry(entry.payload, entry.envelope)
    section.add(grant_files.HISTORY, _ended(grant_files.history_lines(history)))
    section.add(grant_files.TREE, _ended(grant_files.tree_lines(history)))
    section.add(grant_files.COUNTS, grant_files.counts_bytes(history))


def _ended(lines: Iterable[bytes]) -> Iterable[bytes]:
    return (line + b"\n" for line in lines)


register_section(grant_files.FOLDER, fill, ABOUT)
