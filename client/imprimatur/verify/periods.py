"""What happened in each month of a log, as far as an assessor wants to read it: canary runs, and what monitors found.

Fed with the entries about no one request, in order. Of each month the newest few runs and findings are kept one by
one, and all are counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from imprimatur.formats import attestation, merkle
from imprimatur.formats.selection import REQUEST_KINDS
from imprimatur.rules import canaries

MOST = 50
"""Runs and findings of a sort that are kept one by one, of each month."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry that is told by itself: a canary run, or an observation with findings or without a launch."""

    index: int
    leaf: str
    time: str
    said: Mapping[str, Any]


@dataclass(slots=True)
class Period:
    """A calendar month (UTC) with entries. Every run that did not pass is in ``red``; ``run`` is the newest of all."""

    name: str
    first: Event
    last: Event
    runs: dict[str, int] = field(default_factory=lambda: dict.fromkeys((canaries.PASSED, canaries.WARNED, "FAILED"), 0))
    run: Event | None = None
    red: deque[Event] = field(default_factory=lambda: deque(maxlen=MOST))
    observations: int = 0
    observed: Event | None = None
    differing: int = 0
    drift: deque[Event] = field(default_factory=lambda: deque(maxlen=MOST))
    unmatched: int = 0
    strange: deque[Event] = field(default_factory=lambda: deque(maxlen=MOST))
    launches: int = 0
    refused: int = 0
    starts: int = 0


class Periods:
    """The months of a log, oldest first. ``live`` are the launches that have not ended; ``services`` have roles."""

    def __init__(self) -> None:
        self.months: list[Period] = []
        self.live: set[str] = set()
        self.services: dict[str, str] = {}

    def entry(self, entry: Mapping[str, Any], raw: bytes) -> None:
        """Take in the next entry; `raw` is its envelope, the leaf of the log."""
        kind = entry["kind"]
        if kind in REQUEST_KINDS:
            return
        event = Event(entry["index"], merkle.leaf_hash(raw).hex(), entry["time"], {})
        name = entry["time"][:7]
        if not self.months or self.months[-1].name != name:
            self.months.append(Period(name, event, event))
        period = self.months[-1]
        period.last = event
        body = entry["body"]
        if kind == "canary.reported":
            _ran(period, event, body)
        elif kind == "observation.recorded":
            _observed(period, event, body)
        elif kind == "launch.attested":
            self.live.add(body["launch"])
            period.launches += 1
        elif kind == "launch.ended":
            self.live.discard(body["launch"])
        elif kind == "service.registered":
            self.services[body["service"]] = body["role"]
        elif kind == "launch.refused":
            period.refused += 1
        elif kind == "server.started":
            period.starts += 1


def _ran(period: Period, event: Event, body: Mapping[str, Any]) -> None:
    run = attestation.open_statement(body["statement"].encode("utf-8"), attestation.CANARY).predicate
    said = {
        "service": run["service"],
        "result": body["result"],
        "begun": run["from"],
        "ended": run["at"],
        "failed": list(canaries.sort_out(run["attempts"]).failed),
        "got_through": [each["name"] for each in run["attempts"] if canaries.succeeded(each)],
        "control": not canaries.control_failed(run["attempts"]),
    }
    told = Event(event.index, event.leaf, event.time, said)
    period.runs[body["result"]] += 1
    period.run = told
    if body["result"] != canaries.PASSED:
        period.red.append(told)


def _observed(period: Period, event: Event, body: Mapping[str, Any]) -> None:
    seen = attestation.open_statement(body["statement"].encode("utf-8"), attestation.OBSERVATION).predicate
    codes = sorted({finding["code"] for finding in body["findings"]})
    said = {"service": seen["service"], "launch": seen.get("launch", ""), "codes": codes}
    told = Event(event.index, event.leaf, event.time, said)
    period.observations += 1
    period.observed = told
    if body["findings"]:
        period.differing += 1
        period.drift.append(told)
    if not body["matched"]:
        period.unmatched += 1
        period.strange.append(told)
