"""Who may answer a request, and why the others may not. Asked before notifying, before voting and when resolving."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from approvals.models import ActionRequest, Vote
from governance.models import Delegation, Person, PersonKey, Policy
from governance.runtime.models import Launch
from imprimatur.formats import canonical
from imprimatur.rules import quorum
from imprimatur.rules.quorum import Candidate, CastVote, Circumstances, Reason, Stage, Tally, ineligible, tally
from imprimatur.rules.risk import risk_of

CLICK = "H0"
ATTESTED = "H3"
Place = tuple[int, Stage]
"""A stage of a request, with its number."""


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


def signers_of_what_runs(agent: str) -> list[str]:
    """The people who signed a launch of this agent that runs now, each once, the oldest launch first.

    Kept with what it asks: which launch a request names is the agent's word, and naming none opens nothing.
    """
    live = Launch.objects.filter(agent=agent, state=Launch.ATTESTED).order_by("index")
    return list(dict.fromkeys(person for signers in live.values_list("signers", flat=True) for person in signers))


def launch_of(request: ActionRequest) -> str | None:
    """The launch that the request names, if it does."""
    found: str | None = _context(bytes(request.binding)).get("launch")
    return found


@lru_cache(maxsize=1024)
def _context(binding: bytes) -> dict[str, str]:
    context: dict[str, str] = canonical.loads(binding)["context"]
    return context


@lru_cache(maxsize=256)
def single_human(policy: str) -> bool:
    """Whether this version of the policy lets one person answer every stage. Policies are content-addressed."""
    found = Policy.objects.filter(digest=policy).first()
    return found is not None and found.document.get("single_human") is True


def stages_of(request: ActionRequest) -> list[Stage]:
    """The stages this request was given when it was asked."""
    return [Stage(stage["role"], stage["count"], stage["kind"]) for stage in request.stages]


def candidate_of(person: Person) -> Candidate:
    """What the rules need to know of a person; of keys only those that sign decisions now.

    Prefetch ``user__groups`` and ``keys`` for more than one.
    """
    return Candidate(
        person=person.id,
        roles=frozenset(group.name for group in person.user.groups.all()),
        human=True,
        active=person.user.is_active,
        keys=frozenset(key.fingerprint for key in keys_of(person)),
        name=person.name,
    )


def keys_of(person: Person) -> list[PersonKey]:
    """The keys with which this person signs answers now, the oldest first. Uses a prefetch of ``keys``."""
    return sorted((key for key in person.keys.all() if key.signs_decisions), key=lambda key: key.added_at)


def needs_key(request: ActionRequest) -> bool:
    """Whether a click is too little to approve this."""
    return request.assurance > CLICK or request.device_bound


def fits(request: ActionRequest, key: PersonKey) -> bool:
    """Whether an approval signed with this key is as sure as the request needs."""
    bound = key.device_bound or not (request.device_bound or request.assurance == ATTESTED)
    return key.signs_decisions and bound and (key.attested or request.assurance != ATTESTED)


def lacks(request: ActionRequest, person: Person) -> Reason | None:
    """What this person needs before they can approve this, besides being allowed to; None when nothing is missing.

    It never stands in the way of a denial.
    """
    if not needs_key(request):
        return None
    held = keys_of(person)
    if any(fits(request, key) for key in held):
        return None
    if request.assurance == ATTESTED:
        kind = "a signing key of an attested model that never leaves its device (H3)"
    elif held:
        kind = "a signing key that never leaves its device"
    else:
        kind = f"a signing key of your own ({request.assurance})"
    waits = any(key.purpose == PersonKey.SIGNING and key.vouched_at is None for key in person.keys.all())
    way = "Yours waits for a colleague to vouch for it." if waits and not held else "Enrol one under Your keys."
    return Reason(
        "needs-key",
        f"You can deny this. To approve it you need {kind}. {way}",
        f"Not {person.name}: holds no {kind.removeprefix('a ').replace('of your own ', '')}.",
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
        launch_signers=frozenset(request.launch_signers),
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


def open_stage(request: ActionRequest, votes: Sequence[Vote]) -> Place | None:
    """The stage that waits for an answer, with its number; None when there is none."""
    stages = stages_of(request)
    if not stages:
        return None
    number = standing(request, votes).stage
    return (number, stages[number]) if number < len(stages) else None


def deniable_stage(request: ActionRequest, votes: Sequence[Vote]) -> Place | None:
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
    place: Place | None = None,
    key: str | None = None,
) -> list[Reason]:
    """Why this person may not answer this request now; empty when they may.

    ``counted`` are the other votes that were cast (default: all of them), ``place`` the stage the answer is for
    (default: the one that is open, or the last).
    """
    votes = live_votes(request) if counted is None else counted
    number, stage = place or deniable_stage(request, votes) or (None, None)
    found = ineligible(candidate_of(person), circumstances_of(request, votes), key, stage)
    if single_human(request.policy):
        # One person may answer every stage there, and each of them once.
        again = any(v.stage == number and (v.person_id == person.id or (key and v.key == key)) for v in votes)
        if again:
            found.append(
                Reason("already-counted", "You have answered this step already.", f"Not {person.name}: has answered.")
            )
    return found


@dataclass(frozen=True)
class Outlook:
    """Who can answer a pending request, and whether it can be approved at all.

    ``able`` may approve it now; ``asked`` are they and whoever lacks only a key: they can still deny. ``stuck`` says
    that the people who exist can never complete it, empty when they can; ``why`` says of whoever is not able, why not:
    of those with a role only, the reason that says most.
    """

    able: tuple[Person, ...] = ()
    asked: tuple[Person, ...] = ()
    stuck: str = ""
    why: tuple[tuple[Person, Reason], ...] = ()


def outlook(request: ActionRequest, among: Sequence[Person] | None = None) -> Outlook:
    """Judge everybody against the open stage, and the people together against all that is missing."""
    votes = live_votes(request)
    place = open_stage(request, votes)
    if place is None:
        return Outlook()
    everybody = people() if among is None else among
    against = {one.pk: reasons_against(request, one, counted=votes, place=place) for one in everybody}
    missing = {one.pk: lacks(request, one) for one in everybody}
    asked = tuple(one for one in everybody if not against[one.pk])
    able = tuple(one for one in asked if missing[one.pk] is None)
    why = []
    for one in everybody:
        reasons = [*against[one.pk], *filter(None, [missing[one.pk]])]
        if reasons and one.user.is_active and candidate_of(one).roles:
            reasons.sort(key=lambda reason: reason.code == "role")  # that somebody owns the agent says more
            why.append((one, reasons[0]))
    stuck = ""
    if not able:
        stuck = "Nobody can approve this."
    elif not _enough(request, votes, able, [one for one in everybody if missing[one.pk] is None]):
        stuck = "Too few people can approve this."
    return Outlook(able, asked, stuck, tuple(why))


def eligible_people(request: ActionRequest, among: Sequence[Person] | None = None) -> list[Person]:
    """Everybody who may approve at the open stage now, with a key that is good enough."""
    return list(outlook(request, among).able)


def people_to_ask(request: ActionRequest) -> list[Person]:
    """Everybody who may answer the open stage now, if only with a no. These are told; nobody else is."""
    return list(outlook(request).asked)


def votes_that_still_count(request: ActionRequest, votes: Sequence[Vote]) -> list[Vote]:
    """The votes whose caster would still be eligible now, each judged against the others."""
    stages = stages_of(request)
    kept = []
    for vote in votes:
        person = person_of(vote.person_id)
        others = [other for other in votes if other.pk != vote.pk]
        place = (vote.stage, stages[vote.stage]) if vote.stage < len(stages) else None
        if person is not None and not reasons_against(request, person, counted=others, place=place, key=vote.key):
            kept.append(vote)
    return kept


def _enough(
    request: ActionRequest, votes: Sequence[Vote], able: Sequence[Person], candidates: Sequence[Person]
) -> bool:
    """Whether these people could together give all the answers that are still missing."""
    circumstances = circumstances_of(request, votes)
    # Only the seats matter here, and the open stage may well be a confirmation.
    seats = [replace(stage, kind="approve") for stage in standing(request, votes).needs]
    if len(able) < seats[0].count:
        return False
    return quorum.satisfiable(seats, [candidate_of(one) for one in candidates], circumstances) is None
