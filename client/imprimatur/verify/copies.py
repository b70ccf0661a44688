"""Files of a bundle that repeat what the entries say, for other people's tools: each is held against the entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from imprimatur.formats import canonical, evidence_zip, merkle, note, sshsig
from imprimatur.formats.encoding import b64, un_b64u

# SubjectPublicKeyInfo of an Ed25519 key (RFC 8410): this header, then the 32 bytes.
_SPKI = bytes.fromhex("302a300506032b6570032100")
_TRUST = frozenset({"policy.tlog", "log.vkey", "log.pub.pem", "decision.pub.pem", "keys.jsonl", "allowed_signers"})
_SMALL = 100_000
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


class Copies:
    """Goes through the entries once, and holds the repeated files against them.

    Raises EvidenceZipError at `finish` when one differs, is missing, or belongs to no entry.
    """

    def __init__(self, reader: evidence_zip.Reader) -> None:
        self._zip = reader
        self._wanted: set[str] = set()
        self._fault = ""
        self._keys: set[str] = set()
        self._count = 0
        self._views = lines(reader, "views/entries.jsonl") if "views/entries.jsonl" in reader else None

    def entry(self, entry: Mapping[str, Any], raw: bytes) -> None:
        """Hold the copies of one entry against it."""
        kind, body = entry["kind"], entry["body"]
        if kind == "log.genesis":
            self._trust(body)
        elif kind == "person.key_added":
            self._keys.add(sshsig.parse_public_key(body["key"]).line)
        elif kind == "delegation.issued":
            stem = f"delegations/{body['delegation'].removeprefix('sha256:')}"
            self._same(f"{stem}.json", canonical.dumps(body["document"]))
            if body["signature"]["kind"] == "ssh":
                self._same(f"{stem}.sig", body["signature"]["value"].encode())
        elif "statement" in body:
            self._same(f"votes/{entry['index']}.json", body["statement"].encode())
            if body["evidence"]["kind"] == "ssh":
                self._same(f"votes/{entry['index']}.sig", body["evidence"]["value"].encode())
        self._view(entry, raw)

    def finish(self) -> str:
        """Say how many copies were held against the entries, or raise."""
        for name in self._zip.names:
            folder, _, rest = name.partition("/")
            if folder in ("delegations", "votes") and rest != "index.jsonl" and name not in self._wanted:
                self._fault = self._fault or f"{name} belongs to no entry"
            if folder == "trust" and rest not in _TRUST:
                self._fault = self._fault or f"{name} does not belong into a bundle"
        if self._views is not None and next(self._views, None) is not None:
            self._fault = self._fault or "views/entries.jsonl has more lines than there are entries"
        self._signers()
        if self._fault:
            raise evidence_zip.EvidenceZipError(self._fault)
        return f"{self._count} files and the lines of views/entries.jsonl repeat what the entries say"

    def _same(self, name: str, content: bytes) -> None:
        self._wanted.add(name)
        self._count += 1
        if name not in self._zip:
            self._fault = self._fault or f"{name} is missing"
        elif self._zip.size(name) != len(content) or self._zip.read(name) != content:
            self._fault = self._fault or f"{name} is not what the entry says"

    def _trust(self, body: Mapping[str, Any]) -> None:
        log_key = note.Vkey.parse(body["log_vkey"])
        self._same("trust/log.vkey", f"{body['log_vkey']}\n".encode())
        self._same("trust/log.pub.pem", _pem(log_key.public_key))
        self._same("trust/decision.pub.pem", _pem(un_b64u(body["decision_key"]["public"])))

    def _signers(self) -> None:
        if "trust/allowed_signers" not in self._zip:
            return
        for line in lines(self._zip, "trust/allowed_signers"):
            key = b" ".join(line.split()[-2:]).decode("utf-8", "replace")
            if key not in self._keys:
                self._fault = self._fault or "trust/allowed_signers has a key that no person registered"

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
