"""Everything in a bundle that its entries give, about what runs and what that amounts to, in one reading of them.

Who makes a bundle and who verifies one use this same class, with another place for the files to go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imprimatur.formats import evidence_zip
from imprimatur.formats.selection import REQUEST_KINDS
from imprimatur.verify import assessment, oscal, rooms
from imprimatur.verify.assessment import Known, Marks
from imprimatur.verify.periods import Periods

FOLDERS = rooms.FOLDERS | {oscal.FOLDER}
FILES = frozenset({assessment.FILE, "CLAIMS.html"})


class Derived:
    """Feed every entry that a bundle keeps, in order, with its bytes; then `finish`."""

    def __init__(self, sink: rooms.Sink) -> None:
        self.marks = Marks()
        self.periods = Periods()
        self._rooms = [room(sink) for room in rooms.ROOMS]

    def entry(self, entry: Mapping[str, Any], raw: bytes) -> None:
        """Take in the next entry. Those about one request change nothing here, and may be left out."""
        if entry["kind"] in REQUEST_KINDS:
            return
        self.marks.entry(entry)
        self.periods.entry(entry, raw)
        for room in self._rooms:
            room.entry(entry)

    def finish(self) -> None:
        """Write what follows from all entries together."""
        for room in self._rooms:
            room.finish()


class Check:
    """Holds these files of a bundle against its entries. A bundle that has none of them has no fault: what they say
    follows from the entries, which are there."""

    def __init__(self, reader: evidence_zip.Reader) -> None:
        self._zip = reader
        self._compared = rooms.Compared(reader)
        self._folders = {name.partition("/")[0] for name in reader.names if "/" in name} & FOLDERS
        # Bundles had a folder of copies before they had anything else of this.
        self.there = bool(self._folders - {rooms.Shipping.FOLDER} or FILES & set(reader.names))
        self._derived = Derived(self._compared) if self.there else None

    def entry(self, entry: Mapping[str, Any], raw: bytes) -> None:
        """Take in the next entry."""
        if self._derived is not None:
            self._derived.entry(entry, raw)

    @property
    def marks(self) -> Marks:
        """What was seen of the newest entries."""
        return self._derived.marks if self._derived is not None else Marks()

    def finish(self, known: Known, hashes: Mapping[str, str]) -> str:
        """Say how many files were held against the entries. Raises EvidenceZipError with the first that differs: the
        file, its line, and the entry."""
        if self._derived is None:
            return "the bundle has no files about what runs, so this is from its entries alone"
        self._derived.finish()
        self._compared.finish(rooms.FOLDERS)
        if self._compared.fault:
            raise evidence_zip.EvidenceZipError(self._compared.fault)
        claims = assessment.assess(known)
        self._same(assessment.FILE, assessment.encode(claims))
        for name in FILES:
            if name not in self._zip:
                raise evidence_zip.EvidenceZipError(f"{name} is missing")
        wanted = oscal.documents(claims, self._derived.periods, hashes)
        for name, content in wanted.items():
            self._same(f"{oscal.FOLDER}/{name}", content)
        for name in self._zip.names:
            folder, _, rest = name.partition("/")
            if folder == oscal.FOLDER and rest not in wanted:
                raise evidence_zip.EvidenceZipError(f"{name} does not belong into a bundle")
        count = self._compared.count + len(wanted) + 1
        return f"{count} files about what runs, the statements and the controls are what the entries give"

    def _same(self, name: str, content: bytes) -> None:
        if name not in self._zip:
            raise evidence_zip.EvidenceZipError(f"{name} is missing")
        if self._zip.size(name) != len(content) or self._zip.read(name) != content:
            raise evidence_zip.EvidenceZipError(f"{name} is not what the entries give")
