"""Grants: what one reviewer agreed to in advance, and whether a request is within it.

Pure, and shared by the server that uses a grant and by the verifier that checks the use afterwards. Everything fails
closed: what the grant does not name, it does not cover. A parameter that its author left open is named with the
predicate ``any``; one that the grant does not name at all rules the request out, and so does one that is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imprimatur.formats import canonical
from imprimatur.rules import money, scope
from imprimatur.rules.quorum import Stage
from imprimatur.rules.risk import Risk

HARMLESS_FLOORS = frozenset({"registry-minimum", "destructive", "agent"})
"""Floors that leave a grant usable. All others (freeze, withheld, unknown, irreversible, an error) want a person now,
and so does a floor that this version does not know."""

IRREVERSIBLE = "irreversible"
LONGEST_VALUE = 1024
"""Bytes of a value that a grant may repeat; longer ones would fill the log. They are left open or matched by their
beginning."""


class GrantError(ValueError):
    """A grant that must not be issued; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Action:
    """What a request would do, as its binding and its judgement say. `cost` is millionths of `unit`."""

    agent: str
    delegation: str
    tool: str
    tool_digest: str
    policy: str
    risk: str
    reversibility: str
    effects: Sequence[Mapping[str, str]]
    parameters: Collection[str]  # names, withheld ones included
    cost: int = 0
    unit: str = ""

    @classmethod
    def of(cls, binding: Mapping[str, Any], *, policy: str, risk: str, reversibility: str) -> Action:
        """From a binding. Raises MoneyError for a cost that is not one."""
        return cls(
            agent=binding["agent"],
            delegation=binding["delegation"],
            tool=binding["tool"]["name"],
            tool_digest=binding["tool"].get("schema", ""),
            policy=policy,
            risk=risk,
            reversibility=reversibility,
            effects=binding["effects"],
            parameters=tuple(binding["parameters"]),
            cost=money.parse_amount(binding["cost"]["amount"]),
            unit=binding["cost"]["unit"],
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request needs besides, as only the server knows it: who must answer, which floors rose, what it hides."""

    stages: Sequence[Stage]
    floors: Collection[str] = ()
    withheld: Collection[str] = ()
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)


def seat(stages: Sequence[Stage]) -> Stage | None:
    """The one approval that a grant could stand for, or None: anything more than one approval needs people now."""
    if len(stages) != 1 or stages[0].count != 1 or stages[0].kind != "approve":
        return None
    return stages[0]


def against_action(grant: Mapping[str, Any], action: Action) -> str:
    """Why the grant does not cover this action, or ``""``. Looks at everything but the values of the parameters."""
    for name, found in (
        ("agent", action.agent),
        ("delegation", action.delegation),
        ("tool", action.tool),
        ("tool_digest", action.tool_digest),
        ("policy", action.policy),
    ):
        if not found or grant[name] != found:
            return f"It is for another {_WORDS[name]}."
    if action.risk != Risk.HIGH.value:
        return "A grant answers for HIGH only."
    if action.reversibility == IRREVERSIBLE:
        return "What cannot be undone is never approved in advance."
    if not action.effects or not all(_covered(grant["effects"], effect) for effect in action.effects):
        return "It does something outside what was agreed to."
    if frozenset(action.parameters) != frozenset(grant["parameters"]):
        return "It has other parameters than those agreed to."
    return _against_cost(grant.get("max_total"), action)


def against_use(grant: Mapping[str, Any], action: Action, asked: Asked) -> str:
    """Why this request cannot run on the grant, or ``""``. Uses, time and the reviewer are the caller's to ask."""
    if seat(asked.stages) is None:
        return "It needs more than one approval."
    if not HARMLESS_FLOORS.issuperset(asked.floors):
        return "Policy wants a person to look at it now."
    if asked.withheld:
        return "Part of it is withheld."
    return against_action(grant, action) or against_values(grant["parameters"], asked.values)


def against_values(predicates: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any]) -> str:
    """Why these parameters are not within the predicates, or ``""``. Names a parameter, never its value."""
    if frozenset(predicates) != frozenset(values):
        return "It has other parameters than those agreed to."
    for name, predicate in predicates.items():
        if not holds(predicate, values[name]):
            return f"Its {name} is not within what was agreed to."
    return ""


