"""What a new tool, or a new version of one, does: line by line, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from governance.policy_words import Line, compared

_FIELDS = {
    "title": "Title",
    "effects": "What it does to the world",
    "minimum_risk": "Risk, at least",
    "reversibility": "Can be undone",
    "destructive": "Destructive",
    "cost": "Costs",
    "settle": "Money counts",
    "target": "Typed to confirm",
    "sentence": "What people read of it",
    "card": "Shown as",
    "withhold": "Agents may withhold",
    "size": "Size counts",
    "executor": "Carried out by",
}
_SETTLED = {"spent": "as asked for", "reported": "as the agent reports it"}


def of_tool(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Line]:
    """What changes from one version of a tool to another, or what a new one does. An absent ``before`` is empty."""
    found = []
    for name, what in _FIELDS.items():
        old, new = before.get(name), after.get(name)
        if old != new or (not before and name == "minimum_risk"):
            found.append(_line(what, _words(name, new), _words(name, old) if before else None))
    return [*found, *_parameters(before.get("schema", {}), after["schema"], bool(before))]


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The difference of two documents as text, line by line: add, del, at or same."""
    return compared(_text(before) if before else "", _text(after))


def _parameters(before: Mapping[str, Any], after: Mapping[str, Any], known: bool) -> list[Line]:
    old, new = before.get("properties", {}), after.get("properties", {})
    found = []
    for name in new:
        said, told = _parameter(name, after), _parameter(name, before) if name in old else None
        if said != told:
            found.append(_line(f"Parameter “{name}”", said, told))
    found += [Line("gone", f"Parameter “{name}”", _parameter(name, before)) for name in old if name not in new]
    rest = _rest(after)
    if _rest(before) != rest:
        found.append(_line("Schema besides", rest or "nothing", (_rest(before) or "nothing") if known else None))
    return found


def _parameter(name: str, schema: Mapping[str, Any]) -> str:
    """One parameter: whether it must be given, and its schema as it stands."""
    said = "required" if name in schema.get("required", ()) else "optional"
    return f"{said}, {_json(schema['properties'][name])}"


def _rest(schema: Mapping[str, Any]) -> str:
    """What a schema says beyond being a closed object with these parameters."""
    kept = {key: value for key, value in schema.items() if key not in ("type", "properties", "required")}
    if kept.get("additionalProperties") is False:
        del kept["additionalProperties"]
    return _json(kept) if kept else ""


def _line(what: str, words: str, before: str | None) -> Line:
    return Line("new", what, words) if before is None else Line("changed", what, words, before)


def _words(name: str, value: Any) -> str:
    if name == "effects":
        return "; ".join(f"{effect['action']}:{effect['resource']}" for effect in value)
    if name == "minimum_risk":
        return str(value) if value else "nothing of its own: policy says"
    if name == "cost":
        return f"{value['amount']} {value['unit']}" if value else "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    if name == "settle":
        return _SETTLED[value]
    return str(value or "nothing")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True)
