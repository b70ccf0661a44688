"""Canaries: runs of requests that must be refused, and what the server measured of itself when it began."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.formats import attestation
from imprimatur.formats.timestamps import parse_time
from imprimatur.rules import canaries as rules
from imprimatur.verify import responses, rulebook, services
from imprimatur.verify.facts import Facts

_CLOCKS = 60
"""Seconds by which the clocks of a service and of the server may differ."""


def _reported(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.CANARY
    predicate = services.signed(facts, entry, attestation.CANARY).predicate
    facts.hold(predicate["result"] == body["result"], rule, "the service signed another result")
    facts.hold(predicate["from"] <= predicate["at"], rule, "the run ends before it begins")
    found = rules.result(predicate["attempts"])
    facts.hold(body["result"] == found, rule, f"its attempts give {found}, and not {body['result']}")
    facts.totals.canary_runs += 1
    facts.totals.runs_out_of_time += _out_of_time(facts, predicate)
    if found == rules.FAILED:
        names = [attempt["name"] for attempt in predicate["attempts"] if rules.succeeded(attempt)]
        facts.totals.got_through += len(names)
        facts.example("failed canaries", failed=list(rules.sort_out(predicate["attempts"]).failed), got_through=names)
        if names:
            responses.got_through(facts)
    _cover(facts, entry["actor"]["id"], predicate)


def _out_of_time(facts: Facts, predicate: Mapping[str, Any]) -> bool:
    """Whether a run was entered before it says that it ended, or so long after that the next one was overdue: a gap
    could be filled in behind, with runs that never were."""
    ended = parse_time(predicate["at"])
    since = (parse_time(facts.now) - ended).total_seconds()
    return not -_CLOCKS <= since <= 2 * predicate["every"] + _CLOCKS


def _cover(facts: Facts, service: str, predicate: Mapping[str, Any]) -> None:
    """Which time the runs of each service cover. A run that does not come after the one before it covers none."""
    known = facts.coverage.get(service)
    coverage = rules.Coverage.from_json(known) if known is not None else rules.Coverage()
    try:
        coverage.add(predicate)
    except rules.OutOfOrder:
        facts.totals.runs_out_of_order += 1
        facts.example("runs out of order", service=service)
        return
    facts.coverage[service] = coverage.as_json()


def _started(facts: Facts, entry: Mapping[str, Any]) -> None:
    body = entry["body"]
    wrong = body["packages"]["wrong"]
    facts.totals.starts += 1
    if wrong:
        facts.totals.starts_wrong += 1
        facts.example("wrong packages", process=body["process"], wrong=wrong[:5])
    facts.build = {**body, "packages": {"checked": body["packages"]["checked"], "wrong": len(wrong)}}


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "canary.reported": _reported,
    "server.started": _started,
}
