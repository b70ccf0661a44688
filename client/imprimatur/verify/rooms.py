"""Folders of a bundle about what runs: launches, what monitors saw, canaries, starts of the server, copies elsewhere.

Each room is fed with the entries of a log, in order, and writes its files as it goes. The same code writes a bundle
and verifies it: whoever verifies derives every file anew from the entries and demands equal bytes. What services
signed stands there as its exact envelopes, one per line and one file per service, so that the lines of a file are the
leaves of that service's own tree.

A room keeps one row per launch, and otherwise counts; the lists themselves go to the files.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

from imprimatur.formats import attestation, canonical, evidence_zip, signing, sshsig
from imprimatur.rules import canaries as canary_rules
from imprimatur.rules import launches as launch_rules
from imprimatur.verify import copies

Entry = Mapping[str, Any]


class Sink(Protocol):
    """Where a room's files go: to a bundle that is made, or into comparison with one that is there."""

    def begin(self, name: str) -> None:
        """There is a file of this name, be it empty."""

    def line(self, name: str, content: bytes, index: int) -> None:
        """The next line of a file, without its end; it follows from this entry."""

    def file(self, name: str, content: bytes, index: int) -> None:
        """A whole file; it follows from this entry (-1: from all of them)."""


class Room:
    """A folder. ``KINDS`` are the entries that it looks at; others may be fed and change nothing."""

    FOLDER: ClassVar[str]
    KINDS: ClassVar[frozenset[str]]
    LISTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._lines: Counter[str] = Counter()
        for name in self.LISTS:
            sink.begin(f"{self.FOLDER}/{name}")

    def entry(self, entry: Entry) -> None:
        """Take in the next entry."""
        if entry["kind"] in self.KINDS:
            self._entry(entry)

    def finish(self) -> None:
        """Write what follows from all entries together."""

    def _entry(self, entry: Entry) -> None:
        raise NotImplementedError

    def _row(self, name: str, entry: Entry, **fields: Any) -> None:
        row = {"index": entry["index"], "time": entry["time"], **fields}
        self._line(name, canonical.dumps_json(row), entry["index"])

    def _line(self, name: str, content: bytes, index: int) -> int:
        """Write a line and return its number, from 1."""
        self._sink.line(f"{self.FOLDER}/{name}", content, index)
        self._lines[name] += 1
        return self._lines[name]

    def _file(self, name: str, content: bytes, index: int = -1) -> str:
        self._sink.file(f"{self.FOLDER}/{name}", content, index)
        return f"{self.FOLDER}/{name}"

    def _signed(self, entry: Entry) -> dict[str, Any]:
        """Write the envelope that a service signed, and say where it stands: file and line."""
        service = entry["actor"]["id"]
        name = f"statements/{service}.jsonl"
        line = self._line(name, entry["body"]["statement"].encode("utf-8"), entry["index"])
        return {"service": service, "statement": {"file": f"{self.FOLDER}/{name}", "line": line}}


