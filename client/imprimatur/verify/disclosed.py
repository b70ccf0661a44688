"""What the bundle discloses of the parameters: openings against commitments, effects and cards against parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from imprimatur import cards
from imprimatur.formats import canonical, commitments
from imprimatur.formats.encoding import un_b64u
from imprimatur.rules import effects
from imprimatur.verify import authority
from imprimatur.verify.facts import Facts

_PARAMETERS = "binding.parameters."
HELD, ERASED, NEVER = "held", "erased", "never held"


class OpeningsError(ValueError):
    """The list of openings is not that of this log, or an opening does not open its commitment."""


def commitments_in(value: Any, where: str = "") -> dict[str, str]:
    """Every commitment inside a body, with the path of its first place."""
    found: dict[str, str] = {}
    if isinstance(value, dict):
        for name, item in value.items():
            found = {**commitments_in(item, f"{where}.{name}" if where else name), **found}
    elif isinstance(value, list):
        for place, item in enumerate(value):
            found = {**commitments_in(item, f"{where}[{place}]"), **found}
    elif isinstance(value, str) and value.startswith("c:") and len(value) == 45:
        found[value] = where
    return found


class Disclosed:
    """Goes through the openings in step with the entries, and checks what they let one check.

    Invariant: the list has every commitment of the log once, in order; each opening that is held opens its commitment.
    """

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._seen: set[str] = set()
        self._asked: set[str] = set()
        self.states = {HELD: 0, ERASED: 0, NEVER: 0}
        self.openings_fault = ""
        self.effects_fault = ""
        self.cards_fault = ""
        self.derived = 0
        self.shown = 0
        self.hidden = 0

    def entry(self, facts: Facts, entry: Mapping[str, Any]) -> None:
        """Look at one entry that the history has accepted."""
        values: dict[str, Any] = {}
        for commitment, where in sorted(commitments_in(entry["body"]).items(), key=lambda item: item[1]):
            if commitment in self._seen:
                continue
            self._seen.add(commitment)
            if not self.openings_fault:
                try:
                    self._opening(entry["index"], where, commitment, values)
                except (OpeningsError, ValueError, KeyError, TypeError, StopIteration) as error:
                    self.openings_fault = f"entry {entry['index']}: {error or 'an opening is missing'}"
        if self._is_first(entry) and not self.openings_fault:
            self._action(facts, entry, values)

    def _is_first(self, entry: Mapping[str, Any]) -> bool:
        """Whether the entry speaks of its action for the first time: then its parameters are opened here."""
        if entry["kind"] == "action.requested":
            self._asked.add(entry["subject"])
            return True
        if entry["kind"] != "action.decided":
            return False
        known = entry["subject"] in self._asked
        self._asked.discard(entry["subject"])
        return not known

    def finish(self) -> None:
        """After the last entry nothing may be left over."""
        if not self.openings_fault and next(self._lines, None) is not None:
            self.openings_fault = "there are openings for commitments that are not in the log"

    def _opening(self, index: int, where: str, commitment: str, values: dict[str, Any]) -> None:
        raw = next(self._lines)
        line = canonical.loads(raw)
        if canonical.dumps_json(line) != raw:
            raise OpeningsError("an opening is not in its one exact form")
        if (line["index"], line["where"], line["commitment"]) != (index, where, commitment):
            raise OpeningsError("the openings are not in the order of the log")
        state = line["state"]
        if state not in self.states:
            raise OpeningsError("an opening is in an unknown state")
        self.states[state] += 1
        if state != HELD:
            return
        # The name is not under the commitment once the key is derived, so it has to be the one that the binding has.
        if where.startswith(_PARAMETERS) and line["name"] != where.removeprefix(_PARAMETERS):
            raise OpeningsError(f"the opening of {where} is called something else")
        opening = commitments.Opening(line["name"], un_b64u(line["key"]), line["value"])
        if commitments.commitment_of(opening) != commitment:
            raise OpeningsError(f"the opening of {where} does not open its commitment")
        values[commitment] = line["value"]

    def _action(self, facts: Facts, entry: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        body = entry["body"]
        binding = body["binding"]
        if any(commitment not in values for commitment in binding["parameters"].values()):
            self.hidden += 1
            return
        parameters = {name: values[commitment] for name, commitment in binding["parameters"].items()}
        tool = facts.tools.get(binding["tool"]["name"]) if "schema" in binding["tool"] else None
        allowing = entry["kind"] == "action.requested" or body["verdict"] == "allow"
        if tool is not None and allowing:
            fault = _derivation(facts, binding, tool, parameters)
            self.derived += 1
            if fault:
                self.effects_fault = self.effects_fault or f"entry {entry['index']}: {fault}"
        if "display_digest" in body:
            self._card(entry, parameters, tool)

    def _card(self, entry: Mapping[str, Any], parameters: Mapping[str, Any], tool: Mapping[str, Any] | None) -> None:
        body = entry["body"]
        self.shown += 1
        try:
            card = cards.render(body["binding"], parameters, tool)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            self.cards_fault = self.cards_fault or f"entry {entry['index']}: there is no card for it ({error})"
            return
        if cards.display_digest(card) != body["display_digest"]:
            self.cards_fault = self.cards_fault or f"entry {entry['index']}: people were shown something else"


def _derivation(
    facts: Facts, binding: Mapping[str, Any], tool: Mapping[str, Any], parameters: Mapping[str, Any]
) -> str:
    """Why the binding is not what the registry derives from these parameters, or an empty text."""
    try:
        derived = effects.derive(tool, parameters)
    except (effects.DeriveError, TypeError, AttributeError, KeyError) as error:
        return f"the effects cannot be derived: {error}"
    if derived.effects != binding["effects"]:
        return "its effects are not those of its parameters"
    amount = derived.cost[0] if derived.cost else "0.00"
    if amount != binding["cost"]["amount"] or (derived.cost and derived.cost[1] != binding["cost"]["unit"]):
        return "its cost is not that of its parameters"
    said = authority.refusal(
        facts,
        delegation=binding["delegation"],
        agent=binding["agent"],
        effects=binding["effects"],
        amount=derived.cost_micro,
        unit=binding["cost"]["unit"],
        tool=binding["tool"]["name"],
        size=derived.size or 0,
    )
    return said or ""
