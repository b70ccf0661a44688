"""What a change that two people sign does, line by line, in words: to a policy, a tool, or a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from governance import policy_words, tool_words
from governance.policy_words import Line


def of_change(act: str, document: Mapping[str, Any], base: Mapping[str, Any]) -> list[Line]:
    """What somebody who signs this should read."""
    if act == "policy.activated":
        return policy_words.of_policy(base, document["document"])
    if act == "tool.registered":
        return tool_words.of_tool(base, document["document"])
    if act == "person.added":
        roles = ", ".join(document["roles"]) or "none"
        found = [Line("new", "Name", document["name"]), Line("new", "Roles", roles)]
        # Whoever has this address at the single sign-on has the login, so both who sign see it.
        mail = Line("new", "E-mail", str(base.get("email", "")) or "none")
        return [*found, Line("new", "Login", str(base.get("username", ""))), mail]
    found = []
    if "roles" in document:
        found.append(Line("changed", "Roles", _roles(document["roles"]), _roles(base.get("roles", []))))
    if "active" in document:
        found.append(Line("changed", "Login", "switched on" if document["active"] else "switched off"))
    if "name" in document:
        found.append(Line("changed", "Name", document["name"], str(base.get("name", ""))))
    if "reason" in document:
        found.append(Line("new", "Because", document["reason"]))
    return found


def text(act: str, document: Mapping[str, Any], base: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The difference as text, line by line, of what has a text: a policy, a tool."""
    if act == "policy.activated":
        return policy_words.diff(base, document["document"])
    return tool_words.diff(base, document["document"]) if act == "tool.registered" else []


def _roles(roles: list[str]) -> str:
    return ", ".join(sorted(roles)) or "none"
