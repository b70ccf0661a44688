"""Launches: what an orchestrator attests before it starts an agent, what was refused, and how each launch ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from imprimatur.formats import attestation, digests
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.verify import rulebook, services
from imprimatur.verify.facts import Facts, Launch

_KEEP = timedelta(days=1)
_NOT_OF_THE_RUN = ("layers", "own", "realm", "service")


def _attested(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.LAUNCH
    predicate = services.signed(facts, entry, attestation.LAUNCH).predicate
    name, agent = predicate["launch"], predicate["agent"]
    facts.hold((body["launch"], body["agent"]) == (name, agent), rule, "the statement is of another launch or agent")
    facts.hold(name not in facts.launches and name not in facts.ended_launches, rule, "this launch was attested before")
    kept = {field: value for field, value in predicate.items() if field not in _NOT_OF_THE_RUN}
    facts.launches[name] = Launch(entry["actor"]["id"], agent, facts.index, facts.now, [], kept)
    facts.totals.launches += 1
    facts.totals.declared += not predicate["runtime"]["launched"]


def _refused(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.LAUNCH
    facts.totals.launches_refused += 1
    if "statement" not in body:
        services.acting(facts, entry, attestation.ORCHESTRATOR)
        facts.totals.refused_unshown += 1
        return
    text = body["statement"].encode("utf-8")
    services.signed(facts, entry, attestation.LAUNCH)
    facts.hold(body["digest"] == digests.sha256(text), rule, "the digest is of another statement")


def _ended(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, actor, rule = entry["body"], entry["actor"], rulebook.LAUNCH
    launch = facts.launches.get(body["launch"])
    if launch is None:
        facts.hold(False, rule, "there is no such launch, or it has ended")
        return
    if actor["type"] == "system":
        facts.hold(body["how"] == "lost", rulebook.ACTOR, "the server knows of no end but that a launch is lost")
    else:
        services.acting(facts, entry, attestation.ORCHESTRATOR)
        facts.hold(actor["id"] == launch.service, rulebook.ACTOR, "another orchestrator attested this launch")
    facts.totals.launches_ended += 1
    facts.totals.launches_lost += body["how"] == "lost"
    facts.totals.never_observed += not launch.observations
    del facts.launches[body["launch"]]
    facts.ended_launches[body["launch"]] = facts.now


def forget(facts: Facts) -> None:
    """Forget the names of launches that ended more than a day ago."""
    before = format_time(parse_time(facts.now) - _KEEP)
    for name in [name for name, at in facts.ended_launches.items() if at < before]:
        del facts.ended_launches[name]


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "launch.attested": _attested,
    "launch.refused": _refused,
    "launch.ended": _ended,
}
