"""Somebody hostile on every side: in the arguments, between threads, on the wire, in the server, in the environment."""

from __future__ import annotations

import asyncio
import gzip
import logging
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

import imprimatur as ip
from imprimatur.client import config
from imprimatur.formats import canonical
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.testing import DELEGATION, AsyncFakeGate, FakeGate
from tests.client.conftest import Make
from tests.client.test_cli import agent, run

__all__ = ["agent"]
ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def never(*_: Any) -> None:
    pytest.fail("it ran")


# --- arguments ------------------------------------------------------------------------------------------------------


def test_invariant_1_a_justification_cannot_take_an_argument_out_of_the_binding() -> None:
    gate = FakeGate({"tool": "allow"})
    ran: list[str] = []

    @gate.tool("tool", justification=lambda given: f"Because of {given.pop('path')}")
    def tool(path: str, mode: str = "r") -> None:
        ran.append(path)

    tool("/a")
    assert gate.asked[0].parameters == {"path": "/a", "mode": "r"}
    assert ran == ["/a"]


def test_invariant_1_a_justification_cannot_change_what_runs() -> None:
    gate = FakeGate({"tool": "allow"})
    ran: list[Any] = []

    @gate.tool("tool", justification=lambda given: str(given["paths"].clear()))
    def tool(paths: list[str]) -> None:
        ran.append(list(paths))

    tool(["/a"])
    assert gate.asked[0].parameters == {"paths": ["/a"]}
    assert ran == [["/a"]]


def test_invariant_1_parameters_of_an_action_that_change_while_it_waits_stop_it(make: Make) -> None:
    held = make({"tool": "approve"})
    given = {"path": "/a"}
    held.road.change = {"wait": lambda _: given.update(path="/etc")}

    def body() -> None:
        with held.gate.action("tool", given):
            never()

    async def abody() -> None:
        async with held.gate.action("tool", given):
            never()

    with pytest.raises(ip.ArgumentsChanged):
        asyncio.run(abody()) if held.asynchronous else body()


