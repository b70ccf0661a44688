"""Writes small logs with the formats alone, so that the verifier is tested against bytes and not against the server."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from imprimatur import cards
from imprimatur.formats import (
    attestation,
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
    selection,
    signing,
    sshsig,
    statement,
    tiles,
    tlog_proof,
)
from imprimatur.formats.encoding import b64, b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.rotation import rotation_preimage
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import bubblewrap, canaries, configuration, launches, tools
from imprimatur.rules import policy as policies
from imprimatur.verify import copies, grant_files, log_keys, signatures
from imprimatur.verify.disclosed import commitments_in
from imprimatur.verify.grant_history import GrantHistory
from imprimatur.verify.people import ROSTER_TAG
from tests.formats.soft_authenticator import Algorithm, SoftAuthenticator

REALM = "gate.example/prod"
URI = "https://gate.example/api/v1/actions"


NO_FILTER = {"code": "seccomp-missing", "expected": "seccomp 2 (filter)", "found": "seccomp 0", "pid": 7}
"""What is found of `Log.process` when its filter of system calls is gone."""


def key(name: str) -> KeyPair:
    """The same key for the same name, in every run."""
    return KeyPair(hashlib.sha256(f"imprimatur test key {name}".encode()).digest())


def ssh_line(pair: KeyPair) -> str:
    return f"ssh-ed25519 {b64(sshsig.public_key_blob(pair.public_key))}"


def fingerprint(pair: KeyPair) -> str:
    return sshsig.parse_public_key(ssh_line(pair)).fingerprint


SYSTEM = {"type": "system", "id": "imprimatur"}
CONSOLE = {"type": "system", "id": "console"}
LOG_KEY = key("log")
DECISION_KEY = key("decision")
ROBO = key("robo")
CHILD = key("child")
SERVICE_KEYS = {role: key(role) for role in attestation.ROLES}
NODE = {"name": "box", "kernel": "6.1.0", "boot": "b0"}
INODES = {name: 4_026_531_000 + place for place, name in enumerate(attestation.NAMESPACES)}

ADA, RUI, ROSA, AUDRA, BO = (f"pe_0000000000000000000000000{letter}" for letter in "abcde")
PEOPLE = [
    {"person": ADA, "name": "Ada", "roles": ["admin"]},
    {"person": RUI, "name": "Rui", "roles": ["admin", "reviewer"]},
    {"person": ROSA, "name": "Rosa", "roles": ["admin", "reviewer"]},
    {"person": AUDRA, "name": "Audra", "roles": ["auditor"]},
]
PEOPLE_KEYS = {ADA: key("ada"), RUI: key("rui"), ROSA: key("rosa")}
SITE, PAGE = "gate.example", "https://gate.example"

Signer = KeyPair | SoftAuthenticator
"""Somebody's own key: an SSH key, or a passkey."""


def passkey(alg: Algorithm = "ES256", *, device_bound: bool = True) -> SoftAuthenticator:
    """A new passkey on the page of this desk."""
    return SoftAuthenticator(alg, SITE, PAGE, device_bound=device_bound)


def name_of(signer: Signer) -> str:
    """The fingerprint by which documents name a key."""
    return signer.thumbprint if isinstance(signer, SoftAuthenticator) else fingerprint(signer)


def prove(signer: Signer, typ: str, raw: bytes, **lies: Any) -> dict[str, Any]:
    """Evidence that this key signed these bytes as a statement of this type; `lies` are the authenticator's."""
    if isinstance(signer, SoftAuthenticator):
        return signer.evidence(typ, raw, **lies)
    return {"kind": "ssh", "key": fingerprint(signer), "value": sshsig.sign(signer, raw, signing.ssh_namespace(typ))}


POLICY: dict[str, Any] = {
    "typ": policies.TYP,
    "name": "Test",
    "assurance": "H2",
    "single_human": False,
    "default_risk": "HIGH",
    "deny": [],
    "rules": [
        {"name": "low", "action": "*", "risk": "LOW", "when": "false"},
        {"name": "medium", "action": "*", "risk": "MEDIUM", "when": "false"},
    ],
}
"""Conditions are not run again: what is LOW names the one rule, what is MEDIUM the other, and the rest the default."""


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

