"""Who was asked about a request, and who took it on. Nobody is asked who may not answer; none of it changes who may."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.rules import states
from imprimatur.verify import rulebook, signatures, votes
from imprimatur.verify.facts import Facts, Request

LEASE = timedelta(minutes=10)
"""How long a claim lasts at most. It keeps nobody from answering."""


def _asked(facts: Facts, entry: Mapping[str, Any]) -> None:
    _check_may_answer(facts, _pending(facts, entry), entry["body"]["people"])


def _claimed(facts: Facts, entry: Mapping[str, Any]) -> None:
    until = entry["body"]["until"]
    longest = format_time(parse_time(facts.now) + LEASE + signatures.GRACE)
    facts.hold(facts.now < until <= longest, rulebook.ASKING, "a claim lasts ten minutes at most")
    _check_may_answer(facts, _pending(facts, entry), [entry["actor"]["id"]])


def _released(facts: Facts, entry: Mapping[str, Any]) -> None:
    facts.hold(entry["actor"]["type"] != "agent", rulebook.ACTOR, "an agent claims nothing")
    facts.hold(entry["subject"] == entry["body"]["request"], rulebook.REFERENCE, "its subject is another request")


def _pending(facts: Facts, entry: Mapping[str, Any]) -> Request:
    name = entry["body"]["request"]
    facts.hold(entry["subject"] == name, rulebook.REFERENCE, "its subject is another request")
    request = facts.requests.get(name)
    if request is None or request.state not in states.PENDING_STATES:
        facts.hold(False, rulebook.STATE, "there is no pending request to ask about")
        raise AssertionError  # hold has raised
    return request


def _check_may_answer(facts: Facts, request: Request, people: Sequence[str]) -> None:
    """One of the stages that are still missing is for each of them. Whether they have a key yet is not asked: to deny
    takes none."""
    missing = votes.missing(facts, request)  # once: five hundred may be asked, and many may have answered
    for person in people:
        found = [
            votes.against(facts, request, request.ballots, person=person, key="", stage=stage) for stage in missing
        ]
        problems = found[0] if found else ["nothing of it is open"]
        facts.hold(any(not reasons for reasons in found), rulebook.ASKING, "; ".join(problems))


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "review.asked": _asked,
    "review.claimed": _claimed,
    "review.released": _released,
}
