"""The card for code: what runs, in which language and folder, whole."""

from __future__ import annotations

from imprimatur.cards.model import Card
from imprimatur.cards.sheet import Sheet


def run(sheet: Sheet) -> Card:
    """Run code."""
    sheet.effects(target="Working folder")
    sheet.same_as_target("cwd")
    sheet.text("cwd", "Working folder as written")
    sheet.text("language", "Language")
    sheet.default("language", "Language")
    sheet.content("code", "Code")
    sheet.undo("Code can do whatever its folder and network allow." if sheet.irreversible else "")
    return sheet.finish("code", 1)