CONFIGURATION = """realm = "{realm}"
[agent]
id = "{agent}"
[runtime]
kind = "bwrap"
[command]
allowed = ["/usr/bin/robo"]
[limits]
memory_mb = 256
cpu_seconds = 60
wall_seconds = 600
processes = 16
open_files = 64
file_size_mb = 10
[files]
read = ["/srv/robo"]
[network]
mode = "none"
[security]
seccomp = "strict"
no_new_privileges = true
capabilities = []
"""
"""One layer of configuration with all that a sandbox needs."""


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
        self.decision_key = DECISION_KEY
        self.log_key = LOG_KEY
        self.launched: dict[str, dict[str, Any]] = {}
        self.trees: dict[str, merkle.CompactRange] = {}
        self._serial = 0

    # --- raw material -------------------------------------------------------------------------------------------

    def serial(self) -> int:
        self._serial += 1
        return self._serial

    @property
    def last_leaf(self) -> str:
        return merkle.leaf_hash(self.envelopes[-1]).hex() if self.envelopes else entries.FIRST_PREV

    @property
    def log_vkey(self) -> str:
        return note.Vkey(self.realm, self.log_key.public_key).format()

    def seal(self, payload: bytes, pair: KeyPair | None = None) -> bytes:
        pair = pair or self.decision_key
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
            "log_vkey": self.log_vkey,
            "roster": roster,
            "policy": self.policy_digest,
            "software": "test",
            **changes,
        }
        return self.add("log.genesis", self.realm, SYSTEM, body)

    def change_decision_key(
        self, new: KeyPair, signer: KeyPair | None = None, actor: dict[str, str] | None = None
    ) -> int:
        said = log_keys.possession(self.realm, len(self.envelopes), self.decision_key.keyid, new.keyid)
        body = {
            "decision_key": {"keyid": new.keyid, "public": b64u(new.public_key)},
            "signature": b64u((signer or new).sign(said)),
            "reason": "yearly",
        }
        index = self.add("log.decision_key_changed", self.realm, actor or CONSOLE, body)
        self.decision_key = new
        return index

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

    # --- what people sign ---------------------------------------------------------------------------------------

    def says(self, typ: str, person: str, signer: Signer | None = None, /, life: int = 120, **fields: Any) -> bytes:
        """A statement of this person now, naming the key (if one is to sign it); None drops a field."""
        document: dict[str, Any] = {
            "typ": typ,
            "realm": self.realm,
            "person": person,
            "log_size": len(self.envelopes),
            "log_root": self.root_now(),
            "nonce": self.nonce(),
            "issued_at": format_time(self.now),
            "expires_at": format_time(self.now + timedelta(seconds=life)),
        }
        if signer is not None:
            document["credential"] = name_of(signer)
        document.update(fields)
        return canonical.dumps({name: value for name, value in document.items() if value is not None})

    def root_now(self) -> str:
        return f"sha256:{merkle.root_of(map(merkle.leaf_hash, self.envelopes)).hex()}"

    def nonce(self) -> str:
        return b64u(hashlib.sha256(f"nonce {self.serial()}".encode()).digest()[:16])

    def signed(self, signer: Signer, raw: bytes, **lies: Any) -> dict[str, Any]:
        """A statement with its evidence, as entries carry it."""
        return {"statement": raw.decode(), "evidence": prove(signer, canonical.loads(raw)["typ"], raw, **lies)}

    def enrolment(self, person: str, signer: Signer, /, **changes: Any) -> bytes:
        if isinstance(signer, SoftAuthenticator):
            of_key = {
                "kind": "webauthn",
                "key": signer.thumbprint,
                "thumbprint": signer.thumbprint,
                "public_key": b64u(signer.public_key),
                "credential": b64u(signer.credential),
                "rp_id": signer.rp_id,
                "device_bound": signer.device_bound,
            }
        else:
            of_key = {
                "kind": "ssh",
                "key": fingerprint(signer),
                "thumbprint": signer.thumbprint,
                "public_key": ssh_line(signer),
                "device_bound": False,
            }
        return self.says(signing.ENROLMENT, person, life=600, label="key", **{**of_key, **changes})

    def enrol_key(
        self, person: str, signer: Signer, *, raw: bytes | None = None, proven_by: Signer | None = None, **changes: Any
    ) -> int:
        """The person enrols this key, with the statement that the key signed; `changes` are of the body."""
        signed = self.signed(proven_by or signer, raw or self.enrolment(person, signer))
        actor = by(person, name_of(signer), "H2")
        return self.add("person.key_enrolled", person, actor, {"person": person, **signed, **changes})

    def vouch(self, person: str, signer: Signer, voucher: str = "", own: Signer | None = None, **changes: Any) -> int:
        """Somebody vouches for a key: with a signature, or (without `own`) by a click or at the console."""
        body: dict[str, Any] = {"person": person, "fingerprint": name_of(signer)}
        actor = by(voucher) if voucher else CONSOLE
        if own is not None:
            body["signed"] = self.signed(own, self.vouching(person, signer, voucher, own))
            actor = by(voucher, name_of(own), "H2")
        return self.add("person.key_vouched", person, actor, {**body, **changes})

    def vouching(self, person: str, signer: Signer, voucher: str, own: Signer, /, **changes: Any) -> bytes:
        """The statement of somebody who vouches for an enrolled key."""
        name = name_of(signer)
        enrolled = [entry["body"]["statement"] for entry in self.entries if entry["kind"] == "person.key_enrolled"]
        digest = digests.sha256(next(text for text in reversed(enrolled) if name in text).encode())
        return self.says(signing.VOUCH, voucher, own, **{"for": person, "key": name, "enrolment": digest, **changes})

    def holder(self, person: str, signer: Signer, voucher: str = ADA) -> None:
        """A key that counts: enrolled, and vouched for by somebody who holds one."""
        self.enrol_key(person, signer)
        self.vouch(person, signer, voucher, PEOPLE_KEYS[voucher])

    def propose(self, act: str, subject: str, document: dict[str, Any], person: str = ADA, /, **changes: Any) -> str:
        """A change that one person proposes; its id. `changes` are `hold`, `days`, or of the statement."""
        days, hold = changes.pop("days", 7), changes.pop("hold", False)
        name = ids.new_id("chg", self.now)[:14] + f"{self.serial():016d}"
        body: dict[str, Any] = {
            "change": name,
            "act": act,
            "subject": subject,
            "document": document,
            "expires_at": format_time(self.now + timedelta(days=days)),
            **({"hold": True} if hold else {}),
        }
        signer = PEOPLE_KEYS[person]
        body["signed"] = self.signed(signer, self.change_statement("propose", body, person, signer, **changes))
        self.add("change.proposed", name, by(person, name_of(signer), "H2"), body)
        return name

    def change_statement(
        self, role: str, body: dict[str, Any], person: str, signer: Signer, /, **changes: Any
    ) -> bytes:
        """What a person signs of a proposal, with the body of which it is entered."""
        fields = {
            "role": role,
            **{field: body[field] for field in ("change", "act", "subject")},
            "document": signing.document_digest(body["document"]),
            "hold": body.get("hold"),
        }
        return self.says(signing.CHANGE, person, signer, **{**fields, **changes})

    def second(self, name: str, person: str = RUI, signer: Signer | None = None, /, **changes: Any) -> int:
        """Another person signs the same change."""
        proposals = [entry["body"] for entry in self.entries if entry["kind"] == "change.proposed"]
        proposed = next(body for body in proposals if body["change"] == name)
        signer = signer or PEOPLE_KEYS[person]
        raw = self.change_statement("second", proposed, person, signer, **changes)
        body = {"change": name, "signed": self.signed(signer, raw)}
        return self.add("change.seconded", name, by(person, name_of(signer), "H2"), body)

    def agreed(self, act: str, subject: str, document: dict[str, Any]) -> int:
        """What takes two people, signed by Ada and Rui and done in Ada's name."""
        name = self.propose(act, subject, document)
        self.second(name)
        return self.add(act, subject, by(ADA), {**document, "change": name})

    def act(self, kind: str, subject: str, body: dict[str, Any], person: str = ADA, /, **changes: Any) -> int:
        """An act of one person, with their signature over it; `changes` are of the statement."""
        signer = PEOPLE_KEYS[person]
        fields = {"act": kind, "subject": subject, "content": body, **changes}
        raw = self.says(signing.ACT, person, signer, **fields)
        actor = by(person, name_of(signer), "H2")
        return self.add(kind, subject, actor, {**body, "signed": self.signed(signer, raw)})

    def grant(
        self, ask: Ask, reviewer: str = RUI, *, signer: Signer | None = None, session: bool = False, **changes: Any
    ) -> str:
        """A vote in advance, made from this request; its id."""
        bound = ask.body["binding"]
        signer = None if session else signer or PEOPLE_KEYS[reviewer]
        fields: dict[str, Any] = {
            "request": ask.id,
            "agent": bound["agent"],
            "delegation": bound["delegation"],
            "tool": bound["tool"]["name"],
            "tool_digest": bound["tool"]["schema"],
            "effects": [f"{effect['action']}:{effect['resource']}" for effect in bound["effects"]],
            "parameters": {name: {"op": "any"} for name in bound["parameters"]},
            "max_uses": 2,
            "max_total": {"amount": "50.00", "unit": "USD"},
            "not_after": format_time(self.now + timedelta(minutes=30)),
            "policy": self.policy_digest,
        }
        raw = self.says(signing.GRANT, reviewer, signer, **{**fields, **changes})
        name = signing.grant_id(raw)
        if signer is None:
            body: dict[str, Any] = {"statement": raw.decode(), "evidence": {"kind": "session"}}
            actor = by(reviewer, assurance="H0")
        else:
            body, actor = self.signed(signer, raw), by(reviewer, name_of(signer), "H2")
        asked = [entry["index"] for entry in self.entries if entry["subject"] == ask.id]
        self.add("grant.issued", name, actor, {"grant": name, **body}, refs=tuple(("request", at) for at in asked[:1]))
        return name

    def tool(self, document: dict[str, Any], actor: dict[str, str] | None = None, **changes: Any) -> int:
        body = {"tool": document["name"], "document": document, "digest": tools.digest(document), **changes}
        return self.add("tool.registered", document["name"], actor or by(ADA), body)

    def activate(self, document: dict[str, Any], number: int, actor: dict[str, str] | None = None, **more: Any) -> int:
        body = {"policy": policies.digest(document), "number": number, "document": document, **more}
        return self.add("policy.activated", body["policy"], actor or by(ADA), body)

    def found(self) -> Log:
        """Genesis, people, tools and the policy, then the people's own keys: each vouched for by the one before."""
        return self.begun().keyed()

    def keyed(self) -> Log:
        """The people's own keys, each vouched for by the one before: from here on two people sign what widens."""
        self.enrol_key(ADA, PEOPLE_KEYS[ADA])
        self.vouch(ADA, PEOPLE_KEYS[ADA], ADA, first=True)
        self.enrol_key(RUI, PEOPLE_KEYS[RUI])
        self.vouch(RUI, PEOPLE_KEYS[RUI], ADA, PEOPLE_KEYS[ADA], first=True)
        self.holder(ROSA, PEOPLE_KEYS[ROSA], RUI)
        return self

    def begun(self) -> Log:
        """Genesis, people, tools and the policy: nobody holds a key yet."""
        self.genesis()
        for known in PEOPLE:
            self.person(known)
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

    def issue(self, document: dict[str, Any], pair: Signer, actor: dict[str, str] | None = None) -> str:
        """Write a delegation signed with this key: a person's own when a person is the issuer, else the agent's."""
        if document["issuer"].startswith("ag_"):
            assert isinstance(pair, KeyPair)
            signature = delegation.sign_as_agent(document, pair)
            actor = actor or {"type": "agent", "id": document["issuer"], "key": pair.thumbprint}
        else:
            signature = {**prove(pair, delegation.TYP, canonical.dumps(document)), "key": name_of(pair)}
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

    # --- services -----------------------------------------------------------------------------------------------

    def service(
        self, role: str, pair: KeyPair | None = None, actor: dict[str, str] | None = None, **changes: Any
    ) -> str:
        """An admin registers a service; its id."""
        pair = pair or SERVICE_KEYS[role]
        name = ids.service_id(pair.public_key)
        body = {
            "service": name,
            "name": role,
            "role": role,
            "public_key": b64u(pair.public_key),
            "thumbprint": pair.thumbprint,
        }
        self.add("service.registered", name, actor or by(ADA), {**body, **changes})
        return name

    def services(self) -> Log:
        """One service of each role."""
        for role in attestation.ROLES:
            self.service(role)
        return self

    def retire(self, role: str) -> int:
        name = ids.service_id(SERVICE_KEYS[role].public_key)
        return self.add("service.retired", name, by(ADA), {"service": name, "reason": "replaced"})

    def state(
        self, typ: str, subjects: dict[str, str], fields: dict[str, Any], pair: KeyPair | None = None, **changes: Any
    ) -> str:
        """The text of a statement that the service for this type signs next; `changes` are of its predicate."""
        pair = pair or SERVICE_KEYS[attestation.SIGNS[typ]]
        tree = self.trees.setdefault(pair.thumbprint, merkle.CompactRange())
        predicate = {
            "realm": self.realm,
            "service": ids.service_id(pair.public_key),
            "own": {"size": tree.size, "root": f"sha256:{tree.root().hex()}"},
            "at": format_time(self.now),
            **fields,
            **changes,
        }
        raw = attestation.seal(typ, subjects, predicate, pair)
        tree.append(merkle.leaf_hash(raw))
        return raw.decode()

    def new_launch(self) -> str:
        return ids.new_id("lau", self.now)[:14] + f"{self.serial():016d}"

    def layer(
        self, agent: str, signer: KeyPair | None = PEOPLE_KEYS[ADA], text: str = "", **more: Any
    ) -> dict[str, Any]:
        """A file of configuration, signed by a person (or by nobody); `more` are fields of the layer."""
        text = text or CONFIGURATION.format(realm=self.realm, agent=agent)
        layer = {"name": "robo.toml", "digest": digests.sha256(text.encode()), "text": text}
        if signer is not None:
            layer["signature"] = sshsig.sign(signer, text.encode(), launches.SSH_NAMESPACE)
        return {**layer, **more}

    def launch_statement(self, launch: str, pair: KeyPair = ROBO, **changes: Any) -> str:
        """What the orchestrator attests before it starts this agent, from a layer that Ada signed."""
        agent = ids.agent_id(pair.public_key)
        layers = changes.pop("layers", None) or [self.layer(agent)]
        effective = configuration.merge([configuration.parse_layer(layer["text"]) for layer in layers])
        effective = changes.pop("effective", effective)
        fields = {
            "launch": launch,
            "agent": agent,
            "runtime": {"kind": "bwrap", "version": "0.8.0", "launched": True},
            "command": ["/usr/bin/robo"],
            "flags": bubblewrap.arguments(effective),
            "executable": {"path": "/usr/bin/robo", "digest": digests.sha256(b"robo")},
            "node": NODE,
            "layers": layers,
            "merge": {"program": configuration.MERGE_PROGRAM, "digest": configuration.merge_digest()},
            "effective": effective,
            "delegations": [name for name, issued in self.delegations.items() if issued["subject"] == agent],
            "policy": self.policy_digest,
        }
        signer = changes.pop("signer", None)
        subjects = {"effective-config": hashlib.sha256(canonical.dumps(effective)).hexdigest()}
        self.launched[launch] = {**fields, **changes}
        return self.state(attestation.LAUNCH, subjects, self.launched[launch], signer)

    def launch(self, pair: KeyPair = ROBO, body: dict[str, Any] | None = None, **changes: Any) -> str:
        """An attested launch; its id. `changes` are of the predicate, `body` is of the entry's."""
        name = changes.pop("launch", "") or self.new_launch()
        text = self.launch_statement(name, pair, **changes)
        said = {"launch": name, "agent": ids.agent_id(pair.public_key), "statement": text, **(body or {})}
        self.add("launch.attested", name, service_actor(attestation.ORCHESTRATOR), said)
        return name

    def refuse_launch(self, *codes: str, body: dict[str, Any] | None = None, **changes: Any) -> int:
        """A launch that was refused for this."""
        text = self.launch_statement(self.new_launch(), **changes)
        reasons = [{"code": code, "message": f"because of {code}"} for code in codes]
        said = {"reasons": reasons, "digest": digests.sha256(text.encode()), "statement": text, **(body or {})}
        said = {name: value for name, value in said.items() if value is not None}
        return self.add("launch.refused", self.realm, service_actor(attestation.ORCHESTRATOR), said)

    def end_launch(self, launch: str, how: str = "exited", actor: dict[str, str] | None = None) -> int:
        body = {"launch": launch, "how": how}
        return self.add("launch.ended", launch, actor or service_actor(attestation.ORCHESTRATOR), body)

    def observe(
        self, launch: str | None, matched: bool = True, findings: list[dict[str, Any]] | None = None, **changes: Any
    ) -> int:
        """What the monitor saw: the launch as it was attested; `changes` are of the predicate."""
        fields = {
            "node": NODE,
            "host": INODES,
            "log": {"size": len(self.envelopes), "root": self.root_now()},
            "processes": [self.process(launch)] if launch in self.launched else [],
            **({} if launch is None else {"launch": launch}),
        }
        text = self.state(attestation.OBSERVATION, {"processes": "ab" * 32}, {**fields, **changes})
        body = {"statement": text, "matched": matched, "findings": findings or []}
        return self.add("observation.recorded", launch or "unknown", service_actor(attestation.MONITOR), body)

    def process(self, launch: str, **changes: Any) -> dict[str, Any]:
        """The process of a launch as its monitor ought to see it."""
        attested = self.launched[launch]
        return {
            "pid": 7,
            "parent": 1,
            "started": 1000,
            "uid": 1000,
            "command": attested["command"],
            "executable": attested["executable"],
            "seccomp": 2,
            "no_new_privileges": True,
            "capabilities": dict.fromkeys(attestation.CAPABILITY_SETS, "0" * 16),
            "namespaces": {name: number + 1000 for name, number in INODES.items()},
            "cgroup": "/imprimatur",
            "limits": bubblewrap.limits(attested["effective"]),
            "configuration": configuration.digest(attested["effective"]),
            **changes,
        }

    def canaries(self, result: str = "", stated: str = "", answers: dict[str, Any] | None = None, **more: Any) -> int:
        """A run of the canaries that takes a minute, in which all were refused as they must be but for those that got
        other `answers` (status and code; None: it was left out). `result` is what the service says of it and `stated`
        what the entry says; `more` is of the predicate."""
        begin = format_time(self.now)
        self.now += timedelta(seconds=60)
        given = {name: min(attempt.expected) for name, attempt in canaries.ATTEMPTS.items()} | (answers or {})
        attempts = [
            {"name": name, "status": answer[0], "code": answer[1], "at": format_time(self.now)}
            for name, answer in given.items()
            if answer is not None
        ]
        sorted_ = canaries.sort_out(attempts)
        result = result or canaries.result(attempts)
        fields = {
            "result": result,
            "configuration": [],
            "passedTests": list(sorted_.passed),
            "warnedTests": list(sorted_.warned),
            "failedTests": list(sorted_.failed),
            "from": begin,
            "every": 300,
            "attempts": attempts,
        }
        text = self.state(attestation.CANARY, {"canaries": "ab" * 32}, {**fields, **more})
        body = {"statement": text, "result": stated or result}
        return self.add("canary.reported", self.realm, service_actor(attestation.CANARIES), body)

    def respond(self, **answers: str) -> str:
        """Activate a policy under which the server answers by itself."""
        before, self.policy = self.policy_digest, {**self.policy, "name": "Responds", "respond": answers}
        self.policy_digest = policies.digest(self.policy)
        document = {"policy": self.policy_digest, "number": 2, "document": self.policy, "replaces": before}
        self.agreed("policy.activated", self.policy_digest, document)
        return self.policy_digest

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
        launch: str = "",
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
            context={"run": "r1", "call": f"c{self.serial()}", **({"launch": launch} if launch else {})},
        )
        body = {
            "binding": bound,
            "action_digest": binding.action_digest(bound),
            "risk": risk,
            "reversibility": (known or READ)["reversibility"],
            "rule": {"LOW": "low", "MEDIUM": "medium"}.get(risk, "default"),
            "policy": self.policy_digest,
            "enforcement": "E0",
            "request": request or self.http_signed(bound, pair, idempotency_key),
        }
        opened = [opening for _, opening in pairs.values()]
        self.openings += opened
        return Ask(identifier or self.new_id(), body, opened)

    def http_signed(self, bound: dict[str, Any], pair: KeyPair, idempotency_key: str) -> dict[str, str]:
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

    def deny(
        self, ask: Ask, state: str = "DENIED", code: str = "policy-denied", votes: tuple[int, ...] = (), **more: Any
    ) -> int:
        body = {**ask.body, "verdict": "deny", "state": state, "code": code, "votes": list(votes), **more}
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
            "log_root": self.root_now(),
            "nonce": self.nonce(),
            "issued_at": format_time(self.now),
            "expires_at": format_time(self.now + timedelta(seconds=120)),
        }
        document.update(changes)
        return canonical.dumps({name: value for name, value in document.items() if value is not None})

    def vote(
        self,
        ask: Ask,
        reviewer: str = RUI,
        decision: str = "approve",
        stage: int = 0,
        *,
        pair: Signer | None = None,
        session: bool = False,
        raw: bytes | None = None,
        actor: dict[str, str] | None = None,
        evidence: dict[str, Any] | None = None,
        lies: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
        **changes: Any,
    ) -> int:
        """A vote with the reviewer's own key, or (session) by a click; `lies` are the authenticator's."""
        pair = pair or PEOPLE_KEYS.get(reviewer, key(reviewer))
        named = None if session else name_of(pair)
        raw = raw or self.statement(ask, reviewer, decision, stage, **{"credential": named, **changes})
        if evidence is None:
            evidence = {"kind": "session"} if session else prove(pair, statement.TYP, raw, **(lies or {}))
        usual = by(reviewer, assurance="H0") if session else by(reviewer, name_of(pair), "H2")
        cast = {"request": ask.id, "version": 1, "statement": raw.decode(), "evidence": evidence, **(body or {})}
        return self.add("vote.cast", ask.id, actor or usual, cast)

    def recall(self, ask: Ask, vote: int, signer: Signer, /, **changes: Any) -> int:
        """Take a vote back, with a signature."""
        cast = self.entries[vote]
        person, before = cast["actor"]["id"], digests.sha256(cast["body"]["statement"].encode())
        fields = {"credential": name_of(signer), "prev_vote": before, **changes}
        body = {
            "request": ask.id,
            "vote": vote,
            "signed": self.signed(signer, self.statement(ask, person, fields.pop("decision", "recall"), **fields)),
        }
        return self.add("vote.recalled", ask.id, by(person, name_of(signer), "H2"), body)

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
        return checkpoint.Checkpoint(self.realm, len(self.envelopes), root).sign(self.log_key.seed)


