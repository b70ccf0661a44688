"""Answering: who may, what it takes, and that nothing but enough different people ever approves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from approvals import clock, eligibility, queue, transitions
from approvals.actions import cancel_request, cast_vote, look_over, recall_vote
from approvals.models import ActionRequest, Vote
from audit.log import commit, utc_now
from audit.models import Entry, Outbox
from governance.actions import suspend_agent
from governance.errors import Refused
from governance.models import Delegation, Person
from imprimatur.rules.policy import DEFAULT_POLICY
from tests.conftest import World
from tests.door.agent import AgentUnderTest, through_django

pytestmark = pytest.mark.usefixtures("notarised")


@pytest.fixture
def robo(world: World) -> AgentUnderTest:
    assert world.delegation is not None
    return AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)


def pending(robo: AgentUnderTest, **more: Any) -> ActionRequest:
    return ActionRequest.objects.get(pk=robo.delete(**more).json["id"])


def critical(robo: AgentUnderTest) -> ActionRequest:
    return ActionRequest.objects.get(pk=robo.pay("100.00").json["id"])


def answer(person: Person, request: ActionRequest, decision: str, **more: Any) -> ActionRequest:
    request.refresh_from_db()
    return cast_vote.answer(person, request.id, version=request.version, decision=decision, **more).request


def refused(code: str, person: Person, request: ActionRequest, decision: str, **more: Any) -> str:
    with pytest.raises(Refused) as caught:
        answer(person, request, decision, **more)
    assert caught.value.code == code
    return str(caught.value)


def test_one_reviewer_approves_what_is_high(world: World, robo: AgentUnderTest) -> None:
    request = answer(world.rui, pending(robo), "approve")
    assert request.state == "APPROVED"
    assert request.not_after is not None
    view = robo.get(f"/actions/{request.id}")
    assert view.status == 200
    assert view.json["decided_by"] == "Rui Falk"
    assert len(view.receipt.votes) == 1


def test_one_denial_ends_it_and_says_why(world: World, robo: AgentUnderTest) -> None:
    request = pending(robo)
    assert "Say why" in refused("invalid", world.rui, request, "deny")
    answer(world.rui, request, "deny", reason="Not on a Friday.")
    view = robo.get(f"/actions/{request.id}")
    assert view.status == 403
    assert view.code == "reviewer-denied"
    assert view.json["note"] == "Not on a Friday."
    assert view.json["decided_by"] == "Rui Falk"
    assert "Friday" not in "".join(bytes(e.envelope).decode() for e in Entry.objects.all())


def test_invariant_3_critical_takes_two_different_people(world: World, robo: AgentUnderTest) -> None:
    request = answer(world.rui, critical(robo), "approve")
    assert request.state == "AWAITING_CONFIRMATION"
    assert "counts already" in refused("not-allowed", world.rui, request, "confirm", typed=request.target)
    assert "Type it exactly" in refused("invalid", world.rosa, request, "confirm", typed="something")
    request = answer(world.rosa, request, "confirm", typed=request.target)
    assert request.state == "APPROVED"
    assert len(robo.get(f"/actions/{request.id}").receipt.votes) == 2


def test_a_confirmation_can_be_refused_by_whoever_approved(world: World, robo: AgentUnderTest) -> None:
    request = answer(world.rui, critical(robo), "approve")
    request = answer(world.rui, request, "deny", reason="I misread the amount.")
    assert request.state == "DENIED"
    assert Delegation.objects.get().reserved == 0


@pytest.mark.parametrize("who", ["ada", "audra", "mallory"])
def test_whoever_may_not_answer_is_told_why(world: World, robo: AgentUnderTest, who: str) -> None:
    assert refused("not-allowed", world.people[who], pending(robo), "approve")
    assert Vote.objects.count() == 0


def test_an_owner_who_reviews_may_still_not_answer_for_their_own_agent(world: World, robo: AgentUnderTest) -> None:
    from governance.actions import change_person

    commit(
        change_person.apply,
        change_person.Command(world.ada, roles=("admin", "reviewer"), by=world.ada, reason="We are few."),
    )
    assert "own" in refused("not-allowed", world.ada, pending(robo), "approve")


def test_an_answer_to_an_older_version_does_not_count(world: World, robo: AgentUnderTest) -> None:
    request = pending(robo)
    with pytest.raises(Refused, match="changed"):
        cast_vote.answer(world.rui, request.id, version=request.version + 1, decision="approve")


def test_invariant_2_time_only_ever_closes_a_request(world: World, robo: AgentUnderTest) -> None:
    request = pending(robo)
    ActionRequest.objects.filter(pk=request.id).update(expires_at=utc_now() - timedelta(seconds=1))
    assert refused("approval-expired", world.rui, request, "approve")
    view = robo.get(f"/actions/{request.id}")
    assert (view.status, view.json["state"], view.code) == (403, "EXPIRED", "approval-expired")
    assert "receipt" not in view.json
    clock.expire(utc_now())
    view = robo.get(f"/actions/{request.id}")
    assert view.receipt.entry["body"]["state"] == "EXPIRED"
    refused("wrong-state", world.rui, request, "approve")


def test_an_approval_nobody_redeems_expires(world: World, robo: AgentUnderTest) -> None:
    request = answer(world.rui, pending(robo), "approve")
    ActionRequest.objects.filter(pk=request.id).update(not_after=utc_now() - timedelta(seconds=1))
    assert robo.redeem({"id": request.id, "action_digest": request.action_digest}).code == "approval-expired"
    assert clock.expire(utc_now()) == 1
    request.refresh_from_db()
    assert request.state == "EXPIRED"
    assert Entry.objects.filter(subject=request.id, kind="action.withdrawn").count() == 1


def test_an_answer_can_be_taken_back_until_something_ran(world: World, robo: AgentUnderTest) -> None:
    request = answer(world.rui, pending(robo), "approve")
    request = commit(recall_vote.apply, recall_vote.command(world.rui, request.id, "Wrong file."))
    assert request.state == "RECALLED"
    view = robo.get(f"/actions/{request.id}")
    assert view.status == 403
    assert view.json["note"] == "Wrong file."


def test_invariant_1_a_redeemed_approval_cannot_be_recalled_or_redeemed_again(
    world: World, robo: AgentUnderTest
) -> None:
    request = answer(world.rui, pending(robo), "approve")
    action = {"id": request.id, "action_digest": request.action_digest}
    assert robo.redeem(action).json["state"] == "REDEEMED"
    with pytest.raises(Refused) as caught:
        commit(recall_vote.apply, recall_vote.command(world.rui, request.id))
    assert caught.value.code == "wrong-state"
    assert robo.redeem(action).code == "already-redeemed"


def test_where_policy_wants_a_key_a_click_may_deny_and_nothing_else(make_world: Any) -> None:
    world = make_world(DEFAULT_POLICY)
    robo = AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)
    request = pending(robo)
    assert request.assurance == "H2"
    sentence = refused("not-allowed", world.rui, request, "approve")
    assert "You can always deny it here" in sentence
    assert answer(world.rui, request, "deny", reason="No key at hand.").state == "DENIED"


def test_a_revoked_delegation_takes_pending_and_approved_requests_with_it(world: World, robo: AgentUnderTest) -> None:
    from governance.actions import revoke_delegation

    waits, approved = pending(robo), answer(world.rui, pending(robo, key="b"), "approve")
    assert world.delegation is not None
    commit(revoke_delegation.apply, revoke_delegation.Command(world.delegation.id, world.ada, "No longer needed."))
    for request in (waits, approved):
        request.refresh_from_db()
        assert request.state == "INVALIDATED"
    assert robo.redeem({"id": approved.id, "action_digest": approved.action_digest}).code == "invalidated"
    assert robo.get(f"/actions/{waits.id}").json["receipt"]


def test_a_suspended_agent_redeems_nothing(world: World, robo: AgentUnderTest) -> None:
    request = answer(world.rui, pending(robo), "approve")
    commit(suspend_agent.apply, suspend_agent.Command(world.robo, "Strange behaviour.", world.ada))
    answered = robo.redeem({"id": request.id, "action_digest": request.action_digest})
    assert answered.status == 403
    request.refresh_from_db()
    assert request.state != "REDEEMED"


def test_the_queue_knows_whom_a_request_needs(world: World, robo: AgentUnderTest) -> None:
    request = pending(robo)
    assert [item.request.id for item in queue.needs_you(world.rui)] == [request.id]
    assert queue.needs_you(world.ada) == []
    [item] = queue.waiting(world.ada)
    assert {person.name for person in item.able} == {"Rui Falk", "Rosa Imhof"}
    assert queue.counts(world.rui) == queue.Counts(needs_you=1, waiting=0, to_look_over=0)
    assert {person.id for person in eligibility.eligible_people(request)} == {world.rui.id, world.rosa.id}


def test_what_ran_at_medium_risk_is_looked_over_by_somebody_else(world: World, robo: AgentUnderTest) -> None:
    action = robo.write().json["id"]
    assert [request.id for request in queue.to_look_over(world.rui)] == [action]
    assert queue.to_look_over(world.ada) == []
    with pytest.raises(Refused):
        look_over.look_over(world.people["mallory"], action, "acknowledged")
    with pytest.raises(Refused, match="what is wrong"):
        look_over.look_over(world.rui, action, "flagged")
    look_over.look_over(world.rui, action, "flagged", reason="That was the wrong file.")
    assert queue.to_look_over(world.rui) == []
    with pytest.raises(Refused, match="already"):
        look_over.look_over(world.rosa, action, "acknowledged")


def test_cancelling_ends_it_and_frees_the_money(world: World, robo: AgentUnderTest) -> None:
    request = critical(robo)
    assert robo.post(f"/actions/{request.id}/cancel", {}).json["state"] == "CANCELLED"
    assert robo.post(f"/actions/{request.id}/cancel", {}).json["state"] == "CANCELLED"
    assert Delegation.objects.get().reserved == 0
    refused("wrong-state", world.rui, request, "approve")


def test_a_stranger_may_not_cancel(world: World, robo: AgentUnderTest) -> None:
    request = pending(robo)
    with pytest.raises(Refused, match="Deny it instead"):
        commit(cancel_request.apply, cancel_request.Command(request.id, person=world.rui.id))


def test_a_new_request_supersedes_one_that_waits(world: World, robo: AgentUnderTest) -> None:
    first = pending(robo)
    second = pending(robo, path="/project/src/b.py", supersedes=first.id)
    first.refresh_from_db()
    assert first.state == "SUPERSEDED"
    assert second.supersedes_id == first.id
    assert answer(world.rui, second, "approve").state == "APPROVED"


def test_people_are_reminded_once_and_escalated_once(world: World, robo: AgentUnderTest, settings: Any) -> None:
    settings.WEBHOOK_URL = "http://receiver.invalid/hook"
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    request = pending(robo)
    events = lambda: [row.payload["event"] for row in Outbox.objects.filter(topic="approvals.webhook")]  # noqa: E731
    assert events() == ["action.asked"]
    begin = utc_now()
    ActionRequest.objects.filter(pk=request.id).update(
        created_at=begin - timedelta(seconds=160), expires_at=begin + timedelta(seconds=140)
    )
    clock.remind(utc_now())
    clock.remind(utc_now())
    assert events() == ["action.asked", "action.reminded"]
    ActionRequest.objects.filter(pk=request.id).update(created_at=begin - timedelta(seconds=600))
    clock.remind(utc_now())
    clock.remind(utc_now())
    assert events() == ["action.asked", "action.reminded", "action.escalated"]


def test_silence_after_a_redemption_is_unreported_and_a_late_report_is_flagged(
    world: World, robo: AgentUnderTest
) -> None:
    action = robo.write(attempt="a" * 22).json
    past = utc_now() - transitions.REPORT_GRACE - timedelta(seconds=1)
    ActionRequest.objects.filter(pk=action["id"]).update(execute_by=past)
    assert clock.expire(utc_now()) == 1
    assert robo.get(f"/actions/{action['id']}").json["state"] == "UNREPORTED"
    assert robo.report(action, "FAILED", result="It broke.").json["state"] == "FAILED"
    assert ActionRequest.objects.get().late


def test_a_policy_that_judges_otherwise_ends_what_waits(world: World, robo: AgentUnderTest) -> None:
    import copy

    from governance.actions import activate_policy
    from imprimatur.rules.policy import DEMO_POLICY

    request, low = pending(robo), robo.read().json["id"]
    same = {**copy.deepcopy(DEMO_POLICY), "name": "The same rules under another name"}
    commit(activate_policy.apply, activate_policy.Command(same, by=world.ada))
    request.refresh_from_db()
    assert request.state == "PENDING"
    stricter = copy.deepcopy(DEMO_POLICY)
    stricter["deny"] = [{"name": "no-deleting", "tool": "delete_file", "reason": "Nothing is deleted this week."}]
    commit(activate_policy.apply, activate_policy.Command(stricter, by=world.ada))
    request.refresh_from_db()
    assert (request.state, request.code) == ("INVALIDATED", "policy-changed")
    assert ActionRequest.objects.get(pk=low).state == "APPROVED"


@pytest.mark.parametrize("after", [{"assurance": "H2"}, {"device_bound": ["HIGH"]}], ids=str)
@pytest.mark.parametrize("alone", [False, True])
def test_a_policy_that_wants_more_of_people_ends_what_waits(world: World, after: dict[str, Any], alone: bool) -> None:
    from imprimatur.rules.policy import DEMO_POLICY
    from tests.governance import proposals

    def activate(**changes: Any) -> None:
        change = proposals.propose(world, "ada", proposals.policy({**DEMO_POLICY, **changes}))
        proposals.second(world, "rui", change)

    for name in ("ada", "rui", "rosa"):
        world.signing(name)
    robo = AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)
    if alone:
        activate(single_human=True)
        after = {}
    request = pending(robo)
    activate(name="No milder", **after)
    request.refresh_from_db()
    assert (request.state, request.code) == ("INVALIDATED", "policy-changed")


def test_one_person_may_answer_every_stage_only_where_policy_says_so(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imprimatur.rules.policy import DEMO_POLICY

    monkeypatch.setattr("tests.conftest.CAST", {"ada": ("Ada Brandt", ("admin", "reviewer"))})
    world = make_world({**DEMO_POLICY, "single_human": True})
    robo = AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)
    request = answer(world.ada, critical(robo), "approve")
    assert request.state == "AWAITING_CONFIRMATION"
    assert answer(world.ada, request, "confirm", typed=request.target).state == "APPROVED"
