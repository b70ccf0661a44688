from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from imprimatur.rules.spend import Account, LedgerError, OverBudget, reserve_all

AMOUNTS = st.integers(0, 12)


def test_money_is_reserved_spent_and_settled() -> None:
    account = Account(100, 60).reserve(50)
    assert (account.reserved, account.spent, account.left) == (50, 0, 50)
    account = account.spend(50)
    assert (account.reserved, account.spent, account.left) == (0, 50, 50)
    account = account.settle(50, 20)
    assert (account.reserved, account.spent, account.left) == (0, 20, 80)


def test_one_action_may_not_cost_more_than_its_share() -> None:
    with pytest.raises(OverBudget, match="one action"):
        Account(100, 60).reserve(61)
    assert Account(100).reserve(100).left == 0


def test_what_is_reserved_is_not_there_for_another() -> None:
    account = Account(100).reserve(60)
    with pytest.raises(OverBudget, match="left"):
        account.reserve(41)
    assert account.release(60).reserve(41).left == 59


def test_absent_spend_is_zero_and_lets_free_actions_pass() -> None:
    with pytest.raises(OverBudget):
        Account(0).reserve(1)
    assert Account(0).reserve(0) == Account(0)


def test_an_overrun_is_recorded_in_full_and_blocks() -> None:
    account = Account(100).reserve(90).spend(90).settle(90, 130)
    assert (account.spent, account.left) == (130, 0)
    with pytest.raises(OverBudget):
        account.reserve(1)


@pytest.mark.parametrize("step", ["release", "spend", "settle"])
def test_nothing_moves_that_was_not_there(step: str) -> None:
    account = Account(100).reserve(10)
    with pytest.raises(LedgerError):
        account.settle(11, 0) if step == "settle" else getattr(account, step)(11)


@pytest.mark.parametrize("amount", [-1, 1.5, True, "1", None])
def test_amounts_are_whole_and_not_below_zero(amount: object) -> None:
    for step in (lambda: Account(100).reserve(amount), lambda: Account(amount), lambda: Account(9).settle(0, amount)):  # type: ignore[arg-type]  # what untyped callers may pass
        with pytest.raises(LedgerError):
            step()


def test_a_reservation_is_made_at_every_ancestor_or_nowhere() -> None:
    root, leaf = Account(10), Account(100)
    with pytest.raises(OverBudget):
        reserve_all([leaf, root], 11)
    assert [account.reserved for account in reserve_all([leaf, root], 10)] == [10, 10]
    with pytest.raises(LedgerError):
        reserve_all([], 0)


class Ledgers(RuleBasedStateMachine):
    """A tree of delegations with requests at any of them, stepped in any order."""

    reservations: Bundle[tuple[int, int]] = Bundle("reservations")
    expenses: Bundle[tuple[int, int]] = Bundle("expenses")

    @initialize(limits=st.lists(st.tuples(st.integers(0, 30), st.none() | AMOUNTS), min_size=5, max_size=5))
    def start(self, limits: list[tuple[int, int | None]]) -> None:
        self.parents = [None, 0, 0, 1, 1]
        self.accounts = [Account(limit, share) for limit, share in limits]

    def _line(self, node: int | None) -> list[int]:
        line = []
        while node is not None:
            line.append(node)
            node = self.parents[node]
        return line

    @rule(target=reservations, node=st.integers(0, 4), amount=AMOUNTS)
    def reserve(self, node: int, amount: int) -> object:
        line = self._line(node)
        on_line = [self.accounts[index] for index in line]
        fits = all(account.per_action is None or amount <= account.per_action for account in on_line) and all(
            amount <= account.limit - account.reserved - account.spent for account in on_line
        )
        before = list(self.accounts)
        try:
            after = reserve_all(on_line, amount)
        except OverBudget:
            assert not fits
            assert self.accounts == before
            return multiple()
        assert fits
        for index, account in zip(line, after, strict=True):
            self.accounts[index] = account
        return node, amount

    @rule(held=consumes(reservations))
    def release(self, held: tuple[int, int]) -> None:
        for index in self._line(held[0]):
            self.accounts[index] = self.accounts[index].release(held[1])

    @rule(target=expenses, held=consumes(reservations))
    def spend(self, held: tuple[int, int]) -> tuple[int, int]:
        for index in self._line(held[0]):
            self.accounts[index] = self.accounts[index].spend(held[1])
        return held

    @rule(spent=consumes(expenses), data=st.data())
    def settle(self, spent: tuple[int, int], data: st.DataObject) -> None:
        actual = data.draw(st.integers(0, spent[1]))
        for index in self._line(spent[0]):
            self.accounts[index] = self.accounts[index].settle(spent[1], actual)

    @invariant()
    def no_account_exceeds_its_limit(self) -> None:
        for account in getattr(self, "accounts", []):
            assert account.reserved >= 0 and account.spent >= 0
            assert account.reserved + account.spent <= account.limit


def test_invariant_5_spend_never_exceeds_any_ancestor_in_any_interleaving() -> None:
    run_state_machine_as_test(Ledgers)


@given(st.integers(0, 50), st.lists(st.tuples(AMOUNTS, st.integers(0, 40))))
def test_invariant_5_after_an_overrun_nothing_more_is_admitted(limit: int, actions: list[tuple[int, int]]) -> None:
    account = Account(limit)
    for amount, actual in actions:
        try:
            reserved = account.reserve(amount)
        except OverBudget:
            assert account.reserved + account.spent + amount > limit
            continue
        assert amount == 0 or reserved.reserved + reserved.spent <= limit
        account = reserved.spend(amount).settle(amount, actual)