def covers(values: Mapping[str, Any]) -> Callable[[Mapping[str, Any], Mapping[str, Any]], str]:
    """For whoever holds a receipt and knows the parameters: why a grant does not cover this decision, or ``""``.

    Given are the statement of the grant and the body of the decision. Whether ``values`` are those that the binding
    commits to is the caller's to know.
    """

    def against(grant: Mapping[str, Any], decided: Mapping[str, Any]) -> str:
        try:
            action = Action.of(
                decided["binding"],
                policy=decided["policy"],
                risk=decided["risk"],
                reversibility=decided["reversibility"],
            )
        except money.MoneyError:
            return "Its cost cannot be read."
        return against_action(grant, action) or against_values(grant["parameters"], values)

    return against


def holds(predicate: Mapping[str, Any], value: Any) -> bool:
    """Whether a value satisfies one predicate. Values are equal when their canonical JSON is. Never raises."""
    op = predicate.get("op")
    if op == "any":
        return True
    if op == "equals":
        return _same(predicate["value"], value)
    if op == "one_of":
        return any(_same(one, value) for one in predicate["values"])
    if op == "starts_with":
        return isinstance(value, str) and value.startswith(predicate["value"])
    if op == "at_most":
        try:
            return money.read_amount(value) <= money.parse_amount(predicate["value"])
        except money.MoneyError:
            return False
    return False


def check_issue(grant: Mapping[str, Any], action: Action, values: Mapping[str, Any] | None) -> None:
    """Refuse a grant that its own request could not run on, or that reaches further than a path, a host or a name.

    ``values`` are the parameters of the request it was made from, None where they are not known. Raises GrantError.
    """
    for text in grant["effects"]:
        _check_scope(text, action.effects)
    problem = against_action(grant, action)
    if not problem and values is not None:
        problem = against_values(grant["parameters"], values)
    if problem:
        raise GrantError(f"It would not cover the very request it is made from. {problem}")
    for name, predicate in grant["parameters"].items():
        if predicate["op"] == "starts_with" and not predicate["value"]:
            raise GrantError(f"Say how {name} has to begin, or leave it open.")
        if not all(repeatable(value) for value in _values_in(predicate)):
            raise GrantError(f"The value of {name} is too long, or of a kind that no grant repeats. Leave it open.")


def repeatable(value: Any) -> bool:
    """Whether a grant may name this value: short, and without floats and nulls, which nothing signed holds."""
    try:
        return len(canonical.dumps({"value": value})) <= LONGEST_VALUE
    except ValueError:
        return False


_WORDS = {
    "agent": "agent",
    "delegation": "delegation",
    "tool": "tool",
    "tool_digest": "version of the tool",
    "policy": "version of the policy",
}


def _values_in(predicate: Mapping[str, Any]) -> list[Any]:
    return [*predicate.get("values", ()), *([predicate["value"]] if "value" in predicate else [])]


def _covered(scopes: Collection[str], effect: Mapping[str, str]) -> bool:
    try:
        parsed = [scope.parse(text) for text in scopes]
    except scope.ScopeError:
        return False
    resource = effect.get("resource")
    return isinstance(resource, str) and scope.any_covers(parsed, effect.get("action", ""), resource)


def _check_scope(text: str, effects: Sequence[Mapping[str, str]]) -> None:
    try:
        found = scope.parse(text)
    except scope.ScopeError as error:
        raise GrantError(str(error)) from None
    if found.verb == "*" or found.resource is None:
        raise GrantError(f"{text} is too wide: name the verb and a path, host or name.")
    if str(found) != text:
        raise GrantError(f"Write {text} as {found}.")
    if not any(found.covers(effect.get("action", ""), effect.get("resource")) for effect in effects):
        raise GrantError(f"{text} has nothing to do with this request.")


def _against_cost(cap: Mapping[str, str] | None, action: Action) -> str:
    if action.cost == 0:
        return ""
    if cap is None:
        return "It costs money, and no sum was agreed to."
    if cap["unit"] != action.unit:
        return "It costs money of another kind than was agreed to."
    if action.cost > money.parse_amount(cap["amount"]):
        return "It costs more than was agreed to."
    return ""


def _same(one: Any, other: Any) -> bool:
    try:
        return canonical.dumps_json(one) == canonical.dumps_json(other)
    except ValueError:
        return False
