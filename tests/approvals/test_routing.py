"""Who is told of a request, and when. Whoever may answer sees it from the first second on, asked or not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from approvals import clock, eligibility, jobs, queue, routing
from approvals.actions import ask_people, cast_vote, claim_request
from approvals.models import ActionRequest
from approvals.notifications import topics
from audit.log import commit, utc_now
from audit.models import Entry, Outbox
from audit.selectors import payload_of
from governance.actions import activate_policy, add_person, change_person, set_away
from governance.models import Person
from imprimatur.rules.policy import DEMO_POLICY
from tests.conftest import World
from tests.desk.requests import PAY, ask

pytestmark = pytest.mark.usefixtures("notarised")


@pytest.fixture
def mailing(settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.WEBHOOK_URL = "http://receiver.invalid/hook"


@pytest.fixture
def bo(world: World) -> Person:
    """A third reviewer, without whom somebody is always the last one left."""
    command, _ = add_person.new("bo", ("reviewer",), by=world.ada)
    return commit(add_person.apply, command).person


def with_levels(world: World, *ask: dict[str, Any]) -> None:
    policy = {**DEMO_POLICY, "ask": list(ask)}
    commit(activate_policy.apply, activate_policy.Command(policy, by=world.ada))


def away(who: Person, delegate: Person | None = None, hours: int = 1, by: Person | None = None) -> None:
    ends = utc_now() + timedelta(hours=hours)
    commit(set_away.apply, set_away.Command(who.id, None, ends, delegate.id if delegate else None, by or who))


def asked(request: ActionRequest) -> list[list[str]]:
    rows = Entry.objects.filter(kind="review.asked", subject=request.id).order_by("index")
    return [sorted(payload_of(row)["body"]["people"]) for row in rows]


def ids(*people: Person) -> list[str]:
    return sorted(person.id for person in people)


def let_pass(request: ActionRequest, percent: int) -> None:
    """Have this share of its time be over by now."""
    request.refresh_from_db()
    now, length = utc_now(), timedelta(minutes=10)
    ActionRequest.objects.filter(pk=request.pk).update(
        created_at=now - length * percent / 100, expires_at=now + length * (100 - percent) / 100
    )


def tick(request: ActionRequest, percent: int) -> None:
    let_pass(request, percent)
    clock.tick(utc_now())
    request.refresh_from_db()


def told(event: str) -> Iterator[tuple[str, list[str]]]:
    for row in Outbox.objects.order_by("pk"):
        if row.payload["event"] == event:
            yield row.topic, sorted(row.payload["only"])


def test_without_levels_everybody_who_may_answer_is_asked_at_once_and_once(world: World, mailing: None) -> None:
    request = ask(world)
    assert asked(request) == [ids(world.rui, world.rosa)]
    everybody = ids(world.rui, world.rosa)
    assert list(told(topics.ASKED)) == [(topics.MAIL, everybody), (topics.WEBHOOK, everybody)]
    tick(request, 49)
    assert len(asked(request)) == 1


def test_what_policy_decides_alone_asks_nobody(world: World) -> None:
    request = ask(world, "write_file", {"path": "/project/src/a.py", "content": "x"})
    assert request.state == "APPROVED"
    assert asked(request) == []


def test_levels_widen_who_is_told_and_never_who_may_answer(world: World, bo: Person, mailing: None) -> None:
    with_levels(world, {"after": 0, "people": [world.rui.id]}, {"after": 30, "people": [world.rosa.id]})
    request = ask(world)
    assert asked(request) == [ids(world.rui)]
    for person in (world.rui, world.rosa, bo):
        assert [item.request for item in queue.needs_you(person)] == [request]
    tick(request, 31)
    assert asked(request)[1:] == [ids(world.rosa)]
    assert (topics.MAIL, ids(world.rosa)) in list(told(topics.ASKED))
    tick(request, 51)
    assert next(told(topics.REMINDED)) == (topics.MAIL, ids(world.rui, world.rosa))
    tick(request, 76)
    assert asked(request)[2:] == [ids(bo)]
    assert next(told(topics.ESCALATED)) == (topics.MAIL, ids(world.rui, world.rosa, bo))
    tick(request, 77)
    assert len(asked(request)) == 3
    assert cast_vote.answer(bo, request.id, version=request.version, decision="approve").request.state == "APPROVED"


def test_the_card_says_who_was_asked_and_when_more_people_are(world: World, settings: Any) -> None:
    settings.ROOT_URLCONF = "server.urls"
    with_levels(world, {"after": 0, "people": [world.rui.id]}, {"after": 30, "people": [world.rosa.id]})
    request = ask(world)
    rosa = Client()
    rosa.force_login(world.rosa.user)
    card = rosa.get(f"/requests/{request.id}/").content.decode()
    assert "Asked: Rui Falk. More people are asked at" in card
    assert routing.next_at(request, utc_now()) == topics.due_at(request, 0.3)
    tick(request, 80)
    assert "More people" not in rosa.get(f"/requests/{request.id}/").content.decode()


def test_a_step_with_many_people_is_one_asking_in_several_entries(
    world: World, bo: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask_people, "MOST_IN_ONE_ENTRY", 2)
    request = ask(world, *PAY)
    assert [len(people) for people in asked(request)] == [2, 1]
    assert sorted(routing.asked_so_far(request.id)) == ids(world.rui, world.rosa, bo)
    cast_vote.answer(world.rui, request.id, version=request.version, decision="approve")
    assert sorted(routing.asked_so_far(request.id)) == ids(world.rosa, bo)


def test_that_a_step_found_nobody_to_ask_is_written_down(world: World) -> None:
    for person in (world.rui, world.rosa):
        commit(change_person.apply, change_person.Command(person, active=False, by=world.ada))
    assert asked(ask(world)) == [[]]


def test_somebody_who_was_not_asked_may_answer(world: World, bo: Person) -> None:
    with_levels(world, {"after": 0, "people": [world.rui.id]})
    request = ask(world)
    assert cast_vote.answer(bo, request.id, version=request.version, decision="approve").request.state == "APPROVED"


def test_the_confirmation_is_asked_of_others_and_from_the_first_level_again(world: World, bo: Person) -> None:
    with_levels(world, {"after": 0, "people": [world.rui.id]}, {"after": 30, "people": [world.rosa.id]})
    request = ask(world, *PAY)
    tick(request, 40)
    assert asked(request) == [ids(world.rui), ids(world.rosa)]
    cast_vote.answer(world.rosa, request.id, version=request.version, decision="approve")
    assert asked(request)[2:] == [ids(world.rui)]
    assert routing.asked_so_far(request.id) == [world.rui.id]


def test_invariant_3_nobody_who_may_not_answer_is_ever_asked(world: World) -> None:
    """Not the agent's owner, the delegation's issuer, an auditor, a login without a role, or whoever counted already."""
    with_levels(world, {"after": 0, "people": sorted(person.id for person in world.people.values())})
    request = ask(world, *PAY)
    assert asked(request) == [ids(world.rui, world.rosa)]
    cast_vote.answer(world.rui, request.id, version=request.version, decision="approve")
    assert asked(request)[1:] == [ids(world.rosa)]


def test_a_stand_in_is_asked_instead_of_who_is_away(world: World, bo: Person) -> None:
    with_levels(world, {"after": 0, "people": [world.rui.id]})
    away(world.rui, bo)
    assert asked(ask(world)) == [ids(bo)]


def test_mail_says_for_whom_one_stands_in_and_goes_to_who_was_asked_only(
    world: World, bo: Person, mailing: None, mailoutbox: list[Any]
) -> None:
    with_levels(world, {"after": 0, "people": [world.rui.id]})
    for person in Person.objects.select_related("user"):
        person.user.email = f"{person.user.username}@example.org"
        person.user.save()
    away(world.rui, bo)
    ask(world)
    assert jobs.deliver_mail(Outbox.objects.get(topic=topics.MAIL).payload) == 1
    assert [message.to for message in mailoutbox] == [["bo@example.org"]]
    assert "You stand in for Rui Falk." in mailoutbox[0].body


def test_standing_in_is_not_passed_on_and_then_everybody_is_asked(world: World, bo: Person) -> None:
    with_levels(world, {"after": 0, "people": [world.rui.id]})
    away(world.rui, bo)
    away(bo, world.rosa)
    assert asked(ask(world)) == [ids(world.rui, world.rosa, bo)]


def test_a_stand_in_needs_rights_of_their_own(world: World, bo: Person) -> None:
    with_levels(world, {"after": 0, "people": [world.rui.id, bo.id]})
    away(world.rui, world.people["audra"])
    assert asked(ask(world)) == [ids(bo)]


def test_nothing_waits_because_everybody_is_away(world: World) -> None:
    away(world.rui)
    away(world.rosa)
    assert asked(ask(world)) == [ids(world.rui, world.rosa)]


def test_an_absence_that_ended_or_has_not_begun_changes_nothing(world: World) -> None:
    soon = utc_now() + timedelta(hours=1)
    commit(set_away.apply, set_away.Command(world.rui.id, soon, soon + timedelta(days=1), None, world.rui))
    assert asked(ask(world)) == [ids(world.rui, world.rosa)]


def test_who_goes_away_after_being_asked_stays_asked(world: World, bo: Person) -> None:
    with_levels(world, {"after": 0, "people": [world.rui.id]})
    request = ask(world)
    away(world.rui, world.rosa)
    tick(request, 20)
    assert asked(request) == [ids(world.rui)]


def test_when_nobody_who_was_asked_can_answer_any_more_a_reminder_asks_the_others(world: World, bo: Person) -> None:
    with_levels(world, {"after": 0, "people": [world.rui.id]})
    request = ask(world)
    world.rui.user.groups.clear()
    tick(request, 51)
    assert asked(request)[1:] == [ids(world.rosa, bo)]


def test_a_claim_pauses_the_next_level_until_its_lease_ends_but_never_the_last(
    world: World, bo: Person, mailing: None
) -> None:
    with_levels(world, {"after": 0, "people": [world.rui.id]}, {"after": 30, "people": [world.rosa.id]})
    request = ask(world)
    commit(claim_request.apply, claim_request.Command(world.rui.id, request.id))
    tick(request, 40)
    assert asked(request) == [ids(world.rui)]
    assert ask_people.due(utc_now()) == ()
    ActionRequest.objects.filter(pk=request.pk).update(claimed_until=utc_now())
    tick(request, 41)
    assert asked(request)[1:] == [ids(world.rosa)]
    commit(claim_request.apply, claim_request.Command(world.rui.id, request.id))
    tick(request, 76)
    assert asked(request)[2:] == [ids(bo)]
    assert list(told(topics.ESCALATED)), "a claim silences no reminder"


def test_invariant_2_being_asked_or_claimed_never_lets_time_approve(world: World) -> None:
    request = ask(world)
    commit(claim_request.apply, claim_request.Command(world.rui.id, request.id))
    tick(request, 100)
    assert request.state == "EXPIRED"
    assert request.verdict == "deny"


def test_those_without_a_key_are_asked_too_since_they_can_deny(make_world: Any) -> None:
    world = make_world({**DEMO_POLICY, "assurance": "H2"})
    request = ask(world)
    assert eligibility.eligible_people(request) == []
    assert asked(request) == [ids(world.rui, world.rosa)]


def test_those_who_can_only_deny_do_not_keep_the_others_waiting(make_world: Any) -> None:
    world = make_world({**DEMO_POLICY, "assurance": "H2", "ask": [{"after": 0, "roles": ["auditor"]}]})
    world.signing("rosa")
    world.rui.user.groups.add(*world.people["audra"].user.groups.all())
    request = ask(world)
    assert [person.id for person in eligibility.eligible_people(request)] == [world.rosa.id]
    assert asked(request) == [ids(world.rui, world.rosa)]
