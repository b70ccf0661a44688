"""What tidies up after a revocation, and entries that change nothing about authority."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.verify import rulebook
from imprimatur.verify.facts import Facts


def _swept(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    cause = str(body["cause"])
    facts.hold(cause in facts.revocations, rulebook.CASCADE, "its cause is not a revocation")
    for name in body["ids"]:
        if name in facts.requests:
            facts.requests[name].swept = True
    facts.sweeps[cause] = facts.sweeps.get(cause, 0) + len(body["ids"])


def _finished(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    cause = str(body["cause"])
    facts.hold(cause in facts.revocations, rulebook.CASCADE, "its cause is not a revocation")
    swept = facts.sweeps.pop(cause, 0)
    facts.hold(body["total"] == swept, rulebook.CASCADE, f"{swept} were swept, not {body['total']}")
    del facts.revocations[cause]


def _nothing(facts: Facts, entry: Mapping[str, Any]) -> None:
    return None


def _bundle(facts: Facts, entry: Mapping[str, Any]) -> None:
    facts.hold(entry["body"]["size"] <= facts.index, rulebook.REFERENCE, "the bundle would hold entries to come")


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "cascade.swept": _swept,
    "cascade.finished": _finished,
    "comment.added": _nothing,
    "door.rejected": _nothing,
    "bundle.issued": _bundle,
}
