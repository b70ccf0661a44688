"""The card for a tool without a card of its own: every parameter as sent."""

from __future__ import annotations

from imprimatur.cards.model import Card
from imprimatur.cards.sheet import CLAIMED_NOTE, Sheet


def show(sheet: Sheet) -> Card:
    """Run a tool. One that the registry does not know is marked on every line that rests on the agent's word."""
    sheet.line("Tool", sheet.binding["tool"]["name"], odd=sheet.document is None)
    sheet.effects(note=CLAIMED_NOTE if sheet.document is None else "")
    sheet.cost()
    sheet.undo()
    return sheet.finish("generic", 1)
