"""Observations: what an independent monitor saw of the processes of a launch, and in what that differs from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from imprimatur.formats import attestation
from imprimatur.formats.timestamps import parse_time
from imprimatur.rules import drift
from imprimatur.verify import responses, rulebook, services
from imprimatur.verify.facts import Facts

_OVERTAKEN = timedelta(seconds=60)
"""So much later by its monitor's clock than the end was entered, a look is no longer one that the end overtook."""


def _recorded(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule, totals = entry["body"], rulebook.OBSERVATION, facts.totals
    predicate = services.signed(facts, entry, attestation.OBSERVATION).predicate
    claimed = predicate.get("launch", "")
    launch = facts.launches.get(claimed)
    matches = "matches" if launch is not None else "does not match"
    facts.hold(body["matched"] == (launch is not None), rule, f"it {matches} a launch that has not ended")
    totals.observations += 1
    totals.unread += predicate.get("unread", 0)
    findings = drift.findings(launch.predicate, predicate) if launch is not None else []
    facts.hold(body["findings"] == findings, rule, _difference(body["findings"], findings))
    if launch is None:
        totals.unmatched += 1
        facts.example("unmatched", claimed=claimed)
        _after_its_end(facts, claimed, predicate)
        return
    launch.observations += 1
    launch.observed = facts.now
    if body["findings"]:
        launch.drifted += 1
        totals.drifted += 1
        facts.example("drift", launch=claimed, codes=sorted({found["code"] for found in body["findings"]}))
        responses.drifted(facts, launch.agent)


def _after_its_end(facts: Facts, claimed: str, predicate: Mapping[str, Any]) -> None:
    """Count what runs of a launch that is said to have ended. No service signs an end: who has the server's keys can
    make one up, and what is seen from then on is compared with nothing."""
    ended = facts.ended_launches.get(claimed, "")
    if ended and predicate["processes"] and parse_time(predicate["at"]) > parse_time(ended) + _OVERTAKEN:
        facts.totals.after_end += 1
        facts.example("after its end", launch=claimed)


def _difference(said: list[dict[str, Any]], found: list[dict[str, Any]]) -> str:
    missing = sorted({each["code"] for each in found if each not in said})
    more = sorted({each["code"] for each in said if each not in found})
    if missing:
        return f"what was observed differs from its launch ({', '.join(missing)}), and the entry does not say so"
    if more:
        return f"the entry says what was not observed: {', '.join(more)}"
    return "its findings are in another order than they are found in"


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {"observation.recorded": _recorded}
