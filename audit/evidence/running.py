"""What a bundle derives from its entries about what runs, and what that amounts to: `launches/`, `monitor/`,
`canaries/`, `shipping/`, `build/`, the statements (`claims.json`, `CLAIMS.html`) and `oscal/`.

Written by the code with which whoever verifies derives it again (`imprimatur.verify.derived`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from audit.evidence import assessment, claims_page
from audit.evidence.source import Source
from audit.evidence.staging import Staging, Writing
from imprimatur.formats.selection import AUTHORITY, BOOKKEEPING
from imprimatur.verify import assessment as rules
from imprimatur.verify import oscal
from imprimatur.verify.derived import FOLDERS, Derived
from imprimatur.verify.grant_history import GrantHistory

ABOUT = {
    "launches": "each launch as its orchestrator signed it, the effective configuration, the layers and their\n"
    "                  signatures. The verifier derives this folder and those below from the entries",
    "monitor": "what independent monitors signed, joined with the launches: join.json counts what has no counterpart,\n"
    "                  in both directions",
    "canaries": "attacks on ourselves, in production: each run as it was signed, and which time the runs cover",
    "shipping": "copies on other systems, as the server read them back: its own claim, unless you ask the other system",
    "build": "what the server measured of itself whenever it began",
    "oscal": "plan, assessment plan, results and what is left to do, as OSCAL 1.2.1",
}
"""What README.txt says of each folder."""

assert set(ABOUT) == FOLDERS

_ABOUT_NO_REQUEST = tuple(sorted(AUTHORITY | BOOKKEEPING))


def add(source: Source, staging: Staging, at_entry: Callable[[int], object] = lambda index: None) -> None:
    """Add these files. Comes last: OSCAL names the digests of other files."""
    grants = GrantHistory(whole=source.whole)
    with _Files(staging) as files:
        derived = Derived(files)
        for entry in source.entries(*_ABOUT_NO_REQUEST):
            derived.entry(entry.payload, entry.envelope)
            grants.entry(entry.payload, entry.envelope)
        derived.finish()
    facts, broken = assessment.facts_of(source, at_entry)
    known = rules.Known(
        facts,
        grants,
        derived.marks,
        source.size,
        bytes.fromhex(source.checkpoint.root),
        source.whole,
        source.reader.root,
        broken,
    )
    claims = rules.assess(known)
    staging.add(rules.FILE, rules.encode(claims))
    staging.add(claims_page.NAME, claims_page.text(claims))
    hashes = {name: staging.measured(name).sha256.hex() for name in staging.names()}
    for name, content in oscal.documents(claims, derived.periods, hashes).items():
        staging.add(f"{oscal.FOLDER}/{name}", content)


class _Files:
    """Rooms write here: whole files at once, and files of lines that stay open until the end."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        self._stack = ExitStack()
        self._open: dict[str, Writing] = {}

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *error: Any) -> bool:
        return bool(self._stack.__exit__(*error))

    def begin(self, name: str) -> None:
        """Open a file of lines."""
        if name not in self._open:
            self._open[name] = self._stack.enter_context(self._staging.open(name))

    def line(self, name: str, content: bytes, index: int) -> None:
        """Write the next line of a file."""
        self.begin(name)
        self._open[name].write(content + b"\n")

    def file(self, name: str, content: bytes, index: int) -> None:
        """Write a whole file."""
        self._staging.add(name, content)
