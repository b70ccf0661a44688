"""Who never answers: held at notifying, at voting and when the votes are added up; and who only lacks a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from approvals import eligibility, queue
from approvals.actions import cast_vote
from approvals.models import ActionRequest
from approvals.notifications import mail, topics
from approvals.views import card
from audit.log import commit, utc_now
from governance.actions import change_person, revoke_person_key
from governance.errors import Refused
from governance.models import Agent, Person, PersonKey
from imprimatur.rules.policy import DEFAULT_POLICY, DEMO_POLICY
from imprimatur.rules.quorum import Candidate, Circumstances, Stage, ineligible
from tests.approvals.signing import Browser
from tests.conftest import World
from tests.desk.requests import DELETE, PAY, ask

TWO = {
    **DEMO_POLICY,
    "rules": [
        {"name": "two", "tool": "delete_file", "risk": "HIGH", "stages": [{"role": "reviewer", "count": 2}]},
        *DEMO_POLICY["rules"],
    ],
}


@pytest.fixture(autouse=True)
def desk(fresh_door: None, settings: Any) -> None:
    settings.ROOT_URLCONF = "server.urls"


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """Clicks count, deleting takes two reviewers, and Ada reviews as well."""
    world = make_world(TWO)
    roles(world, "ada", "admin", "reviewer")
    return world


def roles(world: World, who: str, *names: str) -> None:
    commit(change_person.apply, change_person.Command(world.people[who], roles=names, by=world.ada))


def answer(person: Person, request: ActionRequest, decision: str = "approve", **more: Any) -> ActionRequest:
    request.refresh_from_db()
    return cast_vote.answer(person, request.id, version=request.version, decision=decision, **more).request


def never(world: World, who: str, request: ActionRequest, why: str) -> None:
    """Not told, not asked by the desk, and refused when they answer all the same."""
    request.refresh_from_db()
    person = Person.objects.get(pk=world.people[who].pk)
    assert person not in mail.receivers(request, topics.ASKED)
    assert person not in eligibility.people_to_ask(request)
    assert request.id not in {item.request.id for item in queue.needs_you(person)}
    for decision in ("approve", "deny"):
        with pytest.raises(Refused, match=why) as caught:
            answer(person, request, decision, reason="because")
        assert caught.value.code == "not-allowed"


# --- asked and voting -------------------------------------------------------------------------------------------------


def test_invariant_3_the_owner_of_the_agent_never_answers(world: World) -> None:
    never(world, "ada", ask(world), "You own robo")


def test_invariant_3_whom_the_delegation_acts_for_never_answers(world: World) -> None:
    delegation = world.delegate(on_behalf_of=world.rui.id)
    never(world, "rui", ask(world, delegation=delegation.id), "acts on your behalf")


def test_invariant_3_the_issuer_never_answers_what_is_critical(world: World) -> None:
    world.enrol("hers", owner="rosa")
    delegation = world.delegate("hers")
    high = ask(world, *DELETE, agent="hers", delegation=delegation.id)
    assert answer(world.ada, high).state == "PENDING"  # high needs two here, and Ada may be one of them
    never(world, "ada", ask(world, *PAY, agent="hers", delegation=delegation.id), "You issued the delegation")


def test_invariant_3_whoever_counted_already_never_counts_again(world: World) -> None:
    request = ask(world)
    answer(world.rui, request)
    request.refresh_from_db()
    assert world.rui not in mail.receivers(request, topics.ASKED)
    with pytest.raises(Refused, match="Your answer counts already"):
        answer(world.rui, request)
    assert [person.name for person in eligibility.eligible_people(request)] == ["Rosa Imhof"]


def test_invariant_3_a_key_that_counted_already_never_counts_again(world: World) -> None:
    key = world.signing("rui")
    request = ask(world)
    Browser(world, "rui").sign(request, "approve")
    # Nothing here can give a key to a second person; somebody with the database did.
    PersonKey.objects.filter(pk=key.pk).update(person=world.rosa)
    never(world, "rosa", request, "A key of yours has answered already")


def test_whoever_lost_the_role_never_answers(world: World) -> None:
    request = ask(world)
    roles(world, "rui", "auditor")
    never(world, "rui", request, "the role reviewer")


def test_whoever_was_switched_off_never_answers(world: World) -> None:
    request = ask(world)
    commit(change_person.apply, change_person.Command(world.rui, active=False, by=world.ada))
    never(world, "rui", request, "Your account is not active")


def test_invariant_4_nothing_but_a_human_ever_answers(world: World) -> None:
    request = ask(world)
    found = ineligible(Candidate("svc", {"reviewer"}, human=False, active=True), Circumstances(), None)
    assert [reason.code for reason in found] == ["not-human"]
    as_agent = cast_vote.clicked(world.rui, request, version=1, decision="approve")
    with pytest.raises(Refused) as caught:
        commit(
            cast_vote.apply,
            cast_vote.Command(world.robo.id, request.id, "approve", as_agent.said),
        )
    assert caught.value.code == "not-found"


# --- when the votes are added up --------------------------------------------------------------------------------------


def owns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    Agent.objects.filter(pk=world.robo.pk).update(owner=world.rui)


def is_acted_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eligibility, "origin_of", lambda _: eligibility.Origin(world.rui.id, None))


def loses_the_role(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    roles(world, "rui")


def is_switched_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(change_person.apply, change_person.Command(world.rui, active=False, by=world.ada))


def loses_the_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key = world.key_of("rui").fingerprint
    commit(revoke_person_key.apply, revoke_person_key.Command(key, "lost", by=world.ada))


@pytest.mark.parametrize("befalls", [owns, is_acted_for, loses_the_role, is_switched_off, loses_the_key])
def test_invariant_3_a_vote_is_not_counted_once_its_caster_could_not_cast_it(
    world: World, monkeypatch: pytest.MonkeyPatch, befalls: Callable[..., None]
) -> None:
    world.signing("rui")
    request = ask(world)
    assert Browser(world, "rui").sign(request, "approve").status_code == 302
    befalls(world, monkeypatch)
    done = answer(world.rosa, request)
    assert done.state == "PENDING", "two are needed, and one counts"
    assert [vote.person_id for vote in eligibility.votes_that_still_count(done, eligibility.live_votes(done))] == [
        world.rosa.id
    ]


def test_invariant_3_the_issuer_of_something_critical_is_not_counted_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ask(world, *PAY)
    assert answer(world.rui, request).state == "AWAITING_CONFIRMATION"
    monkeypatch.setattr(eligibility, "origin_of", lambda _: eligibility.Origin(None, world.rui.id))
    with pytest.raises(Refused, match="waits for an approval first"):
        answer(world.rosa, request, "confirm", typed=request.target)
    assert answer(world.rosa, request).state == "AWAITING_CONFIRMATION"


# --- a key is what is missing -----------------------------------------------------------------------------------------


@pytest.fixture
def keyed(make_world: Callable[..., World]) -> World:
    """An installation that takes no click for an approval, and where nobody has a key yet."""
    return make_world(DEFAULT_POLICY)


def test_without_a_key_nobody_can_approve_and_everybody_reads_why(keyed: World) -> None:
    request = ask(keyed)
    [item] = queue.needs_you(keyed.rui)
    assert (item.able, item.stuck) == ((), "Nobody can approve this.")
    assert item.lacks is not None
    assert item.lacks.code == "needs-key"
    assert "Enrol one under Your keys" in item.lacks.you
    shown = card.answers(keyed.rui, request, utc_now())
    assert (shown.may_approve, shown.may_deny, shown.needs_key) == (False, True, True)
    assert shown.stuck == "Nobody can approve this."
    assert "Not Rosa Imhof: holds no signing key (H2)." in shown.others
    assert "Not Ada Brandt: owns robo." in shown.others
    # Whoever lacks nothing but a key is told: they can deny, or get one.
    told = {person.name for person in mail.receivers(request, topics.ASKED)}
    assert told == {"Rui Falk", "Rosa Imhof"}
    [waits] = queue.waiting(keyed.people["audra"])
    assert waits.stuck == "Nobody can approve this."


def test_a_key_that_waits_for_a_voucher_is_said_to_wait(keyed: World) -> None:
    keyed.signing("ada")
    keyed.enrolled("rui")
    request = ask(keyed)
    lacking = eligibility.lacks(request, eligibility.person_of(keyed.rui.id) or keyed.rui)
    assert lacking is not None
    assert "waits for a colleague to vouch" in lacking.you


def test_one_key_is_too_few_for_two_people(keyed: World) -> None:
    keyed.signing("rui")
    high, critical = ask(keyed), ask(keyed, *PAY)
    assert eligibility.outlook(high).stuck == ""
    found = eligibility.outlook(critical)
    assert [person.name for person in found.able] == ["Rui Falk"]
    assert found.stuck == "Too few people can approve this."
    keyed.signing("rosa")
    assert eligibility.outlook(critical).stuck == ""
    Browser(keyed, "rui").sign(critical, "approve")
    critical.refresh_from_db()
    assert eligibility.outlook(critical).stuck == ""
    key = keyed.key_of("rosa").fingerprint
    commit(revoke_person_key.apply, revoke_person_key.Command(key, "lost", by=keyed.ada))
    assert eligibility.outlook(critical).stuck == "Nobody can approve this."


def test_a_synced_key_is_no_key_where_it_must_not_leave_its_device(make_world: Callable[..., World]) -> None:
    world = make_world({**DEFAULT_POLICY, "device_bound": ["HIGH"]})
    world.signing("rui", "ES256", False)
    world.signing("rosa")
    request = ask(world)
    assert request.device_bound
    assert [person.name for person in eligibility.eligible_people(request)] == ["Rosa Imhof"]
    [item] = queue.needs_you(world.rui)
    assert item.lacks is not None
    assert "never leaves its device" in item.lacks.you


def test_where_one_person_may_answer_every_step_each_is_answered_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eligibility, "single_human", lambda _: True)
    request = ask(world)
    assert answer(world.ada, request).state == "PENDING"
    with pytest.raises(Refused, match="answered this step already"):
        answer(world.ada, request)
    assert Stage("reviewer", 2) == eligibility.stages_of(request)[0]