def by(person: str, pair: str = "", assurance: str = "H0") -> dict[str, str]:
    """A person as an actor."""
    fields = {"type": "person", "id": person, "key": pair, "assurance": assurance}
    return {name: value for name, value in fields.items() if value}


def agent_actor(pair: KeyPair) -> dict[str, str]:
    return {"type": "agent", "id": ids.agent_id(pair.public_key), "key": pair.thumbprint}


def service_actor(role: str) -> dict[str, str]:
    pair = SERVICE_KEYS[role]
    return {"type": "service", "id": ids.service_id(pair.public_key), "key": pair.thumbprint}


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
    services_sign(log)
    people_sign(log, root)
    cause = log.revoke(root)
    log.deny(pending, "INVALIDATED", "invalidated")
    log.add("cascade.swept", f"entry:{cause}", SYSTEM, {"cause": cause, "ids": [pending.id]})
    log.add("cascade.finished", f"entry:{cause}", SYSTEM, {"cause": cause, "total": 1})
    pause = {"scope": "agent", "target": ids.agent_id(CHILD.public_key), "reason": "strange"}
    log.add("pause.set", "child", by(RUI), pause)
    log.add("pause.lifted", "child", by(ADA), {**pause, "reason": "explained"})
    return log


def services_sign(log: Log) -> None:
    """Everything that services sign, and what the server says of itself."""
    log.services()
    log.refuse_launch("grants-changed", delegations=[])
    launch = log.launch()
    log.observe(launch)
    log.observe(launch, findings=[NO_FILTER], processes=[log.process(launch, seccomp=0)])
    log.observe(None, matched=False)
    log.canaries()
    log.canaries()
    log.end_launch(launch)
    digest = digests.sha256(b"made of")
    body = {
        "software": "test",
        "process": "web",
        "packages": {"checked": 1, "wrong": []},
        "lock": digest,
        "settings": digest,
        "options": [],
        "tree": digest,
        "provenance": {"statement": digest, "builder": "test"},
    }
    log.add("server.started", log.realm, SYSTEM, body)


