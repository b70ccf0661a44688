"""Effects, cost, size and target come from the parameters alone; what an agent claims is only compared."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.rules import effects, scope
from imprimatur.rules.tools import DEFAULT_TOOLS

WRITE, MAIL, PAY, CODE, HTTP = (
    DEFAULT_TOOLS[name] for name in ("write_file", "send_email", "make_payment", "execute_code", "http_request")
)
PAYMENT = {"payee": "Nordhav Supplies", "amount": "4200", "currency": "USD", "reference": "INV-7"}


@pytest.mark.parametrize(
    ("document", "parameters", "found", "target"),
    [
        (WRITE, {"path": "/p/a", "content": "x"}, [("file:write", "/p/a")], "/p/a"),
        (
            MAIL,
            {"to": ["a@x.com", "b@x.com", "a@x.com"], "subject": "", "body": ""},
            [("email:send", "a@x.com"), ("email:send", "b@x.com")],
            "a@x.com, b@x.com, a@x.com",
        ),
        (PAY, PAYMENT, [("payment:send", "Nordhav Supplies")], "Nordhav Supplies"),
        (CODE, {"code": "1"}, [("code:execute", "/project")], "/project"),
        (CODE, {"code": "1", "cwd": "/other"}, [("code:execute", "/other")], "/other"),
        (
            HTTP,
            {"method": "GET", "url": "https://API.example.com/v1?q=1"},
            [("network:http", "api.example.com/v1")],
            "https://API.example.com/v1?q=1",
        ),
    ],
)
def test_effects_follow_from_the_templates(
    document: dict[str, Any], parameters: dict[str, Any], found: list[tuple[str, str]], target: str
) -> None:
    derived = effects.derive(document, parameters)
    assert [(effect["action"], effect["resource"]) for effect in derived.effects] == found
    assert derived.target == target


def test_a_template_joins_its_parts_and_nothing_more() -> None:
    document = copy.deepcopy(WRITE)
    document["effects"] = [{"action": "file:write", "resource": "/base{path}.{content}"}]
    derived = effects.derive(document, {"path": "/{content}", "content": "txt"})
    assert derived.effects == [{"action": "file:write", "resource": "/base/{content}.txt"}]


def test_size_is_counted_in_bytes_and_cost_in_millionths() -> None:
    assert effects.derive(WRITE, {"path": "/a", "content": "é€"}).size == 5
    paid = effects.derive(PAY, PAYMENT)
    assert paid.cost == ("4200.00", "USD")
    assert paid.cost_micro == 4_200_000_000
    assert effects.derive(WRITE, {"path": "/a", "content": ""}).cost is None


@pytest.mark.parametrize(
    ("document", "parameters"),
    [
        (WRITE, {"content": "x"}),
        (WRITE, {"path": "/a"}),
        (WRITE, {"path": "", "content": "x"}),
        (WRITE, {"path": None, "content": "x"}),
        (WRITE, {"path": {"a": 1}, "content": "x"}),
        (WRITE, {"path": 7, "content": "x"}),
        (WRITE, {"path": "/a", "content": ["x"]}),
        (WRITE, {"path": "/a", "content": "\ud800"}),
        (WRITE, {"path": "/a/../b", "content": "x"}),
        (WRITE, {"path": "/a\u0000", "content": "x"}),
        (WRITE, {"path": "a", "content": "x"}),
        (MAIL, {"to": [], "subject": "", "body": ""}),
        (MAIL, {"to": ["a@x.com", 3], "subject": "", "body": ""}),
        (MAIL, {"to": [f"p{n}@x.com" for n in range(300)], "subject": "", "body": ""}),
        (MAIL, {"to": ["not an address"], "subject": "", "body": ""}),
        (HTTP, {"method": "GET", "url": "https://bank.example@evil.example/"}),
        (PAY, {**PAYMENT, "amount": "-5"}),
        (PAY, {**PAYMENT, "amount": "1e3"}),
        (PAY, {**PAYMENT, "amount": 5}),
        (PAY, {**PAYMENT, "amount": ["1", "2"]}),
        (PAY, {**PAYMENT, "currency": "$"}),
    ],
)
def test_what_cannot_be_derived_is_an_error_and_never_a_guess(
    document: dict[str, Any], parameters: dict[str, Any]
) -> None:
    with pytest.raises(effects.DeriveError):
        effects.derive(document, parameters)


@pytest.mark.parametrize(
    ("flag", "destructive"),
    [({}, False), ({"destructive": False}, False), ({"destructive": True}, True), ({"destructive": 0}, True)],
)
def test_a_destructive_flag_counts_unless_it_is_plainly_false(flag: dict[str, Any], destructive: bool) -> None:
    assert effects.derive(WRITE, {"path": "/a", "content": "", **flag}).destructive is destructive


EFFECT = {"action": "file:write", "resource": "/p/a"}


@pytest.mark.parametrize(
    ("claimed_effects", "claimed_cost", "same"),
    [
        (None, None, True),
        ([EFFECT], None, True),
        ([EFFECT, EFFECT], {"amount": "0.00", "unit": "USD"}, True),
        ([], None, False),
        ([{"action": "file:read", "resource": "/p/a"}], None, False),
        ([{"action": "file:write", "resource": "/p"}], None, False),
        ([EFFECT, {"action": "file:read", "resource": "/x"}], None, False),
        ([{"action": "file:write", "resource": "/p/../p/a"}], None, False),
        ([{"resource": "/p/a"}], None, False),
        (None, {"amount": "1.00", "unit": "USD"}, False),
        (None, {"amount": "free"}, False),
    ],
)
def test_invariant_8_claims_are_only_compared(claimed_effects: Any, claimed_cost: Any, same: bool) -> None:
    derived = effects.derive(WRITE, {"path": "/p/a", "content": "x"})
    answer = effects.compare_claims(derived, claimed_effects, claimed_cost)
    assert (answer is None) is same


def test_invariant_8_a_claimed_cost_must_be_the_derived_one_in_the_same_unit() -> None:
    derived = effects.derive(PAY, PAYMENT)
    assert effects.compare_claims(derived, None, {"amount": "4200.00", "unit": "USD"}) is None
    assert effects.compare_claims(derived, None, {"amount": "4200.00", "unit": "JPY"})
    assert effects.compare_claims(derived, None, {"amount": "0.00", "unit": "USD"})


@given(
    st.dictionaries(
        st.sampled_from(["path", "content", "destructive"]), st.text() | st.booleans() | st.lists(st.text()) | st.none()
    )
)
def test_invariant_8_any_parameters_give_effects_in_normal_form_or_an_error(parameters: dict[str, Any]) -> None:
    try:
        derived = effects.derive(WRITE, parameters)
    except effects.DeriveError:
        return
    assert derived.effects
    for effect in derived.effects:
        assert scope.normalise(effect["action"], effect["resource"]) == effect["resource"]
    # Adding a claim-like parameter of another name changes nothing.
    assert effects.derive(WRITE, {**parameters, "effects": [], "cost": "0.00"}).effects == derived.effects
