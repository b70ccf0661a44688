"""Files of a bundle that repeat what the entries say, for other people's tools: each is held against the entries."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imprimatur.formats import (
    canonical,
    delegation,
    evidence_zip,
    keyring,
    merkle,
    note,
    signing,
    sshsig,
    statement,
    tlog_policy,
)
from imprimatur.formats.encoding import b64
from imprimatur.formats.timestamps import parse_time
from imprimatur.rules import launches
from imprimatur.verify import signatures

# SubjectPublicKeyInfo of an Ed25519 key (RFC 8410): this header, then the 32 bytes.
_SPKI = bytes.fromhex("302a300506032b6570032100")
_TRUST = frozenset({"policy.tlog", "log.vkey", "log.pub.pem", "decision.pub.pem", "keys.jsonl", "allowed_signers"})
_INDEXES = {"votes": "votes/index.jsonl", "delegations": "delegations/index.jsonl"}
_SIGNER = re.compile(
    r'(?P<person>\S+) namespaces="(?P<namespaces>[^" ]*)",valid-after="(?P<after>[0-9]{14}Z)"'
    r'(?:,valid-before="(?P<before>[0-9]{14}Z)")? (?P<key>\S+ \S+)'
)
_GRANTS = frozenset({delegation.SSH_NAMESPACE, launches.SSH_NAMESPACE})
_EVERYTHING = _GRANTS | frozenset(map(signing.ssh_namespace, (statement.TYP, *signing.KINDS)))
MOST_LINE = 64_000_000


def lines(reader: evidence_zip.Reader, name: str) -> Iterator[bytes]:
    """The lines of a file, without their ends. Raises EvidenceZipError when it is missing or ends in mid-line."""
    rest = b""
    for chunk in reader.chunks(name):
        whole = (rest + chunk).split(b"\n")
        rest = whole.pop()
        if len(rest) > MOST_LINE:
            raise evidence_zip.EvidenceZipError(f"{name} has a line of more than {MOST_LINE:,} bytes")
        yield from whole
    if rest:
        raise evidence_zip.EvidenceZipError(f"{name} ends in the middle of a line")


@dataclass(slots=True)
class _Signer:
    """An SSH key as the entries have it: whose, for which namespaces, and since when it is revoked ("": it is not)."""

    person: str
    fingerprint: str
    namespaces: frozenset[str]
    ended: str = ""


class Copies:
    """Goes through the entries once, and holds the repeated files against them.

    Raises EvidenceZipError at `finish` when one differs, is missing, or belongs to no entry.
    """

    def __init__(self, reader: evidence_zip.Reader) -> None:
        self._zip = reader
        self._wanted: set[str] = set()
        self._fault = ""
        self._ring = keyring.Keyring()
        self._keys: dict[str, _Signer] = {}
        self._lines = {room: lines(reader, name) for room, name in _INDEXES.items() if name in reader}
        self._count = 0
        self._views = lines(reader, "views/entries.jsonl") if "views/entries.jsonl" in reader else None

    def entry(self, entry: Mapping[str, Any], raw: bytes) -> None:
        """Hold the copies of one entry against it."""
        kind, body = entry["kind"], entry["body"]
        if kind in keyring.KINDS:
            self._ring.see(entry)
        elif kind == "person.key_added":
            own = _GRANTS
            self._signer(body["key"], body["person"], own)
        elif kind == "delegation.issued":
            stem = f"delegations/{body['delegation'].removeprefix('sha256:')}"
            self._same(f"{stem}.json", canonical.dumps(body["document"]))
            if body["signature"]["kind"] == "ssh":
                self._same(f"{stem}.sig", body["signature"]["value"].encode())
        elif kind == "person.key_enrolled" and body["evidence"]["kind"] == "ssh":
            said = signing.parse(body["statement"].encode("utf-8"), signing.ENROLMENT)
            self._signer(said["public_key"], body["person"], _EVERYTHING)
        elif kind == "person.key_revoked":
            for known in self._keys.values():
                if known.fingerprint == body["fingerprint"]:
                    known.ended = body["since"]
        self._indexes(entry)
        part = signatures.signed_part(body)
        if part is not None:
            self._same(f"votes/{entry['index']}.json", part["statement"].encode())
            if part["evidence"]["kind"] == "ssh":
                self._same(f"votes/{entry['index']}.sig", part["evidence"]["value"].encode())
        self._view(entry, raw)

    def finish(self, size: int) -> str:
        """Say how many copies were held against the entries, or raise."""
        self._trust(size)
        for name in self._zip.names:
            folder, _, rest = name.partition("/")
            if folder in ("delegations", "votes") and rest != "index.jsonl" and name not in self._wanted:
                self._fault = self._fault or f"{name} belongs to no entry"
            if (folder == "trust" and rest not in _TRUST) or (folder == "openings" and rest != "openings.jsonl"):
                self._fault = self._fault or f"{name} does not belong into a bundle"
        if self._views is not None and next(self._views, None) is not None:
            self._fault = self._fault or "views/entries.jsonl has more lines than there are entries"
        for room, left in self._lines.items():
            if next(left, None) is not None:
                self._fault = self._fault or f"{_INDEXES[room]} has more lines than there are entries of its kind"
        self._signers()
        if self._fault:
            raise evidence_zip.EvidenceZipError(self._fault)
        return f"{self._count} files, and the lists of entries, votes and delegations, repeat what the entries say"

    def _signer(self, written: str, person: str, namespaces: frozenset[str]) -> None:
        key = sshsig.parse_public_key(written)
        self._keys[key.line] = _Signer(person, key.fingerprint, namespaces)

    def _same(self, name: str, content: bytes) -> None:
        self._wanted.add(name)
        self._count += 1
        if name not in self._zip:
            self._fault = self._fault or f"{name} is missing"
        elif self._zip.size(name) != len(content) or self._zip.read(name) != content:
            self._fault = self._fault or f"{name} is not what the entry says"

    def _trust(self, size: int) -> None:
        """The keys in use at the bundle's checkpoint: each log key that signed it, the decision key of the manifest."""
        in_use = self._ring.log_at(size)
        self._same("trust/log.vkey", "".join(f"{vkey}\n" for vkey in in_use).encode())
        self._same("trust/log.pub.pem", _pem(in_use[0].public_key))
        self._same("trust/decision.pub.pem", _pem(self._ring.decision_at(size)))
        if "trust/policy.tlog" in self._zip:
            try:
                raw = self._zip.read("trust/policy.tlog", tlog_policy.MAX_SIZE)
                named = [known.vkey for known in tlog_policy.parse(raw).logs]
            except (tlog_policy.PolicyError, note.NoteError) as error:
                raise evidence_zip.EvidenceZipError(f"trust/policy.tlog: {error}") from error
            if named != in_use:
                self._fault = self._fault or "trust/policy.tlog names other log keys than the entries"

    def _signers(self) -> None:
        if "trust/allowed_signers" not in self._zip:
            return
        for line in lines(self._zip, "trust/allowed_signers"):
            found = _SIGNER.fullmatch(line.decode("utf-8", "replace"))
            known = self._keys.get(found["key"]) if found is not None else None
            if found is None or known is None:
                self._fault = self._fault or "trust/allowed_signers has a key that no person registered"
            elif found["person"] != known.person or not known.namespaces.issuperset(found["namespaces"].split(",")):
                self._fault = self._fault or "trust/allowed_signers gives a key to somebody else, or for something else"
            elif known.ended and (found["before"] or "9") > f"{parse_time(known.ended):%Y%m%d%H%M%SZ}":
                self._fault = self._fault or "trust/allowed_signers has a revoked key without its end"

    def _indexes(self, entry: Mapping[str, Any]) -> None:
        """The lists of what people stated and of delegations have a line for each entry, and it says what that says."""
        kind, body = entry["kind"], entry["body"]
        line = {name: entry[name] for name in ("index", "kind", "time")}
        part = signatures.signed_part(body)
        if part is not None or kind == "vote.recalled":
            said = {**line, "actor": entry["actor"]}
            if "request" in body:
                said["request"] = body["request"]
            if part is not None:
                said |= {"file": f"votes/{entry['index']}.json", "evidence": part["evidence"]}
            self._listed("votes", said)
        if kind == "delegation.revoked":
            self._listed("delegations", {**line, **body})
        elif kind == "delegation.issued":
            document, name = body["document"], body["delegation"]
            file = f"delegations/{name.removeprefix('sha256:')}.json"
            who = {"issuer": document["issuer"], "subject": document["subject"]}
            self._listed(
                "delegations", {**line, "delegation": name, **who, "file": file, "signature": body["signature"]}
            )

    def _listed(self, room: str, wanted: dict[str, Any]) -> None:
        if room in self._lines and not self._fault and next(self._lines[room], None) != canonical.dumps_json(wanted):
            self._fault = f"{_INDEXES[room]} does not say what entry {wanted['index']} says"

    def _view(self, entry: Mapping[str, Any], raw: bytes) -> None:
        if self._views is None or self._fault:
            return
        try:
            line = canonical.loads(next(self._views))
            known = all(line[name] == entry[name] for name in ("index", "time", "kind", "subject", "actor", "refs"))
            good = known and line["leaf"] == merkle.leaf_hash(raw).hex()
        except (StopIteration, ValueError, KeyError, TypeError):
            good = False
        if not good:
            self._fault = f"views/entries.jsonl does not say what entry {entry['index']} says"


def _pem(public_key: bytes) -> bytes:
    return f"-----BEGIN PUBLIC KEY-----\n{b64(_SPKI + public_key)}\n-----END PUBLIC KEY-----\n".encode()
