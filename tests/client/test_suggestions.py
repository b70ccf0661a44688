"""What a reviewer suggests with their no reaches the program as data, and nothing runs because of it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import imprimatur as ip
from imprimatur.formats import dsse, entries
from imprimatur.testing import AsyncFakeGate, FakeGate
from tests.client.conftest import Make

BETTER = {"value": "y", "extra": {"deep": [1, 2.5, None]}}


def denied(make: Make, suggestion: Any = BETTER) -> tuple[Any, ip.ApprovalDenied]:
    held = make({"tool": "deny"})
    held.gate.door.suggestion = suggestion
    with pytest.raises(ip.ApprovalDenied) as caught:
        held.govern()("x")
    return held, caught.value


def test_a_suggestion_comes_with_the_refusal_and_runs_nothing(make: Make) -> None:
    held, refusal = denied(make)
    assert refusal.suggestion == BETTER
    assert refusal.note == "not today"
    assert held.ran == []
    assert held.road.steps().count("actions") == 1, "nobody asked again by themselves"


def test_without_one_there_is_none(make: Make) -> None:
    _, refusal = denied(make, None)
    assert refusal.suggestion is None


def test_the_receipt_commits_to_it_and_does_not_say_it(make: Make) -> None:
    _, refusal = denied(make)
    assert refusal.receipt is not None
    decided = entries.parse(dsse.open_envelope(refusal.receipt["envelope"].encode()).payload)
    assert decided["body"]["suggestion"].startswith("c:")
    assert "deep" not in str(decided)


def test_it_survives_being_pickled(make: Make) -> None:
    _, refusal = denied(make)
    again = pickle.loads(pickle.dumps(refusal))
    assert (again.suggestion, again.note, str(again)) == (BETTER, refusal.note, str(refusal))


@pytest.mark.parametrize("nonsense", ["do it", ["a"], {"parameters": "all"}, {"other": {}}, None, 7])
def test_what_is_no_suggestion_is_none(make: Make, nonsense: Any) -> None:
    held = make({"tool": "deny"})

    def change(document: dict[str, Any]) -> None:
        document["suggestion"] = nonsense

    held.road.change = {"wait": change}
    with pytest.raises(ip.ApprovalDenied) as caught:
        held.govern()("x")
    assert caught.value.suggestion is None


def test_a_refusal_as_a_value_carries_it_for_a_model(make: Make) -> None:
    held = make({"tool": "deny"})
    held.gate.door.suggestion = BETTER
    refusal = held.govern(on_denied="return")("x")
    assert not refusal
    assert refusal.suggestion == BETTER
    assert '"value":"y"' in str(refusal)


def test_asking_for_it_is_a_new_request_that_supersedes_the_old() -> None:
    gate = FakeGate({"tool": lambda asked: "approve" if asked["value"] == "y" else "deny"})
    gate.door.suggestion = BETTER
    with pytest.raises(ip.ApprovalDenied) as caught, gate.action("tool", {"value": "x"}):
        raise AssertionError("it must not run")
    assert caught.value.suggestion is not None
    ran = []
    with gate.action("tool", caught.value.suggestion, supersedes=caught.value.action_id):
        ran.append("y")
    assert ran == ["y"]
    first, second = gate.asked
    assert second.body["supersedes"] == first.id
    assert second.parameters == BETTER
    assert second.suggestion is None


async def test_the_same_from_asyncio() -> None:
    gate = AsyncFakeGate({"tool": lambda asked: "approve" if asked["value"] == "y" else "deny"})
    gate.door.suggestion = BETTER
    with pytest.raises(ip.ApprovalDenied) as caught:
        async with gate.action("tool", {"value": "x"}):
            raise AssertionError("it must not run")
    assert caught.value.suggestion is not None
    ran = []
    async with gate.action("tool", caught.value.suggestion, supersedes=caught.value.action_id):
        ran.append("y")
    assert ran == ["y"]
    assert gate.asked[1].body["supersedes"] == gate.asked[0].id
