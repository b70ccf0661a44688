"""The sheet a renderer writes on. It keeps track of what has been shown, so that nothing is left out by omission."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any

from imprimatur.cards.model import Body, Card, Line, Span
from imprimatur.inert import visible
from imprimatur.rules import effects, money
from imprimatur.rules.tools import PLACEHOLDER

UNKNOWN_NOTE = "not a field this card knows; shown as sent"
CLAIMED_NOTE = "claimed by the agent; the registry does not know this tool"
WITHHELD = "withheld"
_DIFF_LIMIT = 1_000_000
_OFTEN = 8  # a line that occurs more often than this is matched beside others, and never searched for

_UNDO = {
    "read-only": "Nothing changes.",
    "reversible": "Yes.",
    "externally-reversible": "Only with the help of whoever is on the other side.",
    "irreversible": "No.",
}


def as_sent(value: object) -> str:
    """A value exactly as the agent sent it, as JSON on one line with sorted keys; not yet made visible."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(", ", ": "))


class Sheet:
    """Collects the lines of one card from a binding, the openings at hand and the tool's registry entry (if any)."""

    def __init__(
        self,
        binding: Mapping[str, Any],
        openings: Mapping[str, Any],
        document: Mapping[str, Any] | None,
        previous: bytes | None,
    ) -> None:
        stray = set(openings) - set(binding["parameters"])
        if stray:
            raise ValueError(
                f"{len(stray)} opening(s) belong to no parameter of this binding: check what was passed in."
            )
        self.binding = binding
        self.openings = openings
        self.document = document
        self.previous = previous
        self.lines: list[Line] = []
        self.body: Body | None = None
        self.unknown: list[str] = []
        self._shown: set[str] = set()

    def line(self, label: str, value: str, *, odd: bool = False, note: str = "") -> None:
        """Add a line whose value may hold an agent's text."""
        self.lines.append(Line(label, visible(value), odd, note))

    def effects(self, *, target: str = "Target", note: str = "") -> None:
        """Add what is done and to what: one line per resource, so that no name can pass for two."""
        found: dict[str, list[str]] = {}
        for effect in self.binding["effects"]:
            found.setdefault(effect["action"], []).append(effect["resource"])
        if not found:
            self.line("Action", "not stated", odd=True, note="what this call does is not known")
        for action, resources in found.items():
            self.line("Action", action, odd=bool(note), note=note)
            for number, resource in enumerate(resources, 1):
                label = target if len(resources) == 1 else f"{target} {number} of {len(resources)}"
                self.line(label, resource, odd=bool(note), note=note)

    def text(self, name: str, label: str) -> None:
        """Add a parameter this card knows as text. Anything but text is shown as sent, and marked."""
        if name not in self.openings or name in self._shown:
            return
        self._shown.add(name)
        value = self.openings[name]
        if isinstance(value, str):
            self.line(label, value) if value else self.line(label, "", note="empty")
        else:
            self.line(label, as_sent(value), odd=True, note="not text; shown as sent")

    def flag(self, name: str, label: str, yes: str) -> None:
        """Add a yes-or-no parameter."""
        if name in self.openings and isinstance(self.openings[name], bool):
            self._shown.add(name)
            self.line(label, yes if self.openings[name] else "No", odd=self.openings[name])

    def same_as_target(self, name: str) -> None:
        """Note that a parameter is on the card already, letter for letter, as a resource."""
        value = self.openings.get(name)
        items = value if isinstance(value, list) else [value]
        shown = {effect["resource"] for effect in self.binding["effects"]}
        if items and all(isinstance(item, str) and item in shown for item in items) and len(set(items)) == len(items):
            self._shown.add(name)

    def same_as_cost(self) -> None:
        """Note that the templates' amount and unit are on the card as the bound cost, if they are the same."""
        if self.document is None or "cost" not in self.document:
            return
        bound = self.binding["cost"]
        for template, same in (
            (self.document["cost"]["amount"], _same_amount),
            (self.document["cost"]["unit"], str.__eq__),
        ):
            name = PLACEHOLDER.sub(r"\1", template) if PLACEHOLDER.fullmatch(template) else ""
            value = self.openings.get(name)
            if isinstance(value, str) and same(value, bound["amount" if same is _same_amount else "unit"]):
                self._shown.add(name)

    def items(self, name: str, label: str) -> None:
        """Add a list of texts, one line each."""
        value = self.openings.get(name)
        if name in self._shown or not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return
        self._shown.add(name)
        for number, item in enumerate(value, 1):
            self.line(label if len(value) == 1 else f"{label} {number} of {len(value)}", item)
        if not value:
            self.line(label, "", odd=True, note="an empty list")

    def default(self, name: str, label: str) -> None:
        """Add what holds because the agent did not say: the registry's default."""
        if self.document is None or name in self.binding["parameters"]:
            return
        try:
            self.line(label, str(effects.parameter(self.document, {}, name)), note="not given; this is the default")
        except effects.DeriveError:
            return

    @property
    def irreversible(self) -> bool:
        """Whether the registry says that there is no way back."""
        return self.document is not None and self.document["reversibility"] == "irreversible"

    def lost(self) -> None:
        """Add the earlier content as what would be lost. It is not part of the action, so the digest leaves it out."""
        before = self._earlier()
        if before is not None:
            self.body = Body(
                "diff",
                "Content that would be lost, as it was last approved for this agent",
                tuple(("-", line) for line in before),
            )

    def undo(self, sentence: str = "") -> None:
        """Add whether it can be undone. `sentence` follows the plain answer."""
        answer = _UNDO.get(self.document["reversibility"], "Not known.") if self.document is not None else "Not known."
        self.line("Can be undone", f"{answer} {sentence}".strip(), odd=self.document is None)

    def cost(self, label: str = "Cost") -> None:
        """Add the cost that is bound, if there is one."""
        cost = self.binding["cost"]
        if cost["amount"].strip("0.") or (self.document is not None and "cost" in self.document):
            self.line(label, f"{grouped(cost['amount'])} {cost['unit']}")

    def content(self, name: str, label: str, *, size: bool = True, compare: bool = False) -> None:
        """Add a parameter as the body: whole, line by line, against the earlier bytes where `compare` asks for it."""
        value = self.openings.get(name)
        if not isinstance(value, str):
            return
        self._shown.add(name)
        if size:
            self.line("Size", f"{len(value.encode('utf-8', 'surrogatepass')):,} bytes")
        after = [visible(line, lines=True) for line in value.split("\n")]
        before = self._earlier() if compare else None
        if before is None:
            self.body = Body("text", label, tuple((" ", line) for line in after))
        else:
            against = f"{label}, against what was last approved for this agent"
            self.body = Body("diff", against, tuple(difference(before, after)))

    def _earlier(self) -> list[str] | None:
        if self.previous is None:
            return None
        try:
            return [visible(line, lines=True) for line in self.previous.decode("utf-8").split("\n")]
        except UnicodeDecodeError:
            return None

    def finish(self, renderer: str, version: int) -> Card:
        """Add every parameter that no line has shown, and what is withheld; close the card."""
        for name in sorted(set(self.openings) - self._shown):
            self.unknown.append(visible(name))
            self.lines.append(Line(visible(name), visible(as_sent(self.openings[name])), True, UNKNOWN_NOTE))
        withheld = sorted(set(self.binding["parameters"]) - set(self.openings))
        for name in withheld:
            note = f"not shown to this desk; only its commitment is bound: {self.binding['parameters'][name]}"
            self.lines.append(Line(visible(name), WITHHELD, True, note))
        return Card(
            renderer=renderer,
            version=version,
            sentence=self._sentence(),
            target=self._target(),
            lines=tuple(self.lines),
            body=self.body,
            unknown=tuple(self.unknown),
            withheld=tuple(visible(name) for name in withheld),
        )

    def _sentence(self) -> tuple[Span, ...]:
        if self.document is None:
            return (
                Span("run "),
                Span(visible(self.binding["tool"]["name"]), True),
                Span(", a tool the registry does not know"),
            )
        template: str = self.document["sentence"]
        spans: list[Span] = []
        end = 0
        for found in PLACEHOLDER.finditer(template):
            spans.append(Span(template[end : found.start()]))
            spans.append(Span(self._word(found.group(1)), True))
            end = found.end()
        spans.append(Span(template[end:]))
        return tuple(span for span in spans if span.text)

    def _word(self, name: str) -> str:
        """A parameter inside the sentence: a text whole, a long list as its number (its items stand in the lines)."""
        if name in self.binding["parameters"] and name not in self.openings:
            return f"({WITHHELD})"
        assert self.document is not None
        try:
            value = effects.parameter(self.document, self.openings, name)
        except effects.DeriveError:
            return "(not given)"
        if self.document.get("cost", {}).get("amount") == f"{{{name}}}" and isinstance(value, str):
            return visible(grouped(value))
        if isinstance(value, str):
            return visible(value)
        if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
            if len(value) <= 2:
                return " and ".join(visible(item) for item in value)
            return f"{len(value)} {'people' if self.document['card'] == 'mail' else 'items'}"
        return visible(as_sent(value))

    def _target(self) -> str:
        if self.document is not None:
            try:
                return visible(effects.target(self.document, self.openings))
            except effects.DeriveError:
                pass  # a target that is withheld or malformed cannot be typed; the tool's name can
        return visible(self.binding["tool"]["name"])


