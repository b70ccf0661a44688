"""Writes small logs with the formats alone, so that the verifier is tested against bytes and not against the server."""

from __future__ import annotations

import copy
import hashlib
import io
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from imprimatur import cards
from imprimatur.formats import (
    binding,
    canonical,
    checkpoint,
    commitments,
    delegation,
    digests,
    dsse,
    entries,
    evidence_zip,
    httpsig,
    ids,
    merkle,
    note,
    sshsig,
    statement,
    tiles,
    tlog_proof,
)
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.rotation import rotation_preimage
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import policy as policies
from imprimatur.rules import tools
from imprimatur.verify import copies
from imprimatur.verify.disclosed import commitments_in
from imprimatur.verify.people import ROSTER_TAG

REALM = "gate.example/prod"
URI = "https://gate.example/api/v1/actions"


def key(name: str) -> KeyPair:
    """The same key for the same name, in every run."""
    return KeyPair(hashlib.sha256(f"imprimatur test key {name}".encode()).digest())


def ssh_line(pair: KeyPair) -> str:
    from imprimatur.formats.encoding import b64

    return f"ssh-ed25519 {b64(sshsig.public_key_blob(pair.public_key))}"


def fingerprint(pair: KeyPair) -> str:
    return sshsig.parse_public_key(ssh_line(pair)).fingerprint


SYSTEM = {"type": "system", "id": "imprimatur"}
CONSOLE = {"type": "system", "id": "console"}
LOG_KEY = key("log")
DECISION_KEY = key("decision")
ROBO = key("robo")
CHILD = key("child")

ADA, RUI, ROSA, AUDRA = (f"pe_0000000000000000000000000{letter}" for letter in "abcd")
PEOPLE = [
    {"person": ADA, "name": "Ada", "roles": ["admin"]},
    {"person": RUI, "name": "Rui", "roles": ["admin", "reviewer"]},
    {"person": ROSA, "name": "Rosa", "roles": ["admin", "reviewer"]},
    {"person": AUDRA, "name": "Audra", "roles": ["auditor"]},
]
PEOPLE_KEYS = {ADA: key("ada"), RUI: key("rui"), ROSA: key("rosa")}

POLICY: dict[str, Any] = {
    "typ": policies.TYP,
    "name": "Test",
    "assurance": "H2",
    "single_human": False,
    "default_risk": "HIGH",
    "deny": [],
    "rules": [],
}


def tool_document(name: str, **changes: Any) -> dict[str, Any]:
    """A registry document; by default it reads a file and is harmless."""
    document: dict[str, Any] = {
        "typ": tools.TYP,
        "name": name,
        "title": name.replace("_", " ").title(),
        "schema": {"type": "object", "properties": {"path": {"type": "string"}}, "additionalProperties": False},
        "effects": [{"action": "file:read", "resource": "{path}"}],
        "target": "{path}",
        "reversibility": "read-only",
        "destructive": False,
        "settle": "spent",
        "executor": "agent",
        "withhold": [],
        "card": "generic",
        "sentence": f"{name} {{path}}",
    }
    return {**document, **changes}


READ = tool_document("read_file")
DELETE = tool_document(
    "delete_file",
    effects=[{"action": "file:delete", "resource": "{path}"}],
    reversibility="irreversible",
    destructive=True,
)
PAY = tool_document(
    "make_payment",
    schema={"type": "object", "properties": {"amount": {"type": "string"}, "payee": {"type": "string"}}},
    effects=[{"action": "payment:send", "resource": "{payee}"}],
    cost={"amount": "{amount}", "unit": "USD"},
    target="{payee}",
    reversibility="externally-reversible",
)
CALL = tool_document(
    "call_model",
    effects=[{"action": "llm:call", "resource": "{path}"}],
    cost={"amount": "{amount}", "unit": "USD"},
    settle="reported",
    reversibility="reversible",
)
TOOLS = {document["name"]: document for document in (READ, DELETE, PAY, CALL)}


