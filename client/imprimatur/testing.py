"""Test governed code without a server: a door in memory that speaks the real protocol and signs real receipts.

    gate = FakeGate({"write_file": "allow", "delete_file": "deny"})

Everything else of the client is the real thing, so a test that passes here has exercised signing, receipts, redeeming
and reporting. A tool that the test did not mention is denied.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2

from imprimatur.client.aio import AsyncImprimatur
from imprimatur.client.sync import Imprimatur
from imprimatur.formats import (
    binding,
    canonical,
    commitments,
    digests,
    dsse,
    ed25519,
    entries,
    httpsig,
    ids,
    keys,
    receipts,
    statement,
)
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.rotation import rotation_preimage
from imprimatur.formats.timestamps import format_time
from imprimatur.formats.trust import DecisionKey, Trust

REALM = "test.imprimatur.localhost"
ORIGIN = "http://imprimatur.localhost"
DELEGATION = digests.sha256(b"a delegation in a test")
_POLICY = digests.sha256(b"a policy in a test")
_SCHEMA = digests.sha256(b"a tool in a test")
_VOTER = "pe_reviewer"

Answerer = Callable[[Mapping[str, Any]], str]
Decisions = Mapping[str, str | Answerer]
_OTHER_CODES = {"timeout": "approval-expired", "cancelled": "cancelled"}


@dataclass
class Asked:
    """One request that reached the door, and how far it got. ``states`` is its history."""

    id: str
    tool: str
    parameters: dict[str, Any]
    withheld: dict[str, str]
    justification: str
    body: dict[str, Any]
    idempotency_key: str
    expires_at: datetime
    states: list[str] = field(default_factory=list)
    code: str = ""
    note: str = ""
    suggestion: dict[str, Any] | None = None
    suggested: str = ""
    attempt: str = ""
    result: str = ""
    decided: tuple[int, bytes] | None = None
    votes: list[bytes] = field(default_factory=list)
    redeemed: bytes | None = None
    requested: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """The present state."""
        return self.states[-1]


class Door:
    """A tiny agent door in memory. It verifies signatures, decides by table, and signs what it decided.

    ``note`` is what a reviewer writes with a no, and ``suggestion`` the parameters they would rather see, if any.

    A decision is ``allow`` (at once), ``approve`` (a person says yes after one wait), ``pending`` (nobody answers),
    ``timeout``, ``cancelled``, ``deny`` (a person says no), or a refusal code such as ``over-budget``; or a function of
    the parameters that returns one of these. It stands in for a server in tests only: it keeps no log.
    """

    def __init__(
        self,
        decisions: Decisions | None = None,
        *,
        agent_key: KeyPair,
        realm: str = REALM,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.decisions = dict(decisions or {})
        self.realm = realm
        self.clock = clock
        self.public_key = agent_key.public_key
        self.retired: set[str] = set()
        self.agent = ids.agent_id(self.public_key)
        self.decision_key = KeyPair.generate()
        self.asked: dict[str, Asked] = {}
        self.note = "not today"
        self.suggestion: Mapping[str, Any] | None = None
        self.assurance = "H0"
        self._turn = threading.Lock()
        self._nonces: set[str] = set()
        self._index = 1

    @property
    def trust(self) -> Trust:
        """What a client of this door pins."""
        return Trust(self.realm, None, (DecisionKey(self.decision_key.public_key, 0, None),), None, None, None)

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request as the agent door would: one after the other, as its one writer does."""
        with self._turn:
            return self._answer(request)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        path, body = request.url.path, request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            signature = httpsig.verify_request(
                method=request.method,
                target_uri=str(request.url),
                headers=headers,
                body=body,
                public_key=self.public_key,
            )
            httpsig.check_time(signature, self.clock().timestamp())
        except httpsig.HttpSigError as error:
            if any(f'keyid="{old}"' in headers.get("signature-input", "") for old in self.retired):
                return self._problem(401, "key-revoked", "This key was rotated away.")
            return self._problem(401, error.code, error.message)
        if signature.nonce is not None:
            if signature.nonce in self._nonces:
                return self._problem(401, "replayed", "seen before")
            self._nonces.add(signature.nonce)
        parts = path.removeprefix("/api/v1/").split("/")
        document = canonical.loads(body) if body else {}
        if parts == ["me"]:
            me = {"agent": {"id": self.agent}, "key": {"thumbprint": keys.thumbprint(self.public_key)}}
            return self._json(200, {**me, "delegations": [], "tools": []})
        if parts == ["keys", "rotate"]:
            return self._rotate(document)
        if parts == ["outcomes"]:
            return self._outcomes(document)
        if parts == ["log", "seen"]:
            return self._seen(document)
        if parts == ["actions"]:
            return self._submit(headers, document)
        found = self.asked.get(parts[1]) if len(parts) > 1 and parts[0] in ("actions", "receipts") else None
        if found is None:
            return self._problem(404, "not-found", "There is no such action request.")
        if parts[0] == "receipts":
            return self._json(200, self._receipt(found))
        step = parts[2] if len(parts) > 2 else "wait"
        steps = {"wait": self._wait, "redeem": self._redeem, "outcome": self._outcome, "cancel": self._cancel}
        return steps[step](found, document)

    # --- the calls ----------------------------------------------------------------------------------------------------

    def _submit(self, headers: Mapping[str, str], body: dict[str, Any]) -> httpx2.Response:
        key = headers["idempotency-key"]
        salt = un_b64u(body["salt"])
        committed = {name: commitments.commit(salt, name, value)[0] for name, value in body["parameters"].items()}
        committed.update(body.get("withheld", {}))
        said = body.get("justification")
        commitment = commitments.commit(salt, "justification", said)[0] if said else None
        if headers["imprimatur-commitments"] != commitments.commitments_digest(committed, commitment):
            return self._problem(422, "malformed", "the commitments do not belong to the parameters")
        before = next((one for one in self.asked.values() if one.idempotency_key == key), None)
        if before is not None:
            compared = ("delegation", "tool", "cost", "context")
            same = all(before.body.get(name) == body.get(name) for name in compared)
            if not same or before.requested["binding"]["parameters"] != committed:
                return self._problem(409, "idempotency-conflict", "This key was used for another request.")
            if body.get("attempt") and before.attempt and before.attempt != body["attempt"]:
                return self._problem(409, "already-redeemed", "Another execution has begun.")
            return self._view(before)
        asked = Asked(
            id=ids.new_id("act", self.clock()),
            tool=body["tool"],
            parameters=dict(body["parameters"]),
            withheld=dict(body.get("withheld", {})),
            justification=said or "",
            body=body,
            idempotency_key=key,
            expires_at=self.clock() + timedelta(seconds=body.get("ttl", 300)),
        )
        asked.requested = {
            "binding": binding.build(
                realm=self.realm,
                agent=self.agent,
                delegation=body["delegation"],
                tool={"name": body["tool"], "schema": _SCHEMA},
                effects=body.get("effects") or [{"action": "test:run", "resource": body["tool"]}],
                parameters=committed,
                cost=body.get("cost") or {"amount": "0.00", "unit": "USD"},
                context=body["context"],
            ),
            "request": {
                "content_digest": headers["content-digest"],
                "signature_input": headers["signature-input"],
                "signature": headers["signature"],
                "method": "POST",
                "target_uri": ORIGIN + "/api/v1/actions",
                "idempotency_key": key,
                "commitments": headers["imprimatur-commitments"],
            },
        }
        self.asked[asked.id] = asked
        decision = self.decisions.get(asked.tool, "deny")
        wanted = decision(asked.parameters) if callable(decision) else decision
        asked.code = wanted
        if wanted == "allow":
            attempt = body.get("attempt", "")
            asked.states += ["APPROVED", "REDEEMED"] if attempt else ["APPROVED"]
            asked.attempt = attempt
            self._decide(asked, attempt)
        elif wanted in ("approve", "pending", "timeout", "deny", "cancelled"):
            asked.states.append("PENDING")
        else:
            asked.states.append("DENIED" if wanted.startswith("policy-") else "REFUSED")
            self._decide(asked)
        return self._view(asked)

    def _wait(self, asked: Asked, _: dict[str, Any]) -> httpx2.Response:
        if asked.state == "PENDING" and self.clock() >= asked.expires_at:
            asked.code = "timeout"
        if asked.state == "PENDING" and asked.code != "pending":
            states = {"approve": "APPROVED", "deny": "DENIED", "timeout": "EXPIRED", "cancelled": "CANCELLED"}
            asked.states.append(states[asked.code])
            if asked.code == "deny" and self.suggestion is not None:
                asked.suggestion = {"parameters": dict(self.suggestion)}
                asked.suggested = commitments.commit(secrets.token_bytes(32), "suggestion", asked.suggestion)[0]
            if asked.code in ("approve", "deny"):
                asked.votes = [self._vote(asked, "approve" if asked.code == "approve" else "deny")]
            asked.note = self.note if asked.code == "deny" else ""
            asked.code = _OTHER_CODES.get(asked.code, "reviewer-denied" if asked.code == "deny" else "")
            self._decide(asked)
        return self._view(asked)

    def _redeem(self, asked: Asked, body: dict[str, Any]) -> httpx2.Response:
        if asked.attempt and asked.attempt != body["attempt"]:
            return self._problem(409, "already-redeemed", "Another execution of this request has begun.")
        if body["action_digest"] != binding.action_digest(asked.requested["binding"]):
            return self._problem(403, "arguments-changed", "That is not what was approved.")
        if asked.state == "APPROVED":
            asked.states.append("REDEEMED")
            asked.attempt = body["attempt"]
            claim = {
                "request": asked.id,
                "action_digest": body["action_digest"],
                "attempt": entries.attempt_digest(asked.attempt),
                "execute_by": format_time(self.clock() + timedelta(seconds=30)),
            }
            asked.redeemed = self._entry("action.redeemed", asked, claim, {"type": "agent", "id": self.agent})
        if asked.state != "REDEEMED":
            return self._problem(409, "wrong-state", f"This request is {asked.state}.")
        return self._view(asked)

    def _outcome(self, asked: Asked, body: dict[str, Any]) -> httpx2.Response:
        if asked.state == "REDEEMED":
            asked.states.append(body["outcome"])
            asked.result = body.get("result", "")
        return self._view(asked)

    def _outcomes(self, body: dict[str, Any]) -> httpx2.Response:
        told = []
        for one in body["outcomes"]:
            found = self.asked.get(one["action"])
            if found is None:
                told.append({"action": one["action"], "status": 404, "code": "not-found"})
            else:
                self._outcome(found, one)
                told.append({"action": found.id, "status": 200, "state": found.state})
        return self._json(200, {"outcomes": told})

    def _seen(self, body: dict[str, Any]) -> httpx2.Response:
        opened = dsse.open_envelope(body["envelope"].encode("utf-8"))
        if not dsse.verify(opened, self.decision_key.public_key):
            return self._problem(422, "malformed", "No key of this door signed it.")
        return self._json(200, {"index": entries.parse(opened.payload)["index"], "published": True})

    def _rotate(self, body: dict[str, Any]) -> httpx2.Response:
        public_key = un_b64u(body["public_key"])
        signed = rotation_preimage(
            realm=self.realm,
            agent=self.agent,
            old=keys.thumbprint(self.public_key),
            new=keys.thumbprint(public_key),
            public_key=body["public_key"],
        )
        if not ed25519.verify(self.public_key, signed, un_b64u(body["signature"])):
            return self._problem(401, "signature", "The old key did not sign this rotation.")
        self.retired.add(keys.thumbprint(self.public_key))
        self.public_key = public_key
        return self._json(200, {"agent": self.agent, "key": keys.thumbprint(public_key)})

    def _cancel(self, asked: Asked, _: dict[str, Any]) -> httpx2.Response:
        if asked.state in ("PENDING", "APPROVED"):
            asked.states.append("CANCELLED")
            asked.code = "cancelled"
        return self._json(200, {"id": asked.id, "state": asked.state})

    # --- what is signed -----------------------------------------------------------------------------------------------

    def _decide(self, asked: Asked, attempt: str = "") -> None:
        now = self.clock()
        allow = asked.state in ("APPROVED", "REDEEMED")
        body: dict[str, Any] = {
            "verdict": "allow" if allow else "deny",
            "state": asked.state,
            "binding": asked.requested["binding"],
            "action_digest": binding.action_digest(asked.requested["binding"]),
            "risk": "HIGH" if asked.votes else "LOW",
            "rule": "test",
            "policy": _POLICY,
            "reversibility": "reversible",
            "votes": [self._index_of(vote) for vote in asked.votes],
            "enforcement": "E0",
            "request": asked.requested["request"],
        }
        if allow:
            body["not_after"] = format_time(now + timedelta(minutes=5))
        else:
            body["code"] = asked.code
        if asked.suggested:
            body["suggestion"] = asked.suggested
        if attempt:
            body["attempt"] = entries.attempt_digest(attempt)
            body["execute_by"] = format_time(now + timedelta(seconds=30))
        index = self._index
        asked.decided = (index, self._entry("action.decided", asked, body, {"type": "system", "id": "imprimatur"}))

    def _vote(self, asked: Asked, decision: str) -> bytes:
        now = self.clock()
        bound = asked.requested["binding"]
        said = {
            "typ": statement.TYP,
            "realm": self.realm,
            "request": asked.id,
            "version": 1,
            "agent": self.agent,
            "decision": decision,
            "stage": 0,
            "role": "reviewer",
            "risk": "HIGH",
            "reversibility": "reversible",
            "action_digest": binding.action_digest(bound),
            "display_digest": digests.sha256(b"a card in a test"),
            "delegation": bound["delegation"],
            "policy": _POLICY,
            "reviewer": _VOTER,
            "log_size": 1,
            "log_root": digests.sha256(b""),
            "nonce": secrets.token_urlsafe(18),
            "issued_at": format_time(now),
            "expires_at": format_time(now + timedelta(seconds=60)),
        }
        if asked.suggested:
            said["suggestion_commitment"] = asked.suggested
        text = statement.encode(said).decode("utf-8")
        body = {"request": asked.id, "version": 1, "statement": text, "evidence": {"kind": "session"}}
        if asked.suggested:
            body["suggestion"] = asked.suggested
        return self._entry("vote.cast", asked, body, {"type": "person", "id": _VOTER, "assurance": self.assurance})

    def _entry(self, kind: str, asked: Asked, body: Mapping[str, Any], actor: Mapping[str, str]) -> bytes:
        payload = entries.build(
            realm=self.realm,
            index=self._index,
            prev=secrets.token_hex(32),
            time=self.clock(),
            kind=kind,
            subject=asked.id,
            actor=actor,
            body=body,
        )
        self._index += 1
        return dsse.seal(payload, self.decision_key.sign, self.decision_key.keyid)

    @staticmethod
    def _index_of(envelope: bytes) -> int:
        index: int = entries.parse(dsse.open_envelope(envelope).payload)["index"]
        return index

    # --- answers ------------------------------------------------------------------------------------------------------

    def _receipt(self, asked: Asked) -> dict[str, Any]:
        assert asked.decided is not None
        return receipts.make(*asked.decided, asked.votes, asked.redeemed)

    def _view(self, asked: Asked) -> httpx2.Response:
        verdict = "pending" if asked.state == "PENDING" else "deny"
        if asked.state in ("APPROVED", "REDEEMED", "SUCCEEDED", "FAILED"):
            verdict = "allow"
        document: dict[str, Any] = {
            "id": asked.id,
            "state": asked.state,
            "verdict": verdict,
            "risk": "HIGH" if asked.votes or verdict == "pending" else "LOW",
            "rule": "test",
            "why": ["the test says so"],
            "action_digest": binding.action_digest(asked.requested["binding"]),
            "expires_at": format_time(asked.expires_at),
            "url": f"{ORIGIN}/requests/{asked.id}/",
        }
        if asked.decided is not None:
            document["receipt"] = self._receipt(asked)
            document["decided_by"] = "Rui" if asked.votes else "policy"
        if asked.note:
            document["note"] = asked.note
        if asked.suggestion is not None:
            document["suggestion"] = asked.suggestion
        if verdict == "deny":
            problem = {"title": "Refused", "status": 403, "code": asked.code, "detail": "Refused in a test."}
            return self._json(403, {**document, **problem}, "application/problem+json")
        return self._json(202 if verdict == "pending" else 200, document)

    def _problem(self, status: int, code: str, detail: str) -> httpx2.Response:
        document = {"title": "Refused", "status": status, "code": code, "detail": detail}
        return self._json(status, document, "application/problem+json")

    def _json(self, status: int, document: Any, media_type: str = "application/json") -> httpx2.Response:
        date = self.clock().strftime("%a, %d %b %Y %H:%M:%S GMT")
        return httpx2.Response(
            status, content=canonical.dumps_json(document), headers={"content-type": media_type, "date": date}
        )


