"""The demo's ledger: a service that books only what its receipt allows, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from examples.demo.ledger import Ledger, Refused
from imprimatur.client.base import Execution
from imprimatur.formats import commitments
from imprimatur.formats.encoding import b64u
from imprimatur.testing import FakeGate

PAYMENT = {"payee": "vendor/brightbulb", "amount": "4.50", "currency": "USD", "reference": "Invoice 7"}


def presented(act: Execution, payment: dict[str, str]) -> dict[str, Any]:
    wish = act.decision.wish
    return {
        "payment": dict(payment),
        "openings": {name: b64u(commitments.commit(wish.salt, name, value)[1].key) for name, value in payment.items()},
        "attempt": wish.attempt,
        "receipt": dict(act.receipt),
    }


@pytest.fixture
def bank(tmp_path: Path) -> tuple[Ledger, Any]:
    gate = FakeGate({"make_payment": "approve", "send_email": "approve"})
    return Ledger(tmp_path / "ledger.json", gate.config.trust), gate


def test_a_payment_with_its_receipt_is_booked_once(bank: tuple[Ledger, Any]) -> None:
    ledger, gate = bank
    with gate.action("make_payment", PAYMENT, cost={"amount": "4.50", "unit": "USD"}) as act:
        ledger.pay(presented(act, PAYMENT))
        with pytest.raises(Refused, match="already"):
            ledger.pay(presented(act, PAYMENT))
    assert [one["amount"] for one in ledger.bookings] == ["4.50"]


@pytest.mark.parametrize("defect", ["amount", "payee", "no receipt", "attempt", "tool", "field left out", "cost"])
def test_invariant_1_a_payment_its_receipt_does_not_allow_is_not_booked(bank: tuple[Ledger, Any], defect: str) -> None:
    ledger, gate = bank
    tool = "send_email" if defect == "tool" else "make_payment"
    cost = {"amount": "9.00" if defect == "cost" else "4.50", "unit": "USD"}
    with gate.action(tool, PAYMENT, cost=cost) as act:
        asked = presented(act, PAYMENT)
        if defect == "amount":
            asked["payment"]["amount"] = "4000.50"
        elif defect == "payee":
            asked["payment"]["payee"] = "vendor/mallory"
        elif defect == "no receipt":
            asked.pop("receipt")
        elif defect == "attempt":
            asked["attempt"] = "A" * 22
        elif defect == "field left out":
            asked["payment"].pop("reference")
        with pytest.raises(Refused):
            ledger.pay(asked)
    assert ledger.bookings == []
