from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit import log
from governance import access, spend
from governance.actions import correct_spend
from governance.errors import Refused
from governance.models import Delegation, Reservation
from imprimatur.rules.spend import LedgerError

CENT = 10_000


def usd(limit: str, per_action: str | None = None) -> dict[str, str]:
    return {"unit": "USD", "limit": limit} | ({"per_action": per_action} if per_action else {})


@pytest.fixture
def tree(bare_cast) -> dict[str, Delegation]:
    """150 for robo; of it at most 100 for helper and 80 for third; 20 for a fourth below helper."""
    cast = bare_cast  # money without decisions is nothing a verifier could follow
    cast.agent("third")
    cast.agent("fourth")
    root = cast.delegate("ada", "robo", spend=usd("150.00", "120.00"))
    helper = cast.delegate("robo", "helper", root, spend=usd("100.00", "60.00"), max_depth=1)
    third = cast.delegate("robo", "third", root, spend=usd("80.00"), max_depth=0)
    fourth = cast.delegate("helper", "fourth", helper, spend=usd("20.00", "20.00"), max_depth=0)
    return {"root": root, "helper": helper, "third": third, "fourth": fourth}


def do(step: Any, *arguments: Any, **more: Any) -> Any:
    with log.writing() as writer:
        return step(writer, *arguments, **more)


def reserve(request: str, delegation: Delegation, cents: int, unit: str = "USD", **more: Any) -> None:
    do(spend.reserve, request, access.chain_of(delegation), cents * CENT, unit, **more)


