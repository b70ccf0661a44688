"""What tidies up after a revocation, and entries that change nothing about authority."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.verify import rulebook
from imprimatur.verify.facts import Facts
from imprimatur.verify.people import is_admin


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


def _held(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    facts.hold(body["hold"] not in facts.legal_holds, rulebook.HOLD, "this hold was placed before")
    whole = body["scope"] == "everything"
    facts.hold(whole == (body["target"] == ""), rulebook.HOLD, "a hold has a target, unless it is on everything")
    facts.legal_holds[body["hold"]] = [body["scope"], body["target"]]


def _lifted(facts: Facts, entry: Mapping[str, Any]) -> None:
    found = facts.legal_holds.pop(entry["body"]["hold"], None)
    facts.hold(found is not None, rulebook.HOLD, "no such hold stands")


def _erased(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, actor = entry["body"], entry["actor"]
    for scope, target in facts.legal_holds.values():
        held = scope == "everything" or (scope == "agent" and target == body["agent"])
        held = held or (scope == "request" and target in body["subjects"])
        facts.hold(not held, rulebook.HOLD, "what it erases is under a legal hold")
    by_rule = body["rule"] == "retention"
    facts.hold(by_rule == ("before" in body), rulebook.HOLD, "a retention rule, and only it, says what was old enough")
    who = "system" if by_rule else "person"
    facts.hold(actor["type"] == who, rulebook.ACTOR, "a rule is carried out by the server, a wish by an admin")
    admin = by_rule or is_admin(facts, actor["id"])
    facts.hold(admin, rulebook.ACTOR, "only an admin has openings erased")
    facts.hold(not by_rule or body["before"] <= entry["time"], rulebook.HOLD, "nothing is older than a time to come")
    for name in body["subjects"]:
        live = facts.requests.get(name)
        facts.hold(live is None or live.state == "UNREPORTED", rulebook.HOLD, f"{name} has not ended")


def _export(facts: Facts, entry: Mapping[str, Any]) -> None:
    facts.hold(entry["body"]["size"] <= facts.index, rulebook.REFERENCE, "the export would hold entries to come")


def _shipped(facts: Facts, entry: Mapping[str, Any]) -> None:
    facts.hold(entry["body"]["size"] <= facts.index, rulebook.REFERENCE, "entries to come cannot be elsewhere yet")


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "cascade.swept": _swept,
    "cascade.finished": _finished,
    "comment.added": _nothing,
    "door.rejected": _nothing,
    "bundle.issued": _bundle,
    "export.taken": _export,
    "hold.placed": _held,
    "hold.lifted": _lifted,
    "openings.erased": _erased,
    "log.shipped": _shipped,
}
