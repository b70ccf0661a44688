"""A server in memory that answers services as the real one does, with signed entries; and may be made to lie."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2

from imprimatur.formats import attestation, digests, dsse, entries, keys, merkle
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.trust import DecisionKey, Trust
from imprimatur.service.folder import Folder

REALM = "desk.example.org"
URL = "http://127.0.0.1:1"
AGENT = "ag_" + "a" * 32
POLICY = digests.sha256(b"a policy")
NOW = datetime(2026, 1, 31, 9, 0, tzinfo=UTC)

Change = Callable[[dict[str, Any]], None]


@dataclass
class FakeDesk:
    """``statements`` is what it has of the one service it knows. ``judge`` gives the reasons to refuse a launch."""

    folder: Folder
    judge: Callable[[dict[str, Any]], list[dict[str, str]]] = lambda predicate: []
    key: KeyPair = field(default_factory=lambda: KeyPair(bytes(range(32))))
    signs_with: KeyPair | None = None
    statements: list[bytes] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)
    live: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    down: bool = False
    lose_answers: int = 0
    change: Change = lambda document: None
    change_entry: Change = lambda entry: None
    change_about: Change = lambda about: None
    index: int = 7

    @property
    def trust(self) -> Trust:
        return Trust(REALM, None, (DecisionKey(self.key.public_key, 0, None),), None, None, None)

    @property
    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self.carry)

    @property
    def own(self) -> dict[str, Any]:
        tree = merkle.CompactRange()
        for envelope in self.statements:
            tree.append(merkle.leaf_hash(envelope))
        return {"size": tree.size, "root": f"sha256:{tree.root().hex()}"}

    def predicates(self) -> list[dict[str, Any]]:
        return [dict(attestation.open_statement(envelope).predicate) for envelope in self.statements]

    def carry(self, request: httpx2.Request) -> httpx2.Response:
        if self.down:
            raise httpx2.ConnectError("nobody there")
        if "signature" not in request.headers:
            return httpx2.Response(401, json={"code": "signature"})
        body = json.loads(request.content) if request.content else None
        path = request.url.path.removeprefix("/api/v1")
        self.asked.append((path, body))
        status, document = self.answer(path, body)
        if self.lose_answers and request.method == "POST":
            self.lose_answers -= 1
            raise httpx2.ReadError("cut off")
        document = copy.deepcopy(document)
        if request.method == "POST":
            self.change(document)
        return httpx2.Response(status, json=document)

    def answer(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        if path == "/service":
            about = {"service": self.folder.service, "role": self.folder.role, "realm": REALM, "own": self.own}
            self.change_about(about)
            return 200, about
        if path == "/launches/terms":
            return 200, {"delegations": [], "policy": POLICY}
        if path == "/launches" and body is None:
            rows = [{"launch": name, "index": 8, "predicate": each} for name, each in self.live.items()]
            return 200, {"launches": rows, "more": False}
        if path.endswith("/ended"):
            launch = path.split("/")[2]
            if launch not in self.live:
                return 404, {"code": "not-found", "detail": "no such launch"}
            del self.live[launch]
            self.ended[launch] = body
            return 200, {"launch": launch, "state": "ended", **self.entry("launch.ended", {"launch": launch, **body})}
        texts = body["statements"] if path == "/observations" else [body["statement"]]
        known = self.again(texts)
        if known is not None:
            return self.told(path, known, 200)
        new = []
        for text in texts:
            predicate = attestation.open_statement(text.encode()).predicate
            if predicate["own"] != self.own:
                problem = {"code": "wrong-state", "detail": "another own", "own": self.own}
                return 409, problem
            self.statements.append(text.encode())
            row = self.row(path, text, dict(predicate))
            self.rows.append(row)
            new.append(row)
        return self.told(path, new, 201)

    def again(self, texts: list[str]) -> list[dict[str, Any]] | None:
        raws = [text.encode() for text in texts]
        for start in range(len(self.statements)):
            if self.statements[start : start + len(raws)] == raws:
                return self.rows[start : start + len(raws)]
        return None

    def told(self, path: str, rows: list[dict[str, Any]], status: int) -> tuple[int, dict[str, Any]]:
        if path == "/observations":
            return status, {"observations": rows, "own": self.own}
        if "reasons" in rows[0]:
            return 403, {"code": "launch-refused", "detail": "refused", **rows[0], "own": self.own}
        return status, {**rows[0], "own": self.own}

    def row(self, path: str, text: str, predicate: dict[str, Any]) -> dict[str, Any]:
        if path == "/observations":
            matched = predicate["launch"] in self.live
            body = {"statement": text, "matched": matched, "findings": []}
            return {**self.entry("observation.recorded", body), "matched": matched, "findings": []}
        reasons = self.judge(predicate)
        if reasons:
            body = {"reasons": reasons, "digest": digests.sha256(text.encode()), "statement": text}
            return {**self.entry("launch.refused", body), "reasons": reasons}
        self.live[predicate["launch"]] = predicate
        body = {"launch": predicate["launch"], "agent": predicate["agent"], "statement": text}
        return {**self.entry("launch.attested", body), "launch": predicate["launch"], "state": "attested"}

    def entry(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        self.index += 1
        parts: dict[str, Any] = {
            "realm": REALM,
            "index": self.index,
            "kind": kind,
            "subject": body.get("launch", self.folder.service),
            "actor": {"type": "service", "id": self.folder.service, "key": keys.thumbprint(self.folder.key.public_key)},
            "body": body,
        }
        self.change_entry(parts)
        payload = entries.build(prev="ab" * 32, time=NOW, **parts)
        pair = self.signs_with or self.key
        return {"index": self.index, "envelope": dsse.seal(payload, pair.sign, pair.keyid).decode()}
