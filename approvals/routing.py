"""Who is told of a request, and when: levels, absences, claims.

Invariant: it widens who is *asked* and never who is *allowed*. Whoever may answer sees the request under *Needs you*
from its first second on, asked or not; and whoever is asked may answer. Nothing waits because of a calendar: when too
few of those asked could complete the open step, everybody who may answer is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from approvals import claims, eligibility
from approvals.models import ActionRequest
from approvals.notifications import topics
from audit.models import Entry
from audit.selectors import payload_of
from governance import absences
from governance.models import Person, Policy
from imprimatur.rules import asking
from imprimatur.rules.asking import Level

ASKED = "review.asked"


def whom(
    levels: Sequence[Level],
    pool: Mapping[str, Collection[str]],
    able: Collection[str],
    needed: int,
    away: Mapping[str, str | None],
) -> list[str]:
    """Who of the ``pool`` these levels ask, in the order of the pool. Pure.

    ``pool`` maps everybody who may answer now to their roles; ``able`` are those of them who may approve; ``needed`` is
    how many of those the open step still takes; ``away`` maps who is out of office to whoever stands in. Standing in
    is not passed on: somebody who is away themselves is nobody's stand-in.
    """
    wanted = (one for one, roles in pool.items() if any(level.asks(one, roles) for level in levels))
    asked = {away.get(one) if one in away else one for one in wanted}
    chosen = [one for one in pool if one in asked and one not in away]
    enough = sum(1 for one in chosen if one in able) >= needed
    return chosen if chosen and enough else list(pool)


@lru_cache(maxsize=256)
def levels_of(policy: str) -> tuple[Level, ...]:
    """The levels of this version of the policy. Policies are content-addressed."""
    found = Policy.objects.filter(digest=policy).first()
    return asking.levels(found.document.get("ask") if found is not None else None)


def due_at(request: ActionRequest, level: Level) -> datetime:
    """When this level is told."""
    return topics.due_at(request, level.after / 100)


def reached(request: ActionRequest, now: datetime) -> int:
    """The number of the last level to be told by now.

    A claim pauses the next level until its lease ends, but not the last one: a lease can be longer than a request has.
    """
    levels = levels_of(request.policy)
    last = max((number for number, level in enumerate(levels) if now >= due_at(request, level)), default=0)
    if last > request.asked_level >= 0 and not levels[last].everyone and claims.claim_of(request, now) is not None:
        return request.asked_level
    return last


def next_at(request: ActionRequest, now: datetime) -> datetime | None:
    """When more people are asked; None when everybody has been."""
    levels = levels_of(request.policy)
    if request.asked_level + 1 >= len(levels):
        return None
    level = levels[request.asked_level + 1]
    claim = claims.claim_of(request, now)
    at = due_at(request, level)
    if claim is None or level.everyone:
        return at
    return max(at, min(claim.until, due_at(request, levels[-1])))


def people_at(request: ActionRequest, level: int, now: datetime) -> tuple[Person, ...]:
    """Whom to ask when ``level`` is reached: judged against everybody, their absences and the open step, as of now."""
    votes = eligibility.live_votes(request)
    place = eligibility.open_stage(request, votes)
    if place is None:
        return ()
    askable = [
        one for one in eligibility.people() if not eligibility.reasons_against(request, one, counted=votes, place=place)
    ]
    pool = {one.id: eligibility.candidate_of(one).roles for one in askable}
    away = absences.away_at(now)
    levels = levels_of(request.policy)[: level + 1]
    chosen = whom(
        levels,
        pool,
        {one.id for one in askable if eligibility.lacks(request, one) is None},
        eligibility.standing(request, votes).needs[0].count,
        {one: absence.delegate_id for one, absence in away.items()},
    )
    asked = set(chosen)
    return tuple(one for one in askable if one.id in asked)


def asked_so_far(request: str, payloads: Iterable[Mapping[str, Any]] | None = None) -> list[str]:
    """Who was asked for the step that is open, as the log says it; in the order in which they were.

    ``payloads`` are the entries about this request, when they are at hand. Level 0 begins a step anew.
    """
    if payloads is None:
        rows = Entry.objects.filter(subject=request, kind=ASKED).order_by("index")
        payloads = [payload_of(row) for row in rows]
    asked: list[str] = []
    began = ""
    for payload in payloads:
        if payload["kind"] != ASKED:
            continue
        if payload["body"]["level"] == 0 and payload["time"] != began:
            asked, began = [], payload["time"]
        asked += [one for one in payload["body"]["people"] if one not in asked]
    return asked
