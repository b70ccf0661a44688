"""Keys that fall with others, changes put in force by others, clocks that go back: server and verifier say the same.

The server would otherwise write what the notary refuses, and the log would stand still for everybody.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.urls import reverse

from approvals.actions import cast_vote
from approvals.models import ActionRequest
from audit.log import commit, utc_now
from audit.models import LogHead
from governance import acts, ceremonies, standing
from governance.access import chain_of
from governance.actions import (
    add_person,
    change_person,
    issue_delegation,
    login_reset,
    map_roles,
    propose_change,
    put_in_force,
    revoke_person_key,
    vouch_key,
    withdraw_change,
)
from governance.errors import Refused
from governance.models import Change, Delegation, Person, PersonKey
from imprimatur.formats import canonical, delegation, sshsig
from imprimatur.rules.policy import DEMO_POLICY
from tests.accounts import sessions
from tests.approvals.signing import Browser
from tests.conftest import World
from tests.door.agent import AgentUnderTest
from tests.governance import proposals

pytestmark = pytest.mark.usefixtures("notarised")


@pytest.fixture(autouse=True)
def desk(fresh_door: None, settings: Any) -> None:
    settings.ROOT_URLCONF = "server.urls"


def lose(key: PersonKey, by: Person, since: Any = None) -> None:
    commit(revoke_person_key.apply, revoke_person_key.Command(key.fingerprint, "lost", since, by))


def admin(world: World, login: str) -> Person:
    world.people[login] = commit(add_person.apply, add_person.new(login, ("admin",), by=world.ada)[0]).person
    return world.people[login]


def in_force(key: PersonKey) -> bool:
    return PersonKey.objects.get(pk=key.pk).in_force


def test_what_a_revoked_key_vouched_for_falls_with_the_key_above_it(world: World) -> None:
    """Ada vouches for Rui, Rui for Rosa. Rui's key is retired in good order; then Ada's turns out stolen from the
    first day: nobody whom we know has vouched for Rosa."""
    adas = world.signing("ada")
    ruis = world.vouch(world.enrolled("rui"), by="ada")
    rosas = world.vouch(world.enrolled("rosa"), by="rui")
    lose(ruis, world.rui)
    assert in_force(rosas)

    lose(adas, world.ada, adas.vouched_at)

    assert not in_force(rosas)
    ruis.refresh_from_db()
    assert ruis.revoked_at == ruis.vouched_at


def test_what_a_key_signed_before_its_retirement_falls_when_nobody_we_know_vouched_for_it(
    world: World, robo: AgentUnderTest
) -> None:
    """Rui's approval stands until Ada's key, which vouched for his, turns out stolen; then it runs nothing."""
    adas = world.signing("ada")
    ruis = world.vouch(world.enrolled("rui"), by="ada")
    asked = robo.delete()
    request = ActionRequest.objects.get(pk=asked.json["id"])
    assert Browser(world, "rui").sign(request, "approve").status_code == 302
    request.refresh_from_db()
    assert request.state == "APPROVED"
    lose(ruis, world.rui)

    lose(adas, world.ada, adas.vouched_at)

    request.refresh_from_db()
    assert request.state == "INVALIDATED"
    assert robo.redeem(asked.json).status != 200


def test_a_delegation_falls_when_nobody_we_know_vouched_for_the_retired_key_that_signed_it(world: World) -> None:
    adas = world.signing("ada")
    boss = admin(world, "boss")
    key = world.vouch(world.enrolled_ssh("boss"), by="ada")
    document = world.document(issuer=boss.pk)
    armored = sshsig.sign(world.ssh_keys[key.fingerprint], canonical.dumps(document), delegation.SSH_NAMESPACE)
    signature = {"kind": "ssh", "key": key.fingerprint, "value": armored}
    row = world.issue(issue_delegation.Command(document, signature, boss))
    lose(key, boss)

    lose(adas, world.ada, adas.vouched_at)

    assert standing.fault(chain_of(Delegation.objects.get(pk=row.pk))) is not None


def test_invariant_3_whoever_proposed_a_newcomer_never_vouches_for_them_whoever_puts_it_in_force(world: World) -> None:
    """A change held ready is put in force by any admin; its author still chose login and address, and still made the
    newcomer."""
    boss = admin(world, "boss")
    world.signing("ada")
    world.signing("rui")
    draft = proposals.newcomer("puppet", "reviewer", hold=True)
    change = proposals.second(world, "rui", proposals.propose(world, "ada", draft))
    commit(put_in_force.apply, put_in_force.Command(change.pk, boss))
    world.people["puppet"] = Person.objects.get(user__username="puppet")
    assert world.ada.pk in world.people["puppet"].introducers

    key = world.enrolled("puppet")
    with pytest.raises(Refused, match="You added this person"):
        world.vouch(key, by="ada")
    assert not in_force(key)
    assert world.vouch(key, by="rui").in_force


def test_what_was_signed_before_the_clock_was_put_back_is_signed_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verifier takes no statement from the future, so neither do we. (Two replicas' clocks may differ as well.)"""
    world.signing("ada")
    key = world.enrolled("rui")
    signed = world.signed("ada", world.voucher(world.ada, key))
    really = utc_now
    monkeypatch.setattr("audit.log.utc_now", lambda: really() - timedelta(seconds=40))
    # As if nothing had been written for a while: an older head lets the clock go back further.
    LogHead.objects.update(last_time=really() - timedelta(seconds=50))
    with pytest.raises(Refused, match="clock"):
        commit(vouch_key.apply, vouch_key.Command(key.fingerprint, world.ada, signed))
    monkeypatch.undo()
    assert not in_force(key)


