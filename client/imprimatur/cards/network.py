"""The card for requests over the network: the address exactly as it will be called, and what is sent along."""

from __future__ import annotations

from imprimatur.cards.model import Card
from imprimatur.cards.sheet import Sheet


def call(sheet: Sheet) -> Card:
    """Call a web address or an outside service."""
    sheet.effects(target="Reaches")
    sheet.text("method", "Method")
    sheet.text("url", "Address")
    sheet.text("operation", "Operation")
    sheet.content("body", "Sent along")
    if sheet.body is None:
        sheet.content("payload", "Sent along")
    sheet.cost()
    sheet.undo()
    return sheet.finish("network", 1)