@dataclass
class Ask:
    """One request as the agent signed it: everything an entry needs of it."""

    id: str
    body: dict[str, Any]
    openings: list[commitments.Opening] = field(default_factory=list)

    @property
    def display(self) -> str:
        """The digest of the card that people are shown."""
        binding_ = self.body["binding"]
        tool = TOOLS.get(binding_["tool"]["name"]) if "schema" in binding_["tool"] else None
        return cards.display_digest(cards.render(binding_, {item.name: item.value for item in self.openings}, tool))

    @property
    def digest(self) -> str:
        return str(self.body["action_digest"])


class Log:
    """A log being written. `now` moves by a second with every entry; every method returns the index it wrote."""

    def __init__(self, realm: str = REALM, policy: dict[str, Any] | None = None) -> None:
        self.realm = realm
        self.policy = copy.deepcopy(policy or POLICY)
        self.policy_digest = policies.digest(self.policy)
        self.now = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
        self.envelopes: list[bytes] = []
        self.entries: list[dict[str, Any]] = []
        self.openings: list[commitments.Opening] = []
        self.delegations: dict[str, dict[str, Any]] = {}
        self._serial = 0

    # --- raw material -------------------------------------------------------------------------------------------

    def serial(self) -> int:
        self._serial += 1
        return self._serial

    @property
    def last_leaf(self) -> str:
        return merkle.leaf_hash(self.envelopes[-1]).hex() if self.envelopes else entries.FIRST_PREV

    def seal(self, payload: bytes, pair: KeyPair = DECISION_KEY) -> bytes:
        return dsse.seal(payload, pair.sign, pair.keyid)

    def add(
        self,
        kind: str,
        subject: str,
        actor: dict[str, str],
        body: dict[str, Any],
        refs: tuple[tuple[str, int], ...] = (),
        **changes: Any,
    ) -> int:
        """Append an entry, well-formed or (by `changes` of its fields) not."""
        self.now += timedelta(seconds=1)
        index = len(self.envelopes)
        entry = {
            "v": 1,
            "realm": self.realm,
            "index": index,
            "prev": self.last_leaf,
            "time": format_time(self.now),
            "kind": kind,
            "subject": subject,
            "actor": actor,
            "refs": [{"rel": rel, "index": at} for rel, at in refs],
            "body": body,
            **changes,
        }
        self.envelopes.append(self.seal(canonical.dumps(entry)))
        self.entries.append(entry)
        return index

    def new_id(self) -> str:
        """A request id of this moment; the random part counts, so that runs are alike."""
        return ids.new_id("act", self.now)[:14] + f"{self.serial():016d}"

    # --- who there is -------------------------------------------------------------------------------------------

    def genesis(self, **changes: Any) -> int:
        roster = digests.tagged(ROSTER_TAG, canonical.dumps(PEOPLE))
        body = {
            "decision_key": {"keyid": DECISION_KEY.keyid, "public": b64u(DECISION_KEY.public_key)},
            "log_vkey": note.Vkey(self.realm, LOG_KEY.public_key).format(),
            "roster": roster,
            "policy": self.policy_digest,
            "software": "test",
            **changes,
        }
        return self.add("log.genesis", self.realm, SYSTEM, body)

    def person(self, known: dict[str, Any], actor: dict[str, str] = CONSOLE) -> int:
        return self.add("person.added", known["person"], actor, dict(known))

    def person_key(self, person: str, pair: KeyPair, actor: dict[str, str] = CONSOLE) -> int:
        body = {
            "person": person,
            "key": ssh_line(pair),
            "fingerprint": fingerprint(pair),
            "purpose": "delegation",
        }
        return self.add("person.key_added", person, actor, body)

    def tool(self, document: dict[str, Any], actor: dict[str, str] | None = None, **changes: Any) -> int:
        body = {"tool": document["name"], "document": document, "digest": tools.digest(document), **changes}
        return self.add("tool.registered", document["name"], actor or by(ADA), body)

    def activate(self, document: dict[str, Any], number: int, actor: dict[str, str] | None = None, **more: Any) -> int:
        body = {"policy": policies.digest(document), "number": number, "document": document, **more}
        return self.add("policy.activated", body["policy"], actor or by(ADA), body)

    def found(self) -> Log:
        """Genesis, people with their keys, tools and the policy."""
        self.genesis()
        for known in PEOPLE:
            self.person(known)
        for person, pair in PEOPLE_KEYS.items():
            self.person_key(person, pair)
        for document in TOOLS.values():
            self.tool(document)
        self.activate(self.policy, 1)
        return self

    def invite(self, name: str = "robo", owner: str = ADA, actor: dict[str, str] | None = None) -> str:
        token = digests.sha256(f"token {name} {self.serial()}".encode())
        body = {
            "name": name,
            "owner": owner,
            "token": token,
            "expires_at": format_time(self.now + timedelta(minutes=15)),
        }
        self.add("agent.invited", name, actor or by(ADA), body)
        return token

    def enrol(self, pair: KeyPair = ROBO, name: str = "robo", owner: str = ADA, token: str = "", **more: Any) -> int:
        agent = ids.agent_id(pair.public_key)
        body = {
            "agent": agent,
            "name": name,
            "owner": owner,
            "public_key": b64u(pair.public_key),
            "thumbprint": pair.thumbprint,
            "enforcement": "E0",
            "invitation": token or self.invite(name, owner),
            **more,
        }
        return self.add("agent.enrolled", agent, agent_actor(pair), body)

    def rotate(self, old: KeyPair, new: KeyPair, agent: str = "", signer: KeyPair | None = None) -> int:
        agent = agent or ids.agent_id(old.public_key)
        fields = {
            "agent": agent,
            "old": old.thumbprint,
            "new": new.thumbprint,
            "public_key": b64u(new.public_key),
        }
        signature = b64u((signer or old).sign(rotation_preimage(realm=self.realm, **fields)))
        actor = {"type": "agent", "id": agent, "key": old.thumbprint}
        return self.add("agent.key_rotated", agent, actor, {**fields, "signature": signature})

    # --- authority ----------------------------------------------------------------------------------------------

    def document(self, issuer: str = ADA, subject: KeyPair = ROBO, **changes: Any) -> dict[str, Any]:
        document: dict[str, Any] = {
            "typ": delegation.TYP,
            "realm": self.realm,
            "issuer": issuer,
            "subject": ids.agent_id(subject.public_key),
            "scope": ["file:*:/project", "payment:send", "llm:call"],
            "spend": {"unit": "USD", "limit": "100.00"},
            "not_before": format_time(self.now),
            "not_after": format_time(self.now + timedelta(days=30)),
            "max_depth": 2,
            "nonce": f"nonce-{self.serial():016d}",
        }
        document.update(changes)
        return {name: value for name, value in document.items() if value is not None}

    def issue(self, document: dict[str, Any], pair: KeyPair, actor: dict[str, str] | None = None) -> str:
        """Write a delegation signed with this key: by SSH when a person is the issuer, else by the agent's key."""
        if document["issuer"].startswith("ag_"):
            signature = delegation.sign_as_agent(document, pair)
            actor = actor or {"type": "agent", "id": document["issuer"], "key": pair.thumbprint}
        else:
            armored = sshsig.sign(pair, canonical.dumps(document), delegation.SSH_NAMESPACE)
            signature = {"kind": "ssh", "key": fingerprint(pair), "value": armored}
            actor = actor or by(document["issuer"], signature["key"], "H2")
        identifier = delegation.delegation_id(document)
        self.add(
            "delegation.issued",
            identifier,
            actor,
            {"delegation": identifier, "document": document, "signature": signature},
        )
        self.delegations[identifier] = document
        return identifier

    def root(self, **changes: Any) -> str:
        return self.issue(self.document(**changes), PEOPLE_KEYS[ADA])

    def child_of(self, parent: str, **changes: Any) -> str:
        """A delegation from robo to the child agent."""
        above = self.delegations[parent]
        fields: dict[str, Any] = {
            "issuer": above["subject"],
            "subject": CHILD,
            "parent": parent,
            "scope": ["file:read:/project/src"],
            "spend": {"unit": "USD", "limit": "50.00"},
            "not_before": above["not_before"],
            "not_after": above["not_after"],
            "max_depth": above["max_depth"] - 1,
            "on_behalf_of": above.get("on_behalf_of"),
        }
        return self.issue(self.document(**{**fields, **changes}), ROBO)

    def revoke(self, identifier: str, actor: dict[str, str] | None = None) -> int:
        body = {"delegation": identifier, "reason": "over", "since": format_time(self.now)}
        return self.add("delegation.revoked", identifier, actor or by(ADA), body)

    # --- actions ------------------------------------------------------------------------------------------------

    def ask(
        self,
        chain: str,
        tool: str = "read_file",
        parameters: dict[str, Any] | None = None,
        *,
        pair: KeyPair = ROBO,
        agent: str = "",
        risk: str = "LOW",
        cost: str = "0.00",
        effects: list[dict[str, str]] | None = None,
        realm: str = "",
        request: dict[str, str] | None = None,
        schema: str | None = "current",
        identifier: str = "",
    ) -> Ask:
        """What every entry about a request shares: the binding and the agent's signature over it."""
        parameters = parameters or {"path": "/project/src/a.py"}
        idempotency_key = f"key-{self.serial()}"
        salt = commitments.salt_for(pair.sign, idempotency_key)
        pairs = {name: commitments.commit(salt, name, value) for name, value in parameters.items()}
        known = TOOLS.get(tool)
        if effects is None:
            template = (known or READ)["effects"][0]
            resource = template["resource"].format(**{"path": "", "payee": "", **parameters})
            effects = [{"action": template["action"], "resource": resource}]
        named = {"name": tool}
        if schema == "current" and known is not None:
            named["schema"] = tools.digest(known)
        elif schema not in (None, "current"):
            named["schema"] = str(schema)
        bound = binding.build(
            realm=realm or self.realm,
            agent=agent or ids.agent_id(pair.public_key),
            delegation=chain,
            tool=named,
            effects=effects,
            parameters={name: commitment for name, (commitment, _) in pairs.items()},
            cost={"amount": cost, "unit": "USD"},
            context={"run": "r1", "call": f"c{self.serial()}"},
        )
        body = {
            "binding": bound,
            "action_digest": binding.action_digest(bound),
            "risk": risk,
            "reversibility": (known or READ)["reversibility"],
            "rule": "default",
            "policy": self.policy_digest,
            "enforcement": "E0",
            "request": request or self.signed(bound, pair, idempotency_key),
        }
        opened = [opening for _, opening in pairs.values()]
        self.openings += opened
        return Ask(identifier or self.new_id(), body, opened)

    def signed(self, bound: dict[str, Any], pair: KeyPair, idempotency_key: str) -> dict[str, str]:
        """The agent's HTTP signature, as an entry keeps it."""
        digest = commitments.commitments_digest(bound["parameters"], None)
        headers = {
            "content-type": "application/json",
            "idempotency-key": idempotency_key,
            "imprimatur-commitments": digest,
        }
        added = httpsig.sign_request(
            method="POST",
            target_uri=URI,
            headers=headers,
            body=canonical.dumps(bound),
            key=pair,
            created=int(self.now.timestamp()),
            nonce=b64u(hashlib.sha256(f"{self.serial()}".encode()).digest()[:16]),
        )
        return {
            "content_digest": added["Content-Digest"],
            "signature_input": added["Signature-Input"],
            "signature": added["Signature"],
            "method": "POST",
            "target_uri": URI,
            "idempotency_key": idempotency_key,
            "commitments": digest,
        }

    def allow(self, ask: Ask, votes: tuple[int, ...] = (), *, at_once: bool = False, **changes: Any) -> int:
        body: dict[str, Any] = {
            **ask.body,
            "verdict": "allow",
            "state": "REDEEMED" if at_once else "APPROVED",
            "votes": list(votes),
            "not_after": format_time(self.now + timedelta(minutes=5)),
        }
        if at_once:
            body["attempt"] = entries.attempt_digest(f"attempt {ask.id}")
            body["execute_by"] = format_time(self.now + timedelta(seconds=30))
        return self.add("action.decided", ask.id, SYSTEM, {**body, **changes})

    def deny(self, ask: Ask, state: str = "DENIED", code: str = "policy-denied", votes: tuple[int, ...] = ()) -> int:
        body = {**ask.body, "verdict": "deny", "state": state, "code": code, "votes": list(votes)}
        return self.add("action.decided", ask.id, SYSTEM, body)

    def request(self, ask: Ask, stages: list[dict[str, Any]] | None = None, **changes: Any) -> int:
        usual = [{"role": "reviewer", "count": 1, "kind": "approve"}]
        if ask.body["risk"] == "CRITICAL":
            usual.append({"role": "reviewer", "count": 1, "kind": "confirm"})
        body = {
            **ask.body,
            "stages": usual if stages is None else stages,
            "display_digest": ask.display,
            "expires_at": format_time(self.now + timedelta(minutes=5)),
            **changes,
        }
        actor = {"type": "agent", "id": ask.body["binding"]["agent"]}
        return self.add("action.requested", ask.id, actor, body)

    def statement(self, ask: Ask, reviewer: str, decision: str = "approve", stage: int = 0, **changes: Any) -> bytes:
        document: dict[str, Any] = {
            "typ": statement.TYP,
            "realm": self.realm,
            "request": ask.id,
            "version": 1,
            "agent": ask.body["binding"]["agent"],
            "decision": decision,
            "stage": stage,
            "role": "reviewer",
            "risk": ask.body["risk"],
            "reversibility": ask.body["reversibility"],
            "action_digest": ask.digest,
            "display_digest": ask.display,
            "delegation": ask.body["binding"]["delegation"],
            "policy": ask.body["policy"],
            "reviewer": reviewer,
            "log_size": len(self.envelopes),
            "log_root": f"sha256:{merkle.root_of(map(merkle.leaf_hash, self.envelopes)).hex()}",
            "nonce": b64u(hashlib.sha256(f"nonce {self.serial()}".encode()).digest()[:16]),
            "issued_at": format_time(self.now),
            "expires_at": format_time(self.now + timedelta(seconds=120)),
        }
        document.update(changes)
        return canonical.dumps(document)

    def vote(
        self,
        ask: Ask,
        reviewer: str = RUI,
        decision: str = "approve",
        stage: int = 0,
        *,
        pair: KeyPair | None = None,
        session: bool = False,
        raw: bytes | None = None,
        actor: dict[str, str] | None = None,
        evidence: dict[str, Any] | None = None,
        **changes: Any,
    ) -> int:
        """A vote with the reviewer's SSH key, or (session) by a click."""
        raw = raw or self.statement(ask, reviewer, decision, stage, **changes)
        pair = pair or PEOPLE_KEYS.get(reviewer, key(reviewer))
        if evidence is None and session:
            evidence = {"kind": "session"}
        elif evidence is None:
            armored = sshsig.sign(pair, raw, statement.SSH_NAMESPACE)
            evidence = {"kind": "ssh", "key": fingerprint(pair), "value": armored}
        assert evidence is not None
        usual = by(reviewer, assurance="H0") if session else by(reviewer, fingerprint(pair), "H2")
        body = {"request": ask.id, "version": 1, "statement": raw.decode(), "evidence": evidence}
        return self.add("vote.cast", ask.id, actor or usual, body)

    def confirm(self, ask: Ask, first: int, reviewer: str = ROSA, **more: Any) -> int:
        before = self.entries[first]["body"]["statement"].encode()
        return self.vote(ask, reviewer, "confirm", 1, prev_vote=digests.sha256(before), **more)

    def redeem(self, ask: Ask, **changes: Any) -> int:
        body = {
            "request": ask.id,
            "action_digest": ask.digest,
            "attempt": entries.attempt_digest(f"attempt {ask.id}"),
            "execute_by": format_time(self.now + timedelta(seconds=30)),
            **changes,
        }
        return self.add("action.redeemed", ask.id, {"type": "agent", "id": ask.body["binding"]["agent"]}, body)

    def report(self, ask: Ask, outcome: str = "SUCCEEDED", **changes: Any) -> int:
        body = {"request": ask.id, "action_digest": ask.digest, "outcome": outcome, **changes}
        actor = SYSTEM if outcome == "UNREPORTED" else {"type": "agent", "id": ask.body["binding"]["agent"]}
        return self.add("action.reported", ask.id, actor, body)

    def withdraw(self, ask: Ask, state: str = "EXPIRED", code: str = "approval-expired") -> int:
        body = {"request": ask.id, "state": state, "code": code, "action_digest": ask.digest}
        return self.add("action.withdrawn", ask.id, SYSTEM, body)

    def checkpoint(self) -> str:
        root = merkle.root_of(map(merkle.leaf_hash, self.envelopes))
        return checkpoint.Checkpoint(self.realm, len(self.envelopes), root).sign(LOG_KEY.seed)


