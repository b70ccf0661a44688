"""Who there is and whose keys there are, as the entries alone say it: what a grant's signature is traced to.

The rules of a history keep the same in their own way (`people`, `person_keys`, `agents`). This is apart from them on
purpose: it forgets no key, refuses nothing, and so finds in a forged history what the rules would not have let in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from imprimatur.formats import cose, delegation, ed25519, keys, signing, sshsig
from imprimatur.formats import evidence as evidences
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.rotation import rotation_preimage
from imprimatur.verify.grant_rows import Ending

ADMIN = "admin"
_CONSOLE = ("system", "console")
_PROGRAMS = ("ag_", "sv_")
AGENTS_KIND = "ed25519"
SESSION = "session"


@dataclass(slots=True)
class OwnKey:
    """A key of a person. `signs_all` is false for one that signs root delegations and nothing else. `ended` says since
    when it is dead; what it signed from `since` on never counted."""

    person: str
    material: evidences.KeyMaterial
    signs_all: bool
    vouched: str = ""
    vouched_with: str = ""
    ended: Ending | None = None

    @property
    def in_force(self) -> bool:
        """Whether what it signs now counts."""
        return self.ended is None and (not self.signs_all or self.vouched != "")


@dataclass(slots=True)
class Human:
    """A person: name, roles, and, when they are switched off, how."""

    name: str
    roles: frozenset[str]
    off: Ending | None = None


@dataclass(slots=True)
class AgentKey:
    """A key of an agent, in raw bytes. Rotated away, it signs no more; revoked, what it signed from then on is dead."""

    agent: str
    public: bytes
    retired: bool = False
    ended: Ending | None = None


@dataclass(slots=True)
class Program:
    """An agent: its name, its owner, and, while it is suspended, how."""

    name: str
    owner: str
    suspended: Ending | None = None


@dataclass
class Holders:
    """People, agents, and every key that ever was one of theirs. Fed with entries in order.

    `ever_agents` are the keys that ever were an agent's or a service's, with the entry that says so first.
    """

    people: dict[str, Human] = field(default_factory=dict)
    keys: dict[str, OwnKey] = field(default_factory=dict)
    agents: dict[str, Program] = field(default_factory=dict)
    agent_keys: dict[str, AgentKey] = field(default_factory=dict)
    ever_agents: dict[str, int] = field(default_factory=dict)

    def see(self, entry: Mapping[str, Any]) -> None:
        """Take in one entry, if it is about people, agents or their keys. Raises for one that cannot be read."""
        handler = HANDLERS.get(entry["kind"])
        if handler is not None:
            handler(self, entry)

    def name(self, who: str) -> str:
        """What somebody is called by now; the id itself when it has no name."""
        person, agent = self.people.get(who), self.agents.get(who)
        return person.name if person is not None else agent.name if agent is not None else who

    def is_agent(self, actor: Mapping[str, Any]) -> bool:
        """Whether this actor is an agent or a service, or says so, or acts with the key of one."""
        told = actor["type"] == "agent" or actor["id"] in self.agents or actor["id"].startswith(_PROGRAMS)
        return told or actor.get("key") in self.ever_agents

    def not_signed(self, person: str, evidence: Mapping[str, Any], typ: str, raw: bytes) -> str:
        """Why this is no signature of this person over these bytes by a key that counts now; empty when it is one."""
        if evidence["kind"] == SESSION:
            return "a click in a session is no signature"
        if evidence["kind"] == AGENTS_KIND:
            return "it is signed as agents sign, with no person's key"
        fingerprint = key_of(evidence)
        key = self.keys.get(fingerprint)
        if key is None or key.person != person:
            return f"no entry makes the key {fingerprint} one of {person}'s"
        if not key.in_force:
            return f"the key {fingerprint} did not count at that time"
        if not key.signs_all and typ != delegation.TYP:
            return f"the key {fingerprint} signs delegations and nothing else"
        try:
            evidences.check(evidence, typ=typ, raw=raw, namespace=signing.ssh_namespace(typ), key=key.material)
        except evidences.EvidenceError as error:
            return error.message
        return ""

    # --- people -----------------------------------------------------------------------------------------------------

    def _person_added(self, entry: Mapping[str, Any]) -> None:
        body = entry["body"]
        self.people.setdefault(body["person"], Human(body["name"], frozenset(body["roles"])))

    def _person_changed(self, entry: Mapping[str, Any]) -> None:
        body = entry["body"]
        person = self.people[body["person"]]
        person.name = body.get("name", person.name)
        person.roles = frozenset(body.get("roles", person.roles))
        if "active" in body:
            person.off = None if body["active"] else Ending.by_entry("person", entry, of=body["person"])

    def _key_added(self, entry: Mapping[str, Any]) -> None:
        body = entry["body"]
        key = sshsig.parse_public_key(body["key"])
        self._keep(OwnKey(body["person"], _ssh(body["key"], key.fingerprint), signs_all=False))

    def _key_enrolled(self, entry: Mapping[str, Any]) -> None:
        body = entry["body"]
        raw = body["statement"].encode("utf-8")
        said = signing.parse(raw, signing.ENROLMENT)
        if said["kind"] == signing.SSH:
            material = _ssh(said["public_key"], sshsig.parse_public_key(said["public_key"]).fingerprint)
        else:
            public = un_b64u(said["public_key"])
            material = evidences.KeyMaterial(
                "webauthn",
                cose.CoseKey.parse(public).thumbprint,
                public_key=public,
                credential=un_b64u(said["credential"]),
                rp_id=said["rp_id"],
                device_bound=said["device_bound"],
            )
        # Whoever cannot sign with it brings in nothing: the key itself signed the statement that enrols it.
        namespace = signing.ssh_namespace(signing.ENROLMENT)
        evidences.check(body["evidence"], typ=signing.ENROLMENT, raw=raw, namespace=namespace, key=material)
        if said["person"] != body["person"] or entry["actor"]["id"] != body["person"]:
            raise ValueError("somebody else enrols the key than its owner")
        self._keep(OwnKey(body["person"], material, signs_all=True))

    def _keep(self, key: OwnKey) -> None:
        # A key is one person's for ever: whoever brings it in again gets nothing by it.
        self.keys.setdefault(key.material.fingerprint, key)

    def _key_vouched(self, entry: Mapping[str, Any]) -> None:
        body, actor = entry["body"], entry["actor"]
        key = self.keys[body["fingerprint"]]
        if key.person != body["person"] or not key.signs_all or key.vouched or key.ended is not None:
            raise ValueError("there is no such key to vouch for")
        if (actor["type"], actor["id"]) != _CONSOLE and actor["id"] != body["person"]:
            part = body["signed"]
            raw = part["statement"].encode("utf-8")
            said = signing.parse(raw, signing.VOUCH)
            problem = self.not_signed(actor["id"], part["evidence"], signing.VOUCH, raw)
            if problem or (said["person"], said["for"], said["key"]) != (actor["id"], key.person, body["fingerprint"]):
                raise ValueError(problem or "the voucher signed something else")
            key.vouched_with = key_of(part["evidence"])
        key.vouched = entry["time"]

    def _key_revoked(self, entry: Mapping[str, Any]) -> None:
        body = entry["body"]
        self._end_key(body["fingerprint"], Ending.by_entry("key", entry, since=body["since"], of=body["fingerprint"]))

    def _end_key(self, fingerprint: str, ending: Ending) -> None:
        key = self.keys[fingerprint]
        if key.ended is not None and key.ended.since <= ending.since:
            return
        key.ended = ending
        for name, other in self.keys.items():
            # What a dead key vouched for from that time on has lapsed, and what that vouched for.
            if other.vouched_with == fingerprint and other.vouched >= ending.since:
                self._end_key(name, ending.lapsed(other.vouched, name))

    def _login_reset(self, entry: Mapping[str, Any]) -> None:
        for name, key in self.keys.items():
            if key.person == entry["body"]["person"] and key.signs_all and not key.vouched and key.ended is None:
                key.ended = Ending.by_entry("key", entry, since=entry["time"], of=name)

    # --- agents -----------------------------------------------------------------------------------------------------

    def _agent_enrolled(self, entry: Mapping[str, Any]) -> None:
        body = entry["body"]
        self.agents.setdefault(body["agent"], Program(body["name"], body["owner"]))
        self._agent_key(entry, body["agent"], body["public_key"])

    def _agent_rotated(self, entry: Mapping[str, Any]) -> None:
        body = entry["body"]
        old = self.agent_keys[body["old"]]
        self.ever_agents.setdefault(body["new"], entry["index"])
        said = rotation_preimage(
            realm=entry["realm"],
            agent=body["agent"],
            old=body["old"],
            new=body["new"],
            public_key=body["public_key"],
        )
        if old.agent != body["agent"] or not ed25519.verify(old.public, said, un_b64u(body["signature"])):
            raise ValueError("the old key did not sign the new one")
        old.retired = True
        self._agent_key(entry, body["agent"], body["public_key"])

    def _agent_key(self, entry: Mapping[str, Any], agent: str, written: str) -> None:
        public = un_b64u(written)
        thumbprint = keys.thumbprint(public)
        self.ever_agents.setdefault(thumbprint, entry["index"])
        self.agent_keys.setdefault(thumbprint, AgentKey(agent, public))

    def _agent_key_revoked(self, entry: Mapping[str, Any]) -> None:
        body = entry["body"]
        key = self.agent_keys[body["thumbprint"]]
        if key.ended is None or body["since"] < key.ended.since:
            key.ended = Ending.by_entry("key", entry, since=body["since"], of=body["thumbprint"])

    def _service_registered(self, entry: Mapping[str, Any]) -> None:
        public = un_b64u(entry["body"]["public_key"])
        self.ever_agents.setdefault(keys.thumbprint(public), entry["index"])

    def _suspended(self, entry: Mapping[str, Any]) -> None:
        agent = entry["body"]["agent"]
        self.agents[agent].suspended = Ending.by_entry("suspended", entry, of=agent)

    def _resumed(self, entry: Mapping[str, Any]) -> None:
        self.agents[entry["body"]["agent"]].suspended = None


def key_of(evidence: Mapping[str, Any]) -> str:
    """The fingerprint of the key that a person's signature says it is by; empty for a click."""
    if evidence["kind"] == SESSION:
        return ""
    if "key" in evidence:
        return str(evidence["key"])
    return cose.CoseKey.parse(un_b64u(evidence["public_key"])).thumbprint


