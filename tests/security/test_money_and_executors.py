"""Money that tools report, and services that run what others asked for."""

from __future__ import annotations

from typing import Any

import pytest

from approvals.actions import cast_vote
from approvals.models import ActionRequest
from approvals.views import card
from audit.log import commit
from audit.models import Entry
from governance import spend
from governance.actions import correct_spend, register_tool, suspend_agent
from governance.models import Delegation
from imprimatur.formats import canonical
from imprimatur.rules.money import MAX_MICRO
from imprimatur.rules.tools import DEFAULT_TOOLS
from imprimatur.verify.history import History
from tests.conftest import World
from tests.door.agent import AgentUnderTest

pytestmark = pytest.mark.usefixtures("notarised")

MOST = "9007199254.740991"


def register(world: World, **changes: Any) -> None:
    document = {**DEFAULT_TOOLS["make_payment"], **changes}
    commit(register_tool.apply, register_tool.Command(document, world.ada))


def paid(world: World, agent: AgentUnderTest, amount: str) -> dict[str, Any]:
    """A payment that two people allowed, redeemed."""
    action: dict[str, Any] = agent.pay(amount).json
    request = ActionRequest.objects.get(pk=action["id"])
    after = cast_vote.answer(world.rui, request.id, version=request.version, decision="approve").request
    cast_vote.answer(world.rosa, request.id, version=after.version, decision="confirm", typed=after.target)
    return action


def test_whatever_costs_are_reported_the_ledger_can_still_be_shown_and_kept(world: World, robo: AgentUnderTest) -> None:
    register(world, settle="reported")
    actions = [paid(world, robo, "10.00") for _ in range(3)]
    waiting = paid(world, robo, "10.00")
    for action in actions:
        assert robo.redeem(action).status == 200
    for action in actions:
        assert robo.report(action, cost={"amount": MOST, "unit": "USD"}).status == 200
    shown = card.card_page(world.rui, ActionRequest.objects.get(pk=waiting["id"]))
    assert shown.authority is not None and shown.authority.words.startswith(MOST)
    assert robo.redeem(waiting).status == 200
    assert world.delegation is not None
    row = Delegation.objects.get(pk=world.delegation.pk)
    assert row.spent == MAX_MICRO
    assert spend.left(row) == 0
    history = History(world.realm)
    for entry in Entry.objects.order_by("index"):
        history.feed(entry.index, bytes(entry.envelope))
    assert canonical.dumps(history.snapshot())
    assert robo.get("/me").json["delegations"][0]["left"]["amount"] == "0.00"


def test_a_late_report_after_a_correction_is_written_down_and_never_lowers_below_zero(
    world: World, robo: AgentUnderTest
) -> None:
    register(world, settle="reported")
    action = paid(world, robo, "100.00")
    robo.redeem(action)
    assert world.delegation is not None
    commit(
        correct_spend.apply, correct_spend.Command(world.delegation.id, "100.00", "USD", "Never charged.", world.ada)
    )
    assert robo.report(action, cost={"amount": "30.00", "unit": "USD"}).status == 200
    assert Delegation.objects.get(pk=world.delegation.pk).spent == 30_000_000
    commit(correct_spend.apply, correct_spend.Command(world.delegation.id, "30.00", "USD", "Nor was this.", world.ada))


def test_a_suspended_service_redeems_nothing(world: World, robo: AgentUnderTest, twin: AgentUnderTest) -> None:
    register(world, executor=twin.key.thumbprint)
    action = paid(world, robo, "100.00")
    commit(suspend_agent.apply, suspend_agent.Command(world.agents["twin"], "It misbehaves.", world.ada))
    answer = twin.redeem(action)
    assert (answer.status, answer.code) == (403, "suspended")
