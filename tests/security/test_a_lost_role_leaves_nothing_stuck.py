"""Whoever loses a role takes their vote with them: the stage is open again, and a no is always possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from approvals import queue
from approvals.actions import cast_vote
from approvals.models import ActionRequest
from approvals.views import card
from audit.log import commit, utc_now
from governance.actions import change_person
from governance.models import Person
from imprimatur.rules.policy import DEMO_POLICY
from tests.conftest import World
from tests.door.agent import AgentUnderTest, through_django

pytestmark = pytest.mark.usefixtures("notarised")

TWO = {
    **DEMO_POLICY,
    "rules": [
        {
            "name": "two-for-deleting",
            "tool": "delete_file",
            "risk": "HIGH",
            "stages": [{"role": "reviewer", "count": 2}],
        },
        *DEMO_POLICY["rules"],
    ],
}


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    world = make_world(TWO)
    roles(world, "audra", "reviewer")
    return world


@pytest.fixture
def robo(world: World) -> AgentUnderTest:
    assert world.delegation is not None
    return AgentUnderTest(through_django, world.keys["robo"], world.delegation.id)


def roles(world: World, who: str, *names: str) -> None:
    commit(change_person.apply, change_person.Command(world.people[who], roles=names, by=world.ada))


def answer(person: Person, request: ActionRequest, decision: str, **more: Any) -> ActionRequest:
    request.refresh_from_db()
    return cast_vote.answer(person, request.id, version=request.version, decision=decision, **more).request


@pytest.fixture
def half(world: World, robo: AgentUnderTest) -> ActionRequest:
    """Rui approved and then lost the role, Rosa approved after that: one vote counts where two are needed."""
    request = ActionRequest.objects.get(pk=robo.delete().json["id"])
    answer(world.rui, request, "approve")
    roles(world, "rui", "auditor")
    request = answer(world.rosa, request, "approve")
    assert request.state == "PENDING"
    return request


@pytest.mark.parametrize("who", ["rosa", "audra"])
def test_denying_stays_possible(world: World, half: ActionRequest, who: str) -> None:
    assert card.answers(world.people[who], half, utc_now()).may_deny
    assert answer(world.people[who], half, "deny", reason="No.").state == "DENIED"


def test_invariant_3_the_stage_waits_for_one_more_who_counts(world: World, half: ActionRequest) -> None:
    shown = card.answers(world.people["audra"], half, utc_now())
    assert (shown.may_approve, shown.still_needed) == (True, 1)
    [item] = queue.needs_you(world.people["audra"])
    assert [person.name for person in item.able] == ["Audra Lind"]
    assert answer(world.people["audra"], half, "approve").state == "APPROVED"


def test_a_role_that_comes_back_leaves_a_no_possible(world: World, half: ActionRequest) -> None:
    roles(world, "rui", "reviewer")
    assert card.answers(world.people["audra"], half, utc_now()).may_deny
    assert answer(world.people["audra"], half, "deny", reason="No.").state == "DENIED"


def test_invariant_3_a_confirmation_without_the_approval_it_confirms_is_asked_for_again(
    world: World, robo: AgentUnderTest
) -> None:
    request = ActionRequest.objects.get(pk=robo.pay("100.00").json["id"])
    assert answer(world.rui, request, "approve").state == "AWAITING_CONFIRMATION"
    roles(world, "rui", "auditor")
    shown = card.answers(world.rosa, request, utc_now())
    assert (shown.stage, shown.may_approve, shown.may_deny) == ("approve", True, True)
    assert answer(world.rosa, request, "approve").state == "AWAITING_CONFIRMATION"
    done = answer(world.people["audra"], request, "confirm", typed=request.target)
    assert done.state == "APPROVED"
    assert len(robo.get(f"/actions/{request.id}").receipt.votes) == 2
