"""Who may answer a request, and why the others may not. Asked before notifying, before voting and when resolving."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from approvals.models import ActionRequest, Vote
from governance.models import Delegation, Person, Policy
from imprimatur.formats import canonical
from imprimatur.rules.quorum import Candidate, CastVote, Circumstances, Reason, Stage, Tally, ineligible, tally
from imprimatur.rules.risk import risk_of


@dataclass(frozen=True)
class Origin:
    """What a chain of delegations says about people. Delegations are content-addressed, so this never changes."""

    on_behalf_of: str | None
    issuer: str | None


NOWHERE = Origin(None, None)


@lru_cache(maxsize=4096)
def origin_of(delegation: str) -> Origin:
    """Whom the delegation acts for, and the person who signed the root of its chain."""
    link = Delegation.objects.get(pk=delegation)
    on_behalf_of = canonical.loads(bytes(link.document)).get("on_behalf_of")
    while link.parent is not None:
        link = link.parent
    return Origin(on_behalf_of, link.issuer_person_id)


@lru_cache(maxsize=256)
def single_human(policy: str) -> bool:
    """Whether this version of the policy lets one person answer every stage. Policies are content-addressed."""
    found = Policy.objects.filter(digest=policy).first()
    return found is not None and found.document.get("single_human") is True


def stages_of(request: ActionRequest) -> list[Stage]:
    """The stages this request was given when it was asked."""
    return [Stage(stage["role"], stage["count"], stage["kind"]) for stage in request.stages]


def candidate_of(person: Person) -> Candidate:
    """What the rules need to know of a person. Prefetch ``user__groups`` and ``keys`` for more than one."""
    return Candidate(
        person=person.id,
        roles=frozenset(group.name for group in person.user.groups.all()),
        human=True,
        active=person.user.is_active,
        keys=frozenset(key.fingerprint for key in person.keys.all() if key.revoked_at is None),
        name=person.name,
    )


def people() -> list[Person]:
    """Everybody, with what eligibility needs, in three queries."""
    return list(Person.objects.select_related("user").prefetch_related("user__groups", "keys").order_by("name"))


def person_of(identifier: str) -> Person | None:
    """One person, with what eligibility needs, as the database says now."""
    return Person.objects.select_related("user").prefetch_related("user__groups", "keys").filter(pk=identifier).first()


def live_votes(request: ActionRequest) -> list[Vote]:
    """The votes that count, oldest first. Uses a prefetch of ``votes`` when there is one."""
    return sorted((vote for vote in request.votes.all() if vote.recalled_at is None), key=lambda vote: vote.index)


def circumstances_of(request: ActionRequest, counted: Sequence[Vote]) -> Circumstances:
    """Everything about this request that rules people out."""
    origin = origin_of(request.delegation_id) if request.delegation_id else NOWHERE
    return Circumstances(
        agent_owner=request.agent.owner_id,
        on_behalf_of=origin.on_behalf_of,
        issuer=origin.issuer,
        counted_people=frozenset(vote.person_id for vote in counted),
        counted_keys=frozenset(vote.key for vote in counted if vote.key),
        risk=risk_of(request.risk),
        single_human=single_human(request.policy),
        agent_name=request.agent.name,
    )


def count(request: ActionRequest, votes: Iterable[Vote]) -> Tally:
    """What these votes add up to."""
    cast = [CastVote(vote.person_id, vote.key, vote.decision, vote.stage) for vote in votes]
    return tally(stages_of(request), cast, single_human=single_human(request.policy))


def standing(request: ActionRequest, votes: Sequence[Vote]) -> Tally:
    """What those of these votes that still count add up to: whoever lost the role or the key takes their vote along."""
    return count(request, votes_that_still_count(request, votes))


def open_stage(request: ActionRequest, votes: Sequence[Vote]) -> tuple[int, Stage] | None:
    """The stage that waits for an answer, with its number; None when there is none."""
    stages = stages_of(request)
    if not stages:
        return None
    number = standing(request, votes).stage
    return (number, stages[number]) if number < len(stages) else None


def deniable_stage(request: ActionRequest, votes: Sequence[Vote]) -> tuple[int, Stage] | None:
    """The stage a denial is for: the open one, or the last when none is. None when people are not asked at all."""
    stages = stages_of(request)
    if not stages:
        return None
    number = min(standing(request, votes).stage, len(stages) - 1)
    return number, stages[number]


def reasons_against(
    request: ActionRequest,
    person: Person,
    *,
    counted: Sequence[Vote] | None = None,
    stage: Stage | None = None,
    key: str | None = None,
) -> list[Reason]:
    """Why this person may not answer this request now; empty when they may.

    ``counted`` are the other votes that were cast (default: all of them), ``stage`` the stage the answer is for
    (default: the one that is open, or the last).
    """
    votes = live_votes(request) if counted is None else counted
    if stage is None:
        found = deniable_stage(request, votes)
        stage = found[1] if found else None
    return ineligible(candidate_of(person), circumstances_of(request, votes), key, stage)


def eligible_people(request: ActionRequest, among: Sequence[Person] | None = None) -> list[Person]:
    """Everybody who may answer the open stage now. These are told; nobody else is."""
    votes = live_votes(request)
    found = open_stage(request, votes)
    if found is None:
        return []
    circumstances = circumstances_of(request, votes)
    everybody = people() if among is None else among
    return [one for one in everybody if not ineligible(candidate_of(one), circumstances, None, found[1])]


def votes_that_still_count(request: ActionRequest, votes: Sequence[Vote]) -> list[Vote]:
    """The votes whose caster would still be eligible now, each judged against the others."""
    stages = stages_of(request)
    kept = []
    for vote in votes:
        person = person_of(vote.person_id)
        others = [other for other in votes if other.pk != vote.pk]
        stage = stages[vote.stage] if vote.stage < len(stages) else None
        if person is not None and not reasons_against(request, person, counted=others, stage=stage, key=vote.key):
            kept.append(vote)
    return kept
