"""Canaries: runs of requests that must be refused, and what the server measured of itself when it began."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.formats import attestation
from imprimatur.verify import responses, rulebook, services
from imprimatur.verify.facts import Facts


def _reported(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.CANARY
    predicate = services.signed(facts, entry, attestation.CANARY).predicate
    facts.hold(predicate["result"] == body["result"], rule, "the service signed another result")
    facts.hold(predicate["from"] <= predicate["at"], rule, "the run ends before it begins")
    facts.totals.canary_runs += 1
    if body["result"] == "FAILED":
        responses.failed(facts)


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