def by(person: str, pair: str = "", assurance: str = "H0") -> dict[str, str]:
    """A person as an actor."""
    fields = {"type": "person", "id": person, "key": pair, "assurance": assurance}
    return {name: value for name, value in fields.items() if value}


def agent_actor(pair: KeyPair) -> dict[str, str]:
    return {"type": "agent", "id": ids.agent_id(pair.public_key), "key": pair.thumbprint}


def standing() -> tuple[Log, str]:
    """A log with people, tools, policy, the agent robo and its root delegation."""
    log = Log().found()
    log.enrol()
    return log, log.root()


def whole_story() -> Log:
    """A log with everything that can go well: all risk levels, a child, a rotation, a revocation, a suspension."""
    log, root = standing()
    log.enrol(CHILD, "child")
    child = log.child_of(root)
    quick = log.ask(root)
    log.allow(quick, at_once=True)
    log.report(quick)
    slow = log.ask(child, pair=CHILD)
    log.allow(slow)
    log.redeem(slow)
    log.report(slow, "UNREPORTED")
    log.report(slow, "FAILED", late=True)
    refused = log.ask(root, parameters={"path": "/etc/passwd"})
    log.deny(refused, "REFUSED", "out-of-scope")
    high = log.ask(root, "make_payment", {"amount": "40.00", "payee": "ACME"}, risk="HIGH", cost="40.00")
    log.request(high)
    log.allow(high, (log.vote(high),))
    log.redeem(high)
    log.report(high)
    critical = log.ask(root, "delete_file", risk="CRITICAL")
    log.request(critical)
    first = log.vote(critical)
    log.allow(critical, (first, log.confirm(critical, first)))
    log.withdraw(critical)
    denied = log.ask(root, "delete_file", risk="HIGH")
    log.request(denied)
    log.deny(denied, "DENIED", "reviewer-denied", (log.vote(denied, RUI, "deny", session=True),))
    called = log.ask(
        root,
        "call_model",
        {"path": "m", "amount": "10.00"},
        risk="MEDIUM",
        cost="10.00",
        effects=[{"action": "llm:call", "resource": "m"}],
    )
    log.allow(called, at_once=True)
    log.report(called, cost={"amount": "2.50", "unit": "USD"})
    log.rotate(ROBO, key("robo 2"))
    pending = log.ask(root, "delete_file", risk="HIGH", pair=key("robo 2"), agent=ids.agent_id(ROBO.public_key))
    log.request(pending)
    cause = log.revoke(root)
    log.deny(pending, "INVALIDATED", "invalidated")
    log.add("cascade.swept", f"entry:{cause}", SYSTEM, {"cause": cause, "ids": [pending.id]})
    log.add("cascade.finished", f"entry:{cause}", SYSTEM, {"cause": cause, "total": 1})
    pause = {"scope": "agent", "target": ids.agent_id(CHILD.public_key), "reason": "strange"}
    log.add("pause.set", "child", by(RUI), pause)
    log.add("pause.lifted", "child", by(ADA), {**pause, "reason": "explained"})
    return log