def people_sign(log: Log, root: str) -> None:
    """Everything that people sign, with every sort of key, and it all goes well."""
    synced, bound = passkey("ES256", device_bound=False), passkey("EdDSA")
    log.holder(ROSA, synced, RUI)
    log.holder(RUI, bound, ADA)
    robo, agent = key("robo 2"), ids.agent_id(ROBO.public_key)
    parameters = {"amount": "5.00", "payee": "ACME"}

    def pay() -> Ask:
        return log.ask(root, "make_payment", parameters, pair=robo, agent=agent, risk="HIGH", cost="5.00")

    model = pay()
    log.request(model)
    log.add("review.asked", model.id, SYSTEM, {"request": model.id, "level": 0, "people": [RUI, ROSA]})
    until = format_time(log.now + timedelta(minutes=10))
    log.add("review.claimed", model.id, by(ROSA), {"request": model.id, "until": until})
    log.add("review.released", model.id, by(ROSA), {"request": model.id})
    predicates = {"amount": {"op": "at_most", "value": "5.00"}, "payee": {"op": "equals", "value": "ACME"}}
    grant = log.grant(model, ROSA, signer=synced, parameters=predicates)
    log.allow(model, (log.vote(model, RUI, pair=bound),))
    like_it = pay()
    log.allow(like_it, grant=grant)
    log.redeem(like_it)
    log.report(like_it)
    log.act("grant.revoked", grant, {"grant": grant, "reason": "enough"}, RUI)
    recalled = log.ask(root, "delete_file", risk="HIGH", pair=robo, agent=agent)
    log.request(recalled)
    vote = log.vote(recalled, ROSA, pair=synced)
    log.recall(recalled, vote, synced)
    suggestion, opening = commitments.commit(b"s" * 32, "suggestion", {"path": "/project/b"})
    log.openings.append(opening)
    said = {"suggestion_commitment": suggestion, "body": {"suggestion": suggestion}}
    denial = log.vote(recalled, ROSA, "deny", session=True, **said)
    log.deny(recalled, "DENIED", "reviewer-denied", (denial,), suggestion=suggestion)
    newcomer = {"person": BO, "name": "Bo", "roles": ["reviewer"]}
    log.agreed("person.added", BO, newcomer)
    log.holder(BO, key("bo"), RUI)
    log.agreed("person.changed", AUDRA, {"person": AUDRA, "roles": ["auditor", "reviewer"]})
    log.add("person.login_reset", BO, by(ADA), {"person": BO, "what": "second-factor"})
    away = {"person": BO, "from": format_time(log.now), "until": format_time(log.now + timedelta(days=3))}
    log.add("person.away", BO, by(BO), {**away, "delegate": ROSA})
    log.add("person.back", BO, by(BO), {"person": BO})
    lost = {"person": BO, "fingerprint": name_of(key("bo")), "since": format_time(log.now), "reason": "lost"}
    log.act("person.key_revoked", BO, {**lost, "stolen": True}, ADA)
    log.second(log.propose("person.changed", AUDRA, {"person": AUDRA, "roles": ["admin"]}, hold=True, days=90))
    log.add(
        "change.withdrawn", "x", by(ROSA), {"change": log.propose("person.changed", BO, {"person": BO}), "reason": "no"}
    )
    log.issue(log.document(issuer=RUI, subject=CHILD), bound)


