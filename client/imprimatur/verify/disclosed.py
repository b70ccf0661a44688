"""What the bundle discloses of the parameters: openings against commitments, effects and cards against parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from imprimatur import cards
from imprimatur.formats import canonical, commitments, shapes
from imprimatur.formats.encoding import un_b64u
from imprimatur.rules import effects, grants
from imprimatur.verify import authority
from imprimatur.verify.facts import Facts

_PARAMETERS = "binding.parameters."
HELD, ERASED, NEVER, WITHHELD = "held", "erased", "never held", "withheld"

_PLACE: dict[str, shapes.Shape] = {
    "index": shapes.Int(),
    "where": shapes.Any_(),
    "commitment": shapes.Any_(),
    "state": shapes.Any_(),
}
_NAMED: dict[str, shapes.Shape] = {**_PLACE, "name": shapes.Text(max=65_535, min=0)}
_LINES = {
    HELD: shapes.Obj({**_NAMED, "key": shapes.Binary(), "value": shapes.Any_()}),
    ERASED: shapes.Obj(_NAMED, {"erased_at": shapes.Time()}),
    NEVER: shapes.Obj(_PLACE),
    WITHHELD: shapes.Obj(_PLACE),
}
"""What a line says in each state, and no more: nothing that looks like a value stands where none was checked."""


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

    Invariant: the list has every commitment of the entries that are there once, in order; each opening that is held
    opens its commitment. Where the bundle was asked for without openings (`withheld`), none is there at all. What an
    entry says was erased is not there; what was erased and no entry says so is in `unlogged`, by request.
    """

    def __init__(self, lines: Iterator[bytes], *, withheld: bool = False) -> None:
        self._lines = lines
        self._seen: set[str] = set()
        self._asked: set[str] = set()
        self.states = {HELD: 0, ERASED: 0, NEVER: 0, WITHHELD: 0}
        self._withheld = withheld
        self._opened: set[str] = set()
        self.unlogged: set[str] = set()
        self._agents: dict[str, str] = {}
        self.openings_fault = ""
        self.effects_fault = ""
        self.cards_fault = ""
        self.within_grant: set[int] = set()
        self.beyond_grant: set[int] = set()
        self.hidden_from_grant: set[int] = set()
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
                    state = self._opening(entry["index"], where, commitment, values)
                    self._remember(entry, state)
                except (OpeningsError, ValueError, KeyError, TypeError, StopIteration) as error:
                    self.openings_fault = f"entry {entry['index']}: {error or 'an opening is missing'}"
        if self._is_first(entry) and not self.openings_fault:
            self._action(facts, entry, values)
        if entry["kind"] == "openings.erased" and not self.openings_fault:
            self._erased(entry)

    def _remember(self, entry: Mapping[str, Any], state: str) -> None:
        """Keep what an erasure is held against: which requests have openings here, or had, and whose they are."""
        subject = entry["subject"]
        if state == HELD:
            self._opened.add(subject)
        elif state == ERASED:
            self.unlogged.add(subject)
        if "binding" in entry["body"]:
            self._agents[subject] = entry["body"]["binding"]["agent"]

    def _erased(self, entry: Mapping[str, Any]) -> None:
        """What was said of these requests up to here is gone; what is said after it may be there again."""
        body = entry["body"]
        for name in body["subjects"]:
            if name in self._opened:
                self.openings_fault = f"entry {entry['index']} erased the openings of {name}, and they are still here"
            elif self._agents.get(name, body["agent"]) != body["agent"]:
                # A hold on the agent that it was is what would have stood in the way.
                self.openings_fault = f"entry {entry['index']} erased {name} as a request of another agent"
            self.unlogged.discard(name)

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
            self.openings_fault = "there are openings for commitments that are not in the entries"

    def _opening(self, index: int, where: str, commitment: str, values: dict[str, Any]) -> str:
        """Read one line, and return its state."""
        raw = next(self._lines)
        line = canonical.loads(raw)
        if canonical.dumps_json(line) != raw:
            raise OpeningsError("an opening is not in its one exact form")
        if (line["index"], line["where"], line["commitment"]) != (index, where, commitment):
            raise OpeningsError("the openings are not in the order of the log")
        state = line["state"]
        if state not in self.states:
            raise OpeningsError("an opening is in an unknown state")
        if (state == WITHHELD) != self._withheld:
            raise OpeningsError("either every opening is left out, as was asked for, or none is")
        shapes.check(line, _LINES[state], "an opening")
        # The name is not under the commitment once the key is derived, so it has to be the one that the binding has.
        if "name" in line and where.startswith(_PARAMETERS) and line["name"] != where.removeprefix(_PARAMETERS):
            raise OpeningsError(f"the opening of {where} is called something else")
        self.states[state] += 1
        if state != HELD:
            return str(state)
        opening = commitments.Opening(line["name"], un_b64u(line["key"]), line["value"])
        if commitments.commitment_of(opening) != commitment:
            raise OpeningsError(f"the opening of {where} does not open its commitment")
        values[commitment] = line["value"]
        return HELD

    def _action(self, facts: Facts, entry: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        body = entry["body"]
        binding = body["binding"]
        hidden = any(commitment not in values for commitment in binding["parameters"].values())
        if "grant" in body:
            self._grant(facts, entry, values, hidden=hidden)
        if hidden:
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

    def _grant(self, facts: Facts, entry: Mapping[str, Any], values: Mapping[str, Any], *, hidden: bool) -> None:
        """Whether the parameters are within the predicates of the grant that the decision rests on."""
        predicates = facts.grants[entry["body"]["grant"]].statement["parameters"]
        bound = entry["body"]["binding"]["parameters"]
        index = entry["index"]
        if not hidden:
            opened = {name: values[commitment] for name, commitment in bound.items()}
            (self.beyond_grant if grants.against_values(predicates, opened) else self.within_grant).add(index)
        elif any(predicate["op"] != "any" for predicate in predicates.values()):
            self.hidden_from_grant.add(index)
        else:
            self.within_grant.add(index)

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
