"""Networks fail in the middle. Nothing is asked twice, nothing runs twice, and no answer is a no."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import httpx2
import pytest

import imprimatur as ip
from imprimatur.formats import httpsig
from imprimatur.testing import AsyncFakeGate, FakeGate
from tests.client.conftest import Make


def nonces(requests: list[httpx2.Request]) -> list[str | None]:
    found = []
    for request in requests:
        headers = {name.lower(): value for name, value in request.headers.items()}
        found.append(httpsig.parse_signature_input(headers, request.method, request.url.path).nonce)
    return found


@pytest.mark.parametrize("how", ["lost before the door", "lost after the door", "502 from a proxy"])
def test_a_repetition_keeps_body_and_idempotency_key_and_has_a_new_nonce(make: Make, how: str) -> None:
    held = make({"tool": "allow"})
    if how == "lost before the door":
        held.road.lose = lambda request, number: number <= 2
    elif how == "lost after the door":
        held.road.lose_answer = lambda request, number: number <= 2
    else:
        held.road.instead = lambda request, number: httpx2.Response(502, text="bad") if number <= 2 else None
    assert held.govern()("x") == "did x"
    tries = [request for request in held.road.sent if request.url.path.endswith("/actions")]
    assert len(tries) == 3
    assert len({request.headers["idempotency-key"] for request in tries}) == 1
    assert len({request.content for request in tries}) == 1
    assert len(set(nonces(tries))) == 3
    assert len(held.gate.asked) == 1
    assert len(held.ran) == 1


def test_a_lost_answer_to_redeem_is_asked_for_again_with_the_same_attempt(make: Make) -> None:
    held = make({"tool": "approve"})
    held.road.lose_answer = lambda request, number: request.url.path.endswith("/redeem") and number == 3
    assert held.govern()("x") == "did x"
    claims = [request for request in held.road.sent if request.url.path.endswith("/redeem")]
    assert len(claims) == 2
    assert claims[0].content == claims[1].content
    assert len(held.ran) == 1


def test_invariant_1_when_the_answer_to_redeem_never_comes_nothing_runs(make: Make) -> None:
    held = make({"tool": "approve"})
    held.road.lose_answer = lambda request, number: request.url.path.endswith("/redeem")
    with pytest.raises(ip.ControlPlaneUnavailable):
        held.govern()("x")
    assert held.states[0][-1] == "REDEEMED"
    assert held.ran == []


@pytest.mark.parametrize("status", [500, 502, 503, None])
def test_invariant_2_no_answer_for_ever_is_a_no(make: Make, status: int | None) -> None:
    held = make({"tool": "allow"})
    if status is None:
        held.road.lose = lambda request, number: True
    else:
        held.road.instead = lambda request, number: httpx2.Response(status)
    with pytest.raises(ip.ControlPlaneUnavailable):
        held.govern()("x")
    assert len(held.road.sent) == 5
    assert held.ran == []


def test_waiting_survives_a_restart_of_the_server(make: Make) -> None:
    held = make({"tool": "approve"})
    held.road.lose = lambda request, number: request.method == "GET" and number < 9
    assert held.govern()("x") == "did x"
    assert len(held.ran) == 1


def test_retry_after_is_honoured(make: Make) -> None:
    held = make({"tool": "allow"})
    busy = httpx2.Response(429, headers={"retry-after": "7"}, json={"code": "rate-limited", "detail": "slower"})
    held.road.instead = lambda request, number: busy if number == 1 else None
    assert held.govern()("x") == "did x"
    assert 7 <= held.gate.time.monotonic() < 8


def test_a_wrong_clock_is_corrected_once_from_the_date_header(make: Make) -> None:
    held = make({"tool": "allow"})
    server = held.gate.time
    held.gate.door.clock = lambda: server.now() + timedelta(hours=2)
    assert held.govern()("x") == "did x"
    assert held.govern()("y") == "did y"
    assert held.road.steps() == ["actions", "actions", "outcome", "actions", "outcome"]


def test_a_clock_that_stays_wrong_is_a_no(make: Make) -> None:
    held = make({"tool": "allow"})
    skew = httpx2.Response(
        401, headers={"date": "Fri, 20 Nov 2026 08:00:00 GMT"}, json={"code": "clock-skew", "detail": "set your clock"}
    )
    held.road.instead = lambda request, number: skew
    with pytest.raises(ip.NotRecognised):
        held.govern()("x")
    assert len(held.road.sent) == 2


def test_a_report_that_gets_lost_does_not_undo_what_was_done(make: Make) -> None:
    held = make({"tool": "allow"})
    held.road.lose = lambda request, number: request.url.path.endswith("/outcome")
    assert held.govern()("x") == "did x"
    assert len(held.ran) == 1


def test_invariant_1_after_a_crash_between_redeem_and_report_nothing_runs_again() -> None:
    first = FakeGate({"tool": "allow"}, run="night-7")
    ran = []

    @first.tool("tool", call="the-one")
    def crash(value: str) -> None:
        ran.append(value)
        raise KeyboardInterrupt

    first._core.report = lambda *_, **__: iter(())  # type: ignore[method-assign,assignment]  # the process is gone
    with pytest.raises(KeyboardInterrupt):
        crash("x")
    again = ip.Imprimatur(
        first.config.origin,
        first.config.key,
        first.config.delegation,
        first.config.trust,
        run="night-7",
        transport=httpx2.MockTransport(first.door.handle),
        wire=first.time.wire(),
    )

    @again.tool("tool", call="the-one")
    def repeat(value: str) -> None:
        ran.append(value)

    with pytest.raises(ip.AlreadyRedeemed):
        repeat("x")
    assert ran == ["x"]


def test_another_request_under_the_same_call_id_is_a_no(make: Make) -> None:
    held = make({"tool": "allow"})
    tool = held.govern(call="the-one")
    tool("x")
    with pytest.raises(ip.ActionConflict):
        tool("y")
    assert len(held.ran) == 1


def test_equal_calls_of_one_run_are_separate_wishes(make: Make) -> None:
    held = make({"tool": "allow"})
    tool = held.govern()
    tool("x")
    tool("x")
    assert len(held.ran) == 2
    assert len({asked.idempotency_key for asked in held.gate.asked}) == 2


def test_cancelling_the_task_cancels_the_request() -> None:
    async def story() -> AsyncFakeGate:
        gate = AsyncFakeGate({"tool": "pending"})
        tool = gate.tool("tool")(lambda value: pytest.fail("it ran"))
        task = asyncio.ensure_future(tool("x"))
        while not gate.asked:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return gate

    assert asyncio.run(story()).asked[0].states == ["PENDING", "CANCELLED"]


def test_ctrl_c_while_waiting_cancels_the_request() -> None:
    gate = FakeGate({"tool": "pending"})

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    gate._sleep = interrupt
    with pytest.raises(KeyboardInterrupt):
        gate.tool("tool")(lambda value: pytest.fail("it ran"))("x")
    assert gate.asked[0].states == ["PENDING", "CANCELLED"]


def test_one_gate_serves_many_threads() -> None:
    gate = FakeGate({"tool": "allow"})
    ran: list[int] = []
    tool = gate.tool("tool")(ran.append)
    threads = [threading.Thread(target=tool, args=(7,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ran) == 8
    assert len({asked.idempotency_key for asked in gate.asked}) == 8