# --- bundles ------------------------------------------------------------------------------------------------------------


def cut(log: Log, size: int) -> Log:
    """The same log when it had so many entries."""
    earlier = copy.copy(log)
    earlier.envelopes, earlier.entries = log.envelopes[:size], log.entries[:size]
    return earlier


def chosen(log: Log, *requests: str) -> list[int]:
    """The entries that a bundle about these requests shows: theirs, those that they rest on, and all of authority."""
    wanted, before = set(requests), 0
    of = {entry["index"]: entry["subject"] for entry in log.entries if entry["kind"] in selection.REQUEST_KINDS}

    def shown() -> list[int]:
        return [entry["index"] for entry in log.entries if of.get(entry["index"], "") in {*wanted, ""}]

    while before != len(wanted):
        before = len(wanted)
        for index in shown():
            wanted.update(of[ref["index"]] for ref in log.entries[index]["refs"] if ref["index"] in of)
            if "supersedes" in log.entries[index]["body"]:
                wanted.add(log.entries[index]["body"]["supersedes"])
    return shown()


def bundle_files(
    log: Log,
    erased: int = 0,
    *,
    withheld: bool = False,
    filters: dict[str, Any] | None = None,
    shown: list[int] | None = None,
) -> dict[str, bytes]:
    """The files of a bundle of this log, without the two lists: see `finished`. The first `erased` openings are gone;
    `withheld` leaves all of them out. With `filters` it is selective, and shows these entries."""
    size = len(log.envelopes)
    indexes = list(range(size)) if shown is None else shown
    selected = filters is not None
    asked = {**(filters or {}), **({"openings": False} if withheld else {})}
    leaves = [merkle.leaf_hash(raw) for raw in log.envelopes]
    files = {
        "README.txt": b"read me\n",
        "REPORT.html": b"<!doctype html>\n",
        "SELECTION.json": canonical.dumps({"filters": asked, "size": size, "shown": len(indexes)}),
        "log/checkpoint": log.checkpoint().encode(),
        "trust/log.vkey": f"{log.entries[0]['body']['log_vkey']}\n".encode(),
        "trust/log.pub.pem": copies._pem(log.log_key.public_key),
        "trust/decision.pub.pem": copies._pem(DECISION_KEY.public_key),
    }
    if selected:
        lines = ({"index": index, "envelope": b64(log.envelopes[index])} for index in indexes)
        files["log/selected.jsonl"] = b"".join(canonical.dumps(line) + b"\n" for line in lines)
    else:
        for number, width in tiles.bundles_for(0, size):
            start = number * tiles.WIDTH
            path = f"log/{tiles.entries_path(number, width)}"
            files[path] = tiles.bundle_encode(log.envelopes[start : start + width])
    rows = [leaves]
    while len(rows[-1]) >= tiles.WIDTH:
        row = rows[-1]
        rows.append(
            [merkle.root_of(row[at : at + tiles.WIDTH]) for at in range(0, len(row) - tiles.WIDTH + 1, tiles.WIDTH)]
        )
    for level, number, width in tiles.tiles_for(0, size):
        start = number * tiles.WIDTH
        files[f"log/{tiles.tile_path(level, number, width)}"] = b"".join(rows[level][start : start + width])
    earlier = checkpoint.Checkpoint(log.realm, size // 2, merkle.root_of(leaves[: size // 2]))
    files[f"log/checkpoints/{size // 2}"] = earlier.sign(log.log_key.seed).encode()
    proof = tlog_proof.TlogProof(1, tuple(merkle.inclusion_proof(leaves, 1)), log.checkpoint())
    files["log/proofs/1.tlog-proof"] = tlog_proof.encode(proof).encode()
    opened = {commitments.commitment_of(opening): opening for opening in log.openings}
    seen: set[str] = set()
    views, openings = [], []
    for index in indexes:
        entry, raw = log.entries[index], log.envelopes[index]
        body = entry["body"]
        fields = {name: entry[name] for name in ("index", "time", "kind", "subject", "actor", "refs")}
        views.append({**fields, "leaf": merkle.leaf_hash(raw).hex(), "sentence": "…"})
        if entry["kind"] == "delegation.issued":
            stem = f"delegations/{body['delegation'].removeprefix('sha256:')}"
            files[f"{stem}.json"] = canonical.dumps(body["document"])
            if body["signature"]["kind"] == "ssh":
                files[f"{stem}.sig"] = body["signature"]["value"].encode()
        part = signatures.signed_part(body)
        if part is not None:
            files[f"votes/{entry['index']}.json"] = part["statement"].encode()
            if part["evidence"]["kind"] == "ssh":
                files[f"votes/{entry['index']}.sig"] = part["evidence"]["value"].encode()
        for commitment, where in sorted(commitments_in(body).items(), key=lambda item: item[1]):
            if commitment in seen:
                continue
            seen.add(commitment)
            line = {"index": entry["index"], "where": where, "commitment": commitment}
            if withheld:
                openings.append({**line, "state": "withheld"})
                continue
            opening = opened[commitment]
            if len(openings) < erased:
                openings.append({**line, "name": opening.name, "state": "erased"})
            else:
                held = {"name": opening.name, "key": b64u(opening.key), "value": opening.value, "state": "held"}
                openings.append({**line, **held})
    files["openings/openings.jsonl"] = b"".join(canonical.dumps_json(line) + b"\n" for line in openings)
    files["views/entries.jsonl"] = b"".join(canonical.dumps_json(line) + b"\n" for line in views)
    files.update(grant_section(log, indexes, whole=not selected))
    return files


def grant_section(log: Log, indexes: Iterable[int], *, whole: bool = True) -> dict[str, bytes]:
    """The folder `grants/` over these entries."""
    history = GrantHistory(whole=whole)
    for index in indexes:
        history.entry(log.entries[index], log.envelopes[index])
    return {
        "grants/counts.json": grant_files.counts_bytes(history),
        "grants/history.jsonl": b"".join(line + b"\n" for line in grant_files.history_lines(history)),
        "grants/tree.txt": b"".join(line + b"\n" for line in grant_files.tree_lines(history)),
    }


def finished(files: dict[str, bytes], log: Log, pair: KeyPair = DECISION_KEY) -> dict[str, bytes]:
    """The files with both lists over them. The statement says of the selection what `SELECTION.json` says."""
    hashes = {name: hashlib.sha256(files[name]).hexdigest() for name in sorted(files)}
    listing = "".join(f"{digest}  {name}\n" for name, digest in hashes.items()).encode()
    hashes["MANIFEST.sha256"] = hashlib.sha256(listing).hexdigest()
    root = merkle.root_of(map(merkle.leaf_hash, log.envelopes))
    said = {"filters": {}, "shown": len(log.envelopes)}
    with contextlib.suppress(ValueError, KeyError, TypeError):
        selected = canonical.loads(files["SELECTION.json"])
        said = {name: selected[name] for name in said}
        canonical.dumps(said)
    document = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": hashes[name]}} for name in sorted(hashes)],
        "predicateType": "urn:imprimatur:evidence:v1",
        "predicate": {"realm": log.realm, "size": len(log.envelopes), "root": f"sha256:{root.hex()}", **said},
    }
    sealed = dsse.seal(canonical.dumps(document), pair.sign, pair.keyid, "application/vnd.in-toto+json")
    return {**files, "MANIFEST.sha256": listing, "MANIFEST.dsse.json": sealed}


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    evidence_zip.write(stream, dict(files))
    return stream.getvalue()


def trust_document(log: Log) -> dict[str, Any]:
    """What an auditor was given by another way."""
    registered = [entry["body"] for entry in log.entries if entry["kind"] == "service.registered"]
    services = [{"service": it["service"], "role": it["role"], "key": it["public_key"]} for it in registered]
    return {
        "realm": log.realm,
        "log": [note.Vkey(log.realm, LOG_KEY.public_key).format()],
        "decision": [{"key": b64u(DECISION_KEY.public_key), "from": 0}],
        "people": [{"person": person, "kind": "ssh", "key": ssh_line(pair)} for person, pair in PEOPLE_KEYS.items()],
        "policy": [log.policy_digest],
        **({"services": services} if services else {}),
    }