def test_invariant_1_what_changes_between_the_last_look_and_the_run_does_not_reach_the_tool(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = make({"tool": "allow"})
    given: dict[str, Any] = {"to": ["ada"]}
    obtain = type(held.gate._core).obtain

    def late(*args: Any, **kwargs: Any) -> Any:
        found = yield from obtain(held.gate._core, *args, **kwargs)
        given["to"].append("mallory")
        return found

    monkeypatch.setattr(held.gate._core, "obtain", late)
    held.govern()(given)
    assert held.ran[0]["value"] == {"to": ["ada"]}
    assert given == {"to": ["ada", "mallory"]}


class TwoFaced(str):
    def __str__(self) -> str:
        return "/project/harmless"


class Liar(int):
    def __int__(self) -> int:
        return 1

    def __index__(self) -> int:
        return 1


class Fickle(float):
    def __float__(self) -> float:
        return 1.0


class Shown(Decimal):
    def __format__(self, *_: Any) -> str:
        return "1.00"


class Rolling(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(["shown"])


class Masked(OrderedDict[str, Any]):
    def items(self) -> Any:
        return {"path": "/shown"}.items()


@pytest.mark.parametrize(
    ("value", "true"),
    [
        (TwoFaced("/etc/passwd"), "/etc/passwd"),
        (Liar(1_000_000), 1_000_000),
        (Fickle(9.5), 9.5),
        (Shown("1000000.00"), "1000000.00"),
    ],
)
def test_invariant_1_a_value_that_prints_as_another_is_bound_as_what_it_is(make: Make, value: Any, true: Any) -> None:
    held = make({"tool": "allow"})
    held.govern()(value)
    assert held.gate.asked[0].parameters["value"] == true
    assert held.gate.asked[0].parameters["value"] != "/project/harmless"


@pytest.mark.parametrize("value", [Rolling(["hidden"]), Masked(path="/hidden"), TwoFaced("x"), {"a": Rolling(["b"])}])
def test_invariant_1_the_tool_receives_what_was_bound_and_no_clever_container(make: Make, value: Any) -> None:
    held = make({"tool": "allow"})
    seen: list[Any] = []
    held.govern(effect=seen.append)(value)
    (got,) = seen
    assert canonical.dumps_json(got) == canonical.dumps_json(held.gate.asked[0].parameters["value"])
    assert type(got) in (str, list, dict)


def test_a_call_that_only_makes_a_coroutine_or_generator_is_refused() -> None:
    gate = FakeGate({"tool": "allow"})

    async def later() -> None:
        never()

    with pytest.raises(ip.ConfigError, match="after the approval"):
        gate.tool("tool")(lambda: [later()][0])()
    with pytest.raises(ip.ConfigError, match="after the approval"):
        gate.tool("tool")(lambda: (never() for _ in "x"))()
    assert [asked.states[-1] for asked in gate.asked] == ["FAILED", "FAILED"]


def test_what_was_bound_in_advance_cannot_be_governed_unseen() -> None:
    from functools import partial

    gate = FakeGate({"tool": "allow"})
    with pytest.raises(ip.ConfigError, match="function"):
        gate.tool("tool")(partial(lambda payee, amount: never(), "mallory"))


# --- once ---------------------------------------------------------------------------------------------------------


def test_invariant_1_one_decision_is_permission_for_one_run_only() -> None:
    gate = FakeGate({"tool": "allow"})
    allowed = gate.submit("tool", {"a": 1})
    gate.redeem(allowed)
    with pytest.raises(ip.AlreadyRedeemed):
        gate.redeem(allowed)


def test_invariant_1_many_threads_with_one_decision_run_it_once() -> None:
    gate = FakeGate({"tool": "allow"})
    allowed = gate.submit("tool", {"a": 1})
    barrier, ran, refused = threading.Barrier(8), [], []

    def go() -> None:
        barrier.wait(60)
        try:
            gate.redeem(allowed)
            ran.append(1)
        except ip.AlreadyRedeemed:
            refused.append(1)

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(ran), len(refused)) == (1, 7)


def test_invariant_1_a_decision_is_not_carried_into_another_process() -> None:
    gate = FakeGate({"tool": "allow"})
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(gate.submit("tool", {"a": 1}))


def test_invariant_1_a_forked_process_does_not_redeem_its_parents_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = FakeGate({"tool": "allow"})
    allowed = gate.submit("tool", {"a": 1})
    monkeypatch.setattr("os.getpid", lambda: -1)
    with pytest.raises(ip.AlreadyRedeemed):
        gate.redeem(allowed)


def test_a_lost_answer_to_redeem_may_be_asked_for_again() -> None:
    gate = FakeGate({"tool": "allow"})
    allowed = gate.submit("tool", {"a": 1})
    carry, cut = gate._http, httpx2.Client(transport=httpx2.MockTransport(_down))
    gate._http = cut
    with pytest.raises(ip.ControlPlaneUnavailable):
        gate.redeem(allowed)
    gate._http = carry
    assert gate.redeem(allowed).redeemed


def _down(request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("nobody there")


# --- time ---------------------------------------------------------------------------------------------------------


def _skew(ago: float, gate: Any) -> httpx2.Response:
    then = gate.time.now() - timedelta(seconds=ago)
    date = then.strftime("%a, %d %b %Y %H:%M:%S GMT")
    return httpx2.Response(401, json={"code": "clock-skew"}, headers={"date": date})


def test_invariant_1_whoever_turns_the_clock_back_cannot_deliver_an_answer_late(make: Make) -> None:
    held = make({"tool": "allow"})
    kept: list[httpx2.Response] = []

    def hold_back(request: httpx2.Request, number: int) -> httpx2.Response | None:
        if request.url.path.endswith("/outcome"):
            return None
        if number == 1:
            kept.append(held.gate.door.handle(request))
            return _skew(36_000, held.gate)
        held.gate.time.sleep(120)
        return kept[0]

    held.road.instead = hold_back
    with pytest.raises(ip.ApprovalExpired):
        held.govern()("x")
    assert held.ran == []


def test_invariant_1_a_clock_that_is_set_back_does_not_make_a_claim_last_longer(make: Make) -> None:
    held = make({"tool": "allow"})
    time = held.gate.time

    def slow(request: httpx2.Request, number: int) -> httpx2.Response | None:
        if number > 1:
            return None
        answer: httpx2.Response = held.gate.door.handle(request)
        time.sleep(300)
        time._began -= timedelta(seconds=300)
        return answer

    held.road.instead = slow
    with pytest.raises(ip.ApprovalExpired):
        held.govern()("x")
    assert held.ran == []


def test_a_wrong_clock_is_still_corrected_by_the_server(make: Make) -> None:
    held = make({"tool": "allow"})
    skewed = held.gate.time.clock
    held.gate._core.wire._clock = lambda: skewed() + 7200
    assert held.govern()("x") == "did x"


# --- the server and the wire ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../keys/rotate", "act_1/../../me", "x?wait=1", "", "act_" + "u" * 26])
def test_an_id_that_is_none_never_becomes_part_of_a_signed_address(make: Make, name: str) -> None:
    held = make({"tool": "pending"})
    held.road.change = {"actions": lambda document: document.update(id=name)}
    with pytest.raises(ip.ControlPlaneUnavailable) as caught:
        held.govern(wait=1)("x")
    assert caught.value.code == "unknown-answer"
    assert held.road.paths() == ["actions"]


@pytest.mark.parametrize("name", ["../me", "act_x", "x/y"])
def test_addresses_are_made_of_ids_only(name: str) -> None:
    gate = FakeGate()
    for call in (gate.cancel, gate.look, gate.receipts.get, gate.delegations.get):
        with pytest.raises(ip.ConfigError, match="is no"):
            call(name)
    with pytest.raises(ip.ConfigError, match="is no"):
        gate.delegations.revoke(name, "x")


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"verdict":' + b'{"a":' * 5_000,
        b'{"verdict":"allow","state":"APPROVED","id":[]}',
        b'{"verdict":[],"state":{}}',
        b'{"code":["x"],"detail":{},"state":[]}',
        b'{"verdict":"allow","verdict":"deny"}',
        b'{"verdict":"allow","state":"APPROVED","why":7}',
        b"\xff\xfe",
        b"",
        b"null",
        b"1" * 5_000,
    ],
)
@pytest.mark.parametrize("status", [200, 202, 403, 500])
def test_invariant_2_an_answer_of_any_shape_is_a_no_and_never_another_exception(
    make: Make, body: bytes, status: int
) -> None:
    held = make({"tool": "allow"})
    held.road.instead = lambda request, number: httpx2.Response(status, content=body)
    with pytest.raises(ip.ActionBlocked):
        held.govern()("x")
    assert held.ran == []


class Drip(httpx2.SyncByteStream):
    """More and more bytes, which nobody asked for."""

    def __init__(self, piece: bytes, wait: Callable[[], None] = lambda: None) -> None:
        self.piece, self.wait, self.sent = piece, wait, 0

    def __iter__(self) -> Iterator[bytes]:
        while self.sent < 200_000_000:
            self.sent += len(self.piece)
            self.wait()
            yield self.piece


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    stream = Drip(b" " * 65_536)
    gate = FakeGate(transport=httpx2.MockTransport(lambda request: httpx2.Response(200, stream=stream)))
    with pytest.raises(ip.ActionBlocked):
        gate.tool("tool")(never)()
    assert stream.sent < 50_000_000  # five tries


def test_a_body_that_comes_drop_by_drop_is_not_waited_for() -> None:
    drops: list[Drip] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        drops.append(Drip(b" ", lambda: gate.time.sleep(9)))
        return httpx2.Response(200, stream=drops[-1])

    gate = FakeGate(transport=httpx2.MockTransport(answer))
    with pytest.raises(ip.ControlPlaneUnavailable):
        gate.tool("tool")(never)()
    assert all(drop.sent < 10 for drop in drops)


def test_a_small_body_that_would_unpack_to_a_large_one_is_not_unpacked(make: Make) -> None:
    held = make({"tool": "allow"})
    bomb = gzip.compress(b" " * 50_000_000)
    held.road.instead = lambda request, number: httpx2.Response(
        200, stream=httpx2.ByteStream(bomb), headers={"content-encoding": "gzip"}
    )
    with pytest.raises(ip.ActionBlocked):
        held.govern()("x")
    assert held.road.sent[0].headers["accept-encoding"] == "identity"


def test_a_decision_key_counts_only_for_the_entries_it_may_sign() -> None:
    from dataclasses import replace

    gate = FakeGate({"tool": "allow"})
    (key,) = gate.config.trust.decision or ()
    ended = replace(gate.config.trust, decision=(replace(key, last=0),))
    gate._core.config = replace(gate.config, trust=ended)
    with pytest.raises(ip.ReceiptError) as caught:
        gate.tool("tool")(never)()
    assert caught.value.code == "receipt-decision-key"


# --- words of others ------------------------------------------------------------------------------------------------


def test_invariant_9_words_of_the_server_are_inert_in_errors_and_logs(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    held = make({"tool": "allow"})
    words = {"title": "x", "status": 403, "detail": f"No.{ESCAPE}\nERROR forged", "hint": ESCAPE, "code": f"x{ESCAPE}"}
    held.road.instead = lambda request, number: httpx2.Response(403, json=words)
    with caplog.at_level(logging.WARNING, logger="imprimatur"), pytest.raises(ip.ActionBlocked) as caught:
        held.govern()("x")
    for text in (str(caught.value), caught.value.hint, caught.value.code, caplog.text.removesuffix("\n")):
        assert "\x1b" not in text
        assert "\n" not in text


def test_invariant_9_words_of_the_server_are_inert_in_the_terminal(tmp_path: Path, agent: Any) -> None:
    server, environment = agent
    action = "act_" + "0" * 26
    real = server.answer

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> httpx2.Response:
        told = {"verdict": ESCAPE, "state": ESCAPE, "code": ESCAPE, "note": ESCAPE, "detail": ESCAPE}
        return httpx2.Response(200, json=told) if "/actions/" in path else real(method, path, headers, body)

    server.answer = answer
    done = run("wait", action, cwd=tmp_path, **environment)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "told", [{"agent": []}, {"delegations": 7}, {"agent": {"state": []}}, {"delegations": [{"id": []}]}]
)
def test_the_doctor_survives_whatever_the_server_says(tmp_path: Path, agent: Any, told: dict[str, Any]) -> None:
    server, environment = agent
    real = server.answer

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> httpx2.Response:
        return httpx2.Response(200, json=told) if path.endswith("/me") else real(method, path, headers, body)

    server.answer = answer
    assert run("doctor", cwd=tmp_path, **environment).returncode == 1


@pytest.mark.parametrize("verdict", [[], {}, None, 7])
def test_a_verdict_that_is_no_word_is_not_waited_for(tmp_path: Path, agent: Any, verdict: Any) -> None:
    server, environment = agent
    real = server.answer

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> httpx2.Response:
        told = {"verdict": verdict, "note": {}, "state": []}
        return httpx2.Response(200, json=told) if "/actions/" in path else real(method, path, headers, body)

    server.answer = answer
    assert run("wait", "act_" + "0" * 26, cwd=tmp_path, **environment).returncode in (1, 4)


def test_output_that_the_terminal_cannot_spell_is_no_crash(tmp_path: Path, agent: Any) -> None:
    _, environment = agent
    done = run(
        "request", "quick", "-p", "a=\u202ex", "--call", "x", cwd=tmp_path, PYTHONIOENCODING="ascii", **environment
    )
    assert done.returncode == 0
    refused = run("request", "n\u202eo", cwd=tmp_path, PYTHONIOENCODING="ascii", **environment)
    assert refused.returncode in (1, 2)


# --- files and environment ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o666, 0o622, 0o664])
def test_a_trust_file_that_others_may_write_is_not_trusted(tmp_path: Path, mode: int) -> None:
    key = b64u(KeyPair.generate().public_key)
    path = tmp_path / "trust.json"
    path.write_bytes(canonical.dumps({"realm": "r.example", "decision": [{"key": key, "from": 0}]}))
    path.chmod(mode)
    with pytest.raises(ip.ConfigError, match="chmod go-w"):
        config.load_trust(path)
    path.chmod(0o644)
    assert config.load_trust(path).realm == "r.example"


def test_enrolling_writes_its_pin_to_a_file_of_its_own(tmp_path: Path, agent: Any) -> None:
    server, environment = agent
    victim = tmp_path / "victim"
    victim.write_text("mine")
    pin = tmp_path / "agent.key.trust.json"
    pin.symlink_to(victim)
    trust = environment["IMPRIMATUR_TRUST"]
    words = ("enroll", "--url", server.url, "--token", "t" * 32, "--trust", trust, "--key", "agent.key")
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert victim.read_text() == "mine"
    assert not pin.is_symlink()
    assert pin.stat().st_mode & 0o022 == 0


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_plain_http_to_this_machine_does_not_leave_it_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, agent: Any, name: str
) -> None:
    server, environment = agent
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    gate = ip.Imprimatur(
        server.url,
        environment["IMPRIMATUR_KEY"],
        DELEGATION,
        environment["IMPRIMATUR_TRUST"],
        wire={"jitter": lambda: 0.0},
    )
    gate._sleep = lambda seconds: None
    with gate:
        assert gate.me()["agent"]["id"] == gate.agent