class Launches(Room):
    """`launches/`: each launch as its orchestrator signed it, the effective configuration, and the signed layers."""

    FOLDER = "launches"
    KINDS = frozenset(
        {"launch.attested", "launch.refused", "launch.ended", "person.key_added", "person.key_enrolled"},
    )
    LISTS = ("index.jsonl",)

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._written: set[str] = set()
        self._people: dict[str, str] = {}

    def _entry(self, entry: Entry) -> None:
        body, kind = entry["body"], entry["kind"]
        if kind == "person.key_added":
            self._people[body["fingerprint"]] = body["person"]
        elif kind == "person.key_enrolled":
            if body["evidence"]["kind"] == signing.SSH:
                said = signing.parse(body["statement"].encode("utf-8"), signing.ENROLMENT)
                self._people[sshsig.parse_public_key(said["public_key"]).fingerprint] = body["person"]
        elif kind == "launch.attested":
            self._attested(entry)
        elif kind == "launch.refused":
            signed = self._signed(entry) if "statement" in body else {"service": entry["actor"]["id"]}
            self._row("index.jsonl", entry, kind=kind, reasons=body["reasons"], digest=body["digest"], **signed)
        else:
            self._row("index.jsonl", entry, kind=kind, **body)

    def _attested(self, entry: Entry) -> None:
        statement = attestation.open_statement(entry["body"]["statement"].encode("utf-8"), attestation.LAUNCH)
        predicate, subject = statement.predicate, statement.subjects[launch_rules.SUBJECT]
        effective = self._once(f"effective/{subject}.json", canonical.dumps(predicate["effective"]), entry)
        self._row(
            "index.jsonl",
            entry,
            kind=entry["kind"],
            launch=predicate["launch"],
            agent=predicate["agent"],
            subject=subject,
            effective=effective,
            layers=[self._layer(layer, entry) for layer in predicate["layers"]],
            **self._signed(entry),
        )

    def _layer(self, layer: Mapping[str, Any], entry: Entry) -> dict[str, Any]:
        text = layer["text"].encode("utf-8")
        said = {"name": layer["name"], "file": self._once(f"layers/{_hex(text)}.toml", text, entry)}
        if "signature" in layer:
            signature = layer["signature"].encode("utf-8")
            said["signature"] = self._once(f"layers/{_hex(signature)}.sig", signature, entry)
            key = sshsig.parse(layer["signature"]).key.fingerprint
            said |= {"key": key, **({"person": self._people[key]} if key in self._people else {})}
        return said

    def _once(self, name: str, content: bytes, entry: Entry) -> str:
        """Write a file that is named after its own digest, the first time."""
        if name not in self._written:
            self._written.add(name)
            self._file(name, content, entry["index"])
        return f"{self.FOLDER}/{name}"


class Monitor(Room):
    """`monitor/`: every observation as its monitor signed it, and the join with launches, both ways."""

    FOLDER = "monitor"
    KINDS = frozenset({"launch.attested", "launch.ended", "observation.recorded"})
    LISTS = ("index.jsonl", "launches.jsonl")

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._launches: dict[str, dict[str, Any]] = {}
        self._codes: Counter[str] = Counter()
        self._count = self._unmatched = self._differing = self._unread = 0

    def _entry(self, entry: Entry) -> None:
        body, kind = entry["body"], entry["kind"]
        if kind == "launch.attested":
            row = {"launch": body["launch"], "agent": body["agent"], "index": entry["index"], "attested": entry["time"]}
            self._launches[body["launch"]] = {**row, "observations": 0, "differing": 0}
        elif kind == "launch.ended":
            self._launches[body["launch"]] |= {"ended": entry["time"], "how": body["how"]}
        else:
            self._observed(entry)

    def _observed(self, entry: Entry) -> None:
        body = entry["body"]
        statement = attestation.open_statement(body["statement"].encode("utf-8"), attestation.OBSERVATION)
        claimed, findings = statement.predicate.get("launch"), body["findings"]
        self._count += 1
        self._unmatched += not body["matched"]
        self._differing += bool(findings)
        self._unread += statement.predicate.get("unread", 0)
        self._codes.update(finding["code"] for finding in findings)
        if body["matched"]:
            row = self._launches[claimed or ""]
            row["observations"] += 1
            row["differing"] += bool(findings)
            row["last"] = entry["time"]
        named = {} if claimed is None else {"launch": claimed}
        self._row("index.jsonl", entry, matched=body["matched"], findings=findings, **named, **self._signed(entry))

    def finish(self) -> None:
        rows = list(self._launches.values())
        for row in rows:
            self._line("launches.jsonl", canonical.dumps_json(row), row["index"])
        unseen = [row for row in rows if not row["observations"]]
        join = {
            "typ": "imprimatur/join/v1",
            "launches": {
                "attested": len(rows),
                "observed": len(rows) - len(unseen),
                "without_observation": len(unseen),
                "running": sum("ended" not in row for row in rows),
            },
            "observations": {
                "recorded": self._count,
                "matched": self._count - self._unmatched,
                "without_launch": self._unmatched,
                "differing": self._differing,
                "processes_unread": self._unread,
            },
            "findings": dict(sorted(self._codes.items())),
        }
        self._file("join.json", canonical.dumps_json(join) + b"\n")


