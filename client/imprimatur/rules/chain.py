"""What a chain of delegations allows: every link has to allow it.

A chain runs from the root, which a person signed, to the leaf the agent presents. Narrowing is checked again at every
use. Cumulative spend is not decided here but in `imprimatur.rules.spend`, at every link.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from imprimatur.rules.money import format_amount
from imprimatur.rules.narrowing import MAX_CHAIN, Link, LinkError, Problem, link_problems, read
from imprimatur.rules.resources import Pattern, ResourceError, read_resource
from imprimatur.rules.scope import any_covers, normalise

# File verbs that put no bytes on disk. Under max_file_size every other one has to say how many it writes.
_WITHOUT_SIZE = frozenset({"read", "delete", "list"})

_CODES = {"not_before": "delegation-expired", "not_after": "delegation-expired", "max_depth": "depth"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the chain does not allow an action: a stable code of the agent API, and a sentence."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain that was read and found narrowing, root first. Build it with `prepare`; it may be kept and used again."""

    links: tuple[Link, ...]

    def refusal(
        self,
        *,
        effects: Sequence[Mapping[str, Any]],
        cost_micro: int | None,
        unit: str | None,
        tool: str,
        size: int | None,
        at: datetime,
    ) -> Refusal | None:
        """Why these links do not allow the action at that moment, or None when each of them does."""
        if not self.links:
            return Refusal("out-of-scope", "There is no delegation.")
        if not effects:
            return Refusal("out-of-scope", "The action has no effect that a scope could allow.")
        for link in self.links:
            refusal = (
                _window(link, at)
                or _scope(link, effects)
                or _constraints(link, effects, tool, size)
                or _money(link, cost_micro, unit)
            )
            if refusal is not None:
                return refusal
        return None


def prepare(chain: Sequence[Mapping[str, Any]]) -> Chain | Refusal:
    """Read the documents, root first, and check that each narrows the one before it.

    Signatures, revocations and that each `parent` is the digest of the document before are the caller's to check.
    """
    if not chain:
        return Refusal("out-of-scope", "There is no delegation.")
    if len(chain) > MAX_CHAIN:
        return Refusal("depth", f"A chain of delegations is at most {MAX_CHAIN} long.")
    try:
        links = tuple(read(document) for document in chain)
    except LinkError as error:
        return _from_problem(Problem(error.facet, f"A delegation of the chain cannot be read: {error}"))
    if links[0].parent is not None:
        return Refusal("out-of-scope", "The chain is not complete: its first delegation has a parent.")
    for parent, child in pairwise(links):
        found = link_problems(parent, child)
        if found:
            return _from_problem(found[0])
    return Chain(links)


def refusal(
    chain: Sequence[Mapping[str, Any]],
    *,
    effects: Sequence[Mapping[str, Any]],
    cost_micro: int | None,
    unit: str | None,
    tool: str,
    size: int | None,
    at: datetime,
) -> Refusal | None:
    """Why the chain of delegation documents, root first, does not allow an action, or None when it does.

    `effects` are the derived ones, `cost_micro` is in millionths of `unit`, `size` in bytes, `at` an aware time. Codes:
    out-of-scope, constraint, delegation-expired, depth, over-budget (for one action; the total is `spend`'s).
    """
    prepared = prepare(chain)
    if isinstance(prepared, Refusal):
        return prepared
    return prepared.refusal(effects=effects, cost_micro=cost_micro, unit=unit, tool=tool, size=size, at=at)


def _from_problem(problem: Problem) -> Refusal:
    facet = problem.facet.partition(".")[0]
    code = {"constraints": "constraint", "spend": "over-budget"}.get(facet) or _CODES.get(facet, "out-of-scope")
    return Refusal(code, problem.message)


def _window(link: Link, at: datetime) -> Refusal | None:
    if at < link.not_before:
        return Refusal("delegation-expired", "The delegation is not valid yet.")
    if at >= link.not_after:
        return Refusal("delegation-expired", "The delegation has expired.")
    return None


def _scope(link: Link, effects: Sequence[Mapping[str, Any]]) -> Refusal | None:
    for effect in effects:
        action, resource = effect.get("action"), effect.get("resource")
        if not isinstance(action, str):
            return Refusal("out-of-scope", "An effect has no action.")
        try:
            target = "" if resource is None else " " + normalise(action, resource)
        except ValueError as error:
            return Refusal("out-of-scope", f"{action}: {error}")
        if not any_covers(link.scopes, action, resource):
            return Refusal("out-of-scope", f"{action}{target} is outside the delegation.")
    return None


def _constraints(link: Link, effects: Sequence[Mapping[str, Any]], tool: str, size: int | None) -> Refusal | None:
    if link.tools is not None and tool not in link.tools:
        return Refusal("constraint", f"The delegation does not allow the tool {tool}.")
    if link.max_file_size is not None and size is not None and size > link.max_file_size:
        return Refusal("constraint", f"The delegation allows {link.max_file_size} bytes at most, and this is {size}.")
    for effect in effects:
        domain, _, verb = effect["action"].partition(":")
        if domain == "file":
            if link.paths is not None and not _is_in(link.paths, _target(effect)):
                return Refusal("constraint", "The path is outside those the delegation allows.")
            if link.max_file_size is not None and size is None and verb not in _WITHOUT_SIZE:
                return Refusal("constraint", "The delegation limits file sizes, and the size of this is not known.")
        elif domain in ("network", "email") and link.domains is not None:
            target = _target(effect)
            if target is None or not any(pattern.includes_host(target) for pattern in link.domains):
                return Refusal("constraint", "The host is outside the domains the delegation allows.")
    return None


def _is_in(patterns: Sequence[Pattern], target: Pattern | None) -> bool:
    return target is not None and any(pattern.includes(target) for pattern in patterns)


def _target(effect: Mapping[str, Any]) -> Pattern | None:
    resource = effect.get("resource")
    if resource is None:
        return None
    try:
        return read_resource(effect["action"].partition(":")[0], resource)
    except ResourceError:
        return None


def _money(link: Link, cost_micro: int | None, unit: str | None) -> Refusal | None:
    if cost_micro is None or cost_micro == 0:
        return None
    if isinstance(cost_micro, bool) or not isinstance(cost_micro, int) or cost_micro < 0:
        return Refusal("over-budget", "The cost is not an amount.")
    money = link.money
    if money.unit is None:
        return Refusal("over-budget", "The delegation carries no money.")
    if unit != money.unit:
        return Refusal("over-budget", f"The delegation's money is in {money.unit}.")
    most = money.limit if money.per_action is None else min(money.limit, money.per_action)
    if cost_micro > most:
        return Refusal("over-budget", f"One action may cost {format_amount(most)} {money.unit} at most.")
    return None