def _same_amount(written: str, bound: str) -> bool:
    try:
        return money.read_amount(written) == money.read_amount(bound)
    except money.MoneyError:
        return False


def grouped(amount: str) -> str:
    """An amount with thousands separated, such as 4,200.00; as written when it is not an amount."""
    try:
        whole, _, decimals = money.format_amount(money.read_amount(amount)).partition(".")
    except money.MoneyError:
        return amount
    return f"{int(whole):,}.{decimals}"


def difference(before: list[str], after: list[str]) -> list[tuple[str, str]]:
    """Every line of both, marked. Beyond a size where comparing would stall, the middle is shown as replaced whole."""
    head = 0
    while head < min(len(before), len(after)) and before[head] == after[head]:
        head += 1
    tail = 0
    while tail < min(len(before), len(after)) - head and before[-1 - tail] == after[-1 - tail]:
        tail += 1
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    middle: list[tuple[str, str]] = []
    if len(old) * len(new) > _DIFF_LIMIT:
        middle = [("-", line) for line in old] + [("+", line) for line in new]
    else:
        # Lines that repeat make the search cubic: two lines a thousand times would hold up the desk for a minute.
        times = Counter(new)
        matcher = SequenceMatcher(lambda line: times[line] > _OFTEN, old, new, autojunk=False)
        for what, a, b, c, d in matcher.get_opcodes():
            if what == "equal":
                middle += [(" ", line) for line in old[a:b]]
            else:
                middle += [("-", line) for line in old[a:b]] + [("+", line) for line in new[c:d]]
    return [(" ", line) for line in after[:head]] + middle + [(" ", line) for line in after[len(after) - tail :]]
