from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from audit import log
from governance import access, cascade, standing
from governance.actions import (
    change_person,
    resume_agent,
    revoke_delegation,
    revoke_key,
    revoke_person_key,
    rotate_key,
    suspend_agent,
)
from governance.models import Agent, AgentKey, Delegation
from imprimatur.formats.encoding import b64u
from tests.governance.cast import REALM, seeded


@pytest.fixture
def chain(cast) -> list[Delegation]:
    """Ada's grant to robo, robo's part for helper, helper's part for a third."""
    cast.agent("third")
    root = cast.delegate("ada", "robo", spend={"unit": "USD", "limit": "10.00"})
    child = cast.delegate("robo", "helper", root, scope=["file:read:/project"], max_depth=1)
    return [root, child, cast.delegate("helper", "third", child, scope=["file:read:/project/src"], max_depth=0)]


@pytest.fixture
def calls(monkeypatch) -> list[dict[str, Any]]:
    """What the cascade told a registered callback."""
    found: list[dict[str, Any]] = []

    def callback(writer, cause, *, agents, keys, delegations):
        found.append({"cause": cause.index, "agents": agents, "keys": keys, "delegations": delegations})

    monkeypatch.setattr(cascade, "_callbacks", [callback])
    return found


def fault(delegation: Delegation) -> str | None:
    """Why the delegation counts no longer, looked up as an edge would."""
    found = standing.fault(access.chain_of(access.access_delegation(None, delegation.id)))
    return found.code if found else None


def revoke(delegation: Delegation, by: Any) -> revoke_delegation.Result:
    return log.commit(revoke_delegation.apply, revoke_delegation.Command(delegation.id, by, "enough"))


def test_revoking_a_delegation_kills_what_stands_on_it_and_nothing_above(cast, chain, calls):
    _, child, leaf = chain
    assert revoke(child, cast.ada).entry is not None
    assert [fault(link) for link in chain] == [None, "delegation-revoked", "delegation-revoked"]
    assert calls[0]["delegations"] == {child.id, leaf.id}
    assert revoke(child, cast.ada).entry is None
    assert len(calls) == 1


def test_an_agent_revokes_what_it_holds_or_passed_on_and_never_upwards(cast, chain, refused):
    root, child, leaf = chain
    with refused("not-found"):
        revoke(root, cast.agents["helper"])
    with refused("not-found"):
        revoke(child, cast.agents["third"])
    revoke(leaf, cast.robo)
    revoke(child, cast.agents["helper"])
    assert [fault(link) for link in chain] == [None, "delegation-revoked", "delegation-revoked"]


@pytest.mark.parametrize("who", ["rui", "audra", "mallory"])
def test_people_revoke_as_admin_issuer_or_owner_and_others_do_not(cast, chain, refused, who):
    with refused("not-allowed"):
        revoke(chain[0], cast.people[who])
    cast.agent("ours", owner=who)
    theirs = cast.delegate("ada", "ours")
    assert revoke(theirs, cast.people[who]).entry is not None


def test_a_suspended_agent_stops_its_whole_part_of_the_chain_until_it_is_resumed(cast, chain, calls):
    log.commit(suspend_agent.apply, suspend_agent.Command(cast.agents["helper"], "odd", by=cast.ada))
    assert [fault(link) for link in chain] == [None, "suspended", "suspended"]
    assert calls[0]["agents"] == {cast.agents["helper"].id}
    assert calls[0]["delegations"] == {chain[1].id, chain[2].id}
    log.commit(resume_agent.apply, resume_agent.Command(Agent.objects.get(name="helper"), "fine", by=cast.ada))
    assert [fault(link) for link in chain] == [None, None, None]


def test_a_revoked_agent_key_kills_what_it_signed_from_then_on_and_nothing_older(cast, chain, calls):
    helper = cast.keys["helper"]
    Delegation.objects.update(issued_at=log.utc_now() - timedelta(hours=1))
    log.commit(revoke_key.apply, revoke_key.Command(helper.thumbprint, "stolen", by=cast.ada))
    assert fault(chain[2]) is None
    since = log.utc_now() - timedelta(hours=2)
    log.commit(revoke_key.apply, revoke_key.Command(helper.thumbprint, "stolen earlier", since=since, by=cast.ada))
    assert [fault(link) for link in chain] == [None, None, "delegation-revoked"]
    assert calls[-1]["keys"] == {helper.thumbprint: since}
    assert calls[-1]["delegations"] == {chain[2].id}


def test_a_key_is_never_revoked_from_a_later_time(cast, refused):
    key = cast.keys["robo"].thumbprint
    with refused("invalid"):
        later = log.utc_now() + timedelta(hours=1)
        log.commit(revoke_key.apply, revoke_key.Command(key, "later", since=later, by=cast.ada))
    log.commit(revoke_key.apply, revoke_key.Command(key, "stolen", by=cast.ada))
    with refused("conflict"):
        log.commit(revoke_key.apply, revoke_key.Command(key, "again", by=cast.ada))