def test_groups_that_are_no_roles_of_ours_never_enter_the_log(world: World) -> None:
    """A Django group of another purpose would read as a role that somebody gave alone."""
    world.signing("ada")
    world.signing("rui")
    world.rosa.user.groups.add(Group.objects.create(name="night shift"))
    done = commit(map_roles.apply, map_roles.Command(world.rosa, frozenset(), frozenset({"reviewer"})))
    assert done.entry is not None and done.entry.body["roles"] == []
    assert list(world.rosa.user.groups.values_list("name", flat=True)) == ["night shift"]


def test_a_stricter_policy_ends_what_could_still_be_answered_by_a_click(world: World, robo: AgentUnderTest) -> None:
    asked = robo.delete()
    request = ActionRequest.objects.get(pk=asked.json["id"])
    assert request.assurance == "H0"
    stricter = {**DEMO_POLICY, "name": "With keys", "assurance": "H2"}
    world.signing("rui")
    world.signing("rosa")
    change = proposals.propose(world, "ada", proposals.policy(stricter))
    proposals.second(world, "rui", change)
    assert Change.objects.get(pk=change.pk).state == Change.DONE
    request.refresh_from_db()
    assert request.state == "INVALIDATED"
    with pytest.raises(Refused):
        cast_vote.answer(world.rui, request.id, version=request.version, decision="approve")


@pytest.mark.parametrize("lost", [{"roles": ()}, {"active": False}], ids=["the role", "the login"])
def test_invariant_3_what_is_held_ready_ends_when_its_second_person_may_no_longer_sign(
    world: World, lost: dict[str, Any]
) -> None:
    """Two people have to stand behind it on the day it comes into force, not only on the day they signed."""
    boss = admin(world, "boss")
    world.signing("ada")
    world.signing("rui")
    held = proposals.propose(world, "ada", proposals.policy({**DEMO_POLICY, "name": "Emergency"}, hold=True))
    proposals.second(world, "rui", held)
    commit(change_person.apply, change_person.Command(world.rui, by=boss, **lost))

    with pytest.raises(Refused, match="may no longer"):
        commit(put_in_force.apply, put_in_force.Command(held.pk, boss))
    assert Change.objects.get(pk=held.pk).state == Change.READY


def test_whoever_seconds_a_newcomer_sees_the_address_that_opens_the_login(world: World) -> None:
    """By single sign-on the address decides who comes in first: its author alone must not choose it unseen."""
    world.signing("ada")
    world.signing("rui")
    draft = proposals.newcomer("bob", "reviewer", email="not.bob@example.org")
    change = proposals.propose(world, "ada", draft)
    page = sessions.signed_in(world.rui).get(reverse("change_second", args=[change.pk])).content.decode()
    assert "not.bob@example.org" in page


@pytest.mark.parametrize("stage", ["proposed", "withdrawn", "done"])
def test_invariant_4_a_change_named_before_or_after_two_people_stand_behind_it_opens_nothing(
    world: World, stage: str
) -> None:
    """Its author writes the very thing down, names the change, and is alone: with one signature, or used once more."""
    world.signing("ada")
    world.signing("rui")
    change = proposals.propose(world, "ada", proposals.newcomer("puppet", "reviewer"))
    if stage == "withdrawn":
        commit(withdraw_change.apply, withdraw_change.Command(change.pk, "no", world.ada))
    if stage == "done":
        proposals.second(world, "rui", change)
        commit(change_person.apply, change_person.Command(puppet(), roles=(), by=world.ada))
        wanted = proposals.person(puppet(), roles=("reviewer",))
        change = proposals.propose(world, "ada", wanted)
        proposals.second(world, "rui", change)
        commit(change_person.apply, change_person.Command(puppet(), roles=(), by=world.ada))
        command: Any = change_person.Command(puppet(), roles=("reviewer",), by=world.ada, change=change.pk)
        apply: Any = change_person.apply
    else:
        new, _ = add_person.new("puppet", ("reviewer",), name="Puppet", by=world.ada, person_id=change.subject)
        command, apply = replace(new, change=change.pk), add_person.apply
    with pytest.raises(Refused, match="Two people have not agreed"):
        commit(apply, command)
    assert not Person.objects.filter(user__username="puppet", user__groups__name="reviewer").exists()


def puppet() -> Person:
    return Person.objects.select_related("user").get(user__username="puppet")


def test_invariant_12_a_click_never_stands_where_a_key_has_to_sign(world: World) -> None:
    """Vouches, changes and acts name the key that signs them. A click that names one would read as if it had signed."""
    key = world.signing("ada")
    world.signing("rui")
    pending = world.enrolled("rosa")
    common = ceremonies.common(world.ada, credential=key.fingerprint)
    draft = proposals.newcomer("bob", "reviewer")
    for document in (
        world.voucher(world.ada, pending),
        {**propose_change.statement_fields(draft, "propose"), **common},
        {**acts.fields("person.key_revoked", world.ada.pk, {"reason": "lost"}), **common},
        world.document(),
    ):
        with pytest.raises(Refused, match="not a click"):
            ceremonies.session(world.ada, document)


@pytest.mark.parametrize("what", [login_reset.PASSWORD, login_reset.SECOND_FACTOR])
def test_invariant_3_whoever_reset_a_login_vouches_for_no_key_that_is_enrolled_from_it(world: World, what: str) -> None:
    """They could be sitting at it: with the printed password, or past the factor that is gone."""
    world.signing("ada")
    world.signing("rui")
    reset = login_reset.Command(world.rosa, what, "x" if what == login_reset.PASSWORD else "", world.ada)
    commit(login_reset.apply, reset)
    key = world.enrolled("rosa")

    with pytest.raises(Refused, match="reset their login"):
        world.vouch(key, by="ada")
    assert world.vouch(key, by="rui").in_force
