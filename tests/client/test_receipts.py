"""A yes counts only with a receipt that proves it. Each defect alone stops the action."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import imprimatur as ip
from imprimatur.formats import binding, canonical, dsse, entries
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from tests.client.conftest import Gate, Make

Edit = Callable[[dict[str, Any], Gate], None]


def reseal(held: Gate, envelope: str, edit: Callable[[dict[str, Any]], None], key: KeyPair | None = None) -> str:
    """The envelope after an edit, properly signed again: only the content can give it away."""
    entry = entries.parse(dsse.open_envelope(envelope.encode()).payload)
    edit(entry)
    signer = key or held.gate.door.decision_key
    payload = canonical.dumps(entry)
    return dsse.seal(payload, signer.sign, signer.keyid).decode()


def body_edit(**changes: Any) -> Edit:
    def edit(receipt: dict[str, Any], held: Gate) -> None:
        receipt["envelope"] = reseal(held, receipt["envelope"], lambda entry: entry["body"].update(changes))

    return edit


def bound_edit(change: Callable[[dict[str, Any]], None]) -> Edit:
    def in_entry(entry: dict[str, Any]) -> None:
        change(entry["body"]["binding"])
        entry["body"]["action_digest"] = binding.action_digest(entry["body"]["binding"])

    return lambda receipt, held: receipt.update(envelope=reseal(held, receipt["envelope"], in_entry))


def other_key(receipt: dict[str, Any], held: Gate) -> None:
    receipt["envelope"] = reseal(held, receipt["envelope"], lambda entry: None, KeyPair.generate())


def other_subject(receipt: dict[str, Any], held: Gate) -> None:
    receipt["envelope"] = reseal(
        held, receipt["envelope"], lambda entry: entry.update(subject="act_01m7vzr4mecxrdqmb9a32t36ag")
    )


def other_realm(receipt: dict[str, Any], held: Gate) -> None:
    receipt["envelope"] = reseal(held, receipt["envelope"], lambda entry: entry.update(realm="other.example"))


def flip(receipt: dict[str, Any], held: Gate) -> None:
    envelope = json.loads(receipt["envelope"])
    text = envelope["signatures"][0]["sig"]
    envelope["signatures"][0]["sig"] = ("B" if text[0] == "A" else "A") + text[1:]
    receipt["envelope"] = canonical.dumps(envelope).decode()


def past(held: Gate, seconds: int) -> str:
    return format_time(held.gate.time.now() - timedelta(seconds=seconds))


PAST = "2020-01-01T00:00:00.000Z"
OTHER = "c:" + "A" * 43
OTHER_DIGEST = "sha256:" + "0" * 64

DEFECTS: dict[str, tuple[Edit, str]] = {
    "a key that is not pinned": (other_key, "receipt-decision-key"),
    "a signature with one byte changed": (flip, "receipt-decision-key"),
    "another realm": (other_realm, "receipt-malformed"),
    "another request": (other_subject, "receipt-decision"),
    "another index": (lambda receipt, held: receipt.update(index=receipt["index"] + 1), "receipt-malformed"),
    "no envelope": (lambda receipt, held: receipt.pop("envelope"), "receipt-malformed"),
    "an unknown member": (lambda receipt, held: receipt.update(trusted=True), "receipt-malformed"),
    "another tool": (bound_edit(lambda b: b["tool"].update(name="other")), "receipt-tool"),
    "another delegation": (bound_edit(lambda b: b.update(delegation=OTHER_DIGEST)), "receipt-delegation"),
    "another agent": (bound_edit(lambda b: b.update(agent="ag_" + "a" * 32)), "receipt-agent"),
    "another parameter": (bound_edit(lambda b: b["parameters"].update(value=OTHER)), "receipt-parameters"),
    "one parameter more": (bound_edit(lambda b: b["parameters"].update(more=OTHER)), "receipt-parameters"),
    "one parameter less": (bound_edit(lambda b: b["parameters"].pop("extra")), "receipt-parameters"),
    "another context": (bound_edit(lambda b: b["context"].update(call="other")), "receipt-context"),
    "the attempt of another execution": (body_edit(attempt=OTHER_DIGEST), "receipt-not-redeemed"),
    "no time left to redeem": (body_edit(not_after=PAST), "approval-expired"),
    "no time left to start": (body_edit(execute_by=PAST), "approval-expired"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_invariant_1_a_receipt_with_a_defect_runs_nothing(make: Make, defect: str) -> None:
    edit, code = DEFECTS[defect]
    held = make({"tool": "allow"})
    held.road.change = {"actions": lambda document: edit(document["receipt"], held)}
    with pytest.raises(ip.ActionBlocked) as caught:
        held.govern()("x")
    assert caught.value.code == code or (code == "receipt-malformed" and caught.value.code == "receipt-realm")
    assert held.ran == []


@pytest.mark.parametrize("step", ["actions", "redeem"])
def test_invariant_1_a_yes_without_a_receipt_runs_nothing(make: Make, step: str) -> None:
    held = make({"tool": "allow" if step == "actions" else "approve"})
    held.road.change = {step: lambda document: document.pop("receipt")}
    with pytest.raises(ip.ReceiptError) as caught:
        held.govern()("x")
    assert caught.value.code == "receipt-missing"
    assert held.ran == []


def test_invariant_1_a_claim_for_another_attempt_runs_nothing(make: Make) -> None:
    held = make({"tool": "approve"})

    def other_attempt(document: dict[str, Any]) -> None:
        receipt = document["receipt"]
        receipt["redeemed"] = reseal(held, receipt["redeemed"], lambda e: e["body"].update(attempt=OTHER_DIGEST))

    held.road.change = {"redeem": other_attempt}
    with pytest.raises(ip.ReceiptError, match="attempt"):
        held.govern()("x")
    assert held.ran == []


def test_invariant_1_a_yes_to_a_wait_without_the_votes_runs_nothing(make: Make) -> None:
    held = make({"tool": "approve"})
    held.road.change = {"wait": lambda document: document["receipt"].update(votes=[])}
    with pytest.raises(ip.ReceiptError):
        held.govern()("x")
    assert "redeem" not in held.road.steps()
    assert held.ran == []


def test_invariant_1_arguments_that_change_while_people_decide_run_nothing(make: Make) -> None:
    held = make({"tool": "approve"})
    argument = ["a"]
    held.road.change = {"wait": lambda document: argument.append("b")}
    with pytest.raises(ip.ArgumentsChanged):
        held.govern()(argument)
    assert held.states == [["PENDING", "APPROVED", "CANCELLED"]]
    assert held.ran == []


def test_a_person_can_be_required_whatever_the_policy_says(make: Make) -> None:
    held = make({"tool": "allow", "person": "approve"})
    with pytest.raises(ip.ReceiptError, match="nobody voted"):
        held.govern(require_human="H0")("x")
    with pytest.raises(ip.ReceiptError, match="assurance"):
        held.govern("person", require_human="H2")("x")
    assert held.ran == []
    assert held.govern("person", require_human="H0")("y") == "did y"


def test_a_receipt_s_cost_is_compared_when_the_tool_knows_it(make: Make) -> None:
    held = make({"tool": "allow"})
    cost = {"amount": "4.50", "unit": "USD"}
    assert held.govern(cost=cost)("x") == "did x"
    held.road.change = {
        "actions": lambda document: bound_edit(lambda b: b["cost"].update(amount="9.00"))(document["receipt"], held)
    }
    with pytest.raises(ip.ReceiptError, match="cost"):
        held.govern(cost=cost)("y")
    assert len(held.ran) == 1


def test_one_person_for_two_is_accepted_only_by_those_who_say_so(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMPRIMATUR_SINGLE_HUMAN", raising=False)
    assert make().gate.config.single_human is False
    assert make(single_human=True).gate.config.single_human is True
    for value, accepted in (("yes", True), ("no", False), ("1", False), ("", False)):
        monkeypatch.setenv("IMPRIMATUR_SINGLE_HUMAN", value)
        assert make().gate.config.single_human is accepted
        assert make(single_human=False).gate.config.single_human is False


def test_invariant_3_a_yes_to_what_is_high_without_anybody_s_vote_runs_nothing(make: Make) -> None:
    held = make({"tool": "allow"})
    for risk in ("HIGH", "CRITICAL"):
        held.road.change = {
            "actions": lambda document, risk=risk: body_edit(risk=risk)(document["receipt"], held),
        }
        with pytest.raises(ip.ReceiptError, match=f"a {risk} action takes") as caught:
            held.govern()("x")
        assert caught.value.code == "receipt-votes"
    assert held.ran == []
