"""One cast for all tests, and an installation in which they live.

Ada is an admin, owns the agent robo and signs delegations with an SSH key. Rui and Rosa review. Audra audits. Mallory
has a login and no role. Twin holds a stolen copy of nothing: a second agent that must never get what robo was given.
"""

from __future__ import annotations

import copy
import json
import secrets
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from approvals import eligibility, routing
from approvals.door import limits, rejections
from approvals.views import terminal
from audit import published, signer
from audit.log import commit, utc_now
from audit.publisher import Publisher
from governance.actions import issue_delegation
from governance.models import Agent, Delegation, Person
from governance.views import signed, terminal_keys
from imprimatur.formats import delegation as formats
from imprimatur.formats import sshsig
from imprimatur.formats.encoding import b64, b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from tests import append_only, interpreter, templates
from tests.signers import Signers

interpreter.settle()
append_only.let_tests_flush()
warnings.filterwarnings("ignore", message=".*XDG_RUNTIME_DIR.*")

REALM = "test.imprimatur"
CAST = {
    "ada": ("Ada Brandt", ("admin",)),
    "rui": ("Rui Falk", ("reviewer",)),
    "rosa": ("Rosa Imhof", ("reviewer",)),
    "audra": ("Audra Lind", ("auditor",)),
    "mallory": ("Mallory Quist", ()),
}
SCOPE = [
    "file:write:/project/src",
    "file:write:/project/tests",
    "file:write:/project/package.json",
    "code:execute:/project",
    "file:read:/project",
    "file:delete:/project",
    "email:send:example.org",
    "payment:send:vendor",
]


READ_ONCE = (eligibility.origin_of, eligibility.single_human, routing.levels_of)
"""Kept for ever, since no statement changes what it was read from: unless a test does, behind the application's back."""


@dataclass
class World(Signers):
    """A begun installation with its cast. How its people get keys and sign: see `tests.signers`."""

    realm: str
    people: dict[str, Person]
    agents: dict[str, Agent] = field(default_factory=dict)
    keys: dict[str, KeyPair] = field(default_factory=dict)
    ssh: dict[str, KeyPair] = field(default_factory=dict)
    delegation: Delegation | None = None
    publisher: Publisher = field(default_factory=Publisher)

    def __post_init__(self) -> None:
        super().__init__()

    def publish(self) -> int:
        """What the publisher's thread does elsewhere within a second: before that, authority is not usable."""
        return self.publisher.publish_once()

    @property
    def ada(self) -> Person:
        return self.people["ada"]

    @property
    def rui(self) -> Person:
        return self.people["rui"]

    @property
    def rosa(self) -> Person:
        return self.people["rosa"]

    @property
    def robo(self) -> Agent:
        return self.agents["robo"]

    def enrol(self, name: str, owner: str = "ada") -> Agent:
        """Invite and enrol an agent."""
        from governance.actions import enrol_agent, invite_agent

        command, token = invite_agent.new(name, self.people[owner], self.ada)
        commit(invite_agent.apply, command)
        key = KeyPair.generate()
        result = commit(enrol_agent.apply, enrol_agent.Command(token, key.public_key))
        self.agents[name], self.keys[name] = result.agent, key
        return result.agent

    def document(self, subject: str = "robo", **changes: Any) -> dict[str, Any]:
        """A root delegation from Ada, as the issue's example has it, with changes. A change to None leaves it out."""
        now = utc_now()
        document: dict[str, Any] = {
            "typ": "imprimatur/delegation/v1",
            "realm": self.realm,
            "issuer": self.ada.id,
            "subject": self.agents[subject].id,
            "scope": list(SCOPE),
            "spend": {"unit": "USD", "limit": "150.00"},
            "not_before": format_time(now - timedelta(seconds=1)),
            "not_after": format_time(now + timedelta(hours=2)),
            "max_depth": 0,
            "purpose": "Build the checkout service",
            "nonce": b64u(secrets.token_bytes(16)),
            **changes,
        }
        return {name: value for name, value in document.items() if value is not None}

    def sign_as_person(self, document: dict[str, Any], who: str = "ada") -> dict[str, str]:
        """The SSHSIG of a person over a delegation."""
        from imprimatur.formats import canonical

        key = self.ssh[who]
        armored = sshsig.sign(key, canonical.dumps(document), formats.SSH_NAMESPACE)
        return {"kind": "ssh", "key": sshsig.parse_public_key(ssh_line(key)).fingerprint, "value": armored}

    def sign_as_agent(self, document: dict[str, Any], who: str = "robo") -> dict[str, str]:
        """An agent's signature over a delegation it passes on."""
        key = self.keys[who]
        return {"kind": "ed25519", "key": key.thumbprint, "value": b64u(key.sign(formats.preimage(document)))}

    def delegate(self, subject: str = "robo", **changes: Any) -> Delegation:
        """Issue a root delegation from Ada, and publish it."""
        document = self.document(subject, **changes)
        command = issue_delegation.Command(document, self.sign_as_person(document), self.ada)
        return self.issue(command)

    def pass_on(self, parent: Delegation, issuer: str, subject: str, **changes: Any) -> Delegation:
        """Issue a sub-delegation from one agent to another, and publish it."""
        document = self.document(subject, issuer=self.agents[issuer].id, parent=parent.id, **changes)
        command = issue_delegation.Command(document, self.sign_as_agent(document, issuer), self.agents[issuer])
        return self.issue(command)

    def issue(self, command: issue_delegation.Command) -> Delegation:
        """Issue a delegation, and publish it, so that it is usable."""
        delegation = commit(issue_delegation.apply, command).delegation
        self.publish()
        return delegation


