"""Observations: what an independent monitor saw of the processes of a launch, and in what that differs from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.formats import attestation
from imprimatur.verify import responses, rulebook, services
from imprimatur.verify.facts import Facts


def _recorded(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule, totals = entry["body"], rulebook.OBSERVATION, facts.totals
    predicate = services.signed(facts, entry, attestation.OBSERVATION).predicate
    claimed = predicate.get("launch", "")
    launch = facts.launches.get(claimed)
    matches = "matches" if launch is not None else "does not match"
    facts.hold(body["matched"] == (launch is not None), rule, f"it {matches} a launch that has not ended")
    totals.observations += 1
    totals.unread += predicate.get("unread", 0)
    if launch is None:
        facts.hold(not body["findings"], rule, "it matches no launch that it could differ from")
        totals.unmatched += 1
        facts.example("unmatched", claimed=claimed)
        return
    launch.observations += 1
    launch.observed = facts.now
    if body["findings"]:
        launch.drifted += 1
        totals.drifted += 1
        facts.example("drift", launch=claimed, codes=sorted({found["code"] for found in body["findings"]}))
        responses.drifted(facts, launch.agent)


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {"observation.recorded": _recorded}
