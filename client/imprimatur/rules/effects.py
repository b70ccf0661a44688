"""What a call does to the world, derived from its parameters by the registry's templates and by nothing else.

Invariant 8: what the agent claims is only compared with what was derived. A parameter that is missing or of another
kind than the template needs is an error, never a guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imprimatur.rules import money, scope
from imprimatur.rules.tools import PLACEHOLDER

MAX_EFFECTS = 256


class DeriveError(ValueError):
    """The parameters do not allow the effects to be derived. The message names the parameter, never its value."""


@dataclass(frozen=True)
class Derived:
    """One call's consequences. `size` is bytes of UTF-8; `cost` is (canonical amount, unit); `target` is for people."""

    effects: list[dict[str, str]]
    cost: tuple[str, str] | None
    size: int | None
    target: str
    destructive: bool

    @property
    def cost_micro(self) -> int:
        """The cost in millionths of its unit; 0 when the tool costs nothing."""
        return 0 if self.cost is None else money.parse_amount(self.cost[0])


def parameter(document: Mapping[str, Any], parameters: Mapping[str, Any], name: str) -> Any:
    """One parameter's value, or the default its schema gives. Raises DeriveError when there is neither."""
    if name in parameters:
        return parameters[name]
    shape = document["schema"].get("properties", {}).get(name)
    if isinstance(shape, dict) and "default" in shape:
        return shape["default"]
    raise DeriveError(f"The parameter {name!r} is missing, so what this call would do is not known. Send it.")


def _one(value: object, name: str) -> str:
    if isinstance(value, str) and value:
        return value
    raise DeriveError(f"The parameter {name!r} must be text that is not empty.")


def expand(template: str, document: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[str]:
    """Fill a template: whole parameters and their concatenation, nothing more. A list fans out to one text per item."""
    parts: list[str | list[str]] = []
    end = 0
    for found in PLACEHOLDER.finditer(template):
        parts.append(template[end : found.start()])
        name = found.group(1)
        value = parameter(document, parameters, name)
        if isinstance(value, list):
            if not value:
                raise DeriveError(f"The parameter {name!r} is an empty list, so there is nothing to act on.")
            parts.append([_one(item, name) for item in value])
        else:
            parts.append(_one(value, name))
        end = found.end()
    parts.append(template[end:])
    lists = [part for part in parts if isinstance(part, list)]
    if len(lists) > 1:
        raise DeriveError("Two lists in one template: each would have to be paired with the other.")
    return [
        "".join(part[row] if isinstance(part, list) else part for part in parts)
        for row in range(len(lists[0]) if lists else 1)
    ]


def derive(document: Mapping[str, Any], parameters: Mapping[str, Any]) -> Derived:
    """Derive effects, cost, size and target from parameters that already fit the tool's schema.

    Effects are normalised, without repeats, in the order of templates and list items. A `destructive` parameter that is
    anything but false counts. Raises DeriveError when something is missing, malformed or too much (256 effects).
    """
    effects: list[dict[str, str]] = []
    seen: set[tuple[str, str]] = set()
    for template in document["effects"]:
        for text in expand(template["resource"], document, parameters):
            try:
                resource = scope.normalise(template["action"], text)
            except scope.ScopeError as error:
                raise DeriveError(f"A resource of this call is refused: {error}") from error
            if (template["action"], resource) not in seen:
                seen.add((template["action"], resource))
                effects.append({"action": template["action"], "resource": resource})
    if not 1 <= len(effects) <= MAX_EFFECTS:
        raise DeriveError(f"One call may have 1 to {MAX_EFFECTS} effects. Split it.")
    return Derived(
        effects=effects,
        cost=_cost(document, parameters),
        size=_size(document, parameters),
        target=target(document, parameters),
        destructive=bool(document["destructive"]) or parameters.get("destructive", False) is not False,
    )


def target(document: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """The name a person types to confirm: the target template filled in, items of a list joined with a comma."""
    return ", ".join(expand(document["target"], document, parameters))


def _cost(document: Mapping[str, Any], parameters: Mapping[str, Any]) -> tuple[str, str] | None:
    template = document.get("cost")
    if template is None:
        return None
    amounts = expand(template["amount"], document, parameters)
    units = expand(template["unit"], document, parameters)
    if len(amounts) != 1 or len(units) != 1:
        raise DeriveError("A cost is one amount in one unit, not a list.")
    try:
        return money.format_amount(money.read_amount(amounts[0])), money.check_unit(units[0])
    except money.MoneyError as error:
        raise DeriveError(f"The cost of this call cannot be read: {error}") from error


def _size(document: Mapping[str, Any], parameters: Mapping[str, Any]) -> int | None:
    template = document.get("size")
    if template is None:
        return None
    name = PLACEHOLDER.sub(r"\1", template)
    value = parameter(document, parameters, name)
    if not isinstance(value, str):
        raise DeriveError(f"The parameter {name!r} must be text, so that its size is known.")
    try:
        return len(value.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise DeriveError(f"The parameter {name!r} is not valid Unicode text.") from error


def compare_claims(
    derived: Derived, claimed_effects: Sequence[Mapping[str, str]] | None, claimed_cost: Mapping[str, str] | None
) -> str | None:
    """A sentence when what the agent claims differs from what was derived (code `resource-mismatch`), else None.

    Claims that are absent are not compared. Order and repeats do not matter; spelling is normalised first. The sentence
    repeats nothing of what the agent wrote.
    """
    if claimed_effects is not None:
        try:
            claimed = {(e["action"], scope.normalise(e["action"], e["resource"])) for e in claimed_effects}
        except (scope.ScopeError, KeyError, TypeError):
            return "The effects the agent claims cannot be read. Leave them out, or send what the call really does."
        if claimed != {(e["action"], e["resource"]) for e in derived.effects}:
            return "The effects the agent claims are not the effects of this call."
    if claimed_cost is not None:
        try:
            micro, unit = money.read_amount(claimed_cost["amount"]), claimed_cost["unit"]
        except (money.MoneyError, KeyError, TypeError):
            return 'The cost the agent claims cannot be read. Send {"amount": "150.00", "unit": "USD"} or leave it out.'
        if micro != derived.cost_micro or (derived.cost is not None and unit != derived.cost[1]):
            return "The cost the agent claims is not the cost of this call."
    return None