def thumbprint_of(evidence: Mapping[str, Any]) -> str:
    """The RFC 7638 thumbprint of the raw key in a signature itself, whatever it calls itself; empty for a click.

    An SSH key and an agent's key are the same key when their bytes are.
    """
    if evidence["kind"] == SESSION:
        return ""
    if evidence["kind"] == AGENTS_KIND:
        return str(evidence["key"])
    if evidence["kind"] == "ssh":
        return keys.thumbprint(sshsig.parse(evidence["value"]).key.public_key)
    return cose.CoseKey.parse(un_b64u(evidence["public_key"])).thumbprint


def _ssh(line: str, fingerprint: str) -> evidences.KeyMaterial:
    return evidences.KeyMaterial("ssh", fingerprint, line=line)


HANDLERS: dict[str, Callable[[Holders, Mapping[str, Any]], None]] = {
    "person.added": Holders._person_added,
    "person.changed": Holders._person_changed,
    "person.key_added": Holders._key_added,
    "person.key_enrolled": Holders._key_enrolled,
    "person.key_vouched": Holders._key_vouched,
    "person.key_revoked": Holders._key_revoked,
    "person.login_reset": Holders._login_reset,
    "agent.enrolled": Holders._agent_enrolled,
    "agent.key_rotated": Holders._agent_rotated,
    "agent.key_revoked": Holders._agent_key_revoked,
    "service.registered": Holders._service_registered,
    "agent.suspended": Holders._suspended,
    "agent.resumed": Holders._resumed,
}
