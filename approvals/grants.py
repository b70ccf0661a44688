"""Grants as the database knows them: which one answers for a request, which are alive, and what each one says.

What a grant covers is decided by ``imprimatur.rules.grants``, alike for the verifier. This module adds what only the
server can look up: that its reviewer still may, that their key still counts, and that nothing it rests on has changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.db.models import F, Q, QuerySet

from approvals import eligibility, openings
from approvals.models import ActionRequest, Grant
from audit import grant_history, published
from audit.log import Writer
from governance import ceremonies, judgement, pauses, policies, registry, standing
from governance.access import chain_of
from governance.errors import Refused
from governance.models import Agent, Person, PersonKey, Policy
from imprimatur.formats import canonical, signing
from imprimatur.formats.shapes import Obj
from imprimatur.formats.timestamps import format_time, parse_time
from imprimatur.rules import grants as rules
from imprimatur.rules import money, scope
from imprimatur.rules.quorum import Stage
from imprimatur.rules.risk import Risk

_SHAPE = signing.KINDS[signing.GRANT].shape
CHOICE = Obj(
    {name: _SHAPE.required[name] for name in ("effects", "parameters", "max_uses", "not_after")},
    {"max_total": _SHAPE.optional["max_total"]},
)
"""What a reviewer chooses, as a form carries it: the rest of the statement follows from the request."""


@dataclass(frozen=True)
class Choice:
    """What a reviewer chose on the sheet: everything in a grant that does not follow from the request."""

    effects: tuple[str, ...]
    parameters: Mapping[str, Mapping[str, Any]]
    max_uses: int
    not_after: datetime
    max_total: Mapping[str, str] | None = None

    def as_dict(self) -> dict[str, Any]:
        """As it travels from the form to the sheet, and stands in the statement."""
        found: dict[str, Any] = {
            "effects": list(self.effects),
            "parameters": {name: dict(predicate) for name, predicate in self.parameters.items()},
            "max_uses": self.max_uses,
            "not_after": format_time(self.not_after),
        }
        return found if self.max_total is None else {**found, "max_total": dict(self.max_total)}


def document(
    person: Person, request: ActionRequest, choice: Mapping[str, Any], credential: str | None
) -> dict[str, Any]:
    """The statement of a grant made from this request. Its shape is checked when it is encoded."""
    return {
        **choice,
        **ceremonies.common(person, credential=credential),
        "typ": signing.GRANT,
        "request": request.id,
        "agent": request.agent_id,
        "delegation": request.delegation_claimed,
        "tool": request.tool,
        "tool_digest": request.tool_digest,
        "policy": request.policy,
    }


def document_of(grant: Grant) -> dict[str, Any]:
    """What the reviewer stated. Shared and kept by its bytes: do not change it."""
    return _parse(bytes(grant.statement))


@lru_cache(maxsize=1024)
def _parse(raw: bytes) -> dict[str, Any]:
    return signing.parse(raw, signing.GRANT)


def action_of(request: ActionRequest) -> rules.Action:
    """What the request would do, for the rules."""
    return rules.Action.of(
        canonical.loads(bytes(request.binding)),
        policy=request.policy,
        risk=request.risk,
        reversibility=request.reversibility,
    )


def allowed_by(policy: str) -> bool:
    """Whether this version of the policy lets reviewers approve in advance. Policies are content-addressed."""
    found = Policy.objects.filter(digest=policy).values_list("document", flat=True).first()
    return found is not None and found.get("grants", True) is True


def against_making(request: ActionRequest) -> str:
    """Why no grant can be made from this request, whoever asks; ``""`` when one can."""
    if request.risk != Risk.HIGH.value:
        return "Only what is HIGH can be approved in advance."
    if not request.known_tool:
        return "The registry does not know this tool, so nobody can say what the next call would do."
    if request.reversibility == rules.IRREVERSIBLE:
        return "What cannot be undone is never approved in advance."
    if request.card.get("withheld"):
        return "Part of this request is withheld, so nobody could tell what else is like it."
    if rules.seat(eligibility.stages_of(request)) is None:
        return "This needs more than one approval, and a grant stands for one."
    if request.delegation_id is None:
        return "It rests on no delegation that this agent holds."
    if not allowed_by(request.policy):
        return "The policy does not let anybody approve in advance."
    return ""


def parameters_of(request: ActionRequest) -> dict[str, Any] | None:
    """The values behind the commitments of the binding, or None when any of them was erased."""
    committed = canonical.loads(bytes(request.binding))["parameters"]
    known = openings.values(request.id)
    if not set(committed.values()) <= set(known):
        return None
    return {name: known[commitment] for name, commitment in committed.items()}


# --- use -----------------------------------------------------------------------------------------------------------


def answering(writer: Writer, request: ActionRequest, verdict: judgement.Judgement) -> Grant | None:
    """The oldest live grant that answers for this pending request, or None: then people are asked.

    Called under the head lock, with the row as it is about to be saved. It counts nothing: see ``count``.
    """
    if verdict.outcome != "pending" or request.risk != Risk.HIGH.value or request.delegation_id is None:
        return None
    asked = rules.Asked(verdict.stages, verdict.floors, verdict.withheld, verdict.wish.parameters)
    stage = rules.seat(verdict.stages)
    if stage is None or verdict.paused:
        return None
    action = action_of(request)
    for grant in _candidates(request, writer.now):
        if not published.covers(grant.index):
            continue
        if rules.against_use(document_of(grant), action, asked):
            continue
        if _reviewer_stands(grant, request, stage, verdict.assurance):
            return grant
    return None


def count(grant: Grant, cost: int) -> bool:
    """Use the grant once more, for so many millionths, unless that is one too many. Under the head lock."""
    within = Q(max_total__isnull=True) | Q(max_total__gte=F("total") + cost)
    usable = Grant.objects.filter(pk=grant.pk, revoked_at__isnull=True, uses__lt=F("max_uses")).filter(within)
    return usable.update(uses=F("uses") + 1, total=F("total") + cost) == 1


def _candidates(request: ActionRequest, now: datetime) -> QuerySet[Grant]:
    return (
        Grant.objects.select_related("reviewer__user")
        .filter(
            agent=request.agent_id,
            delegation=request.delegation_id,
            tool=request.tool,
            tool_digest=request.tool_digest,
            policy=request.policy,
            revoked_at__isnull=True,
            not_after__gt=now,
            uses__lt=F("max_uses"),
        )
        .filter(Q(max_total__isnull=True) | Q(max_total__gte=F("total") + request.cost))
        .order_by("issued_at", "id")
    )


def _reviewer_stands(grant: Grant, request: ActionRequest, stage: Stage, assurance: str) -> bool:
    """Whether the reviewer could approve this very request now, with the key of the grant."""
    person = eligibility.person_of(grant.reviewer_id)
    if person is None or grant.assurance < assurance or not _key_fits(grant, request):
        return False
    return not eligibility.reasons_against(request, person, counted=[], place=(0, stage), key=grant.key)


def _key_fits(grant: Grant, request: ActionRequest) -> bool:
    """Whether the key of the grant still counts, and is as sure as this request needs."""
    if grant.key is None:
        return not eligibility.needs_key(request)
    key = PersonKey.objects.filter(pk=grant.key, person=grant.reviewer_id).first()
    return key is not None and key.signs_decisions and eligibility.fits(request, key)


# --- what people read ----------------------------------------------------------------------------------------------

_HOW = {"webauthn": "with a passkey", "ssh": "with an SSH key", "session": "by a click"}


def by_whom(grant: Grant) -> str:
    """Who approved in advance, and with what: ``Rui Falk, in advance, with a passkey``."""
    return f"{grant.reviewer.name}, in advance, {_HOW[grant.evidence['kind']]}"


@dataclass(frozen=True)
class Shown:
    """A grant as a list or a card shows it. ``over`` says why it answers for nothing any more; empty while it does."""

    grant: Grant
    over: str
    conditions: list[tuple[str, str]]
    left: int
    money: str

    @property
    def live(self) -> bool:
        """Whether a matching request would run without asking."""
        return not self.over


def shown(grant: Grant, now: datetime) -> Shown:
    """Everything a page says of one grant."""
    said = document_of(grant)
    spent = ""
    if grant.max_total is not None:
        spent = f"{money.format_amount(grant.total)} of {money.format_amount(grant.max_total)} {grant.unit}"
    return Shown(grant, why_over(grant, now), conditions(said), grant.max_uses - grant.uses, spent)


def rows() -> QuerySet[Grant]:
    """Grants with what a list shows."""
    return Grant.objects.select_related("reviewer__user", "agent", "delegation", "request__agent")


def open_ones(now: datetime) -> QuerySet[Grant]:
    """The grants with time and uses left, the next to end first. Some sleep: what they rest on may have fallen."""
    return rows().filter(_open(now)).order_by("not_after", "id")


def ended_ones(now: datetime, most: int) -> QuerySet[Grant]:
    """The others, the newest first."""
    return rows().exclude(_open(now)).order_by("-issued_at", "-id")[:most]


def _open(now: datetime) -> Q:
    return Q(revoked_at__isnull=True, not_after__gt=now, uses__lt=F("max_uses"))


def how_many(now: datetime) -> int:
    """How many grants have time and uses left. What they rest on is not looked at: the list says more."""
    return Grant.objects.filter(_open(now)).count()


def why_over(grant: Grant, now: datetime) -> str:
    """Why this grant answers for nothing now, in a sentence; ``""`` while it does. Asked again at every use."""
    if grant.revoked_at is not None:
        return "Revoked."
    if grant.not_after <= now:
        return "Its time is over."
    if grant.uses >= grant.max_uses:
        return "Used up."
    if grant.max_total is not None and grant.total >= grant.max_total:
        return "The money is used up."
    if not published.covers(grant.index):
        return "Signed, and not yet published: it answers within seconds."
    return _reviewer_fell(grant) or _ground_fell(grant, now)


def _reviewer_fell(grant: Grant) -> str:
    name = grant.reviewer.name
    person = eligibility.person_of(grant.reviewer_id)
    if person is None or not person.user.is_active:
        return f"{name} is no longer active."
    if not _key_fits(grant, grant.request):
        return f"The key with which {name} signed it was revoked."
    against = eligibility.reasons_against(grant.request, person, counted=[], key=grant.key)
    return f"{name} could no longer approve this: {against[0].other}" if against else ""


def _ground_fell(grant: Grant, now: datetime) -> str:
    try:
        active = policies.active().digest
    except Refused as error:
        return error.message
    if active != grant.policy:
        return "The policy changed since."
    tool = registry.tool(grant.tool)
    if tool is None or tool.digest != grant.tool_digest:
        return "The tool changed in the registry since."
    if grant.agent.state != Agent.ACTIVE:
        return "The agent is suspended."
    try:
        chain = chain_of(grant.delegation)
    except Refused as error:
        return error.message
    fallen = standing.fault(chain)
    if fallen is not None:
        return f"The delegation it rests on fell: {fallen.message}"
    if not all(link.not_before <= now < link.not_after for link in chain):
        return "The delegation it rests on is not valid now."
    pause = pauses.standing(grant.agent_id, grant.tool)
    return "Paused: nothing of this runs until an admin lifts it." if pause is not None else ""


def conditions(said: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a request has to be like, as pairs of a name and words. Values are shown as they are: make them inert."""
    found = [("effect", text) for text in said["effects"]]
    return [*found, *((name, predicate_words(predicate)) for name, predicate in sorted(said["parameters"].items()))]


