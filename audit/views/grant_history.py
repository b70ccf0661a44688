"""The grant history: every capability that any agent ever held, as chains from the people who signed them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from audit import grant_history
from audit.forms import GrantHistoryForm
from audit.log import utc_now
from audit.views.guard import ADMIN, AUDITOR, page
from imprimatur.formats.timestamps import format_time
from imprimatur.verify import grant_words
from imprimatur.verify.grant_history import GrantHistory
from imprimatur.verify.grant_rows import (
    ENDED,
    LIVE,
    STOPPED,
    TOOL,
    WAITING,
    Capability,
    Held,
    InAdvance,
    Registered,
    Standing,
    Version,
)

PAGE = 40
CHAINS, CHANGES = "chains", "changes"
_DEEPEST = 64
"""Links above a grant that are drawn with it: a lawful chain has sixteen at most."""

_STATES = {LIVE: "in force", WAITING: "not begun", STOPPED: "stopped", ENDED: "ended"}
_FACETS = {
    "schema": "Parameters",
    "effects": "Effects",
    "minimum_risk": "Risk at least",
    "default_risk": "Risk by default",
    "destructive": "Destructive",
    "reversibility": "Reversibility",
    "settle": "Settled by what is",
    "single_human": "One person alone",
}


@dataclass
class Node:
    """One grant to show. ``context`` is one that does not match, and is there for what is below it."""

    row: Capability
    standing: Standing
    title: str
    says: list[str]
    bounds: str
    signed: str
    key: str
    how: str
    at: str
    context: bool = False
    less: list[str] = field(default_factory=list)
    changed: list[tuple[str, str]] = field(default_factory=list)
    children: list[Node] = field(default_factory=list)

    @property
    def state(self) -> str:
        """The state in words."""
        return _STATES[self.standing.state]


@page(ADMIN, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """The counts, then the chains that match, or with ``?show=changes`` the timeline of all that is no delegation."""
    changes = request.GET.get("show") == CHANGES
    now = utc_now()
    with grant_history.reading() as read:
        history = read.history
        shown = _Shown(history, format_time(now))
        form = GrantHistoryForm(request.GET, holders=shown.holders(), people=shown.people())
        matching: list[Capability] = []
        if form.is_valid():
            wanted = shown.timeline() if changes else shown.forest()
            matching = [row for row in wanted if shown.matches(row, form.cleaned_data)]
        found = Paginator(matching, PAGE).get_page(request.GET.get("page"))
        rows = list(found.object_list)
        context = {
            "form": form,
            "changes": changes,
            "found": found,
            "nodes": [shown.node(row) for row in rows] if changes else shown.trees(rows),
            "counts": history.counts(shown.at),
            "findings": history.findings()[:PAGE],
            "read": {"size": read.size, "end": read.end, "complete": read.complete},
            "now": now,
        }
    return render(request, "audit/grant_history.html", context)


class _Shown:
    """A history at a moment, by the names that it gives people and agents itself."""

    def __init__(self, history: GrantHistory, at: str) -> None:
        self.at = at
        self._history = history
        self._named = history.holders.name
        self._standings = history.standings(at)

    def holders(self) -> list[tuple[str, str]]:
        """The agents that ever held something."""
        return self._choices(row.holder for row in self._history.delegations.values())

    def people(self) -> list[tuple[str, str]]:
        """The people whose signature something rests on, or who did it."""
        return self._choices(who for row in self._history.rows() for who in _people(row))

    def _choices(self, ids: Iterable[str]) -> list[tuple[str, str]]:
        return [(id, self._named(id)) for id in dict.fromkeys(ids)]

    def forest(self) -> Iterator[Held]:
        """Every delegation: newest roots first, and below each what was passed on, oldest first."""
        below: dict[str, list[Held]] = {}
        roots = []
        for row in self._history.delegations.values():
            if row.parent in self._history.delegations:
                below.setdefault(str(row.parent), []).append(row)
            else:
                roots.append(row)
        pending = roots
        while pending:
            row = pending.pop()
            yield row
            pending.extend(reversed(below.get(row.id, [])))

    def timeline(self) -> Iterator[Capability]:
        """Everything else, newest first."""
        return (row for row in reversed(self._history.rows()) if not isinstance(row, Held))

    def matches(self, row: Capability, wanted: dict[str, Any]) -> bool:
        """Whether a row is one that the filters ask for."""
        if wanted["state"] and self._standings[row.index].state != wanted["state"]:
            return False
        if wanted["holder"] and wanted["holder"] != _holder(row):
            return False
        if wanted["person"] and wanted["person"] not in _people(row):
            return False
        words = wanted["text"].lower().split()
        if not words:
            return True
        node = self.node(row)
        ids = (str(row.index), getattr(row, "id", ""), getattr(row, "digest", ""), _holder(row), *_people(row))
        facets = (*node.says, *node.less, *(part for change in node.changed for part in change))
        text = "\n".join((node.title, node.bounds, node.signed, node.key, node.how, *facets, *ids, *row.faults)).lower()
        return all(word in text for word in words)

    def trees(self, rows: list[Held] | list[Capability]) -> list[Node]:
        """These delegations as trees, each below what it is a part of."""
        nodes: dict[str, Node] = {}
        tops: list[Node] = []

        def place(row: Held, *, context: bool, depth: int = 0) -> Node:
            if row.id in nodes:
                return nodes[row.id]
            node = nodes[row.id] = self.node(row)
            node.context = context
            parent = self._history.delegations.get(row.parent or "")
            if parent is None or depth == _DEEPEST:
                tops.append(node)
            else:
                place(parent, context=True, depth=depth + 1).children.append(node)
            return node

        for row in rows:
            if isinstance(row, Held):
                place(row, context=False).context = False
        return tops

    def node(self, row: Capability) -> Node:
        """A row in words."""
        if isinstance(row, Held):
            return self._delegation(row)
        if isinstance(row, Version):
            return self._version(row)
        return self._in_advance(row) if isinstance(row, InAdvance) else self._service(row)

    def _node(self, row: Capability, title: str, **words: Any) -> Node:
        standing = self._standings[row.index]
        usual = {"says": [], "bounds": "", "signed": "", "key": ""}
        how = grant_words.how(standing, self._named) if standing.ending is not None else ""
        return Node(row, standing, title, how=how, at=grant_words.moment(row.time), **{**usual, **words})

    def _delegation(self, row: Held) -> Node:
        document = row.document
        return self._node(
            row,
            self._named(row.holder),
            says=list(document["scope"]),
            bounds=" · ".join(grant_words.bounds(document)),
            signed=f"{self._named(document['issuer'])}, {grant_words.KEYS[row.kind]}",
            key=row.key,
            less=row.narrower,
        )

    def _version(self, row: Version) -> Node:
        what = f"Policy {row.number}, {row.name}" if row.number else row.name
        title = f"{what}: {'changed' if row.replaces else 'new'}"
        if row.sort == TOOL:
            title = f"Tool {title}"
        by = " and ".join(self._named(signed.person) for signed in row.signers)
        signed = f"{by}, two keys" if by else f"{self._actor(row)} alone, unsigned"
        changed = [(_FACETS.get(name, name.replace("_", " ").capitalize()), said) for name, said in row.changed.items()]
        keys = " and ".join(signed.key for signed in row.signers)
        return self._node(row, title, signed=signed, key=keys, changed=changed)

    def _in_advance(self, row: InAdvance) -> Node:
        said = row.said
        most = f" · {said['max_total']['amount']} {said['max_total']['unit']} in all" if "max_total" in said else ""
        bounds = f"{said['tool']} · used {row.uses} of {said['max_uses']} times{most}"
        return self._node(
            row,
            f"Approved in advance for {self._named(said['agent'])}",
            says=list(said["effects"]),
            bounds=f"{bounds} · until {grant_words.moment(said['not_after'])}",
            signed=f"{self._actor(row)}, {grant_words.KEYS[row.kind]}",
            key=row.key,
        )

    def _service(self, row: Registered) -> Node:
        title = f"Service {row.name} ({row.role}): let in"
        return self._node(row, title, bounds="grants nothing by what it signs", signed=self._actor(row), key=row.key)

    def _actor(self, row: Capability) -> str:
        return "Imprimatur" if row.actor["type"] == "system" else self._named(row.actor["id"])


def _holder(row: Capability) -> str:
    return row.holder if isinstance(row, Held) else row.said["agent"] if isinstance(row, InAdvance) else ""


def _people(row: Capability) -> list[str]:
    """The people a row rests on."""
    if isinstance(row, Held):
        return [row.person] if row.person else []
    found = [signed.person for signed in row.signers] if isinstance(row, Version) else []
    return [*found, row.actor["id"]] if row.actor["type"] == "person" else found
