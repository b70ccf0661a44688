"""The grant history in words: what a delegation allows, what a part of it has less, what changed in a tool.

Plain text that quotes what agents and people wrote. Whoever shows it makes it inert.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imprimatur.verify.grant_rows import ENDED, LIVE, WAITING, Ending, Standing

Named = Callable[[str], str]
"""What an id is called; the id itself when it has no name."""

KEYS = {
    "ssh": "SSH key",
    "webauthn": "passkey",
    "ed25519": "agent’s key",
    "session": "click in a session, which no key signed",
}
_CONSTRAINTS = {
    "paths": "paths",
    "domains": "domains",
    "max_file_size": "file size",
    "tools": "tools",
}
_NOTHING: Mapping[str, Any] = {}


def moment(time: str) -> str:
    """A time to the minute, in UTC."""
    return f"{time[:10]} {time[11:16]} UTC"


def may(document: Mapping[str, Any]) -> str:
    """What a delegation says may be done."""
    return ", ".join(document["scope"])


def bounds(document: Mapping[str, Any]) -> list[str]:
    """Everything that bounds it besides its scope: money, constraints, time, passing on."""
    found = [_spend(document)]
    constraints = document.get("constraints", _NOTHING)
    found += [f"{word} {_listed(constraints[name])}" for name, word in _CONSTRAINTS.items() if name in constraints]
    found.append(f"until {moment(document['not_after'])}")
    return [*found, passing_on(document)]


def passing_on(document: Mapping[str, Any]) -> str:
    """How far it may be passed on."""
    left = document["max_depth"]
    return f"may pass on {left} more {'level' if left == 1 else 'levels'}" if left else "may not be passed on"


def narrower(parent: Mapping[str, Any], child: Mapping[str, Any]) -> list[str]:
    """What the child has less than its parent, facet by facet, as the two documents say it."""
    found = []
    if list(parent["scope"]) != list(child["scope"]):
        found.append(f"scope: {may(child)}; was {may(parent)}")
    if _spend(parent) != _spend(child):
        found.append(f"money: {_spend(child)}; was {_spend(parent)}")
    above, below = parent.get("constraints", _NOTHING), child.get("constraints", _NOTHING)
    for name, word in _CONSTRAINTS.items():
        # What a child leaves out still holds through its parent.
        if name in below and below[name] != above.get(name):
            was = _listed(above[name]) if name in above else "any"
            found.append(f"{word}: {_listed(below[name])}; was {was}")
    if parent["not_before"] != child["not_before"]:
        found.append(f"begins: {moment(child['not_before'])}; was {moment(parent['not_before'])}")
    if parent["not_after"] != child["not_after"]:
        found.append(f"ends: {moment(child['not_after'])}; was {moment(parent['not_after'])}")
    return [*found, f"levels it may be passed on: {child['max_depth']}; was {parent['max_depth']}"]


def tool_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Which facets of a tool changed, and how: parameters, effects, risk and whatever else decides or is shown."""
    found = {}
    parameters = _parameters(before.get("schema"), after.get("schema"))
    if parameters:
        found["schema"] = parameters
    if before.get("effects") != after.get("effects"):
        found["effects"] = f"{_effects(after)}; was {_effects(before)}"
    for name in sorted(({*before, *after}) - {"schema", "effects"}):
        if before.get(name) != after.get(name):
            found[name] = f"{_said(after.get(name))}; was {_said(before.get(name))}"
    return found


def policy_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Which parts of the policy changed: by their names, and of rules which came, went or are other."""
    found = {}
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        if name in ("rules", "deny") and isinstance(was, list) and isinstance(now, list):
            found[name] = _rules(was, now)
        else:
            found[name] = f"{_said(now)}; was {_said(was)}"
    return found


def how(standing: Standing, named: Named = str) -> str:
    """How something stands: in force, or how it ended or was stopped, by whom and why."""
    if standing.ending is None:
        return {LIVE: "in force", WAITING: "has not begun"}.get(standing.state, standing.state)
    ending = standing.ending
    by = f" by {named(ending.by)}" if ending.by else ""
    why = f": {ending.why}" if ending.why else ""
    entry = f" (entry {ending.entry})" if ending.entry >= 0 else ""
    lasts = "" if standing.state == ENDED else "; for as long as that lasts"
    return f"{_begun(ending, named)}{by}{why}{entry}{lasts}"


def _begun(ending: Ending, named: Named) -> str:
    at = moment(ending.at)
    since = f", from {moment(ending.since)} on" if ending.since and moment(ending.since) != moment(ending.at) else ""
    words = {
        "revoked": f"revoked {at}{since}",
        "expired": f"expired {at}",
        "parent": f"ended {at} with the one above it",
        "delegation": f"ended {at} with its delegation",
        "policy": f"ended {at} with its policy",
        "key": f"ended {at}: the key that signed it is revoked{since}",
        "suspended": f"stopped {at}: {named(ending.of)} was suspended",
        "person": f"stopped {at}: {named(ending.of)} was switched off",
        "replaced": f"replaced {at}",
        "retired": f"taken out {at}",
        "used-up": f"used up {at}",
    }
    return words.get(ending.how, f"{ending.how} {at}")


def _spend(document: Mapping[str, Any]) -> str:
    spend = document.get("spend")
    if spend is None:
        return "no money"
    each = f", {spend['per_action']} at a time" if "per_action" in spend else ""
    return f"at most {spend['limit']} {spend['unit']}{each}"


def _listed(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,} bytes"
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and value else "none"


def _effects(document: Mapping[str, Any]) -> str:
    return ", ".join(f"{effect['action']} {effect['resource']}" for effect in document.get("effects", ())) or "none"


def _said(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return " ".join(str(part) for part in value.values())
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    return str(value)


def _parameters(before: object, after: object) -> str:
    if before == after:
        return ""
    was, now = _properties(before), _properties(after)
    parts = [f"new {name}" for name in now if name not in was]
    parts += [f"without {name}" for name in was if name not in now]
    parts += [f"other {name}" for name in now if name in was and was[name] != now[name]]
    needed, need = _required(before), _required(after)
    parts += [f"{name} is required" for name in need if name not in needed]
    parts += [f"{name} is no longer required" for name in needed if name not in need and name in now]
    return "; ".join(parts) or "other rules of the schema"


def _properties(schema: object) -> Mapping[str, Any]:
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    return found if isinstance(found, Mapping) else _NOTHING


def _required(schema: object) -> list[str]:
    found = schema.get("required") if isinstance(schema, Mapping) else None
    return [str(name) for name in found] if isinstance(found, list) else []


def _rules(before: list[Any], after: list[Any]) -> str:
    was, now = ({_name(rule, place): rule for place, rule in enumerate(rules)} for rules in (before, after))
    parts = [f"new {name}" for name in now if name not in was]
    parts += [f"without {name}" for name in was if name not in now]
    parts += [f"other {name}" for name in now if name in was and was[name] != now[name]]
    return "; ".join(parts) or "another order"


def _name(rule: object, place: int) -> str:
    return str(rule.get("name", place)) if isinstance(rule, Mapping) else str(place)
