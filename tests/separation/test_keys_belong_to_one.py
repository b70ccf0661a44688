"""One key, one principal, for ever: whoever's it is, it becomes nobody else's and signs for nobody else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from audit import signer
from audit.log import commit, utc_now
from audit.models import Entry
from governance.actions import add_person_key, enrol_agent, invite_agent, issue_delegation, rotate_key
from governance.errors import Refused
from governance.models import AgentKey, PersonKey
from governance.runtime.actions import register_service, retire_service
from governance.runtime.models import Service
from imprimatur.formats import canonical, signing, sshsig
from imprimatur.formats import delegation as formats
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.rotation import rotation_preimage
from imprimatur.formats.timestamps import format_time
from tests.conftest import World, ssh_line
from tests.separation import visitors


def _service(world: World, key: KeyPair) -> Service:
    command = register_service.Command(name="the runner", role="orchestrator", public_key=key.public_key, by=world.ada)
    return commit(register_service.apply, command).service


def _rotate(world: World, name: str, key: KeyPair) -> None:
    agent, old = world.agents[name], world.keys[name]
    preimage = rotation_preimage(
        realm=world.realm, agent=agent.id, old=old.thumbprint, new=key.thumbprint, public_key=b64u(key.public_key)
    )
    commit(rotate_key.apply, rotate_key.Command(agent, old.thumbprint, key.public_key, b64u(old.sign(preimage))))


def _enrol(world: World, key: KeyPair) -> None:
    command, token = invite_agent.new("newcomer", world.ada, world.ada)
    commit(invite_agent.apply, command)
    commit(enrol_agent.apply, enrol_agent.Command(token, key.public_key))


def _delegation_key(world: World, key: KeyPair) -> None:
    commit(add_person_key.apply, add_person_key.Command(world.ada, ssh_line(key)))


def _former_agent_key(world: World) -> KeyPair:
    old = world.keys["robo"]
    _rotate(world, "robo", KeyPair.generate())
    return old


def _former_service_key(world: World) -> KeyPair:
    key = KeyPair.generate()
    service = _service(world, key)
    commit(retire_service.apply, retire_service.Command(service.pk, "gone", world.ada))
    return key


def _persons_signing_key(world: World) -> KeyPair:
    return world.ssh_keys[world.ssh_signing("rui").fingerprint]


def _service_key(world: World) -> KeyPair:
    key = KeyPair.generate()
    _service(world, key)
    return key


@dataclass(frozen=True)
class Holder:
    """Somebody who has a key, and how to come by it."""

    kind: str
    key: Callable[[World], KeyPair]


HOLDERS = {
    "an agent": Holder("agent", lambda world: world.keys["twin"]),
    "an agent that rotated it away": Holder("agent", _former_agent_key),
    "a person, for delegations": Holder("person", lambda world: world.ssh["ada"]),
    "a person, for decisions": Holder("person", _persons_signing_key),
    "a service": Holder("service", _service_key),
    "a service that was retired": Holder("service", _former_service_key),
    "the log, for entries": Holder("log", lambda world: _of_the_log(signer.DECISION)),
    "the log, for checkpoints": Holder("log", lambda world: _of_the_log(signer.LOG)),
}
DOORS: dict[str, Callable[[World, KeyPair], Any]] = {
    "enrol an agent": _enrol,
    "rotate an agent's": lambda world, key: _rotate(world, "robo", key),
    "register a person's for delegations": _delegation_key,
    "enrol a person's for decisions": lambda world, key: world.enrolled_ssh("rosa", key),
    "register a service": _service,
}


def _of_the_log(name: str) -> KeyPair:
    found = signer.load(name)
    assert isinstance(found, KeyPair)
    return found


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_key_that_is_somebodys_becomes_nobody_elses(world: World, holder: str, door: str) -> None:
    key = HOLDERS[holder].key(world)
    if door == "rotate an agent's" and holder == "an agent that rotated it away":
        world.enrol("third")  # robo's key is another now
        doors: Callable[[World, KeyPair], Any] = lambda world, key: _rotate(world, "third", key)  # noqa: E731
    else:
        doors = DOORS[door]
    with pytest.raises(Refused) as refused:
        doors(world, key)
    assert refused.value.code == "conflict", refused.value.message
    owners = [
        AgentKey.objects.filter(thumbprint=key.thumbprint).count(),
        PersonKey.objects.filter(thumbprint=key.thumbprint).count(),
        Service.objects.filter(thumbprint=key.thumbprint).count(),
    ]
    assert sum(owners) == (HOLDERS[holder].kind != "log")


@pytest.mark.parametrize(
    "holder", ["a person, for delegations", "a person, for decisions", "a service", "the log, for entries"]
)
def test_a_key_that_is_no_agents_signs_no_call_of_agents(world: World, holder: str) -> None:
    key = HOLDERS[holder].key(world)
    entries = Entry.objects.count()
    for method, path in (("GET", "/api/v1/me"), ("POST", "/api/v1/actions"), ("POST", "/api/v1/delegations")):
        answer = visitors.signed(method, path, key).send()
        assert (answer.status, answer.code) == (401, "key-unknown"), path
    assert Entry.objects.count() == entries


@pytest.mark.parametrize("holder", ["an agent", "a service", "the log, for entries", "the log, for checkpoints"])
def test_invariant_4_a_key_that_is_no_persons_signs_no_root_delegation(world: World, holder: str) -> None:
    key = HOLDERS[holder].key(world)
    document = world.document(purpose="More for me")
    entries = Entry.objects.count()
    line = sshsig.parse_public_key(ssh_line(key))
    ways = (
        {
            "kind": "ssh",
            "key": line.fingerprint,
            "value": sshsig.sign(key, canonical.dumps(document), formats.SSH_NAMESPACE),
        },
        {"kind": "ed25519", "key": key.thumbprint, "value": b64u(key.sign(formats.preimage(document)))},
    )
    for signature in ways:
        with pytest.raises(Refused):
            commit(issue_delegation.apply, issue_delegation.Command(document, signature, world.ada))
        visit = visitors.plain("POST", "/delegations/signed")
        visit.body = canonical.dumps({"document": document, "signature": signature})
        answer = visit.send()
        assert (answer.status, answer.code) == (401, "signature"), answer.raw
    assert Entry.objects.count() == entries


@pytest.mark.parametrize("holder", ["an agent", "a service", "the log, for entries"])
def test_a_key_that_is_no_persons_reads_no_request_from_a_terminal(world: World, holder: str) -> None:
    key = HOLDERS[holder].key(world)
    fingerprint = sshsig.parse_public_key(ssh_line(key)).fingerprint
    now = utc_now()
    document = {
        "typ": signing.READ,
        "realm": world.realm,
        "person": world.rui.id,
        "request": "act_00000000000000000000000000",
        "credential": fingerprint,
        "nonce": b64u(b"n" * 16),
        "log_size": 1,
        "log_root": "sha256:" + "0" * 64,
        "issued_at": format_time(now),
        "expires_at": format_time(now + timedelta(seconds=60)),
    }
    raw = canonical.dumps(document)
    evidence = {
        "kind": signing.SSH,
        "key": fingerprint,
        "value": sshsig.sign(key, raw, signing.ssh_namespace(signing.READ)),
    }
    visit = visitors.plain("POST", "/terminal/card")
    visit.body = canonical.dumps({"statement": raw.decode(), "evidence": evidence, "decision": "deny"})
    answer = visit.send()
    assert (answer.status, answer.code) == (401, "signature"), answer.raw