def pytest_collection_finish() -> None:
    interpreter.collected()


@pytest.fixture(autouse=True, scope="session")
def settled() -> Iterator[None]:
    """What holds for all tests of the installation they live in."""
    with override_settings(
        REALM=REALM,
        # Slow hashing protects real passwords; here it would only slow down every test that brings in the cast.
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ORIGINS=["http://testserver", "http://localhost:8000"],
        RP_ID="localhost",
        ATTESTATION_ROOTS="",
        ALLOWED_HOSTS=["testserver", "localhost"],
    ):
        yield


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """Every test has data folders of its own, and nothing in memory of another: no key, no count, nobody's standing."""
    settings.DATA_DIR = tmp_path
    settings.LOG_DIR = tmp_path / "log"
    settings.KEYS_DIR = tmp_path / "keys"
    settings.INBOX_DIR = tmp_path / "inbox"
    settings.BUNDLES_DIR = tmp_path / "bundles"
    _forget()
    yield tmp_path
    _forget()


def _forget() -> None:
    signer.forget()
    published.forget()
    for limiter in (limits.addresses, limits.keys, limits.rejected):
        limiter.clear()
    for limit in (signed.limit, terminal_keys.limit, terminal.limit):
        limit.forget()
    rejections.clear()
    for read in READ_ONCE:
        read.cache_clear()


def ssh_line(key: KeyPair) -> str:
    """The public half as a line of a ``.pub`` file."""
    return f"ssh-ed25519 {b64(sshsig.public_key_blob(key.public_key))}"


def build_world(policy: dict[str, Any] | None = None) -> World:
    """Begin an installation and bring in the cast. Needs an empty database."""
    from governance.actions import add_person_key
    from governance.begin import Newcomer, begin_installation
    from imprimatur.rules.policy import DEMO_POLICY
    from imprimatur.rules.tools import DEFAULT_TOOLS

    newcomers = [Newcomer(login, roles, name) for login, (name, roles) in CAST.items()]
    begun = begin_installation(newcomers, REALM, policy or DEMO_POLICY, list(DEFAULT_TOOLS.values()))
    world = World(REALM, {person.user.username: person for person in begun.people})
    Person.objects.update(must_change_password=False)
    for person in world.people.values():
        person.must_change_password = False
    world.ssh["ada"] = KeyPair.generate()
    commit(add_person_key.apply, add_person_key.Command(world.ada, ssh_line(world.ssh["ada"]), world.ada))
    world.enrol("robo")
    world.enrol("twin")
    world.delegation = world.delegate()
    return world


def begun_world(policy: dict[str, Any] | None = None) -> World:
    """The same, put back from a template where there is one: see `tests.templates`."""
    return templates.begun(("world", json.dumps(policy)), lambda: build_world(policy), _again)


def _again(world: World) -> World:
    people, agents, delegation = copy.deepcopy((world.people, world.agents, world.delegation))
    return World(world.realm, people, agents, dict(world.keys), dict(world.ssh), delegation)


@pytest.fixture
def world(db: None) -> World:
    """A begun installation under the demo policy (a session's answer counts)."""
    return begun_world()


@pytest.fixture
def make_world(db: None) -> Callable[..., World]:
    """The same with another policy."""
    return begun_world
