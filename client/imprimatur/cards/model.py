"""What a card is: a sentence, fixed lines, a body. Every text in it is already visible (see `imprimatur.inert`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from imprimatur.formats import canonical, digests

DISPLAY_TAG = "imprimatur/display/v1"


@dataclass(frozen=True)
class Span:
    """A piece of the sentence; `strong` marks what the agent chose."""

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Line:
    """One label and its value. `odd` asks for a second look; `note` says why, in our words."""

    label: str
    value: str
    odd: bool = False
    note: str = ""


@dataclass(frozen=True)
class Body:
    """Content in full, line by line: op is " " (as it will be), "+" (new) or "-" (what it replaces)."""

    kind: Literal["text", "diff"]
    label: str
    lines: tuple[tuple[str, str], ...]

    def after(self) -> list[str]:
        """The content as it will be, whatever it is compared with."""
        return [text for op, text in self.lines if op != "-"]


@dataclass(frozen=True)
class Card:
    """What a reviewer sees under *What will happen*. `target` is what a person types to confirm."""

    renderer: str
    version: int
    sentence: tuple[Span, ...]
    target: str
    lines: tuple[Line, ...]
    body: Body | None = None
    unknown: tuple[str, ...] = field(default=())
    withheld: tuple[str, ...] = field(default=())

    @property
    def title(self) -> str:
        """The sentence as plain text."""
        return "".join(span.text for span in self.sentence)


def display_digest(card: Card) -> str:
    """The digest a reviewer signs: SHA-256 over ``imprimatur/display/v1`` 0x00 JCS of everything the card says.

    A body counts as the content it leads to. What it is compared with is the desk's help for the eye, not part of the
    action, so the digest is the same with and without an earlier version at hand, today and for an auditor later.
    """
    document: dict[str, Any] = {
        "renderer": card.renderer,
        "version": card.version,
        "sentence": [{"text": span.text, "strong": span.strong} for span in card.sentence],
        "target": card.target,
        "lines": [
            {"label": line.label, "value": line.value, "odd": line.odd, "note": line.note} for line in card.lines
        ],
        "unknown": list(card.unknown),
        "withheld": list(card.withheld),
    }
    if card.body is not None and card.body.after():
        document["body"] = card.body.after()
    return digests.tagged(DISPLAY_TAG, canonical.dumps(document))


def as_text(card: Card) -> str:
    """The card for a terminal: nothing left out, and no line an agent wrote can pass for one of ours."""
    width = max((len(line.label) for line in card.lines), default=0)
    out = [card.title, ""]
    for line in card.lines:
        note = f"  ({line.note})" if line.note else ""
        out.append(f"{'!' if line.odd else ' '} {line.label.ljust(width)}  {line.value}{note}")
    if card.body is not None:
        out += ["", f"  {card.body.label}"]
        out += [f"  {op}| {text}" for op, text in card.body.lines]
    return "\n".join(out) + "\n"
