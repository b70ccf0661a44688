"""Cards for files: read, write, delete."""

from __future__ import annotations

from imprimatur.cards.model import Card
from imprimatur.cards.sheet import Sheet


def read(sheet: Sheet) -> Card:
    """Read a file."""
    sheet.effects()
    sheet.same_as_target("path")
    sheet.text("path", "Path")
    sheet.undo()
    return sheet.finish("file-read", 1)


def write(sheet: Sheet) -> Card:
    """Write a file: its content whole, or as a difference from what was last approved."""
    sheet.effects()
    sheet.same_as_target("path")
    sheet.text("path", "Path")
    sheet.content("content", "Content", compare=True)
    sheet.flag("destructive", "Destructive", "Yes, says the agent")
    sheet.undo()
    return sheet.finish("file-write", 1)


def delete(sheet: Sheet) -> Card:
    """Delete a file, with what would be lost when that is at hand."""
    sheet.effects()
    sheet.same_as_target("path")
    sheet.text("path", "Path")
    sheet.undo("No copy is kept." if sheet.irreversible else "")
    sheet.lost()
    return sheet.finish("file-delete", 1)
