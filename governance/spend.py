"""Money, at a delegation and every one of its ancestors, in millionths of the unit.

Invariant 5: at no delegation does ``reserved + spent`` pass the limit by anything admitted here, in any interleaving.
The head of the log is locked before, so changes are one after the other; rows are taken in the order of their ids.
Only an overrun that a tool reports afterwards can lift ``spent`` above the limit; it is recorded, and blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from django.conf import settings
from django.db import connection
from django.db.models import F, Sum
from django.db.models.functions import Least

from audit.log import Writer
from governance.access import chain_of
from governance.errors import Refused
from governance.models import Delegation, Reservation
from governance.standing import document_of
from imprimatur.rules.money import MAX_MICRO, format_amount, parse_amount
from imprimatur.rules.spend import Account, LedgerError, OverBudget, settled


def account_of(row: Delegation) -> Account:
    """The ledger of one delegation, as its row and its signed document say."""
    spend = document_of(row).get("spend", {})
    per_action = parse_amount(spend["per_action"]) if "per_action" in spend else None
    return Account(limit=row.limit, per_action=per_action, reserved=row.reserved, spent=row.spent)


def reserve(
    writer: Writer, request_id: str, chain: Sequence[Delegation], amount_micro: int, unit: str, *, key: str = ""
) -> None:
    """Set the amount aside at every link of the chain, or nowhere. Nothing is written when it is refused.

    ``key`` is the thumbprint of the agent key that asks: with it, the key's share of what ancestors hold is kept.
    Raises Refused(over-budget): another unit, more than one action may cost, more than any link has left, or more
    than the key's share. Reserving twice for one request is the caller's fault (LedgerError).
    """
    if amount_micro == 0:
        return
    rows = _locked([link.id for link in chain])
    if not rows:
        raise Refused("over-budget", "There is no delegation that carries money.")
    if Reservation.objects.filter(request=request_id).exists():
        raise LedgerError("This request has reserved already.")
    for row in rows:
        if not row.unit or row.limit == 0:
            raise Refused("over-budget", "The delegation carries no money, or one that it stands on does not.")
        if row.unit != unit:
            raise Refused("over-budget", f"The delegation's money is in {row.unit}, and this costs {unit}.")
        try:
            account_of(row).reserve(amount_micro)
        except OverBudget as error:
            raise Refused(
                "over-budget", f"{error} It costs {format_amount(amount_micro)} {unit}, {_left_text(row)} is left."
            ) from None
    if key:
        _check_share(rows, chain, amount_micro, key)
    for row in rows:
        Delegation.objects.filter(pk=row.pk).update(reserved=F("reserved") + amount_micro)
    Reservation.objects.bulk_create(
        Reservation(request=request_id, delegation_id=row.pk, amount=amount_micro, key=key) for row in rows
    )


def spend(writer: Writer, request_id: str) -> None:
    """Turn what the request reserved into money spent, at redeem. Doing it again changes nothing."""
    for held in _held(request_id, Reservation.RESERVED):
        Delegation.objects.filter(pk=held.delegation_id).update(
            reserved=F("reserved") - held.amount, spent=Least(F("spent") + held.amount, MAX_MICRO)
        )
        _mark(held, Reservation.SPENT)


def release(writer: Writer, request_id: str) -> None:
    """Give back what the request reserved, because it ended before it was redeemed. What was spent stays spent."""
    for held in _held(request_id, Reservation.RESERVED):
        Delegation.objects.filter(pk=held.delegation_id).update(reserved=F("reserved") - held.amount)
        _mark(held, Reservation.RELEASED)


def settle(writer: Writer, request_id: str, actual_micro: int) -> bool:
    """Replace what the request spent by what it really cost, for tools the registry settles by report.

    Less gives the difference back; more is recorded in full, past the limit if need be, and so blocks what follows.
    Returns whether any link is over its limit now. Raises LedgerError when nothing was spent for this request.
    """
    spent = _held(request_id, Reservation.SPENT)
    if not spent and actual_micro:
        raise LedgerError("Nothing was spent for this request, so there is nothing to settle.")
    over = False
    rows = {row.pk: row for row in _locked([held.delegation_id for held in spent])}
    for held in spent:
        row = rows[held.delegation_id]
        account = replace(account_of(row), spent=settled(row.spent, held.amount, actual_micro))
        over = over or account.reserved + account.spent > account.limit
        Delegation.objects.filter(pk=row.pk).update(spent=account.spent)
        Reservation.objects.filter(pk=held.pk).update(amount=actual_micro)
    return over


def left(delegation: Delegation) -> int:
    """What can still be reserved under this delegation: the least that any link of its chain has left."""
    rows = Delegation.objects.in_bulk([link.pk for link in chain_of(delegation)]).values()
    if any(row.unit != delegation.unit for row in rows):
        return 0
    return min(account_of(row).left for row in rows)


def _check_share(rows: Sequence[Delegation], chain: Sequence[Delegation], amount: int, key: str) -> None:
    """Keep one key from holding all of what others share with it: its share counts at the links above its own."""
    share = int(getattr(settings, "KEY_SHARE", 100))
    own = chain[-1].subject_id
    above = [row for row in rows if row.subject_id != own]
    if share >= 100 or not above:
        return
    held = dict(
        Reservation.objects.filter(key=key, state=Reservation.RESERVED, delegation_id__in=[row.pk for row in above])
        .values_list("delegation_id")
        .annotate(total=Sum("amount"))
    )
    for row in above:
        if (held.get(row.pk, 0) + amount) * 100 > row.limit * share:
            raise Refused("over-budget", f"One key may hold at most {share} % of a limit it shares with others.")


def _locked(ids: Sequence[str]) -> list[Delegation]:
    rows = Delegation.objects.filter(pk__in=set(ids)).order_by("pk")
    return list(rows.select_for_update() if connection.features.has_select_for_update else rows)


def _held(request_id: str, state: str) -> list[Reservation]:
    return list(Reservation.objects.filter(request=request_id, state=state).order_by("delegation_id"))


def _mark(held: Reservation, state: str) -> None:
    Reservation.objects.filter(pk=held.pk).update(state=state)


def _left_text(row: Delegation) -> str:
    return f"{format_amount(account_of(row).left)} {row.unit}"
