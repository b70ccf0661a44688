"""The log explorer, one entry with everything that proves it, and exports."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render

from audit import export as exporting
from audit import kinds, proofs, selectors
from audit.errors import NotPublished
from audit.forms import LogFilterForm
from audit.log import utc_now
from audit.models import Entry, LogHead
from audit.publisher import published_size
from audit.views.guard import ADMIN, AUDITOR, REVIEWER, page, refuse
from imprimatur.formats import canonical
from imprimatur.formats.tiles import TileError

PAGE = 50
TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


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
    found = selectors.entries(form.filters()) if form.is_valid() else Entry.objects.none()
    if before.isascii() and before.isdecimal() and len(before) < 19:
        found = found.filter(index__lt=int(before))
    rows = list(found[: PAGE + 1])
    more = len(rows) > PAGE
    return render(
        request,
        "audit/log.html",
        {
            "form": form,
            "lines": list(_lines(rows[:PAGE])),
            "older": rows[PAGE - 1].index if more else None,
            "paged": bool(before),
            "published": published_size(),
            "exports": _query_without(request, "before"),
            **standing(),
        },
    )


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
    return _file(newest.note.encode("utf-8"), f"checkpoint-{newest.size}.txt", "text/plain; charset=utf-8")


@page(ADMIN, AUDITOR)
def export(request: HttpRequest, form: str) -> HttpResponseBase:
    """The same entries for other tools, streamed oldest first."""
    if form not in TYPES:
        return refuse(request, 404, "There is no such format", "The log is exported as jsonl or csv.")
    filters = LogFilterForm(request.GET)
    if not filters.is_valid():
        return refuse(request, 400, "The filter cannot be read", "Go back to the log and correct it there.")
    write: Callable[[QuerySet[Entry]], Iterator[bytes]] = exporting.jsonl if form == "jsonl" else exporting.csv
    answer = StreamingHttpResponse(write(selectors.entries(filters.filters())), content_type=TYPES[form])
    answer["Content-Disposition"] = f'attachment; filename="imprimatur-log.{form}"'
    return answer


@page(ADMIN, REVIEWER, AUDITOR)
def entry(request: HttpRequest, index: int) -> HttpResponse:
    """One entry: what it says, the signed bytes, what it points to, its proof, and what opens its commitments."""
    try:
        detail = selectors.entry_detail(index)
    except Entry.DoesNotExist:
        return _no_entry(request, index)
    places = selectors.commitments_in(detail.payload["body"])
    held = {row.commitment: row for row in detail.openings}
    return render(
        request,
        "audit/entry.html",
        {
            "entry": detail,
            "payload": _pretty(detail.payload),
            "envelope": bytes(detail.row.envelope).decode("utf-8"),
            "actor": kinds.actor(detail.payload),
            "refs": list(_lines(detail.refs)),
            "same": list(_lines(detail.same_subject)),
            "openings": [_opening(commitment, place, held.get(commitment)) for commitment, place in places.items()],
            "last": (LogHead.objects.values_list("size", flat=True).first() or 0) - 1,
        },
    )


@page(ADMIN, REVIEWER, AUDITOR)
def envelope(request: HttpRequest, index: int) -> HttpResponse:
    """The exact bytes of the leaf."""
    row = Entry.objects.filter(index=index).first()
    if row is None:
        return _no_entry(request, index)
    return _file(bytes(row.envelope), f"entry-{index}.json", "application/json")


@page(ADMIN, REVIEWER, AUDITOR)
def proof(request: HttpRequest, index: int) -> HttpResponse:
    """The inclusion proof under the newest checkpoint, as its file (C2SP tlog-proof)."""
    try:
        text = proofs.proof_for(index)
    except NotPublished as error:
        return refuse(request, 404, "Not published yet", f"{str(error).capitalize()}. Ask again in a moment.")
    except (TileError, OSError):
        return refuse(
            request,
            503,
            "The proof cannot be read",
            "The files of the published log are damaged or away. Tell whoever "
            "operates this installation; the entries themselves are in the database.",
        )
    return _file(text.encode("utf-8"), f"entry-{index}.tlog-proof", "text/plain; charset=utf-8")


def _lines(rows: list[Entry]) -> Iterator[Line]:
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
    }


def _opening(commitment: str, place: str, row: Any) -> dict[str, Any]:
    state = "missing" if row is None else "erased" if row.erased_at or row.value is None else "held"
    value = ""
    if state == "held":
        known = canonical.loads(bytes(row.value))
        value = known if isinstance(known, str) else _pretty(known)
    return {
        "place": place,
        "commitment": commitment,
        "state": state,
        "value": value,
        "erased_at": row.erased_at if row is not None else None,
    }


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


def _query_without(request: HttpRequest, *names: str) -> str:
    parameters = request.GET.copy()
    for name in names:
        parameters.pop(name, None)
    return parameters.urlencode()


def _no_entry(request: HttpRequest, index: int) -> HttpResponse:
    size = LogHead.objects.values_list("size", flat=True).first() or 0
    return refuse(request, 404, "There is no such entry", f"The log has {size} entries, so {index} is not written yet.")


def _file(raw: bytes, name: str, content_type: str) -> HttpResponse:
    answer = HttpResponse(raw, content_type=content_type)
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
