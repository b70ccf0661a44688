"""The ledger of one delegation's money, in millionths of its unit. Pure: every step returns a new account.

Invariant: `reserved + spent` never grows past `limit` by anything this ledger admits. Only a reported overrun, which
has already happened outside, may lift `spent` above the limit; it is recorded, and nothing more is admitted until a
person corrects it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from imprimatur.rules.money import MAX_MICRO


class OverBudget(ValueError):
    """The money is not there. Nothing was reserved."""


class LedgerError(ValueError):
    """A step that does not fit what was reserved or spent before: a fault of the caller, never of the agent."""


@dataclass(frozen=True, slots=True)
class Account:
    """What one delegation may spend and has spent. `per_action` None constrains nothing by this delegation."""

    limit: int
    per_action: int | None = None
    reserved: int = 0
    spent: int = 0

    def __post_init__(self) -> None:
        for amount in (self.limit, self.reserved, self.spent):
            _check(amount)
        if self.per_action is not None:
            _check(self.per_action)

    @property
    def left(self) -> int:
        """What can still be reserved; 0 after an overrun."""
        return max(0, self.limit - self.reserved - self.spent)

    def reserve(self, amount: int) -> Account:
        """Set the amount aside for one request.

        Raises:
            OverBudget: when it exceeds what one action may cost, or what is left.
        """
        _check(amount)
        if self.per_action is not None and amount > self.per_action:
            raise OverBudget("This costs more than one action may cost under the delegation.")
        if amount > self.left:
            raise OverBudget("This costs more than the delegation has left.")
        return replace(self, reserved=self.reserved + amount)

    def release(self, amount: int) -> Account:
        """Give a reservation back, for a request that ended before it was redeemed.

        Raises:
            LedgerError: when less than that is reserved.
        """
        _check(amount)
        if amount > self.reserved:
            raise LedgerError("More is released than was reserved.")
        return replace(self, reserved=self.reserved - amount)

    def spend(self, amount: int) -> Account:
        """Turn a reservation into money spent, at redeem.

        Raises:
            LedgerError: when less than that is reserved.
        """
        return replace(self.release(amount), spent=settled(self.spent, 0, amount))

    def settle(self, reserved: int, actual: int) -> Account:
        """Replace what one redeemed action had set aside (`reserved`, now spent) by what it really cost.

        Less gives the difference back. More is recorded in full, past the limit if need be, so that it blocks what
        follows. Whether an outcome may settle at all is the registry's word (`settle: reported`).

        Raises:
            LedgerError: when less than `reserved` has been spent.
        """
        _check(reserved)
        _check(actual)
        if reserved > self.spent:
            raise LedgerError("More is settled than was spent.")
        return replace(self, spent=settled(self.spent, reserved, actual))


def settled(spent: int, reserved: int, actual: int) -> int:
    """What counts as spent once an action that had set aside `reserved` is reported to have cost `actual`.

    A person may have given back some of it before. The sum stops at the largest amount there is, which is above every
    limit: whatever is reported, it can be written down, and blocks what follows.
    """
    return min(MAX_MICRO, max(0, spent - reserved) + actual)


def reserve_all(accounts: Sequence[Account], amount: int) -> list[Account]:
    """Reserve the amount at a delegation and every one of its ancestors, or nowhere.

    Raises:
        OverBudget: when any of them refuses.
        LedgerError: when there is no account, because money needs a delegation that carries some.
    """
    if not accounts:
        raise LedgerError("There is no account to reserve at.")
    return [account.reserve(amount) for account in accounts]


def _check(amount: int) -> None:
    if isinstance(amount, bool) or not isinstance(amount, int) or amount < 0:
        raise LedgerError("Amounts are whole numbers of millionths, never below zero.")