def test_invariant_4_a_thief_who_rotates_a_stolen_key_loses_the_new_one_with_it(cast, chain, refused, calls):
    stolen, theirs = cast.keys["robo"], seeded("the thief's")
    message = rotate_key.preimage(realm=REALM, agent=cast.robo.id, old=stolen.thumbprint, public_key=theirs.public_key)
    command = rotate_key.Command(cast.robo, stolen.thumbprint, theirs.public_key, b64u(stolen.sign(message)))
    log.commit(rotate_key.apply, command)
    since = AgentKey.objects.get(pk=theirs.thumbprint).added_at - timedelta(seconds=1)
    log.commit(revoke_key.apply, revoke_key.Command(stolen.thumbprint, "stolen", since=since, by=cast.ada))
    with refused("key-revoked"):
        access.key_of(theirs.thumbprint)
    assert set(calls[0]["keys"]) == {stolen.thumbprint, theirs.thumbprint}


def test_an_honest_rotation_before_the_theft_survives_the_old_key(cast):
    old, new = cast.keys["robo"], seeded("robo 2")
    message = rotate_key.preimage(realm=REALM, agent=cast.robo.id, old=old.thumbprint, public_key=new.public_key)
    log.commit(rotate_key.apply, rotate_key.Command(cast.robo, old.thumbprint, new.public_key, b64u(old.sign(message))))
    AgentKey.objects.filter(pk=old.thumbprint).update(retired_at=log.utc_now() - timedelta(hours=1))
    log.commit(revoke_key.apply, revoke_key.Command(old.thumbprint, "found on a disk", by=cast.ada))
    assert access.key_of(new.thumbprint).agent == cast.robo


def test_a_revoked_person_key_kills_the_roots_it_signed_and_all_below(cast, chain, calls):
    key = cast.ssh["ada"].fingerprint
    since = chain[0].issued_at - timedelta(milliseconds=1)
    log.commit(revoke_person_key.apply, revoke_person_key.Command(key, "lost", since=since, by=cast.ada))
    assert [fault(link) for link in chain] == ["delegation-revoked"] * 3
    assert calls[0]["delegations"] == {link.id for link in chain}


def test_a_key_revoked_from_now_signs_nothing_more_but_keeps_what_it_signed(cast, chain, refused):
    Delegation.objects.update(issued_at=log.utc_now() - timedelta(hours=1))
    key = cast.ssh["ada"].fingerprint
    log.commit(revoke_person_key.apply, revoke_person_key.Command(key, "replaced", by=cast.ada))
    assert fault(chain[0]) is None
    with refused("key-revoked"):
        cast.delegate("ada", "robo", scope=["file:read"])


def test_switching_a_person_off_kills_what_they_issued_for_good(cast, chain, calls, bodies):
    boss = cast.person("boss", "admin")
    log.commit(change_person.apply, change_person.Command(cast.ada, active=False, by=boss))
    assert [fault(link) for link in chain] == ["delegation-revoked"] * 3
    log.commit(change_person.apply, change_person.Command(cast.ada, active=True, by=boss))
    assert [fault(link) for link in chain] == ["delegation-revoked"] * 3
    assert [body["delegation"] for body in bodies("delegation.revoked")] == [chain[0].id]
    assert calls[0]["delegations"] == {link.id for link in chain}


def test_nothing_is_passed_on_below_what_has_fallen(cast, chain, refused):
    revoke(chain[0], cast.ada)
    with refused("delegation-revoked"):
        cast.delegate("robo", "helper", chain[0], scope=["file:read:/project/x"], max_depth=0)


def test_what_a_callback_ended_is_swept_in_entries_of_five_hundred(cast, chain, monkeypatch, bodies):
    ended = [f"act_{number:026d}" for number in range(1201)]
    monkeypatch.setattr(cascade, "_callbacks", [lambda writer, cause, **fallen: ended])
    cause = revoke(chain[0], cast.ada).entry
    assert [len(body["ids"]) for body in bodies("cascade.swept")] == [500, 500, 201]
    assert bodies("cascade.finished") == [{"cause": cause.index, "total": 1201}]


def test_a_callback_that_fails_undoes_the_revocation_with_it(cast, chain, monkeypatch, kinds):
    def fail(writer, cause, **fallen):
        raise RuntimeError("broken")

    monkeypatch.setattr(cascade, "_callbacks", [fail])
    with pytest.raises(RuntimeError):
        revoke(chain[0], cast.ada)
    assert fault(chain[0]) is None
    assert "delegation.revoked" not in kinds()
