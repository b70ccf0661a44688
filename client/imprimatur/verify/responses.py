"""What the server does by itself over evidence: it suspends an agent that drifted, or pauses all over a failed canary.

Both only narrow what runs, both only where the active policy's `respond` says so, and both name the entry of which
they are the answer. An admin undoes them; after that the same evidence answers for nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.verify import rulebook
from imprimatur.verify.facts import Facts

DRIFT, CANARY = "drift", "canary"
_KEEP = timedelta(hours=1)


def over_drift(facts: Facts, entry: Mapping[str, Any]) -> bool:
    """Whether the server suspends this agent by itself. Then a finding about a launch of it says why."""
    if not _is(entry, DRIFT):
        return False
    _hold_allowed(facts, entry, DRIFT, "suspend")
    agent = facts.findings.get(_points_at(facts, entry, "observation"), [""])[0]
    right = agent == entry["body"]["agent"]
    facts.hold(right, rulebook.RESPONSE, "it names no observation in which a launch of this agent had drifted")
    facts.totals.suspended_by_drift += 1
    return True


def over_canary(facts: Facts, entry: Mapping[str, Any]) -> bool:
    """Whether the server pauses by itself. Then it pauses everything, and a canary run that failed says why."""
    if not _is(entry, CANARY):
        return False
    _hold_allowed(facts, entry, CANARY, "pause")
    facts.hold(entry["body"]["scope"] == "everything", rulebook.RESPONSE, "over a canary, everything is paused")
    red = _points_at(facts, entry, "canary") in facts.red_runs
    facts.hold(red, rulebook.RESPONSE, "it names no run in which a canary got through")
    facts.totals.paused_by_canary += 1
    return True


def drifted(facts: Facts, agent: str) -> None:
    """The entry at hand is an observation with findings about a launch of this agent."""
    facts.findings[str(facts.index)] = [agent, facts.now]


def got_through(facts: Facts) -> None:
    """The entry at hand is a run of the canaries in which an attack was not refused."""
    facts.red_runs[str(facts.index)] = facts.now


def forget_drift(facts: Facts, agent: str) -> None:
    """Somebody resumed the agent, and knew what had been found by then."""
    for index in [index for index, (of, _) in facts.findings.items() if of == agent]:
        del facts.findings[index]


def forget_canaries(facts: Facts) -> None:
    """Somebody lifted the pause, and knew which runs had failed by then."""
    facts.red_runs.clear()


def forget(facts: Facts) -> None:
    """Forget evidence that is too old to be answered by itself."""
    before = format_time(parse_time(facts.now) - _KEEP)
    for index in [index for index, (_, at) in facts.findings.items() if at < before]:
        del facts.findings[index]
    for index in [index for index, at in facts.red_runs.items() if at < before]:
        del facts.red_runs[index]


def _is(entry: Mapping[str, Any], name: str) -> bool:
    return bool(entry["actor"]["type"] == "system" and entry["actor"]["id"] == name)


def _hold_allowed(facts: Facts, entry: Mapping[str, Any], over: str, answer: str) -> None:
    respond = facts.policies[facts.policy].get("respond", {}) if facts.policy else {}
    facts.hold(respond.get(over) == answer, rulebook.RESPONSE, "the policy in force does not say so")
    facts.hold("signed" not in entry["body"], rulebook.RESPONSE, "the server signs nothing for a person")


def _points_at(facts: Facts, entry: Mapping[str, Any], rel: str) -> str:
    """The entry that this one names as its reason, once."""
    named = [ref["index"] for ref in entry["refs"] if ref["rel"] == rel]
    facts.hold(len(named) == 1, rulebook.RESPONSE, f"it does not name the {rel} that it answers")
    return str(named[0])