def predicate_words(predicate: Mapping[str, Any]) -> str:
    """One predicate in words."""
    op = predicate["op"]
    if op == "any":
        return "anything"
    if op == "one_of":
        return "one of " + ", ".join(value_words(value) for value in predicate["values"])
    if op == "starts_with":
        return f"begins with {value_words(predicate['value'])}"
    if op == "at_most":
        return f"at most {predicate['value']}"
    return f"exactly {value_words(predicate['value'])}"


def value_words(value: Any) -> str:
    """A value as JSON, so that text and numbers are told apart."""
    return canonical.dumps_json(value).decode("utf-8", "backslashreplace")


def sentence(said: Mapping[str, Any], agent: str) -> str:
    """What will run without asking, in one sentence."""
    times = "once" if said["max_uses"] == 1 else f"up to {said['max_uses']} times"
    where = _both(list(said["effects"]))
    closed = [
        f"{name} {'' if predicate['op'] == 'starts_with' else 'is '}{predicate_words(predicate)}"
        for name, predicate in sorted(said["parameters"].items())
        if predicate["op"] != "any"
    ]
    opened = [name for name, predicate in sorted(said["parameters"].items()) if predicate["op"] == "any"]
    parts = [f"Until {parse_time(said['not_after']):%H:%M:%S} UTC, {agent} may use {said['tool']} {times} on {where}"]
    if closed:
        parts.append(f"where {_both(closed)}")
    if opened:
        parts.append(f"with any {_both(opened)}")
    if "max_total" in said:
        parts.append(f"for {said['max_total']['amount']} {said['max_total']['unit']} in all at most")
    return f"{', '.join(parts)}, and nobody will be asked."


