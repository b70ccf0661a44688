"""The log explorer: filters that stand in the address, the panel of live integrity, and exports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import render

from audit import built, fsck, kinds, proofs, quiet, selectors, sinks, witnesses
from audit import export as exporting
from audit.errors import NotPublished
from audit.forms import LogFilterForm
from audit.log import utc_now
from audit.models import Entry, LogHead
from audit.views.guard import ADMIN, AUDITOR, REVIEWER, page, refuse
from audit.views.taking import no_such_form, take
from imprimatur.formats.timestamps import parse_time

PAGE = 50
_BY_NAME = ("agent", "actor", "subject")
SPAN = 100_000
"""Entries that one page looks through for what is too frequent for an index, or has none."""
FORMS: dict[str, Callable[[QuerySet[Entry]], Iterator[bytes]]] = {"jsonl": exporting.jsonl, "csv": exporting.csv}


@dataclass(frozen=True)
class Line:
    """One row of the explorer: the columns to find it by, and its sentence from the signed bytes."""

    row: Entry
    sentence: str


@page(ADMIN, REVIEWER, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """The entries that match the filters in the address, newest first, fifty at a time."""
    form = LogFilterForm(request.GET)
    before = request.GET.get("before", "")
    state = standing()
    end = state["head"].size if state["head"] else 0
    if before.isascii() and before.isdecimal() and len(before) < 19:
        end = min(int(before), end)
    found, first, start = Entry.objects.none(), 0, 0
    quiet_agents: list[str] = []
    if form.is_valid():
        filters = form.filters(below=end)
        quiet_agents = _quiet(request, form)
        if quiet_agents or (form.query and not selectors.finds_few(filters)):
            first, end = selectors.between(filters)
            start = max(end - SPAN, first)
            found = selectors.looked_through(filters, start)
        else:
            found = selectors.entries(filters)
    rows = list(found.exclude(agent__in=quiet_agents)[: PAGE + 1] if quiet_agents else found[: PAGE + 1])
    more = len(rows) > PAGE
    here = found.filter(index__gte=rows[PAGE - 1].index if more else start)
    hidden = here.filter(agent__in=quiet_agents).count() if quiet_agents else 0
    query = form.query if form.is_valid() else ""
    views = _views(request, query)
    return render(
        request,
        "audit/log.html",
        {
            "form": form,
            "lines": list(lines_of(rows[:PAGE])),
            "older": rows[PAGE - 1].index if more else start if start > first else None,
            "looked_from": start if not more and start > first else None,
            "looked_to": end - 1,
            "paged": bool(before),
            "published": state["newest"].size if state["newest"] else 0,
            "query": query,
            "hidden": hidden,
            "canaries": request.GET.get("canaries") == "shown",
            "views": views,
            "views_here": any(view["here"] for view in views),
            **state,
        },
    )


def _quiet(request: HttpRequest, form: LogFilterForm) -> list[str]:
    """The agents that are left out: none when somebody asks for them, or for anybody or anything by name."""
    asked = request.GET.get("canaries") == "shown" or any(form.cleaned_data[name] for name in _BY_NAME)
    return [] if asked else quiet.agents()


@page(ADMIN, REVIEWER, AUDITOR)
def integrity(request: HttpRequest) -> HttpResponse:
    """The panel alone, for the page to refresh."""
    return render(request, "audit/_integrity.html", standing())


@page(ADMIN, REVIEWER, AUDITOR)
def checkpoint(request: HttpRequest) -> HttpResponse:
    """The newest signed checkpoint, as its file (C2SP tlog-checkpoint)."""
    try:
        newest = proofs.latest_checkpoint()
    except NotPublished:
        return refuse(request, 404, "No checkpoint yet", "The publisher signs one within two seconds of an entry.")
    raw = witnesses.cosigned(newest).encode("utf-8")
    return as_file(raw, f"checkpoint-{newest.size}.txt", "text/plain; charset=utf-8")


@page(ADMIN, AUDITOR, methods=("POST",))
def export(request: HttpRequest, form: str) -> HttpResponseBase:
    """The same entries for other tools, streamed oldest first, once the log says who takes them."""
    if form not in FORMS:
        return no_such_form(request)
    filters = LogFilterForm(QueryDict(request.POST.get("query", "")))
    if "query" not in request.POST or not filters.is_valid():
        return refuse(request, 400, "The filter cannot be read", "Go back to the log and correct it there.")
    head = selectors.head()
    size = head.size if head else 0
    found = selectors.entries(filters.filters(below=size))
    return take(
        request, "entries", form, query=filters.query, size=size, count=found.count(), content=FORMS[form](found)
    )


def lines_of(rows: list[Entry]) -> Iterator[Line]:
    """Each row with its sentence."""
    named = lru_cache(maxsize=None)(kinds.name)  # a page names the same people again and again
    for row in rows:
        yield Line(row, kinds.sentence(selectors.payload_of(row), named))


def standing() -> dict[str, Any]:
    """How the log is doing: for the panel of live integrity."""
    head, newest = selectors.head(), selectors.checkpoints().first()
    size = head.size if head else 0
    behind = size - (newest.size if newest else 0)
    waits: datetime | None = head.last_time if head and behind else None
    return {
        "head": head,
        "frozen": head is not None and head.state != LogHead.OPEN,
        "newest": newest,
        "behind": behind,
        "waits": int((utc_now() - waits).total_seconds()) if waits else 0,
        "witnesses": witnesses.standing(),
        "sinks": sinks.standing(),
        "fsck": _last_fsck(),
        "built": built.newest(),
    }


def as_file(raw: bytes, name: str, content_type: str) -> HttpResponse:
    """Bytes to save under a name."""
    answer = HttpResponse(raw, content_type=content_type)
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def _last_fsck() -> dict[str, Any] | None:
    """The last check of everything, with its beginning as a time."""
    last = fsck.last()
    if last is None:
        return None
    try:
        return {**last, "at": parse_time(last["started_at"])}
    except (KeyError, TypeError, ValueError):
        return None


def _views(request: HttpRequest, query: str) -> list[dict[str, Any]]:
    """The saved views of whoever is at the desk, with the one that is shown marked."""
    return [
        {"view": view, "here": view.query == query} for view in selectors.saved_views(request.user.pk) if view.query
    ]
