"""What comes over a real socket and should never have been sent. None of it is ever an approval."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import httpx2
import pytest

from tests.door.agent import PREFIX, Answer
from tests.faults.group import RawAgent, Robo, connection, log_size, said_since, status_of
from tests.installation import Installation

pytestmark = pytest.mark.e2e

MEGABYTE = 1_000_000


@pytest.fixture
def agent(desk: Installation, robo: Robo) -> Iterator[RawAgent]:
    """The agent, and afterwards a look at the log: the test's calls asked, decided and redeemed nothing."""
    size = log_size(desk)
    yield robo.raw()
    kinds = {entry["kind"] for entry in said_since(desk, size)}
    assert not kinds & {"action.requested", "action.decided", "action.redeemed", "vote.cast"}


def send(agent: RawAgent, body: bytes, **signing: Any) -> Answer:
    """A submit with these very bytes, properly signed."""
    return agent.send("POST", f"{PREFIX}/actions", agent.submission(body, **signing), body)


def payment(agent: RawAgent, amount: str, **more: Any) -> bytes:
    """The body of a payment whose amount is these characters, unquoted."""
    document = {
        "delegation": agent.delegation,
        "tool": "make_payment",
        "parameters": {"payee": "vendor/x", "amount": "AMOUNT", "currency": "USD", "reference": "1"},
        "salt": "A" * 43,
        "context": {"run": "r", "call": "c"},
        **more,
    }
    return json.dumps(document).replace('"AMOUNT"', amount).encode()


@pytest.mark.parametrize("skew", [-120, 120])
def test_a_wrong_clock_is_told_the_time(agent: RawAgent, skew: int) -> None:
    answer = send(agent, b"{}", created=int(time.time()) + skew)
    assert (answer.status, answer.code) == (401, "clock-skew")
    assert answer.json["now"].endswith("Z")
    assert answer.headers["date"]


def test_a_signed_request_counts_once(desk: Installation, robo: Robo) -> None:
    agent = robo.raw()
    path = f"{PREFIX}/actions"
    body, committed = agent.submit_body("read_file", {"path": "/project/src/cart.js"}, "once-" + str(time.time_ns()))
    headers = agent.submission(body, committed, idempotency_key=json.loads(body)["context"]["call"])
    first = agent.send("POST", path, headers, body)
    assert (first.status, first.json["verdict"]) == (200, "allow")
    size = log_size(desk)
    second = agent.send("POST", path, headers, body)
    assert (second.status, second.code) == (401, "replayed")
    assert "receipt" not in second.json
    assert not [entry for entry in said_since(desk, size) if entry["kind"] == "action.decided"]


def test_a_key_nobody_enrolled_is_nobody(agent: RawAgent) -> None:
    from imprimatur import KeyPair

    agent.key = KeyPair.generate()
    answer = send(agent, b"{}")
    assert (answer.status, answer.code) == (401, "key-unknown")


def test_a_changed_body_does_not_pass(agent: RawAgent) -> None:
    body, committed = agent.submit_body("read_file", {"path": "/project/src/a.js"}, "changed")
    headers = agent.submission(body, committed, idempotency_key="changed")
    answer = agent.send("POST", f"{PREFIX}/actions", headers, body.replace(b"a.js", b"b.js"))
    assert (answer.status, answer.code) == (401, "digest")


def test_a_body_beyond_the_limit_is_refused_with_and_without_a_length(agent: RawAgent) -> None:
    body = b'{"a":"' + b"x" * MEGABYTE + b'"}'
    answer = send(agent, body)
    assert (answer.status, answer.code) == (413, "too-large")

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(body), 50_000):
            yield body[start : start + 50_000]

    with httpx2.Client(timeout=40) as client:
        streamed = client.post(f"{agent.url}{PREFIX}/actions", headers=agent.submission(body), content=pieces())
    assert "content-length" not in streamed.request.headers
    assert (streamed.status_code, streamed.json()["code"]) == (413, "too-large")