# --- interruption -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(1, 5))
def test_invariant_2_a_task_cancelled_at_any_await_runs_nothing_more(at: int) -> None:
    gate = AsyncFakeGate({"tool": "approve"})
    ran: list[str] = []
    calls = 0

    async def main() -> None:
        task = asyncio.current_task()

        async def carry(sent: httpx2.Request) -> httpx2.Response:
            nonlocal calls
            calls += 1
            answer = gate.door.handle(sent)
            if calls == at and task is not None:
                task.cancel()
            await asyncio.sleep(0)
            return answer

        gate._http = httpx2.AsyncClient(transport=httpx2.MockTransport(carry))

        @gate.tool("tool")
        async def tool() -> None:
            ran.append("it")
            await asyncio.sleep(0)

        await tool()

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    assert len(ran) <= 1
    assert ran == [] or gate.asked[0].states[-1] in ("SUCCEEDED", "FAILED", "REDEEMED")
    if at <= 3:
        assert ran == []


def test_a_report_that_fails_changes_neither_result_nor_error(make: Make) -> None:
    held = make({"tool": "allow"})
    held.road.instead = lambda request, number: (
        httpx2.Response(200, content=b"[" * 100_000) if request.url.path.endswith("/outcome") else None
    )
    assert held.govern()("x") == "did x"

    def fail(value: Any) -> None:
        raise KeyError(value)

    with pytest.raises(KeyError):
        held.govern(effect=fail)("y")


def test_a_refusal_of_a_call_inside_is_not_taken_for_one_of_the_call_itself(make: Make) -> None:
    held = make({"tool": "allow"})

    def inside(value: Any) -> None:
        raise ip.ApprovalDenied("No.")

    with pytest.raises(ip.ApprovalDenied):
        held.govern(effect=inside, on_denied="return")("x")
    assert held.states[0][-1] == "FAILED"


def test_invariant_11_a_withheld_value_is_in_no_error_and_no_log(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    secret = "hunter2" * 3
    held = make({"tool": "deny"})
    with caplog.at_level(logging.DEBUG), pytest.raises(ip.ActionBlocked) as caught:
        held.govern(redact=["value"])(secret)
    with pytest.raises(ip.RequestInvalid) as invalid:
        held.govern(redact=["value"])({"a": secret, "b": object()})
    texts = [repr(caught.value.__dict__), str(caught.value), str(invalid.value), caplog.text, repr(held.gate)]
    assert not any(secret in text for text in texts)
    assert not any(secret.encode() in request.read() for request in held.road.sent)
