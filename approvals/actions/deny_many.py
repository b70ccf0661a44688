"""A person denies several requests at once, for one reason. Never the other way round: nothing approves in bulk.

Each is a vote of its own, with its own statement, checked like any other. They are committed together, and one that
changed meanwhile is refused alone: the others stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from approvals import queue
from approvals.actions import cast_vote
from approvals.models import ActionRequest
from audit.errors import LogError
from audit.log import commit_each
from governance.errors import Refused
from governance.models import Person

MOST = 100


@dataclass(frozen=True)
class Chosen:
    """One request, as the person saw it."""

    request: str
    version: int


@dataclass(frozen=True)
class Outcome:
    """What came of one of them: ``problem`` is empty when it was denied. ``request`` is None for an id of nothing."""

    chosen: Chosen
    request: ActionRequest | None
    problem: str = ""


def deny(person: Person, chosen: Sequence[Chosen], reason: str) -> list[Outcome]:
    """Deny them all by a click, in the order given; denying never needs a key.

    Raises Refused ``invalid`` for too many, none, or no reason. What goes wrong with one is in its outcome.
    """
    if not 0 < len(chosen) <= MOST:
        raise Refused("invalid", f"Choose between 1 and {MOST} requests.")
    if len({one.request for one in chosen}) != len(chosen):
        raise Refused("invalid", "The same request was chosen twice. Choose again.")
    if not reason.strip():
        raise Refused("invalid", "Say why you deny them: the agents and the auditors will read it.")
    rows = queue.rows().in_bulk([one.request for one in chosen])
    made: dict[str, cast_vote.Command] = {}
    problems: dict[str, str] = {}
    for one in chosen:
        row = rows.get(one.request)
        if row is None:
            problems[one.request] = "There is no such action request."
            continue
        try:
            made[one.request] = cast_vote.clicked(person, row, version=one.version, decision="deny", reason=reason)
        except Refused as error:
            problems[one.request] = error.message
    results = commit_each([(cast_vote.apply, command) for command in made.values()])
    for request_id, result in zip(made, results, strict=True):
        if isinstance(result, Refused | LogError):
            problems[request_id] = getattr(result, "message", "") or str(result)
        elif isinstance(result, BaseException):
            raise result
    return [Outcome(one, rows.get(one.request), problems.get(one.request, "")) for one in chosen]
