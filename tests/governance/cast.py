"""The people and programs of these tests, and what they do: through actions, as the edges do it."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from audit import log
from audit.publisher import Publisher
from governance.actions import add_person, add_person_key, enrol_agent, invite_agent, issue_delegation
from governance.models import Agent, Delegation, Person
from imprimatur.formats import canonical, delegation, sshsig
from imprimatur.formats.encoding import b64
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from tests.signers import Signers

REALM = "test.imprimatur"


def seeded(name: str) -> KeyPair:
    """A key that is the same in every run."""
    return KeyPair.from_seed(hashlib.sha256(name.encode()).digest())


@dataclass
class SshKey:
    """An SSH key held in memory, signing as ``ssh-keygen -Y sign`` does."""

    pair: KeyPair

    @property
    def line(self) -> str:
        return "ssh-ed25519 " + b64(sshsig.public_key_blob(self.pair.public_key))

    @property
    def fingerprint(self) -> str:
        return sshsig.parse_public_key(self.line).fingerprint

    def sign(self, document: dict[str, Any]) -> dict[str, str]:
        armored = sshsig.sign(self.pair, canonical.dumps(document), delegation.SSH_NAMESPACE)
        return {"kind": "ssh", "key": self.fingerprint, "value": armored}


@dataclass
class Cast(Signers):
    """A begun installation: Ada is the admin and owner of robo; the other people have the roles their names say.

    Ada added the others, so she is their introducer. How people get keys and sign: see `tests.signers`.
    """

    people: dict[str, Person]
    agents: dict[str, Agent] = field(default_factory=dict)
    keys: dict[str, KeyPair] = field(default_factory=dict)
    ssh: dict[str, SshKey] = field(default_factory=dict)
    publisher: Publisher = field(default_factory=Publisher)

    def __post_init__(self) -> None:
        super().__init__()

    @property
    def ada(self) -> Person:
        return self.people["ada"]

    @property
    def robo(self) -> Agent:
        return self.agents["robo"]

    def person(self, name: str, *roles: str) -> Person:
        command, _ = add_person.new(name, roles, by=self.ada)
        self.people[name] = log.commit(add_person.apply, command).person
        return self.people[name]

    def ssh_key(self, name: str, seed: str = "") -> SshKey:
        key = SshKey(seeded(f"ssh {seed or name}"))
        log.commit(add_person_key.apply, add_person_key.Command(self.people[name], key.line, by=self.people[name]))
        self.ssh[name] = key
        return key

    def agent(self, name: str, owner: str = "ada") -> Agent:
        command, token = invite_agent.new(name, self.people[owner], self.ada)
        log.commit(invite_agent.apply, command)
        self.keys[name] = seeded(f"agent {name}")
        enrolled = log.commit(enrol_agent.apply, enrol_agent.Command(token, self.keys[name].public_key))
        self.agents[name] = enrolled.agent
        return enrolled.agent

    def document(self, issuer: str, subject: str, parent: Delegation | None = None, **facets: Any) -> dict[str, Any]:
        """A delegation document; facets given as None are left out."""
        now = log.utc_now()
        issuer_id = self.people[issuer].id if issuer in self.people else self.agents[issuer].id
        document: dict[str, Any] = {
            "typ": delegation.TYP,
            "realm": REALM,
            "issuer": issuer_id,
            "subject": self.agents[subject].id,
            "scope": ["file:read:/project", "file:write:/project"],
            "not_before": format_time(now - timedelta(minutes=1)) if parent is None else format_time(parent.not_before),
            "not_after": format_time(now + timedelta(hours=1)) if parent is None else format_time(parent.not_after),
            "max_depth": 3 if parent is None else max(0, 2 - parent.depth),
            "nonce": hashlib.sha256(repr((issuer, subject, facets)).encode()).hexdigest()[:32],
        }
        if parent is not None:
            document["parent"] = parent.id
        document |= facets
        return {name: value for name, value in document.items() if value is not None}

    def sign_delegation(self, document: dict[str, Any], signer: str) -> dict[str, str]:
        if signer in self.ssh:
            return self.ssh[signer].sign(document)
        return delegation.sign_as_agent(document, self.keys[signer])

    def command(
        self, issuer: str, subject: str, parent: Delegation | None = None, **facets: Any
    ) -> issue_delegation.Command:
        document = self.document(issuer, subject, parent, **facets)
        who = self.people.get(issuer) or self.agents[issuer]
        return issue_delegation.Command(document, self.sign_delegation(document, issuer), who)

    def delegate(self, issuer: str, subject: str, parent: Delegation | None = None, **facets: Any) -> Delegation:
        """Issue a delegation, and publish it, so that it is usable."""
        command = self.command(issuer, subject, parent, **facets)
        delegation = log.commit(issue_delegation.apply, command).delegation
        self.publisher.publish_once()
        return delegation


def ssh_keygen_sign(folder: Path, message: bytes, namespace: str) -> tuple[str, str]:
    """Make a key and sign with the real ssh-keygen. Returns the public line and the armored signature."""
    key = folder / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)], check=True)
    (folder / "message").write_bytes(message)
    subprocess.run(
        ["ssh-keygen", "-q", "-Y", "sign", "-f", str(key), "-n", namespace, str(folder / "message")],
        check=True,
        capture_output=True,
    )
    return key.with_suffix(".pub").read_text().strip(), (folder / "message.sig").read_text()
