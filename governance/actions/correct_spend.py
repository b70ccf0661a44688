"""Give spent money back to a delegation, on a person's word: the only way a ledger is ever corrected afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import F

from audit.log import Appended, Writer
from governance.access import access_delegation, chain_of
from governance.actors import must_be_admin, person_actor
from governance.errors import Refused
from governance.models import Delegation, Person
from imprimatur.rules.money import MoneyError, parse_amount


@dataclass(frozen=True)
class Command:
    """``amount`` is what turned out not to be spent, such as "12.50"."""

    delegation: str
    amount: str
    unit: str
    reason: str
    by: Person


def apply(writer: Writer, command: Command) -> list[Appended]:
    """Lower what is spent by the amount, here and at every ancestor, with an entry for each, root first.

    Raises Refused: not-allowed (admins only), not-found, invalid (another unit, no reason, more than was spent).
    """
    must_be_admin(command.by)
    if not command.reason.strip():
        raise Refused("invalid", "Say why: the reason goes into the log.")
    try:
        amount = parse_amount(command.amount)
    except MoneyError as error:
        raise Refused("invalid", str(error)) from None
    row = access_delegation(None, command.delegation)
    chain = chain_of(row)
    if amount == 0 or any(link.unit != command.unit for link in chain):
        raise Refused("invalid", "Name an amount above zero, in the unit of the delegation.")
    if any(link.spent < amount for link in chain):
        raise Refused("invalid", "Less than that was spent.")
    for link in sorted(chain, key=lambda link: link.id):
        Delegation.objects.filter(pk=link.pk).update(spent=F("spent") - amount)
    return [_entry(writer, command, link) for link in chain]


def _entry(writer: Writer, command: Command, link: Delegation) -> Appended:
    return writer.append(
        "spend.corrected",
        subject=link.id,
        agent=link.subject_id,
        actor=person_actor(command.by),
        refs=[("delegation", link.issued_index)],
        body={
            "delegation": link.id,
            "amount": command.amount,
            "unit": command.unit,
            "reason": command.reason,
        },
    )
