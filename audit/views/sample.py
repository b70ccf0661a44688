"""A random sample of the log that anybody can draw again from the same seed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import render

from audit import export as exporting
from audit import selectors
from audit.forms import SampleForm
from audit.models import Entry
from audit.publisher import published_size
from audit.views.guard import ADMIN, AUDITOR, page, refuse
from audit.views.log import lines_of
from audit.views.taking import no_such_form, take
from imprimatur.formats.timestamps import format_time
from imprimatur.verify import sampling

FORMS: dict[str, Callable[[QuerySet[Entry]], Iterator[bytes]]] = {"jsonl": exporting.jsonl, "csv": exporting.csv}
MOST_DRAWN_FROM = 2_000_000
"""Entries from which a page draws: more would keep a reader waiting, and the command line has the time."""


@page(ADMIN, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """The sample that the address describes, or the form to describe one."""
    form = SampleForm(request.GET if "seed" in request.GET else None, initial={"size": published_size() or None})
    context: dict[str, Any] = {"form": form, "most": sampling.MOST, "lines": None}
    if form.is_bound and form.is_valid():
        size = _size(form)
        if size > MOST_DRAWN_FROM:
            context["too_many"] = MOST_DRAWN_FROM
        else:
            found, total = _drawn(form, size)
            context |= {"lines": list(lines_of(found)), "total": total, "size": size, "query": _query(form, size)}
        context["command"] = _command(form, size)
    return render(request, "audit/sample.html", context)


@page(ADMIN, AUDITOR, methods=("POST",))
def export(request: HttpRequest, form: str) -> HttpResponseBase:
    """The sample as a file, once the log says who takes it."""
    if form not in FORMS:
        return no_such_form(request)
    wanted = SampleForm(QueryDict(request.POST.get("query", "")))
    if not wanted.is_valid() or _size(wanted) > MOST_DRAWN_FROM:
        return refuse(request, 400, "The sample cannot be drawn", "Go back to its page and correct what it asks for.")
    size = _size(wanted)
    rows, _ = _drawn(wanted, size)
    found = Entry.objects.filter(index__in=[row.index for row in rows])
    query = _query(wanted, size)
    return take(request, "sample", form, query=query, size=size, count=len(rows), content=FORMS[form](found))


def _size(form: SampleForm) -> int:
    """From how many entries to draw: only sealed ones, which nothing can change any more."""
    sealed = published_size()
    return min(form.cleaned_data["size"] or sealed, sealed)


def _drawn(form: SampleForm, size: int) -> tuple[list[Entry], int]:
    """The sample, and from how many it was drawn. Holds as many indexes in memory as the sample has."""
    total = 0

    def indexes() -> Iterator[int]:
        nonlocal total
        found = selectors.entries(form.filters(size)).order_by().values_list("index", flat=True)
        for index in found.iterator(chunk_size=5000):
            total += 1
            yield index

    drawn = sampling.draw(form.cleaned_data["seed"], indexes(), form.cleaned_data["n"])
    return list(Entry.objects.filter(index__in=drawn).order_by("index")), total


def _query(form: SampleForm, size: int) -> str:
    """The address of exactly this sample: with its size, so that it stays the same while the log grows."""
    query = QueryDict(form.query, mutable=True)
    query["size"] = str(size)
    return query.urlencode()


def _command(form: SampleForm, size: int) -> str:
    """The same on a machine of the auditor's own."""
    said = form.cleaned_data
    parts = ["imprimatur", "sample", "--bundle", "BUNDLE.zip", "--seed", said["seed"], "-n", str(said["n"])]
    parts += ["--size", str(size)]
    for name in ("kind", "agent", "actor", "verdict", "risk"):
        if said[name]:
            parts += [f"--{name}", said[name]]
    for name in ("since", "until"):
        if said[name]:
            parts += [f"--{name}", format_time(said[name])]
    return shlex.join(parts)