def ledger(tree: dict[str, Delegation]) -> dict[str, tuple[int, int]]:
    rows = Delegation.objects.in_bulk([row.pk for row in tree.values()])
    return {name: (rows[row.pk].reserved // CENT, rows[row.pk].spent // CENT) for name, row in tree.items()}


def test_a_reservation_is_held_at_every_ancestor_then_spent_there(tree):
    reserve("act_1", tree["fourth"], 1500)
    assert ledger(tree) == {"root": (1500, 0), "helper": (1500, 0), "third": (0, 0), "fourth": (1500, 0)}
    do(spend.spend, "act_1")
    do(spend.spend, "act_1")
    assert ledger(tree) == {"root": (0, 1500), "helper": (0, 1500), "third": (0, 0), "fourth": (0, 1500)}
    do(spend.release, "act_1")
    assert ledger(tree)["root"] == (0, 1500)
    assert spend.left(tree["fourth"]) == 500 * CENT


def test_a_release_gives_everything_back_once(tree):
    reserve("act_1", tree["fourth"], 1500)
    do(spend.release, "act_1")
    do(spend.release, "act_1")
    do(spend.spend, "act_1")
    assert set(ledger(tree).values()) == {(0, 0)}


@pytest.mark.parametrize(
    ("held", "cents", "unit"),
    [
        ("fourth", 2001, "USD"),
        ("helper", 6001, "USD"),
        ("root", 12001, "USD"),
        ("third", 8001, "USD"),
        ("third", 1, "EUR"),
    ],
)
def test_what_any_link_does_not_carry_is_refused_and_leaves_no_trace(tree, refused, held, cents, unit):
    with refused("over-budget"):
        reserve("act_1", tree[held], cents, unit)
    assert set(ledger(tree).values()) == {(0, 0)}
    assert not Reservation.objects.exists()


def test_an_ancestor_that_others_used_up_refuses_too(tree, refused):
    reserve("act_1", tree["third"], 8000)
    reserve("act_2", tree["helper"], 6000)
    with refused("over-budget"):
        reserve("act_3", tree["fourth"], 1001)
    reserve("act_4", tree["fourth"], 1000)
    assert spend.left(tree["helper"]) == 0


def test_a_delegation_without_money_pays_nothing_and_asks_nothing_of_what_is_free(cast, refused):
    poor = cast.delegate("ada", "robo")
    reserve("act_1", poor, 0)
    with refused("over-budget"):
        reserve("act_2", poor, 1)
    assert not Reservation.objects.exists()


def test_a_request_reserves_once(tree):
    reserve("act_1", tree["third"], 100)
    with pytest.raises(LedgerError):
        reserve("act_1", tree["third"], 100)


def test_a_report_of_less_gives_back_and_one_of_more_is_recorded_and_blocks(tree, refused):
    reserve("act_1", tree["fourth"], 1500)
    do(spend.spend, "act_1")
    assert do(spend.settle, "act_1", 400 * CENT) is False
    assert ledger(tree)["helper"] == (0, 400)
    assert do(spend.settle, "act_1", 3000 * CENT) is True
    assert ledger(tree)["fourth"] == (0, 3000)
    assert spend.left(tree["fourth"]) == 0
    with refused("over-budget"):
        reserve("act_2", tree["fourth"], 1)


def test_only_an_admin_gives_money_back_and_never_more_than_was_spent(bare_cast, tree, refused, bodies):
    reserve("act_1", tree["fourth"], 1500)
    do(spend.spend, "act_1")

    def correct(amount: str, who: str = "ada", unit: str = "USD") -> None:
        command = correct_spend.Command(tree["fourth"].id, amount, unit, "refunded", bare_cast.people[who])
        log.commit(correct_spend.apply, command)

    for amount, who, unit, code in (
        ("5.00", "rui", "USD", "not-allowed"),
        ("15.01", "ada", "USD", "invalid"),
        ("5.00", "ada", "EUR", "invalid"),
        ("-5.00", "ada", "USD", "invalid"),
        ("0.00", "ada", "USD", "invalid"),
    ):
        with refused(code):
            correct(amount, who, unit)
    assert ledger(tree)["root"] == (0, 1500)
    correct("5.00")
    assert ledger(tree) == {"root": (0, 1000), "helper": (0, 1000), "third": (0, 0), "fourth": (0, 1000)}
    assert [body["delegation"] for body in bodies("spend.corrected")] == [
        tree[name].id for name in ("root", "helper", "fourth")
    ]


def test_a_key_holds_no_more_than_its_share_of_what_it_shares(tree, refused, settings):
    settings.KEY_SHARE = 50
    reserve("act_1", tree["third"], 7500, key="k" * 43)
    with refused("over-budget"):
        reserve("act_2", tree["third"], 1, key="k" * 43)
    reserve("act_3", tree["helper"], 1, key="j" * 43)
    do(spend.spend, "act_1")
    reserve("act_2", tree["third"], 1, key="k" * 43)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "reserve", "reserve", "spend", "release", "settle"]),
        st.sampled_from(["root", "helper", "third", "fourth"]),
        st.integers(0, 7),
        st.integers(0, 13_000),
    ),
    max_size=25,
)
PARENTS = {
    "root": ["root"],
    "helper": ["root", "helper"],
    "third": ["root", "third"],
    "fourth": ["root", "helper", "fourth"],
}
LIMITS = {"root": (15000, 12000), "helper": (10000, 6000), "third": (8000, 8000), "fourth": (2000, 2000)}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_invariant_5_no_interleaving_admits_more_than_any_ancestors_limit(tree, steps):
    """Against a ledger kept here in plain numbers: the same is admitted, and the sums agree to the last millionth."""
    point = transaction.savepoint()
    try:
        held: dict[int, tuple[str, int, str]] = {}
        for step, name, number, cents in steps:
            request = f"act_{number}"
            if step == "reserve":
                if number in held or cents == 0:
                    continue
                fits = all(
                    cents <= LIMITS[link][1]
                    and cents + sum(a for d, a, s in held.values() if link in PARENTS[d] and s != "released")
                    <= LIMITS[link][0]
                    for link in PARENTS[name]
                )
                try:
                    reserve(request, tree[name], cents)
                except Refused:
                    assert not fits
                else:
                    assert fits
                    held[number] = (name, cents, "reserved")
            elif step == "settle":
                if number in held and held[number][2] == "spent":
                    actual = min(cents, held[number][1])
                    do(spend.settle, request, actual * CENT)
                    held[number] = (held[number][0], actual, "spent")
            else:
                do(getattr(spend, step), request)
                if number in held and held[number][2] == "reserved":
                    held[number] = (*held[number][:2], "spent" if step == "spend" else "released")
            for link, (reserved, spent) in ledger(tree).items():
                mine = [(a, s) for d, a, s in held.values() if link in PARENTS[d]]
                assert reserved == sum(a for a, s in mine if s == "reserved")
                assert spent == sum(a for a, s in mine if s == "spent")
                assert reserved + spent <= LIMITS[link][0]
        total = Reservation.objects.filter(state="reserved").aggregate(sum=Sum("amount"))["sum"] or 0
        assert total == sum(row.reserved for row in Delegation.objects.all())
    finally:
        transaction.savepoint_rollback(point)
