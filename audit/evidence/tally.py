"""Counts for the report: what became of requests, by whom and how strongly, and what was out of the ordinary.

Everything follows from the entries that the bundle keeps. Memory holds counts, names, and the requests that are under
way where the reading has come to.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from audit import kinds
from audit.evidence.source import LoggedEntry, Source
from imprimatur.formats import canonical
from imprimatur.formats.digests import fingerprint
from imprimatur.formats.entries import ALLOWED_STATES
from imprimatur.formats.selection import AUTHORITY

MOST_CHANGES = 500
RISKS = ("LOW", "MEDIUM", "HIGH", "CRITICAL")


@dataclass
class Tally:
    """What was counted. Every number is of entries in this bundle."""

    kept: int = 0
    begun: str = ""
    ended: str = ""
    requests: int = 0
    verdicts: dict[str, Counter[str]] = field(default_factory=lambda: {risk: Counter() for risk in RISKS})
    ways: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    assurance: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    changes: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=MOST_CHANGES))
    changes_in_all: int = 0
    open: dict[str, str] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)

    def name(self, kind: str, id: str) -> str:
        """A name as the log itself has it by now; digests short, other ids as they are."""
        known = self.names.get(id)
        if known is not None:
            return known
        return fingerprint(id) if id.startswith("sha256:") else id


def tally(source: Source) -> Tally:
    """Count what this bundle keeps of the log."""
    found = Tally()
    for entry in source.entries():
        _entry(found, entry)
    for risk in found.open.values():
        found.verdicts[risk]["open"] += 1
        found.ways["open"] += 1
    found.odd["unreported"] += len(found.running)
    return found


def _entry(found: Tally, entry: LoggedEntry) -> None:
    payload = entry.payload
    kind, body, actor = payload["kind"], payload["body"], payload["actor"]
    found.kept += 1
    found.begun, found.ended = found.begun or payload["time"], payload["time"]
    if kind in ("person.added", "person.changed") and "name" in body:
        found.names[body["person"]] = body["name"]
    elif kind == "agent.enrolled":
        found.names[body["agent"]] = body["name"]
    if kind in AUTHORITY:
        sentence = kinds.sentence(payload, names=found.name)
        found.changes.append({"index": entry.index, "time": payload["time"], "sentence": sentence})
        found.changes_in_all += 1
    if actor["type"] == "system" and actor["id"] == "console":
        found.odd["console"] += 1
    if actor["type"] == "person" and actor.get("assurance") == "H0":
        found.odd["clicks"] += 1
    if kind == "openings.erased":
        found.odd["erased"] += body["count"]
    elif kind == "policy.activated" and body["document"].get("single_human"):
        found.odd["single_human"] += 1
    elif kind == "action.requested":
        found.requests += 1
        found.open[payload["subject"]] = body["risk"]
    elif kind == "action.decided":
        _decided(found, payload)
    elif kind == "vote.cast":
        said = canonical.loads(body["statement"].encode("utf-8"))["decision"]
        found.answers.setdefault(actor["id"], Counter())[said] += 1
        found.assurance[actor.get("assurance", "H0")] += 1
    elif kind == "vote.recalled":
        found.answers.setdefault(actor["id"], Counter())["recalled"] += 1
    elif kind == "action.redeemed":
        found.running.add(payload["subject"])
    elif kind == "action.withdrawn":
        found.outcomes["withdrawn"] += 1
    elif kind == "action.reported":
        found.running.discard(payload["subject"])
        found.outcomes[body["outcome"]] += 1
        found.odd["unreported"] += body["outcome"] == "UNREPORTED"
        found.odd["late"] += bool(body.get("late"))


def _decided(found: Tally, payload: dict[str, Any]) -> None:
    body, request = payload["body"], payload["subject"]
    if found.open.pop(request, None) is None:
        found.requests += 1
    found.verdicts[body["risk"]][body["verdict"]] += 1
    found.levels[body["enforcement"]] += 1
    if body["state"] in ALLOWED_STATES:
        found.ways["in advance" if "grant" in body else "people" if body["votes"] else "rule"] += 1
        if body["state"] == "REDEEMED":
            found.running.add(request)
        return
    found.ways[body["state"]] += 1
    found.refusals[body.get("code", body["state"].lower())] += 1