def test_an_endless_body_is_cut_off(agent: RawAgent) -> None:
    """The answer comes while the sender is still sending: nothing is gathered beyond the limit."""
    lines = agent.submission(b"{}") | {"Host": "localhost", "Transfer-Encoding": "chunked"}
    head = f"POST {PREFIX}/actions HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with connection(_desk_of(agent)) as line:
        line.sendall(head.encode() + b"\r\n")
        try:
            for _ in range(40):
                line.sendall(b"c350\r\n" + b"x" * 50_000 + b"\r\n")
        except ConnectionError:
            pass
        else:
            assert status_of(line) == 413


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"a":1}{"b":2}',
        b'{"tool":"read_file","tool":"make_payment"}',
        b'{"tool":"\\ud800"}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"surprise":true}',
    ],
    ids=range(12),
)
def test_what_is_no_request_is_malformed(agent: RawAgent, body: bytes) -> None:
    answer = send(agent, body)
    assert (answer.status, answer.code) == (422, "malformed")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["hint"]


@pytest.mark.parametrize(
    "amount", ["4.5", "NaN", "1e2", "-4", '"4.5e1"', '"-4.00"', '"NaN"', '" 4.00"', '"4,00"', "true"]
)
def test_money_is_a_decimal_string_or_nothing(agent: RawAgent, amount: str) -> None:
    # The commitments have to be right, or they would be what is refused.
    try:
        value = json.loads(amount)
        body, committed = agent.submit_body(
            "make_payment",
            {"payee": "vendor/x", "amount": value, "currency": "USD", "reference": "1"},
            "k" + amount.strip('"'),
        )
    except ValueError:
        body, committed = payment(agent, amount), ""
    answer = agent.send(
        "POST",
        f"{PREFIX}/actions",
        agent.submission(body, committed, idempotency_key="money-" + str(time.time_ns())),
        body,
    )
    assert (answer.status, answer.code) in {(422, "malformed"), (422, "schema")}


def test_a_wrong_content_type_or_a_missing_key_is_malformed(agent: RawAgent) -> None:
    path = f"{PREFIX}/actions"
    headers = agent.submission(b"{}")
    for changed in (
        {**headers, "Content-Type": "text/plain"},
        {**headers, "Content-Type": "application/json; charset=x"},
    ):
        assert agent.send("POST", path, changed, b"{}").code in {"malformed", "signature"}
    unsigned = {"Content-Type": "application/json"}
    assert agent.send("POST", path, unsigned, b"{}").code == "signature"


def test_half_requests_keep_nobody_else_waiting(desk: Installation, robo: Robo) -> None:
    agent = robo.raw()
    head = f"POST {PREFIX}/actions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    form = "POST /accounts/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    begun = [
        "GET / HTTP/1.1\r\nHost: localhost\r\n",
        head + "Content-Length: 500\r\n\r\n{",
        form + "Content-Length: 500\r\n\r\nlogin=",
    ]
    with ExitStack() as stack:
        for number in range(60):
            line = stack.enter_context(connection(desk))
            line.sendall(begun[number % len(begun)].encode())
        assert desk.get("/readyz")[0] == 200
        assert desk.get("/accounts/login/")[0] == 200
        assert agent.read("/project/src/cart.js").json["verdict"] == "allow"


def test_lines_that_are_no_http_end_with_a_400_or_nothing(desk: Installation, robo: Robo) -> None:
    for raw in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 10):
        with connection(desk) as line:
            line.sendall(raw + b"\r\n\r\n")
            line.settimeout(1)
            with suppress(TimeoutError):
                assert status_of(line) in {0, 400, 505}
    assert desk.get("/healthz")[0] == 200


def _desk_of(agent: RawAgent) -> Installation:
    from pathlib import Path
    from subprocess import Popen
    from typing import cast

    return Installation(agent.url, Path(), cast("Popen[bytes]", None), Path())
