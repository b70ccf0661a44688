"""What a change of policy does, line by line, in words: by its rules and settings."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imprimatur.rules import freeze
from imprimatur.rules import policy as rules
from imprimatur.rules.quorum import stages_for
from imprimatur.rules.risk import Risk

_SETTINGS = {
    "name": "Name",
    "assurance": "Approvals need",
    "single_human": "One person may approve their own agent",
    "default_risk": "What no rule names",
    "ttl": "Time to answer",
    "floors": "Floors",
    "device_bound": "Keys that never leave their device are needed for",
    "freeze": "Freeze calendar",
    "ask": "Who is asked when",
    "grants": "Answers in advance (grants)",
    "respond": "What the server does by itself",
}
_UNSET = {
    "single_human": False,
    "grants": True,
    "ttl": {},
    "floors": {},
    "device_bound": [],
    "freeze": [],
    "ask": [],
    "respond": {},
}


_RESPONSES = {
    ("drift", "alert"): "over drift it tells admins",
    ("drift", "suspend"): "over drift it suspends the agent",
    ("canary", "alert"): "over a canary that got through it tells admins",
    ("canary", "pause"): "over a canary that got through it stops everything",
}


@dataclass(frozen=True)
class Line:
    """One thing that changes. ``kind`` is new, gone or changed."""

    kind: str
    what: str
    words: str
    before: str = ""


def of_policy(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Line]:
    """What changes from one policy document to another: settings, then rules, by name."""
    found = []
    for key, what in _SETTINGS.items():
        old, new = before.get(key, _UNSET.get(key)), after.get(key, _UNSET.get(key))
        if old != new:
            kind = "changed" if before else "new"
            found.append(Line(kind, what, setting(key, new), setting(key, old) if before else ""))
    for part, what in (("deny", "Never"), ("rules", "Rule")):
        old_rules = {rule["name"]: rule for rule in before.get(part, [])}
        new_rules = {rule["name"]: rule for rule in after.get(part, [])}
        for name, rule in new_rules.items():
            if name not in old_rules:
                found.append(Line("new", f"{what} “{name}”", rule_words(rule)))
            elif old_rules[name] != rule:
                found.append(Line("changed", f"{what} “{name}”", rule_words(rule), rule_words(old_rules[name])))
        for name, rule in old_rules.items():
            if name not in new_rules:
                found.append(Line("gone", f"{what} “{name}”", rule_words(rule)))
        kept = [name for name in old_rules if name in new_rules]
        order = [name for name in new_rules if name in old_rules]
        if kept != order:
            found.append(Line("changed", f"Order ({part})", ", ".join(order), ", ".join(kept)))
    return found


def rule_words(rule: Mapping[str, Any]) -> str:
    """A rule in one line."""
    applies = f"tool {rule['tool']}" if "tool" in rule else str(rule.get("action", ""))
    when = f" when {rule['when']}" if "when" in rule else ""
    stages = ", then ".join(f"{stage['count']} {stage['role']}" for stage in rule.get("stages", ()))
    told = f": {rule['risk']}" if "risk" in rule else f": {rule.get('reason', '')}"
    return f"{applies}{when}{told}{f', asks {stages}' if stages else ''}"


def setting(key: str, value: Any) -> str:
    """The value of a setting, to read."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key == "freeze":
        return "; ".join(f"{each['name']}: {freeze.words(each)}" for each in value) or "none"
    if key == "ask":
        return "; ".join(asked(level) for level in value) or "everybody at once"
    if key == "respond":
        return "; ".join(_RESPONSES[name, value[name]] for name in ("drift", "canary") if name in value) or "nothing"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items()) or "as usual"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value)


def asked(level: Mapping[str, Any]) -> str:
    """One level of who is asked."""
    who = [*(f"role {role}" for role in level.get("roles", ())), *level.get("people", ())]
    when = "at once" if level["after"] == 0 else f"after {level['after']} % of the time"
    return f"{when}: {', '.join(who)}"


def usual(risk: str) -> str:
    """Whom a risk asks without stages of its own."""
    if risk not in ("HIGH", "CRITICAL"):
        return {"LOW": "nobody", "MEDIUM": "nobody; looked over afterwards"}.get(risk, "")
    return ", then ".join(f"{stage.count} {stage.role} to {stage.kind}" for stage in stages_for(Risk(risk)))


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The difference of two policies as TOML, line by line: add, del, at or same."""
    return compared(rules.to_toml(before) if before else "", rules.to_toml(after))


def compared(old: str, new: str) -> list[tuple[str, str]]:
    """The difference of two texts, line by line: add, del, at or same."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=3)
    marks = {"+": "add", "-": "del", "@": "at"}
    return [(marks.get(line[:1], "same"), line) for line in lines if not line.startswith(("---", "+++"))]
