"""The four lists of the desk, as rows that a template can show without asking the database again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from approvals import eligibility, grants, queue
from approvals.models import ActionRequest
from approvals.views import attention, words
from audit.log import utc_now
from governance.models import Person
from imprimatur.rules.quorum import Reason

NEEDS, WAITING, DECIDED, LOOK = "needs-you", "waiting", "decided", "look-over"
NAMES = {NEEDS: "Needs you", WAITING: "Waiting on others", DECIDED: "Decided", LOOK: "To look over"}
EMPTY = {
    NEEDS: ("Nothing needs you.", "New requests appear here by themselves. Until then: a good moment."),
    WAITING: ("Nothing waits for anybody else.", "What only others may answer appears here, with the reason why."),
    DECIDED: ("Nothing was decided yet.", "Every answer stays here, with who gave it."),
    LOOK: ("Nothing to look over.", "What ran at medium risk without being asked about appears here afterwards."),
}


@dataclass(frozen=True)
class Row:
    """One request in a list."""

    request: ActionRequest
    spans: list[dict[str, Any]]
    meta: tuple[str, ...]
    state: str
    open: bool
    deniable: bool = False
    claim: str = ""

    @property
    def pick(self) -> str:
        """What a tick before the row sends: the request, and the version that was seen."""
        return f"{self.request.id}:{self.request.version}"


@dataclass(frozen=True)
class Tab:
    """One list to choose, with its number; decided requests are not counted."""

    name: str
    title: str
    count: int | None
    here: bool


@dataclass(frozen=True)
class Lists:
    """The list that is shown, and the numbers of all."""

    here: str
    tabs: list[Tab]
    rows: list[Row]
    empty: tuple[str, str]
    needs_you: int
    canaries: bool = False
    hidden: int = 0
    """Requests of canaries that this list leaves out, or shows with ``canaries``."""

    @property
    def order(self) -> str:
        """How the rows are sorted."""
        return "Newest first" if self.here in (DECIDED, LOOK) else "Next to expire first"

    @property
    def title(self) -> str:
        """The name of the list that is shown."""
        return NAMES[self.here]


def lists(person: Person, here: str, *, canaries: bool = False) -> Lists:
    """The desk of one person, from a fixed number of queries. An unknown list is the first one.

    What canaries ask is left out, and counted, unless it is to be shown: it needs nobody, and is taken back at once.
    """
    here = here if here in NAMES else NEEDS
    now = utc_now()
    pending = queue.pending(person, now, canaries=canaries)
    look = queue.to_look_over(person)
    mine = [item for item in pending if not item.reasons]
    counts: dict[str, int | None] = {
        NEEDS: len(mine),
        WAITING: len(pending) - len(mine),
        DECIDED: None,
        LOOK: len(look),
    }
    if here == DECIDED:
        rows = [_over(request, now) for request in queue.decided(canaries=canaries)]
    elif here == LOOK:
        rows = [_over(request, now) for request in look]
    else:
        rows = [
            _open(item, attention.on_it(item.request, person, now))
            for item in pending
            if bool(item.reasons) == (here == WAITING)
        ]
    tabs = [Tab(name, title, counts[name], name == here) for name, title in NAMES.items()]
    # Nothing that canaries ask is ever to be looked over.
    hidden = 0 if here == LOOK else queue.of_canaries(open=here != DECIDED, now=now)
    return Lists(here, tabs, rows, EMPTY[here], len(mine), canaries, hidden)


def spans(request: ActionRequest, *, capital: bool = False) -> list[dict[str, Any]]:
    """The sentence of a request, from its card; a request that never got one names its tool."""
    found: list[dict[str, Any]] = request.card.get("sentence") or [{"text": f"run {request.tool}", "strong": False}]
    if capital and not found[0]["strong"]:
        text = found[0]["text"]
        return [{**found[0], "text": text[:1].upper() + text[1:]}, *found[1:]]
    return found


def telling(reasons: Sequence[Reason]) -> list[Reason]:
    """The reasons with the most personal first: that somebody owns the agent says more than that a role is missing."""
    return sorted(reasons, key=lambda reason: reason.code == "role")


def _open(item: queue.Item, claim: str) -> Row:
    request = item.request
    meta = [request.agent.name, *filter(None, [claim])]
    if request.reversibility == "irreversible":
        meta.append("no undo")
    if request.state == "AWAITING_CONFIRMATION":
        meta.append("second person: confirm")
    if item.reasons:
        meta.append(telling(item.reasons)[0].you.rstrip("."))
    if item.lacks is not None:
        meta.append("you need a signing key to approve")
    if item.stuck:
        meta.append(item.stuck[:1].lower() + item.stuck[1:].rstrip("."))
    return Row(request, spans(request, capital=True), tuple(meta), "", True, deniable=not item.reasons, claim=claim)


def _over(request: ActionRequest, now: datetime) -> Row:
    votes = eligibility.live_votes(request)
    meta = [request.agent.name]
    if votes:
        meta.append(words.both([vote.person.name for vote in votes]))
    elif request.grant is not None:
        meta.append(grants.by_whom(request.grant))
    elif request.look_over == "open":
        meta.append("allowed by policy")
    return Row(request, spans(request, capital=True), tuple(meta), words.short(request, now), False)