class Time:
    """Time that passes only when somebody sleeps, so that a test of a time-out does not wait."""

    def __init__(self) -> None:
        self._passed = 0.0
        self._began = datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds since the beginning."""
        return self._passed

    def now(self) -> datetime:
        """The time of day."""
        return self._began + timedelta(seconds=self._passed)

    def clock(self) -> float:
        """The time of day as Unix seconds."""
        return self.now().timestamp()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._passed += seconds

    async def async_sleep(self, seconds: float) -> None:
        """Let time pass, and let other tasks run."""
        self._passed += seconds
        await asyncio.sleep(0)

    def wire(self) -> dict[str, Any]:
        """What a client needs to live in this time."""
        return {"clock": self.clock, "monotonic": self.monotonic}


class FakeGate(Imprimatur):
    """An :class:`~imprimatur.Imprimatur` for tests, with a :class:`Door` of its own in ``door``.

    ``transport`` may replace the way to the door, to lose or change answers on the way.
    """

    def __init__(
        self, decisions: Decisions | None = None, *, transport: httpx2.BaseTransport | None = None, **options: Any
    ) -> None:
        key, self.time = KeyPair.generate(), Time()
        self.door = Door(decisions, agent_key=key, clock=self.time.now)
        super().__init__(
            ORIGIN,
            key,
            DELEGATION,
            self.door.trust,
            transport=transport or httpx2.MockTransport(self._answer),
            sleep=self.time.sleep,
            wire=self.time.wire(),
            **options,
        )

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        return self.door.handle(request)

    @property
    def asked(self) -> list[Asked]:
        """Every request so far, in order."""
        return list(self.door.asked.values())


class AsyncFakeGate(AsyncImprimatur):
    """:class:`FakeGate` for asyncio."""

    def __init__(
        self, decisions: Decisions | None = None, *, transport: httpx2.AsyncBaseTransport | None = None, **options: Any
    ) -> None:
        key, self.time = KeyPair.generate(), Time()
        self.door = Door(decisions, agent_key=key, clock=self.time.now)
        super().__init__(
            ORIGIN,
            key,
            DELEGATION,
            self.door.trust,
            transport=transport or httpx2.MockTransport(self._answer),
            sleep=self.time.async_sleep,
            wire=self.time.wire(),
            **options,
        )

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        return self.door.handle(request)

    @property
    def asked(self) -> list[Asked]:
        """Every request so far, in order."""
        return list(self.door.asked.values())


__all__ = ["DELEGATION", "ORIGIN", "REALM", "Asked", "AsyncFakeGate", "Door", "FakeGate", "Time"]