class Canaries(Room):
    """`canaries/`: every run as it was signed (in-toto Test Result), and which time the runs cover."""

    FOLDER = "canaries"
    KINDS = frozenset({"canary.reported"})
    LISTS = ("index.jsonl",)

    def __init__(self, sink: Sink) -> None:
        super().__init__(sink)
        self._coverage: dict[str, canary_rules.Coverage] = {}
        self._out_of_order: Counter[str] = Counter()

    def _entry(self, entry: Entry) -> None:
        body, service = entry["body"], entry["actor"]["id"]
        run = attestation.open_statement(body["statement"].encode("utf-8"), attestation.CANARY).predicate
        coverage = self._coverage.setdefault(service, canary_rules.Coverage())
        try:
            coverage.add(run)
        except canary_rules.OutOfOrder:
            self._out_of_order[service] += 1
        self._row(
            "index.jsonl",
            entry,
            begun=run["from"],
            ended=run["at"],
            every=run["every"],
            result=body["result"],
            failed=list(canary_rules.sort_out(run["attempts"]).failed),
            got_through=[each["name"] for each in run["attempts"] if canary_rules.succeeded(each)],
            control=not canary_rules.control_failed(run["attempts"]),
            **self._signed(entry),
        )

    def finish(self) -> None:
        services = {
            name: {**coverage.as_json(), "out_of_order": self._out_of_order[name]}
            for name, coverage in self._coverage.items()
        }
        said = {"typ": "imprimatur/canary-coverage/v1", "services": services}
        self._file("coverage.json", canonical.dumps_json(said) + b"\n")


class Build(Room):
    """`build/`: what the server measured of itself each time it began."""

    FOLDER = "build"
    KINDS = frozenset({"server.started"})
    LISTS = ("starts.jsonl",)

    def _entry(self, entry: Entry) -> None:
        self._row("starts.jsonl", entry, **entry["body"])


class Shipping(Room):
    """`shipping/`: what the server read back from copies on other systems."""

    FOLDER = "shipping"
    KINDS = frozenset({"log.shipped"})
    LISTS = ("shipped.jsonl",)

    def _entry(self, entry: Entry) -> None:
        self._row("shipped.jsonl", entry, **entry["body"])


ROOMS: tuple[type[Room], ...] = (Launches, Monitor, Canaries, Shipping, Build)
"""In the order in which a report tells of them."""

FOLDERS = frozenset(room.FOLDER for room in ROOMS)


class Compared:
    """Holds the files of a bundle against what the rooms derive, one after the other, and keeps the first fault."""

    def __init__(self, reader: evidence_zip.Reader) -> None:
        self._zip = reader
        self._open: dict[str, Iterator[bytes]] = {}
        self._at: Counter[str] = Counter()
        self._whole: set[str] = set()
        self.fault = ""
        self.count = 0

    def begin(self, name: str) -> None:
        """Demand that there is such a file."""
        if name not in self._open:
            self._open[name] = copies.lines(self._zip, name) if name in self._zip else iter(())
            self.count += 1
            if name not in self._zip:
                self._find(f"{name} is missing")

    def line(self, name: str, content: bytes, index: int) -> None:
        """Hold the next line of a file against this one."""
        if self.fault:
            return
        self.begin(name)
        self._at[name] += 1
        try:
            found = next(self._open[name], None)
        except evidence_zip.EvidenceZipError as error:
            self._find(str(error))
            return
        if found is None:
            self._find(f"{name} ends before its line {self._at[name]}, which is of entry {index}")
        elif found != content:
            self._find(f"{name} line {self._at[name]} is not what entry {index} gives")

    def file(self, name: str, content: bytes, index: int) -> None:
        """Hold a whole file against this content."""
        self._whole.add(name)
        self.count += 1
        of = "the entries give" if index < 0 else f"entry {index} gives"
        if name not in self._zip:
            self._find(f"{name} is missing")
        elif self._zip.size(name) != len(content) or self._zip.read(name) != content:
            self._find(f"{name} is not what {of}")

    def finish(self, folders: Iterable[str]) -> None:
        """Demand that these folders have nothing more."""
        for name, left in self._open.items():
            try:
                more = not self.fault and next(left, None) is not None
            except evidence_zip.EvidenceZipError as error:
                self._find(str(error))
                continue
            if more:
                self._find(f"{name} line {self._at[name] + 1} is of no entry")
        for name in self._zip.names:
            known = name in self._open or name in self._whole
            if name.partition("/")[0] in folders and "/" in name and not known:
                self._find(f"{name} belongs to no entry")

    def _find(self, fault: str) -> None:
        self.fault = self.fault or fault


def _hex(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
