"""Asking: what is decided at once, what waits, what is refused, and that the log says all of it."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pytest

from approvals.door import rejections
from approvals.models import ActionRequest, Nonce
from audit.log import utc_now
from audit.models import Entry
from governance.models import Delegation
from imprimatur.formats import canonical, dsse
from tests.door.agent import PREFIX, AgentUnderTest, new_attempt

pytestmark = pytest.mark.usefixtures("notarised")


def kinds(action: str) -> list[str]:
    return list(Entry.objects.filter(subject=action).order_by("index").values_list("kind", flat=True))


def test_low_risk_is_allowed_at_once_with_a_receipt(robo: AgentUnderTest) -> None:
    answer = robo.read()
    assert answer.status == 200
    assert answer.json["verdict"] == "allow"
    assert answer.json["state"] == "APPROVED"
    assert answer.receipt.entry["body"]["verdict"] == "allow"
    assert kinds(answer.json["id"]) == ["action.decided"]


def test_with_an_attempt_it_is_decided_and_redeemed_in_one_call(robo: AgentUnderTest) -> None:
    attempt = new_attempt()
    answer = robo.write(attempt=attempt)
    assert answer.json["state"] == "REDEEMED"
    assert 0 < answer.json["execute_within"] <= 30
    body = answer.receipt.entry["body"]
    assert body["state"] == "REDEEMED"
    assert "execute_by" in body
    assert attempt not in answer.raw.decode()
    assert ActionRequest.objects.get().look_over == "open"


def test_high_risk_waits_for_a_person(robo: AgentUnderTest) -> None:
    answer = robo.delete(justification="The file is empty.")
    assert answer.status == 202
    assert answer.json["verdict"] == "pending"
    assert answer.json["can_answer"] == 2
    assert "receipt" not in answer.json
    assert kinds(answer.json["id"]) == ["action.requested", "review.asked"]


def test_what_the_delegation_does_not_cover_is_refused_with_a_receipt(robo: AgentUnderTest) -> None:
    answer = robo.read("/etc/passwd")
    assert answer.status == 403
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.code == "out-of-scope"
    assert answer.json["state"] == "REFUSED"
    assert answer.receipt.entry["body"]["verdict"] == "deny"


def test_invariant_8_claims_that_do_not_match_are_refused(robo: AgentUnderTest) -> None:
    claimed = [{"action": "file:read", "resource": "/project/src/harmless.py"}]
    answer = robo.delete(effects=claimed)
    assert answer.code == "resource-mismatch"
    assert answer.json["verdict"] == "deny"


def test_invariant_8_an_agent_can_raise_the_risk_and_never_lower_it(robo: AgentUnderTest) -> None:
    assert robo.read(risk="HIGH").json["verdict"] == "pending"
    lowered = robo.delete(risk="LOW")
    assert lowered.json["verdict"] == "pending"
    assert lowered.json["risk"] == "HIGH"


def test_invariant_4_another_agents_delegation_gives_nothing(twin: AgentUnderTest) -> None:
    answer = twin.read()
    assert answer.status == 403
    assert answer.code == "out-of-scope"


def test_the_same_request_again_answers_with_the_present_state(robo: AgentUnderTest) -> None:
    first = robo.delete(key="once")
    again = robo.delete(key="once")
    assert again.json["id"] == first.json["id"]
    assert again.status == 202
    assert ActionRequest.objects.count() == 1


@pytest.mark.parametrize(
    "change",
    [{"path": "/project/src/b.py"}, {"context": {"run": "run-2"}}],
    ids=["another parameter", "another context"],
)
def test_an_idempotency_key_is_good_for_one_request(robo: AgentUnderTest, change: dict[str, Any]) -> None:
    robo.delete(key="once")
    answer = robo.delete(key="once", **change)
    assert answer.status == 409
    assert answer.code == "idempotency-conflict"


def test_a_second_execution_of_the_same_request_is_refused(robo: AgentUnderTest) -> None:
    attempt = new_attempt()
    robo.read(key="once", attempt=attempt)
    assert robo.read(key="once", attempt=attempt).json["state"] == "REDEEMED"
    answer = robo.read(key="once", attempt=new_attempt())
    assert answer.status == 409
    assert answer.code == "already-redeemed"


def test_a_signed_request_counts_once(robo: AgentUnderTest) -> None:
    raw, committed = robo.submit_body("read_file", {"path": "/project/src/a.py"}, "once")
    path = f"{PREFIX}/actions"
    headers = robo.headers("POST", path, raw, idempotency_key="once", committed=committed)
    assert robo.send("POST", path, headers, raw).status == 200
    again = robo.send("POST", path, headers, raw)
    assert again.status == 401
    assert again.code == "replayed"
    assert Nonce.objects.count() == 1
    [(_, key, codes)] = rejections.take_finished(utc_now() + timedelta(minutes=1))
    assert (key, codes) == (robo.key.thumbprint, {"replayed": 1})


def test_at_most_twenty_requests_of_a_key_wait(robo: AgentUnderTest) -> None:
    for number in range(20):
        assert robo.delete(f"/project/src/{number}.py").status == 202
    answer = robo.delete("/project/src/21.py")
    assert answer.status == 429
    assert answer.code == "too-many-pending"
    assert "receipt" not in answer.json
    assert robo.read().status == 200


def test_money_is_reserved_when_asked_and_refused_beyond_the_limit(robo: AgentUnderTest) -> None:
    assert robo.pay("100.00").status == 202
    assert Delegation.objects.get().reserved == 100_000_000
    answer = robo.pay("50.01")
    assert answer.code == "over-budget"
    assert answer.json["state"] == "REFUSED"
    assert Delegation.objects.get().reserved == 100_000_000


def test_the_signed_commitments_must_be_those_of_the_body(robo: AgentUnderTest) -> None:
    raw, _ = robo.submit_body("read_file", {"path": "/project/src/a.py"}, "once")
    _, others = robo.submit_body("read_file", {"path": "/project/src/b.py"}, "once")
    path = f"{PREFIX}/actions"
    headers = robo.headers("POST", path, raw, idempotency_key="once", committed=others)
    answer = robo.send("POST", path, headers, raw)
    assert answer.status == 422
    assert answer.code == "malformed"
    assert not ActionRequest.objects.exists()


def test_parameters_that_do_not_fit_the_tool_are_no_decision(robo: AgentUnderTest) -> None:
    answer = robo.submit("read_file", {"path": 7})
    assert answer.status == 422
    assert answer.code == "schema"
    assert not ActionRequest.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        b'{"delegation":1,"delegation":2}',
        b"[]",
        b"{",
        b'{"surprise":true}',
        b'{"parameters":NaN}',
        b"\xff",
    ],
)
def test_what_cannot_be_read_is_422_and_no_decision(robo: AgentUnderTest, body: bytes) -> None:
    path = f"{PREFIX}/actions"
    headers = robo.headers("POST", path, body, committed="sha256:" + "0" * 64)
    answer = robo.send("POST", path, headers, body)
    assert answer.status == 422
    assert answer.code == "malformed"
    assert answer.json["hint"]


def test_money_as_a_number_is_refused(robo: AgentUnderTest) -> None:
    answer = robo.read(cost={"amount": 1.5, "unit": "USD"})
    assert answer.status == 422


@pytest.mark.parametrize("late", [-3600, 3600])
def test_a_clock_that_is_off_is_told_so_with_the_time(robo: AgentUnderTest, late: int) -> None:
    path = f"{PREFIX}/me"
    answer = robo.send("GET", path, robo.headers("GET", path, None, created=int(time.time()) + late), b"")
    assert answer.status == 401
    assert answer.code == "clock-skew"
    assert answer.json["now"].endswith("Z")


def test_a_changed_body_is_seen_before_it_is_parsed(robo: AgentUnderTest) -> None:
    raw, committed = robo.submit_body("read_file", {"path": "/project/src/a.py"}, "once")
    path = f"{PREFIX}/actions"
    headers = robo.headers("POST", path, raw, idempotency_key="once", committed=committed)
    answer = robo.send("POST", path, headers, raw.replace(b"a.py", b"b.py"))
    assert answer.status == 401
    assert answer.code == "digest"


def test_a_request_signed_for_another_address_is_refused(robo: AgentUnderTest) -> None:
    path = f"{PREFIX}/me"
    answer = robo.send("GET", path, robo.headers("GET", path, None, origin="http://elsewhere"), b"")
    assert answer.status == 401
    assert answer.code == "signature"


def test_an_unknown_key_leaves_no_entry_but_a_summary(robo: AgentUnderTest) -> None:
    from approvals import clock
    from imprimatur.formats.keys import KeyPair

    before = Entry.objects.count()
    stranger = AgentUnderTest(robo.send, KeyPair.generate(), robo.delegation)
    for _ in range(3):
        answer = stranger.read()
        assert (answer.status, answer.code) == (401, "key-unknown")
    assert Entry.objects.count() == before
    clock.sum_up(utc_now() + timedelta(minutes=1))
    entries = Entry.objects.filter(kind="door.rejected")
    bodies = [canonical.loads(dsse.open_envelope(bytes(entry.envelope)).payload)["body"] for entry in entries]
    assert {name for body in bodies for name in body["codes"]} == {"key-unknown"}
    assert sum(body["codes"]["key-unknown"] for body in bodies) == 3
    # One for each minute: there are two when a minute ends just now.
    assert Entry.objects.count() == before + len(bodies) <= before + 2
    assert {entry.actor_type for entry in entries} == {"system"}


def test_an_oversized_body_is_turned_away(robo: AgentUnderTest) -> None:
    raw = b'{"x":"' + b"a" * 1_000_100 + b'"}'
    path = f"{PREFIX}/actions"
    answer = robo.send("POST", path, robo.headers("POST", path, raw, committed="sha256:" + "0" * 64), raw)
    assert answer.status == 413


def test_while_the_log_is_frozen_nothing_is_decided(robo: AgentUnderTest) -> None:
    from audit.models import LogHead

    LogHead.objects.update(state=LogHead.FROZEN, frozen_reason="a test")
    answer = robo.read()
    assert answer.status == 503
    assert answer.code == "log-frozen"
    assert not ActionRequest.objects.exists()
    LogHead.objects.update(state=LogHead.OPEN)
