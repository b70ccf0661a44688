"""Redeeming and reporting: once, by the executor, for exactly what was approved, in time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from approvals import waiting
from approvals.actions import cast_vote
from approvals.door import serve
from approvals.models import ActionRequest
from audit.log import commit, utc_now
from audit.models import Entry
from governance.actions import lift_pause, revoke_delegation, revoke_key, set_pause
from governance.models import Delegation
from tests.conftest import World
from tests.door.agent import AgentUnderTest, new_attempt

pytestmark = pytest.mark.usefixtures("notarised")


def approve(world: World, action: dict[str, Any]) -> dict[str, Any]:
    """Have Rui, and where needed Rosa, say yes."""
    request = ActionRequest.objects.get(pk=action["id"])
    result = cast_vote.answer(world.rui, request.id, version=request.version, decision="approve").request
    if result.state == "AWAITING_CONFIRMATION":
        cast_vote.answer(world.rosa, request.id, version=result.version, decision="confirm", typed=result.target)
    return action


@pytest.fixture
def approved(world: World, robo: AgentUnderTest) -> dict[str, Any]:
    return approve(world, robo.delete().json)


def test_an_approval_is_redeemed_once_and_reported(robo: AgentUnderTest, approved: dict[str, Any]) -> None:
    attempt = new_attempt()
    answer = robo.redeem(approved, attempt)
    assert answer.status == 200
    assert (answer.json["state"], answer.json["execute_within"]) in {("REDEEMED", 29), ("REDEEMED", 30)}
    assert answer.receipt.redeemed is not None
    again = robo.redeem(approved, attempt)
    assert again.json["receipt"] == answer.json["receipt"]
    assert Entry.objects.filter(kind="action.redeemed").count() == 1
    assert robo.report(approved, result="Deleted.").json["state"] == "SUCCEEDED"
    assert robo.report(approved).status == 200
    assert robo.report(approved, "FAILED").code == "wrong-state"
    assert robo.redeem(approved, attempt).code == "wrong-state"


def test_invariant_1_another_attempt_is_refused(robo: AgentUnderTest, approved: dict[str, Any]) -> None:
    robo.redeem(approved)
    answer = robo.redeem(approved)
    assert (answer.status, answer.code) == (409, "already-redeemed")


def test_invariant_1_the_same_attempt_too_late_is_refused(robo: AgentUnderTest, approved: dict[str, Any]) -> None:
    attempt = new_attempt()
    robo.redeem(approved, attempt)
    ActionRequest.objects.update(execute_by=utc_now() - timedelta(seconds=1))
    answer = robo.redeem(approved, attempt)
    assert (answer.status, answer.code) == (409, "already-redeemed")


def test_invariant_1_other_arguments_are_not_what_was_approved(robo: AgentUnderTest, approved: dict[str, Any]) -> None:
    answer = robo.redeem(approved, digest="sha256:" + "0" * 64)
    assert (answer.status, answer.code) == (403, "arguments-changed")
    assert ActionRequest.objects.get().state == "APPROVED"


def test_what_nobody_decided_cannot_be_redeemed(robo: AgentUnderTest) -> None:
    answer = robo.redeem(robo.delete().json)
    assert (answer.status, answer.code) == (409, "wrong-state")


def test_somebody_elses_approval_does_not_exist(twin: AgentUnderTest, approved: dict[str, Any]) -> None:
    assert twin.redeem(approved).status == 404
    assert twin.get(f"/actions/{approved['id']}").status == 404
    assert twin.report(approved).status == 404
    assert twin.get(f"/receipts/{approved['id']}").status == 404


def test_the_kill_switch_stops_redeeming_until_it_is_lifted(
    world: World, robo: AgentUnderTest, approved: dict[str, Any]
) -> None:
    commit(set_pause.apply, set_pause.Command("everything", "", "Something is odd.", world.ada))
    answer = robo.redeem(approved)
    assert (answer.status, answer.code) == (403, "paused")
    commit(lift_pause.apply, lift_pause.Command("everything", "", "It was nothing.", world.ada))
    assert robo.redeem(approved).status == 200


def test_a_revoked_delegation_redeems_nothing(world: World, robo: AgentUnderTest, approved: dict[str, Any]) -> None:
    assert world.delegation is not None
    commit(revoke_delegation.apply, revoke_delegation.Command(world.delegation.id, world.ada, "Enough."))
    assert robo.redeem(approved).code == "invalidated"


def test_a_revoked_key_cannot_even_ask(world: World, robo: AgentUnderTest, approved: dict[str, Any]) -> None:
    commit(revoke_key.apply, revoke_key.Command(robo.key.thumbprint, "Lost.", by=world.ada))
    assert (robo.redeem(approved).status, robo.redeem(approved).code) == (401, "key-revoked")


def test_money_is_spent_when_redeemed_and_failure_gives_nothing_back(world: World, robo: AgentUnderTest) -> None:
    action = approve(world, robo.pay("100.00").json)
    assert robo.redeem(action).status == 200
    robo.report(action, "FAILED")
    delegation = Delegation.objects.get()
    assert (delegation.reserved, delegation.spent) == (0, 100_000_000)
    assert robo.pay("50.01").code == "over-budget"


def test_an_outcome_needs_a_redemption(robo: AgentUnderTest, approved: dict[str, Any]) -> None:
    assert robo.report(approved).code == "wrong-state"


def test_many_outcomes_each_stand_for_themselves(robo: AgentUnderTest) -> None:
    ran = robo.read(attempt=new_attempt()).json
    waits = robo.delete().json
    body = {"outcomes": [{"action": ran["id"], "outcome": "SUCCEEDED"}, {"action": waits["id"], "outcome": "FAILED"}]}
    answer = robo.post("/outcomes", body)
    assert answer.status == 200
    assert [(one["status"], one.get("state")) for one in answer.json["outcomes"]] == [(200, "SUCCEEDED"), (409, None)]


def test_a_wait_ends_when_somebody_answers(
    world: World, robo: AgentUnderTest, django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = robo.delete().json

    def answered_meanwhile(step: Any) -> bool:
        with django_capture_on_commit_callbacks(execute=True):
            approve(world, action)
        return False

    monkeypatch.setattr(serve, "moved_on", answered_meanwhile)
    monkeypatch.setattr(waiting.bell, "keep_polling", lambda: None)
    answer = robo.get(f"/actions/{action['id']}?wait=25")
    assert answer.json["state"] == "APPROVED"
    assert waiting.bell.waiting() == 0


def test_a_wait_that_is_over_answers_with_the_present_state(
    robo: AgentUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting.bell, "keep_polling", lambda: None)
    action = robo.delete().json
    assert robo.get(f"/actions/{action['id']}?wait=1").status == 202


@pytest.mark.parametrize("query", ["wait=26", "wait=-1", "wait=x", "other=1", "wait=1.5"])
def test_a_wait_is_at_most_25_seconds(robo: AgentUnderTest, query: str) -> None:
    action = robo.delete().json
    assert robo.get(f"/actions/{action['id']}?{query}").status == 422


def test_invariant_10_reading_never_decides(robo: AgentUnderTest, approved: dict[str, Any]) -> None:
    waits = robo.delete(key="another").json
    before = list(ActionRequest.objects.order_by("pk").values_list("pk", "state", "version"))
    entries = Entry.objects.count()
    for action in (approved, waits):
        for path in ("", "/redeem", "/outcome", "/cancel", "/comments"):
            robo.get(f"/actions/{action['id']}{path}")
    for path in ("/me", "/outcomes", f"/receipts/{approved['id']}"):
        robo.get(path)
    assert list(ActionRequest.objects.order_by("pk").values_list("pk", "state", "version")) == before
    assert Entry.objects.count() == entries
