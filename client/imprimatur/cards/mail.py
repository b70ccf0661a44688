"""The card for mail: every recipient on a line of their own, the body whole."""

from __future__ import annotations

from imprimatur.cards.model import Card
from imprimatur.cards.sheet import Sheet


def send(sheet: Sheet) -> Card:
    """Send a message."""
    sheet.effects(target="Recipient")
    sheet.same_as_target("to")
    sheet.items("to", "Recipient as written")
    sheet.text("subject", "Subject")
    sheet.content("body", "Message")
    sheet.undo("What is sent cannot be called back." if sheet.irreversible else "")
    return sheet.finish("mail", 1)
