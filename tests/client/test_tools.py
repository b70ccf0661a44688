"""What a governed function binds, and what it says afterwards."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import imprimatur as ip
from imprimatur.formats import commitments
from imprimatur.testing import AsyncFakeGate, FakeGate
from tests.client.conftest import Make


@pytest.fixture
def gate() -> FakeGate:
    return FakeGate({"tool": "allow", "slow": "approve"})


def test_every_argument_is_bound_however_it_is_passed(gate: FakeGate) -> None:
    @gate.tool("tool")
    def tool(first: str, second: int = 2, *rest: int, third: bool = False, **more: str) -> None:
        pass

    tool("a")
    tool("a", 3, 4, 5, third=True, colour="red")
    assert gate.asked[0].parameters == {"first": "a", "second": 2, "rest": [], "third": False}
    assert gate.asked[1].parameters == {"first": "a", "second": 3, "rest": [4, 5], "third": True, "colour": "red"}


def test_paths_and_decimals_travel_as_text_and_arrive_as_they_were(gate: FakeGate) -> None:
    seen: list[Any] = []

    @gate.tool("tool")
    def tool(path: Path, amount: Decimal, many: tuple[int, ...]) -> None:
        seen.extend([path, amount, many])

    tool(Path("/project/a"), Decimal("150.00"), (1, 2))
    assert gate.asked[0].parameters == {"path": "/project/a", "amount": "150.00", "many": [1, 2]}
    assert seen == [Path("/project/a"), Decimal("150.00"), (1, 2)]


@pytest.mark.parametrize("value", [b"bytes", object(), {1: "x"}, {"a": {3}}, float("nan"), "\ud800", 2**60])
def test_invariant_1_what_cannot_be_bound_does_not_run(make: Make, value: object) -> None:
    held = make({"tool": "allow"})
    with pytest.raises(ip.RequestInvalid):
        held.govern()(value)
    assert held.ran == []
    assert held.road.sent == []


def test_a_value_that_contains_itself_does_not_run(gate: FakeGate) -> None:
    knot: list[Any] = []
    knot.append(knot)
    with pytest.raises(ip.RequestInvalid, match="contains itself"):
        gate.tool("tool")(lambda value: pytest.fail("it ran"))(knot)


def test_a_method_s_receiver_is_not_an_argument(gate: FakeGate) -> None:
    class Shop:
        @gate.tool("tool")
        def close(self, reason: str) -> str:
            return f"closed: {reason}"

    assert Shop().close("holiday") == "closed: holiday"
    assert gate.asked[0].parameters == {"reason": "holiday"}


def test_a_redacted_value_stays_here_and_is_still_bound(gate: FakeGate) -> None:
    @gate.tool("tool", redact=["token"])
    def tool(path: str, token: str) -> str:
        return token

    assert tool("/a", "hunter2") == "hunter2"
    asked = gate.asked[0]
    assert asked.parameters == {"path": "/a"}
    assert list(asked.withheld) == ["token"]
    assert asked.requested["binding"]["parameters"]["token"] == asked.withheld["token"]
    salt = commitments.salt_for(gate.config.key.sign, asked.idempotency_key)
    assert asked.withheld["token"] == commitments.commit(salt, "token", "hunter2")[0]


def test_the_function_keeps_its_name_and_signature(gate: FakeGate) -> None:
    @gate.tool
    def tool(path: str, extra: int = 1) -> str:
        """What it does."""
        return path

    assert (tool.__name__, tool.__doc__) == ("tool", "What it does.")
    assert list(inspect.signature(tool).parameters) == ["path", "extra"]


def test_a_call_that_does_not_fit_asks_nobody(gate: FakeGate) -> None:
    tool = gate.tool("tool")(lambda value: value)
    with pytest.raises(TypeError):
        tool()  # type: ignore[call-arg]  # the point of the test
    assert gate.asked == []


def test_a_justification_may_come_from_the_arguments(gate: FakeGate) -> None:
    @gate.tool("tool", justification=lambda given: f"cleaning {given['path']}")
    def tool(path: str) -> None:
        pass

    tool("/a")
    assert gate.asked[0].justification == "cleaning /a"


def test_require_approval_raises_the_risk_and_aliases_are_the_same(gate: FakeGate) -> None:
    gate.require_approval("tool")(lambda value: value)("x")
    gate.secure_tool("tool")(lambda value: value)("x")
    assert gate.asked[0].body["risk"] == "HIGH"
    assert "risk" not in gate.asked[1].body


class Boom(Exception):
    pass


def test_an_exception_in_the_tool_is_reported_as_failed_and_goes_on(make: Make) -> None:
    def explode(_: Any) -> None:
        raise Boom("inside")

    held = make({"tool": "allow"})
    with pytest.raises(Boom, match="inside"):
        held.govern(effect=explode)("x")
    assert held.states == [["APPROVED", "REDEEMED", "FAILED"]]


def test_an_exception_in_the_tool_is_not_hidden_by_a_report_that_gets_lost(make: Make) -> None:
    def explode(_: Any) -> None:
        raise Boom("inside")

    held = make({"tool": "allow"})
    held.road.lose = lambda request, number: request.url.path.endswith("/outcome")
    with pytest.raises(Boom):
        held.govern(effect=explode)("x")


def test_a_block_of_work_runs_only_when_allowed(gate: FakeGate) -> None:
    with gate.action("slow", {"amount": "4.50"}, justification="due") as act:
        act.result = "ref-1"
        assert act.receipt["votes"]
    assert gate.asked[0].states[-1] == "SUCCEEDED"
    assert gate.asked[0].result == "ref-1"
    with pytest.raises(ip.ApprovalDenied), gate.action("unknown", {}):
        pytest.fail("it ran")
    with pytest.raises(Boom), gate.action("tool"):
        raise Boom
    assert gate.asked[-1].states[-1] == "FAILED"


def test_the_async_block_does_the_same() -> None:
    async def story() -> list[list[str]]:
        gate = AsyncFakeGate({"slow": "approve"})
        async with gate.action("slow", {"amount": "4.50"}) as act:
            act.result = "ref-1"
        with pytest.raises(Boom):
            async with gate.action("slow", {}):
                raise Boom
        with pytest.raises(ip.ApprovalDenied):
            async with gate.action("unknown"):
                pytest.fail("it ran")
        return [asked.states for asked in gate.asked]

    assert asyncio.run(story()) == [
        ["PENDING", "APPROVED", "REDEEMED", "SUCCEEDED"],
        ["PENDING", "APPROVED", "REDEEMED", "FAILED"],
        ["PENDING", "DENIED"],
    ]


def test_a_cancelled_tool_is_reported_as_failed() -> None:
    async def story() -> list[str]:
        gate = AsyncFakeGate({"tool": "allow"})
        begun = asyncio.Event()

        @gate.tool("tool")
        async def tool() -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.ensure_future(tool())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return gate.asked[0].states

    assert asyncio.run(story())[-1] == "FAILED"


def test_what_could_not_be_governed_honestly_is_refused_when_it_is_decorated(gate: FakeGate) -> None:
    def generator(value: str) -> Iterator[str]:
        yield value

    async def agenerator(value: str) -> AsyncIterator[str]:
        yield value

    async def coroutine(value: str) -> str:
        return value

    for function in (generator, agenerator, coroutine):
        with pytest.raises(ip.ConfigError):
            gate.tool("tool")(function)
    with pytest.raises(ip.ConfigError, match="redact"):
        gate.tool("tool", redact=["nothing"])(lambda value: value)
    with pytest.raises(ip.ConfigError, match="risk"):
        gate.tool("tool", risk="low")(lambda value: value)


def test_step_by_step_each_step_is_separate(gate: FakeGate) -> None:
    asked = gate.submit("slow", {"a": 1})
    assert asked.pending
    allowed = gate.wait(asked)
    assert (allowed.verdict, allowed.redeemed) == ("allow", False)
    claimed = gate.redeem(allowed)
    assert claimed.redeemed
    gate.outcome(claimed, "SUCCEEDED")
    assert gate.asked[0].states == ["PENDING", "APPROVED", "REDEEMED", "SUCCEEDED"]
    assert gate.look(asked.id)["state"] == "SUCCEEDED"
    assert gate.receipts.get(asked.id)["index"] == claimed.receipt["index"]  # type: ignore[index]  # it has one


def test_two_processes_cannot_redeem_the_same_approval(gate: FakeGate) -> None:
    first = gate.submit("slow", {"a": 1}, call="one")
    second = gate.submit("slow", {"a": 1}, call="one")
    allowed = [gate.wait(first), gate.wait(second)]
    gate.redeem(allowed[0])
    with pytest.raises(ip.AlreadyRedeemed):
        gate.redeem(allowed[1])


def test_a_tool_that_the_test_does_not_mention_is_denied() -> None:
    with pytest.raises(ip.ApprovalDenied):
        FakeGate().tool("tool")(lambda value: value)("x")


def test_decisions_may_depend_on_the_parameters() -> None:
    gate = FakeGate({"tool": lambda given: "allow" if given["value"] == "good" else "over-budget"})
    tool = gate.tool("tool")(lambda value: value)
    assert tool("good") == "good"
    with pytest.raises(ip.BudgetExceeded):
        tool("bad")
