"""Bindings and openings for cards, made the way the server makes them: effects and cost derived, parameters committed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from imprimatur.cards import Card, render
from imprimatur.formats import binding, commitments
from imprimatur.rules import effects, tools

PARAMETERS: dict[str, dict[str, Any]] = {
    "read_file": {"path": "/project/a.txt"},
    "write_file": {"path": "/project/a.txt", "content": "one\ntwo\n"},
    "delete_file": {"path": "/project/reports/q3.csv"},
    "send_email": {"to": ["bo@example.com"], "subject": "Hello", "body": "Text"},
    "execute_code": {"code": "print(1)\n"},
    "make_payment": {"payee": "Nordhav Supplies", "amount": "4200.00", "currency": "USD", "reference": "INV-7"},
    "http_request": {"method": "POST", "url": "https://api.example.com/v1?q=1", "body": "{}"},
    "call_external": {"url": "https://api.example.com/v1", "operation": "sync", "payload": "x"},
}


def bind(name: str, parameters: dict[str, Any], claimed: list[dict[str, str]] | None = None) -> dict[str, Any]:
    """The binding of one call; with `claimed` effects, of a tool that the registry does not know."""
    tool: dict[str, str] = {"name": name}
    found, cost = claimed or [], ("0.00", "USD")
    if claimed is None:
        document = tools.DEFAULT_TOOLS[name]
        derived = effects.derive(document, parameters)
        tool["schema"] = tools.digest(document)
        found, cost = derived.effects, derived.cost or cost
    return binding.build(
        realm="example.com/imprimatur",
        agent="ag_" + "a" * 32,
        delegation="sha256:" + "0" * 64,
        tool=tool,
        effects=found,
        parameters={key: commitments.commit(b"\x01" * 32, key, value)[0] for key, value in parameters.items()},
        cost={"amount": cost[0], "unit": cost[1]},
        context={},
    )


def card(
    name: str, changes: dict[str, Any] | None = None, *, hide: Iterable[str] = (), previous: bytes | None = None
) -> Card:
    """The card of one call of a default tool."""
    parameters = {**PARAMETERS[name], **(changes or {})}
    openings = {key: value for key, value in parameters.items() if key not in set(hide)}
    return render(bind(name, parameters), openings, tools.DEFAULT_TOOLS[name], previous=previous)
