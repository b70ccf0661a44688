"""Cards: from a binding, and the parameters at hand, to lines of text a person can judge.

`render` is a pure function with a version per renderer: the same binding and openings give the same card and the same
`display_digest` on the server, on the agent's machine and at an auditor's, whenever that is. Nothing is cut off, every
parameter appears (as a line, in the body, marked as unknown, or as withheld), and an agent's text is inert: hidden and
look-alike characters stand as escapes. A template still escapes for HTML, as it does for any text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.cards import code, files, generic, mail, network, payment
from imprimatur.cards.model import Body, Card, Line, Span, as_text, display_digest
from imprimatur.cards.sheet import Sheet

__all__ = ["RENDERERS", "Body", "Card", "Line", "Span", "as_text", "display_digest", "render"]

RENDERERS: dict[str, Callable[[Sheet], Card]] = {
    "file-read": files.read,
    "file-write": files.write,
    "file-delete": files.delete,
    "mail": mail.send,
    "payment": payment.pay,
    "code": code.run,
    "network": network.call,
    "generic": generic.show,
}


def render(
    binding: Mapping[str, Any],
    openings: Mapping[str, Any],
    tool_document: Mapping[str, Any] | None,
    *,
    previous: bytes | None = None,
) -> Card:
    """The card for one action.

    `openings` maps parameter names to values; a parameter without one is withheld (or erased) and shown as such.
    Without a `tool_document` the tool is unknown and the card says that everything on it is the agent's claim.
    `previous` is what was last approved for the same agent at the same target: bytes, for a comparison that is not part
    of the display digest. The caller has checked the openings against the commitments. Raises ValueError when an
    opening belongs to no parameter.
    """
    sheet = Sheet(binding, openings, tool_document, previous)
    if tool_document is None:
        return generic.show(sheet)
    return RENDERERS.get(tool_document["card"], generic.show)(sheet)