def _both(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "nothing"


def widenings(effect: Mapping[str, str], held: Sequence[str]) -> list[str]:
    """The scopes a reviewer may choose for this effect, the narrowest first: itself, then what it lies in.

    Only what the delegation holds is offered; what lies below a scope belongs to it.
    """
    action, resource = effect["action"], effect["resource"]
    inside = [scope.parse(text) for text in held]
    found = []
    for wider in [resource, *_around(resource)]:
        try:
            option = scope.parse(f"{action}:{wider}")
        except scope.ScopeError:
            continue
        if option.covers(action, resource) and any(option.within(one) for one in inside):
            found.append(str(option))
    return list(dict.fromkeys(found)) or [f"{action}:{resource}"]


def _around(resource: str) -> list[str]:
    """A path's folders, a host's address without its path, a mail address's domain; from near to far."""
    found = []
    rest, slash, _ = resource.rpartition("/")
    while slash and rest:
        found.append(rest)
        rest, slash, _ = rest.rpartition("/")
    return found or ([resource.rpartition("@")[2]] if "@" in resource else [])


def uses_between(first: int, end: int) -> list[int]:
    """The indexes, from ``first`` up to before ``end``, of decisions that rest on a vote in advance."""
    used = ActionRequest.objects.order_by().filter(grant__isnull=False, decided_index__gte=first, decided_index__lt=end)
    return [index for index in used.values_list("decided_index", flat=True) if index is not None]


def hook() -> None:
    """Tell the grant history where votes in advance were used."""
    grant_history.register_uses(uses_between)
