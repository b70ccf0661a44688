from __future__ import annotations

from datetime import timedelta

import pytest

from audit import log
from governance import access
from governance.actions import enrol_agent, invite_agent, resume_agent, rotate_key, suspend_agent
from governance.models import Agent, AgentKey, Invitation
from imprimatur.formats import ids
from imprimatur.formats.encoding import b64u
from tests.governance.cast import REALM, seeded


@pytest.fixture
def token(cast) -> str:
    command, token = invite_agent.new("newcomer", cast.people["rui"], cast.ada, "E2")
    log.commit(invite_agent.apply, command)
    return token


def enrol(token: str, name: str = "newcomer") -> enrol_agent.Result:
    return log.commit(enrol_agent.apply, enrol_agent.Command(token, seeded(name).public_key))


def test_an_agent_enrols_with_its_own_key_and_holds_nothing(cast, token, bodies):
    agent = enrol(token).agent
    assert agent.id == ids.agent_id(seeded("newcomer").public_key)
    assert (agent.name, agent.owner_id, agent.enforcement) == ("newcomer", cast.people["rui"].id, "E2")
    assert not agent.delegations.exists()
    assert token not in repr(bodies("agent.invited") + bodies("agent.enrolled"))
    assert not Invitation.objects.filter(token=token).exists()


def test_a_token_works_once_and_repeats_its_answer_to_the_same_key_only(token, refused):
    first = enrol(token)
    again = enrol(token)
    assert (again.agent, again.entry) == (first.agent, None)
    with refused("not-allowed"):
        enrol(token, "somebody else")


def test_an_unknown_or_expired_token_enrols_nobody(cast, token, refused):
    with refused("not-allowed"):
        enrol("inv_guess")
    Invitation.objects.filter(name="newcomer").update(expires_at=log.utc_now() - timedelta(seconds=1))
    with refused("not-allowed"):
        enrol(token)
    assert not Agent.objects.filter(name="newcomer").exists()


def test_an_invitation_is_good_for_fifteen_minutes(cast, token):
    left = Invitation.objects.get(name="newcomer").expires_at - log.utc_now()
    assert timedelta(minutes=14) < left <= timedelta(minutes=15)


def test_a_key_that_is_registered_or_unusable_does_not_enrol(cast, token, refused):
    with refused("conflict"):
        log.commit(enrol_agent.apply, enrol_agent.Command(token, cast.keys["robo"].public_key))
    with refused("invalid"):
        log.commit(enrol_agent.apply, enrol_agent.Command(token, bytes(32)))


@pytest.mark.parametrize("who", ["rui", "mallory"])
def test_only_an_admin_invites(cast, refused, who):
    command, _ = invite_agent.new("eve", cast.people[who], cast.people[who])
    with refused("not-allowed"):
        log.commit(invite_agent.apply, command)


def rotation(cast, new: str, *, signed_by: str = "robo", realm: str = REALM) -> rotate_key.Command:
    old, public = cast.keys["robo"], seeded(new).public_key
    message = rotate_key.preimage(realm=realm, agent=cast.robo.id, old=old.thumbprint, public_key=public)
    return rotate_key.Command(cast.robo, old.thumbprint, public, b64u(cast.keys[signed_by].sign(message)))


def test_a_rotation_retires_the_old_key_and_repeats_its_answer(cast, refused):
    command = rotation(cast, "robo 2")
    first = log.commit(rotate_key.apply, command)
    assert access.key_of(seeded("robo 2").thumbprint).agent == cast.robo
    with refused("key-revoked"):
        access.key_of(cast.keys["robo"].thumbprint)
    again = log.commit(rotate_key.apply, command)
    assert (again.key, again.entry) == (first.key, None)
    with refused("key-revoked"):
        log.commit(rotate_key.apply, rotation(cast, "robo 3"))


def test_invariant_4_only_the_old_key_names_its_successor(cast, refused):
    with refused("signature"):
        log.commit(rotate_key.apply, rotation(cast, "robo 2", signed_by="helper"))
    with refused("conflict"):
        log.commit(rotate_key.apply, rotation(cast, "agent helper"))
    assert AgentKey.objects.filter(agent=cast.robo).count() == 1


def test_invariant_12_a_rotation_signed_for_another_realm_does_not_count(cast, refused):
    with refused("signature"):
        log.commit(rotate_key.apply, rotation(cast, "robo 2", realm="staging.imprimatur"))


def test_an_owner_may_suspend_their_agent_but_only_an_admin_resumes_it(cast, refused):
    cast.agent("ours", owner="rui")
    ours, rui, rosa = cast.agents["ours"], cast.people["rui"], cast.people["rosa"]
    with refused("not-allowed"):
        log.commit(suspend_agent.apply, suspend_agent.Command(ours, "odd", by=rosa))
    log.commit(suspend_agent.apply, suspend_agent.Command(ours, "odd", by=rui))
    with refused("not-allowed"):
        log.commit(resume_agent.apply, resume_agent.Command(ours, "fine again", by=rui))
    log.commit(resume_agent.apply, resume_agent.Command(ours, "fine again", by=cast.ada))
    assert Agent.objects.get(pk=ours.pk).state == Agent.ACTIVE


def test_a_viewer_sees_what_is_theirs_and_not_that_the_rest_exists(cast, refused):
    assert access.access_agent(cast.people["audra"], cast.robo.id) == cast.robo
    assert access.access_agent(cast.robo, cast.robo.id) == cast.robo
    for viewer in (cast.people["mallory"], cast.agents["helper"]):
        with refused("not-found"):
            access.access_agent(viewer, cast.robo.id)
    with refused("key-unknown"):
        access.key_of("x" * 43)
