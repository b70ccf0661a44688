"""Everything one request's page says, as one person sees it: gathered here, so that the template only arranges it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from approvals import eligibility, grants, openings, queue, transitions
from approvals.models import ActionRequest, Vote
from approvals.views import attention, lists, words
from audit import kinds
from audit.log import utc_now
from audit.models import Entry, LogHead
from audit.selectors import commitments_in, payload_of
from governance import pauses
from governance.access import chain_of
from governance.errors import Refused
from governance.models import REVIEWER, Agent, Delegation, Pause, Person, PersonKey, Tool
from governance.runtime import reading
from imprimatur import cards
from imprimatur.formats import canonical, digests
from imprimatur.formats.timestamps import parse_time
from imprimatur.rules import money, states
from imprimatur.rules.quorum import Reason

ALIKE = 5
LONG, BEGINNING = 800, 160  # characters of one message: folded from, and shown outside the fold
FOLD_AFTER = 40  # lines of content shown before the rest is folded; nothing is left out
NO_KEY = "H0"
STARTS_A_BODY = ("file-write", "file-delete")


@dataclass(frozen=True)
class Link:
    """One link of the chain of authority. ``holder`` got it from the one before."""

    name: str
    how: str
    at: datetime | None


@dataclass(frozen=True)
class Authority:
    """On whose authority: the people and agents of the chain, and what is left of it. Amounts in millionths."""

    delegation: str
    links: list[Link]
    scope: list[str]
    ends: datetime
    limit: int
    used: int
    words: str
    revoked: bool


@dataclass(frozen=True)
class Said:
    """One line of the timeline. ``words`` were written by somebody and are shown as such."""

    at: datetime
    who: str
    what: str
    index: int
    words: str = ""
    agent: bool = False
    erased: bool = False

    @property
    def long(self) -> bool:
        """Long enough to be folded, so that one message does not push everything else away."""
        return len(self.words) > LONG

    @property
    def beginning(self) -> str:
        """What stands outside the fold."""
        return self.words[:BEGINNING]


@dataclass(frozen=True)
class Alike:
    """An earlier decision of this kind."""

    request: ActionRequest
    word: str
    who: str
    why: str
    yes: bool


@dataclass(frozen=True)
class Answers:
    """What this person may do now, and if not, why. ``stage`` is approve or confirm.

    ``needs_key``: they may approve it, if only they had a key; ``lacks`` says which, and what to do. ``must_sign``: a
    click is too little to approve. ``keys`` are those of theirs that are good enough, ``all_keys`` all that sign.
    ``stuck``: the people who exist can never approve it, and ``others`` say why.
    """

    stage: str
    open: bool
    may_approve: bool
    may_deny: bool
    needs_key: bool
    may_recall: bool
    may_look_over: bool
    reasons: list[Reason]
    able: list[Person]
    others: list[str]
    still_needed: int
    frozen: str
    lacks: str = ""
    must_sign: bool = False
    keys: list[PersonKey] = field(default_factory=list)
    all_keys: list[PersonKey] = field(default_factory=list)
    stuck: str = ""


@dataclass(frozen=True)
class Body:
    """The content: the first lines, and the rest to open."""

    label: str
    kind: str
    first: list[tuple[str, str]]
    rest: list[tuple[str, str]]

    @property
    def count(self) -> int:
        """How many lines there are in all."""
        return len(self.first) + len(self.rest)


@dataclass(frozen=True)
class Erased:
    """The erasure of the words of this request: by the rule "retention", or by a wish about the request."""

    at: datetime
    rule: str
    reason: str
    index: int


@dataclass(frozen=True)
class Runs:
    """The launch that the request names: its state now, in words, and who signed its configuration."""

    launch: str
    state: reading.State
    started_by: str
    signers: str


@dataclass(frozen=True)
class CardPage:
    """All of it."""

    request: ActionRequest
    spans: list[dict[str, Any]]
    lines: list[dict[str, Any]]
    unknown: list[str]
    withheld: list[str]
    body: Body | None
    fingerprint: str
    state: str
    state_words: str
    reversibility: str
    until: datetime | None
    then: str
    justification: str
    justification_erased: bool
    authority: Authority | None
    answers: Answers
    alike: list[Alike]
    timeline: list[Said]
    votes: list[tuple[Vote, str, str]]
    binding: str
    mine: bool
    because: str
    able_words: str
    stopped: str
    stopped_because: str
    attention: attention.Attention | None
    runs: Runs | None

    @property
    def erased(self) -> Erased | None:
        """When and by what its words were erased, or None."""
        mark = self.request.card.get("erased")
        return Erased(parse_time(mark["at"]), mark["rule"], mark["reason"], mark["index"]) if mark else None

    @property
    def pending(self) -> bool:
        """Whether it still waits for an answer."""
        return self.answers.open

    @property
    def grantable(self) -> bool:
        """Whether this person could approve what is like it in advance. The sheet and the action ask again."""
        may = self.answers.may_approve and self.answers.stage == "approve" and self.state == "PENDING"
        return may and not grants.against_making(self.request)


def card_page(person: Person, request: ActionRequest) -> CardPage:
    """Gather the page."""
    now = utc_now()
    state = words.state_now(request, now)
    # Entries before openings: words that were committed together with an entry are then never missing beside it.
    payloads = [payload_of(row) for row in Entry.objects.filter(subject=request.id).order_by("index")]
    known = openings.values(request.id)
    binding = canonical.loads(bytes(request.binding))
    votes = eligibility.live_votes(request)
    until, then = _clock(request, state)
    may = answers(person, request, now)
    stop = pauses.standing(request.agent_id, request.tool) if may.open or state == "APPROVED" else None
    return CardPage(
        request=request,
        spans=lists.spans(request),
        lines=request.card.get("lines", []),
        unknown=request.card.get("unknown", []),
        withheld=request.card.get("withheld", []),
        body=_body(request, binding, known),
        fingerprint=digests.fingerprint(request.action_digest),
        state=state,
        state_words=words.sentence(request, now),
        reversibility=words.REVERSIBILITY.get(request.reversibility, request.reversibility),
        until=until,
        then=then,
        justification=_text(known, request.justification),
        justification_erased=bool(request.justification) and request.justification not in known,
        authority=_authority(request.delegation) if request.delegation is not None else None,
        answers=may,
        alike=_alike(request, now),
        timeline=_timeline(request, payloads, known),
        votes=[(vote, words.ASSURANCE.get(vote.assurance, ""), _text(known, vote.reason)) for vote in votes],
        binding=bytes(request.binding).decode("utf-8"),
        mine=any(vote.person_id == person.pk for vote in votes),
        because=words.because(request),
        able_words=words.either(
            sorted(("You" if one.pk == person.pk else one.name for one in may.able), key="You".__ne__)
        ),
        stopped={Pause.AGENT: "this agent", Pause.TOOL: "this tool"}.get(stop.scope, "") if stop else "",
        stopped_because=stop.reason if stop else "",
        attention=attention.attention(person, request, payloads, now, may_answer=not may.frozen and not may.reasons)
        if may.open
        else None,
        runs=_runs(request, now),
    )


def _runs(request: ActionRequest, now: datetime) -> Runs | None:
    name = eligibility.launch_of(request)
    launch = reading.launches().filter(pk=name).first() if name is not None else None
    if launch is None:
        return None
    signers = [kinds.name("person", one) for one in launch.signers]
    return Runs(launch.pk, reading.state_of(launch, now), launch.service.name, words.both(signers))


def answers(person: Person, request: ActionRequest, now: datetime) -> Answers:
    """What this person may answer now. The action decides again, under the lock; this is for the page."""
    everybody = eligibility.people()
    me = next((one for one in everybody if one.pk == person.pk), person)
    votes = eligibility.live_votes(request)
    pending = request.state in states.PENDING_STATES and not transitions.expired(request, now)
    head = LogHead.objects.first()
    frozen = head.frozen_reason or "no reason given" if head is not None and head.state != LogHead.OPEN else ""
    reasons: list[Reason] = []
    outlook = eligibility.Outlook()
    stage, may_deny, missing = "approve", False, 0
    opened = eligibility.open_stage(request, votes) if pending else None
    if opened is not None:
        stage = opened[1].kind
        missing = eligibility.standing(request, votes).needs[0].count
        reasons = lists.telling(eligibility.reasons_against(request, me))
        outlook = eligibility.outlook(request, everybody)
    if pending:
        without_mine = [vote for vote in votes if vote.person_id != me.pk]
        may_deny = bool(request.stages) and not eligibility.reasons_against(request, me, counted=without_mine)
    lacks = eligibility.lacks(request, me) if opened is not None and not reasons else None
    held = eligibility.keys_of(me)
    answered = any(vote.person_id == me.pk for vote in votes)
    open_now = pending and not frozen
    looks = request.look_over == "open" and me.pk != request.agent.owner_id
    return Answers(
        stage=stage,
        open=pending,
        may_approve=open_now and opened is not None and not reasons and lacks is None,
        may_deny=open_now and may_deny,
        needs_key=lacks is not None,
        may_recall=not frozen
        and answered
        and (request.state == "PENDING" or (request.state == "APPROVED" and not transitions.expired(request, now)))
        and request.state != "AWAITING_CONFIRMATION",
        may_look_over=looks and not frozen and REVIEWER in eligibility.candidate_of(me).roles,
        reasons=reasons,
        able=list(outlook.able),
        others=[reason.other for one, reason in outlook.why if one.pk != me.pk],
        still_needed=missing,
        frozen=frozen,
        lacks=lacks.you if lacks is not None else "",
        must_sign=eligibility.needs_key(request),
        keys=[key for key in held if eligibility.fits(request, key)] if eligibility.needs_key(request) else held,
        all_keys=held,
        stuck=outlook.stuck,
    )


def _clock(request: ActionRequest, state: str) -> tuple[datetime | None, str]:
    """What time is running out, and what its end means."""
    if state in states.PENDING_STATES:
        return request.expires_at, "then denied"
    if state == "APPROVED":
        return request.not_after, "then it can no longer run"
    return None, ""


def _text(known: Mapping[str, Any], commitment: str) -> str:
    value = known.get(commitment, "") if commitment else ""
    return value if isinstance(value, str) else ""


def _body(request: ActionRequest, binding: Mapping[str, Any], known: Mapping[str, Any]) -> Body | None:
    """The content as it was rendered when asked, or against what was last approved for this agent at this target.

    What another agent got approved is no baseline: it would let one agent choose which lines of another look unchanged.
    The comparison is only shown when the card rendered again says exactly what was signed for.
    """
    shown: dict[str, Any] | None = request.card.get("body")
    if request.card.get("renderer") in STARTS_A_BODY:
        again = _compared(request, binding, known)
        if again is not None:
            shown = {"kind": again.kind, "label": again.label, "lines": again.lines}
    if not shown:
        return None
    lines = [(str(op), str(text)) for op, text in shown["lines"]]
    return Body(shown["label"], shown["kind"], lines[:FOLD_AFTER], lines[FOLD_AFTER:])


def _compared(request: ActionRequest, binding: Mapping[str, Any], known: Mapping[str, Any]) -> cards.Body | None:
    before = (
        ActionRequest.objects.filter(
            agent=request.agent_id,
            target=request.target,
            card__renderer="file-write",
            state__in=transitions.ALLOWING,
            created_at__lt=request.created_at,
        )
        .order_by("-created_at")
        .first()
    )
    tool = Tool.objects.filter(pk=request.tool_digest).first()
    if before is None or tool is None:
        return None
    wanted = canonical.loads(bytes(before.binding))["parameters"].get("content", "")
    content = openings.text_of(wanted)
    if content is None:
        return None
    hidden = set(tool.document.get("withhold", [])) | set(request.card.get("withheld", []))
    shown = {
        name: known[commitment]
        for name, commitment in binding["parameters"].items()
        if commitment in known and name not in hidden
    }
    card = cards.render(binding, shown, tool.document, previous=content.encode("utf-8", "surrogatepass"))
    return card.body if cards.display_digest(card) == request.display_digest else None


def _authority(leaf: Delegation) -> Authority | None:
    try:
        chain = chain_of(leaf)
    except Refused:
        return None
    document = canonical.loads(bytes(leaf.document))
    root = chain[0]
    signed = {"ssh": "SSH key", "webauthn": "passkey", "ed25519": "agent key"}
    first = root.issuer_person.name if root.issuer_person is not None else "nobody"
    links = [Link(first, signed.get(root.signature.get("kind", ""), "key"), root.issued_at)]
    for link in chain:
        depth = canonical.loads(bytes(link.document)).get("max_depth", 0)
        links.append(
            Link(
                link.subject.name,
                "may not delegate further" if depth == 0 else f"may delegate {depth} deeper",
                None,
            )
        )
    used = min(leaf.spent + leaf.reserved, money.MAX_MICRO)  # an overrun may be larger than any amount has a name for
    spent = f"{money.format_amount(used)} of {money.format_amount(leaf.limit)} {leaf.unit}" if leaf.limit else ""
    return Authority(
        delegation=leaf.pk,
        links=links,
        scope=list(document.get("scope", [])),
        ends=min(link.not_after for link in chain),
        limit=leaf.limit,
        used=used,
        words=spent,
        revoked=any(link.revoked_at is not None for link in chain),
    )


def _alike(request: ActionRequest, now: datetime) -> list[Alike]:
    found = list(
        queue.rows()
        .filter(agent=request.agent_id, tool=request.tool, decided_at__isnull=False)
        .exclude(pk=request.pk)
        .exclude(stages=[])
        .order_by("-decided_at")[:ALIKE]
    )
    alike = []
    for one in found:
        votes = eligibility.live_votes(one)
        last = votes[-1] if votes else None
        why = (openings.text_of(last.reason) or "") if last is not None and last.decision == "deny" else ""
        alike.append(
            Alike(
                one,
                words.short(one, now),
                words.both([vote.person.name for vote in votes]),
                why,
                one.state in transitions.ALLOWING,
            )
        )
    return alike


def _timeline(request: ActionRequest, payloads: Sequence[Mapping[str, Any]], known: Mapping[str, Any]) -> list[Said]:
    """What the log says of this request, in order, with the words that are still at hand."""
    names = _names(payloads)
    timeline = []
    for payload in payloads:
        body, actor = payload["body"], payload["actor"]
        who = names.get(actor["id"], "Imprimatur" if actor["type"] == "system" else actor["id"])
        what = attention.told(payload, lambda one: names.get(one, one)) or _what(payload["kind"], body, request)
        if what is None:
            continue
        if payload["kind"] == "action.decided" and request.requested_index is None:
            who = request.agent.name  # one entry for both: the agent asked, and policy answered at once
        spoken = body.get({"comment.added": "comment"}.get(payload["kind"], "reason"), "")
        timeline.append(
            Said(
                at=parse_time(payload["time"]),
                who=who,
                what=what,
                index=payload["index"],
                words=_text(known, spoken),
                agent=actor["type"] == "agent",
                erased=spoken in commitments_in({"reason": spoken}) and spoken not in known,
            )
        )
    return timeline


def _names(payloads: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    people = {payload["actor"]["id"] for payload in payloads if payload["actor"]["type"] == "person"}
    people |= {one for payload in payloads for one in payload["body"].get("people", ())}
    agents = {payload["actor"]["id"] for payload in payloads if payload["actor"]["type"] == "agent"}
    found = dict(Person.objects.filter(pk__in=people).values_list("id", "name")) if people else {}
    if agents:
        found |= dict(Agent.objects.filter(pk__in=agents).values_list("id", "name"))
    return found


def _what(kind: str, body: Mapping[str, Any], request: ActionRequest) -> str | None:
    """What one entry says, after the name of its actor; None for what the timeline leaves to the log."""
    risk = request.risk.capitalize()
    if kind == "action.requested":
        return f"asked; {risk} by rule {request.rule}"
    if kind == "vote.cast":
        statement = canonical.loads(body["statement"].encode("utf-8"))
        return words.DECISION.get(str(statement["decision"]), str(statement["decision"]))
    if kind == "vote.recalled":
        return "took the answer back"
    if kind == "comment.added":
        return ""
    if kind == "action.decided":
        if request.requested_index is None:
            verb = "Allowed" if body["verdict"] == "allow" else "Denied"
            return f"asked; {risk} by rule {request.rule}. {verb} at once"
        ended = {
            "APPROVED": "closed it: approved",
            "DENIED": "closed it: denied",
            "EXPIRED": "closed it: nobody answered in time, so denied",
            "CANCELLED": "took it back",
            "INVALIDATED": "closed it: the authority or policy behind it changed",
            "SUPERSEDED": "replaced it with another request",
        }
        return ended.get(body["state"], f"closed it: {body['state']}")
    if kind == "action.withdrawn":
        ended = {"EXPIRED": "the approval was not used in time", "RECALLED": "withdrew the approval"}
        return ended.get(body["state"], "ended the approval: the authority or policy behind it changed")
    if kind == "action.redeemed":
        return "used the approval and began"
    if kind == "action.reported":
        late = " (late)" if body.get("late") else ""
        outcome = {"SUCCEEDED": "reports that it was done", "FAILED": "reports that it failed"}
        return outcome.get(body["outcome"], "noted that no report came") + late
    if kind == "action.looked_over":
        return "looked it over and flagged it" if body["verdict"] == "flagged" else "looked it over"
    return None
