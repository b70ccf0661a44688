"""The card for payments: the amount that is bound, to the cent."""

from __future__ import annotations

from imprimatur.cards.model import Card
from imprimatur.cards.sheet import Sheet


def pay(sheet: Sheet) -> Card:
    """Pay somebody."""
    sheet.effects(target="Payee")
    sheet.same_as_target("payee")
    sheet.text("payee", "Payee as written")
    sheet.cost("Amount")
    sheet.same_as_cost()
    sheet.text("amount", "Amount as written")
    sheet.text("currency", "Currency as written")
    sheet.text("account", "Account")
    sheet.text("reference", "Reference")
    sheet.undo()
    return sheet.finish("payment", 1)