# --- bundles ------------------------------------------------------------------------------------------------------------


def bundle_files(log: Log, erased: int = 0) -> dict[str, bytes]:
    """The files of a bundle of this log, without the two lists: see `finished`. The first `erased` openings are gone."""
    size = len(log.envelopes)
    leaves = [merkle.leaf_hash(raw) for raw in log.envelopes]
    files = {
        "README.txt": b"read me\n",
        "log/checkpoint": log.checkpoint().encode(),
        "trust/log.vkey": f"{log.entries[0]['body']['log_vkey']}\n".encode(),
        "trust/log.pub.pem": copies._pem(LOG_KEY.public_key),
        "trust/decision.pub.pem": copies._pem(DECISION_KEY.public_key),
    }
    for index, width in tiles.bundles_for(0, size):
        start = index * tiles.WIDTH
        files[f"log/{tiles.entries_path(index, width)}"] = tiles.bundle_encode(log.envelopes[start : start + width])
    rows = [leaves]
    while len(rows[-1]) >= tiles.WIDTH:
        row = rows[-1]
        rows.append(
            [merkle.root_of(row[at : at + tiles.WIDTH]) for at in range(0, len(row) - tiles.WIDTH + 1, tiles.WIDTH)]
        )
    for level, index, width in tiles.tiles_for(0, size):
        start = index * tiles.WIDTH
        files[f"log/{tiles.tile_path(level, index, width)}"] = b"".join(rows[level][start : start + width])
    earlier = checkpoint.Checkpoint(log.realm, size // 2, merkle.root_of(leaves[: size // 2]))
    files[f"log/checkpoints/{size // 2}"] = earlier.sign(LOG_KEY.seed).encode()
    proof = tlog_proof.TlogProof(1, tuple(merkle.inclusion_proof(leaves, 1)), log.checkpoint())
    files["log/proofs/1.tlog-proof"] = tlog_proof.encode(proof).encode()
    opened = {commitments.commitment_of(opening): opening for opening in log.openings}
    seen: set[str] = set()
    views, openings = [], []
    for entry, raw in zip(log.entries, log.envelopes, strict=True):
        body = entry["body"]
        fields = {name: entry[name] for name in ("index", "time", "kind", "subject", "actor", "refs")}
        views.append({**fields, "leaf": merkle.leaf_hash(raw).hex(), "sentence": "…"})
        if entry["kind"] == "delegation.issued":
            stem = f"delegations/{body['delegation'].removeprefix('sha256:')}"
            files[f"{stem}.json"] = canonical.dumps(body["document"])
            if body["signature"]["kind"] == "ssh":
                files[f"{stem}.sig"] = body["signature"]["value"].encode()
        if "statement" in body:
            files[f"votes/{entry['index']}.json"] = body["statement"].encode()
            if body["evidence"]["kind"] == "ssh":
                files[f"votes/{entry['index']}.sig"] = body["evidence"]["value"].encode()
        for commitment, where in sorted(commitments_in(body).items(), key=lambda item: item[1]):
            if commitment in seen:
                continue
            seen.add(commitment)
            line = {"index": entry["index"], "where": where, "commitment": commitment}
            opening = opened[commitment]
            if len(openings) < erased:
                openings.append({**line, "name": opening.name, "state": "erased"})
            else:
                held = {"name": opening.name, "key": b64u(opening.key), "value": opening.value, "state": "held"}
                openings.append({**line, **held})
    files["openings/openings.jsonl"] = b"".join(canonical.dumps_json(line) + b"\n" for line in openings)
    files["views/entries.jsonl"] = b"".join(canonical.dumps_json(line) + b"\n" for line in views)
    return files


def finished(files: dict[str, bytes], log: Log, pair: KeyPair = DECISION_KEY) -> dict[str, bytes]:
    """The files with both lists over them."""
    hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    listing = "".join(f"{digest}  {name}\n" for name, digest in hashes.items()).encode()
    hashes["MANIFEST.sha256"] = hashlib.sha256(listing).hexdigest()
    root = merkle.root_of(map(merkle.leaf_hash, log.envelopes))
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": hashes[name]}} for name in sorted(hashes)],
        "predicateType": "urn:imprimatur:evidence:v1",
        "predicate": {"realm": log.realm, "size": len(log.envelopes), "root": f"sha256:{root.hex()}"},
    }
    sealed = dsse.seal(canonical.dumps(document), pair.sign, pair.keyid, "application/vnd.in-toto+json")
    return {**files, "MANIFEST.sha256": listing, "MANIFEST.dsse.json": sealed}


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    evidence_zip.write(stream, dict(files))
    return stream.getvalue()


def trust_document(log: Log) -> dict[str, Any]:
    """What an auditor was given by another way."""
    return {
        "realm": log.realm,
        "log": [note.Vkey(log.realm, LOG_KEY.public_key).format()],
        "decision": [{"key": b64u(DECISION_KEY.public_key), "from": 0}],
        "people": [{"person": person, "kind": "ssh", "key": ssh_line(pair)} for person, pair in PEOPLE_KEYS.items()],
        "policy": [log.policy_digest],
    }
