"""Every no, from whatever cause, is an ActionBlocked, and nothing runs."""

from __future__ import annotations

import pickle

import httpx2
import pytest

import imprimatur as ip
from tests.client.conftest import Make

REFUSALS = {
    "out-of-scope": ip.ScopeError,
    "constraint": ip.ScopeError,
    "resource-mismatch": ip.ScopeError,
    "policy-denied": ip.PolicyDenied,
    "policy-error": ip.PolicyDenied,
    "over-budget": ip.BudgetExceeded,
    "delegation-expired": ip.DelegationExpired,
    "delegation-revoked": ip.DelegationRevoked,
    "depth": ip.DepthExceeded,
    "suspended": ip.Suspended,
    "paused": ip.Paused,
    "a-code-of-the-future": ip.ActionBlocked,
}


@pytest.mark.parametrize(("code", "kind"), REFUSALS.items())
def test_a_refusal_raises_the_class_of_its_code(make: Make, code: str, kind: type[ip.ActionBlocked]) -> None:
    held = make({"tool": code})
    with pytest.raises(ip.ActionBlocked) as caught:
        held.govern()("x")
    assert type(caught.value) is kind
    assert isinstance(caught.value, PermissionError)
    assert caught.value.code == code
    assert caught.value.action_id == held.gate.asked[0].id
    assert caught.value.receipt is not None
    assert caught.value.hint
    assert held.ran == []


PROBLEMS = {
    (401, "key-unknown"): ip.NotRecognised,
    (401, "signature"): ip.NotRecognised,
    (409, "already-redeemed"): ip.AlreadyRedeemed,
    (409, "idempotency-conflict"): ip.ActionConflict,
    (413, "too-large"): ip.RequestInvalid,
    (422, "schema"): ip.RequestInvalid,
    (422, "malformed"): ip.RequestInvalid,
    (429, "too-many-pending"): ip.TooManyRequests,
    (503, "log-frozen"): ip.ControlPlaneUnavailable,
    (403, "not-executor"): ip.NotExecutor,
}


@pytest.mark.parametrize(("problem", "kind"), PROBLEMS.items())
def test_a_problem_without_a_decision_blocks_too(
    make: Make, problem: tuple[int, str], kind: type[ip.ActionBlocked]
) -> None:
    held = make({"tool": "allow"})
    status, code = problem
    held.road.instead = lambda request, number: httpx2.Response(status, json={"code": code, "detail": "no"})
    with pytest.raises(kind) as caught:
        held.govern()("x")
    assert caught.value.receipt is None
    assert held.ran == []


def test_a_reviewer_s_no_comes_with_name_and_note(make: Make) -> None:
    held = make({"tool": "deny"})
    held.gate.door.note = "not before the backup"
    with pytest.raises(ip.ApprovalDenied) as caught:
        held.govern()("x")
    assert (caught.value.decided_by, caught.value.note) == ("Rui", "not before the backup")
    assert held.ran == []


def test_a_yes_after_a_wait_runs_once_and_is_reported(make: Make) -> None:
    held = make({"tool": "approve"})
    assert held.govern()("x") == "did x"
    assert held.road.steps() == ["actions", "wait", "redeem", "outcome"]
    assert held.states == [["PENDING", "APPROVED", "REDEEMED", "SUCCEEDED"]]
    assert len(held.ran) == 1


def test_a_yes_at_once_needs_no_second_call_before_running(make: Make) -> None:
    held = make({"tool": "allow"})
    assert held.govern()("x") == "did x"
    assert held.road.steps() == ["actions", "outcome"]
    assert held.states == [["APPROVED", "REDEEMED", "SUCCEEDED"]]


@pytest.mark.parametrize("wait", [None, 120.0])
def test_invariant_2_silence_is_a_no_and_the_request_does_not_stay(make: Make, wait: float | None) -> None:
    held = make({"tool": "pending"})
    with pytest.raises(ip.ApprovalTimeout):
        held.govern(wait=wait)("x")
    assert held.states[0][-1] in ("EXPIRED", "CANCELLED")
    assert held.ran == []


def test_with_no_patience_the_request_stays_and_can_be_come_back_to(make: Make) -> None:
    held = make({"tool": "pending"}, run="night-7")
    with pytest.raises(ip.ApprovalPending) as caught:
        held.govern(wait=0, call="one")("x")
    held.gate.door.asked[caught.value.action_id].code = "approve"
    assert held.govern(wait=60, call="one")("x") == "did x"
    assert len(held.gate.asked) == 1


def test_a_refusal_can_be_a_value_that_is_false_and_says_why(make: Make) -> None:
    held = make({"tool": "deny"})
    answer = held.govern(on_denied="return")("x")
    assert isinstance(answer, ip.ToolRefusal)
    assert not answer
    assert "Rui" in str(answer)
    assert "not today" in str(answer)
    assert held.ran == []


STRANGE = [
    {"verdict": "maybe", "state": "APPROVED"},
    {"verdict": "allow", "state": "PENDING"},
    {"verdict": "allow", "state": "SUCCEEDED"},
    {"verdict": "allow"},
    {"state": "REDEEMED"},
    {"verdict": True, "state": "REDEEMED"},
]


@pytest.mark.parametrize("strange", STRANGE)
def test_invariant_2_an_answer_that_cannot_be_understood_is_a_no(make: Make, strange: dict[str, object]) -> None:
    held = make({"tool": "allow"})

    def spoil(document: dict[str, object]) -> None:
        document.pop("verdict")
        document.pop("state")
        document.update(strange)

    held.road.change = {"actions": spoil}
    with pytest.raises(ip.ActionBlocked):
        held.govern()("x")
    assert held.ran == []


@pytest.mark.parametrize("body", [b"", b"<html>it works</html>", b"[]", b'{"verdict":"allow","verdict":"allow"}'])
def test_invariant_2_a_page_that_is_no_answer_is_a_no(make: Make, body: bytes) -> None:
    held = make({"tool": "allow"})
    held.road.instead = lambda request, number: httpx2.Response(200, content=body)
    with pytest.raises(ip.ControlPlaneUnavailable):
        held.govern()("x")
    assert held.ran == []


def test_a_redirect_is_not_followed(make: Make) -> None:
    held = make({"tool": "allow"})
    held.road.instead = lambda request, number: httpx2.Response(307, headers={"location": "http://elsewhere.example/"})
    with pytest.raises(ip.ActionBlocked):
        held.govern()("x")
    assert {request.url.host for request in held.road.sent} == {"imprimatur.localhost"}


def test_a_refusal_survives_pickling(make: Make) -> None:
    held = make({"tool": "deny"})
    with pytest.raises(ip.ApprovalDenied) as caught:
        held.govern()("x")
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is ip.ApprovalDenied
    assert (str(again), again.code, again.note) == (str(caught.value), caught.value.code, caught.value.note)
