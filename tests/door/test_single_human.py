"""On the wire: where one person may answer alone, agents accept their receipts only when they were told so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from approvals.actions import cast_vote
from approvals.models import ActionRequest
from imprimatur import Imprimatur, ReceiptError
from imprimatur.formats import receipts
from imprimatur.rules.policy import DEFAULT_POLICY, DEMO_POLICY
from tests.approvals.signing import Browser
from tests.conftest import World
from tests.door.test_with_the_package import gate

__all__ = ["gate"]

pytestmark = pytest.mark.usefixtures("notarised")

PAYMENT = {"payee": "vendor", "amount": "100.00", "currency": "USD", "reference": "Invoice 7"}


@pytest.fixture(params=[DEMO_POLICY, DEFAULT_POLICY], ids=["clicks", "keys"])
def policy(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {**request.param, "single_human": True}


@pytest.fixture
def world(
    policy: dict[str, Any], make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> World:
    """Ada alone, with an agent of her own: `gate` is its client."""
    monkeypatch.setattr("tests.conftest.CAST", {"ada": ("Ada Brandt", ("admin", "reviewer"))})
    settings.ROOT_URLCONF = "server.urls"
    world = make_world(policy)
    if policy["assurance"] != "H0":
        world.signing("ada")
    return world


def answers(world: World, request: ActionRequest, *acts: str) -> None:
    """Ada answers, one act after the other, each with her key or by a click, as the policy asks."""
    for act in acts:
        request.refresh_from_db()
        typed = {"typed": request.target} if act == "confirm" else {}
        if world.people["ada"].keys.filter(purpose="signing").exists():
            Browser(world, "ada").sign(request, act, **typed)
        else:
            cast_vote.answer(world.ada, request.id, version=request.version, decision=act, **typed)
    request.refresh_from_db()
    assert request.state == "APPROVED"


def accepting(gate: Imprimatur, single_human: bool) -> Imprimatur:
    gate.config = gate._core.config = gate._core.wire.config = replace(gate.config, single_human=single_human)
    return gate


def test_invariant_3_what_one_person_approved_and_confirmed_runs_only_where_the_agent_was_told_so(
    world: World, gate: Imprimatur
) -> None:
    pending = gate.submit("make_payment", PAYMENT)
    assert pending.risk == "CRITICAL"
    answers(world, ActionRequest.objects.get(), "approve", "confirm")
    allowed = gate.wait(pending)
    with pytest.raises(ReceiptError, match="single_human=True") as caught:
        gate.redeem(allowed)
    assert caught.value.code == "receipt-votes"
    assert ActionRequest.objects.get().state == "APPROVED", "what was not accepted was not claimed either"
    claimed = accepting(gate, True).redeem(allowed)
    found = receipts.parse(claimed.receipt or {})
    assert [vote["actor"]["id"] for vote in found.votes] == [world.ada.id, world.ada.id]
    gate.outcome(claimed, "SUCCEEDED")


def test_what_takes_one_answer_runs_without_being_told(world: World, gate: Imprimatur) -> None:
    pending = gate.submit("delete_file", {"path": "/project/src/a.py"})
    assert pending.risk == "HIGH"
    answers(world, ActionRequest.objects.get(), "approve")
    assert gate.redeem(gate.wait(pending)).redeemed
