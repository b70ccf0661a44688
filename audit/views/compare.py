"""The difference between two evidence bundles of this log, computed from their files by the verifier's own code."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from audit import selectors
from audit.evidence import jobs
from audit.models import Bundle
from audit.views.guard import ADMIN, AUDITOR, page, refuse
from audit.views.taking import take
from imprimatur.formats import canonical
from imprimatur.verify.compare import CompareError, Comparison, compare

LARGEST = 200_000_000
"""Bytes of both bundles together: about what is compared while somebody waits for a page."""
_MOST_SHOWN = 200
_BY_CHOICE = ("left out", "withheld")  # what the later bundle was not asked to open; nothing was erased
_PROOFS = "log/proofs/"  # one for each entry about authority, made anew for each checkpoint


class CannotCompareError(Exception):
    """These two are not compared here. The message says why, and what to do."""


@dataclass(frozen=True)
class Pair:
    """Two finished bundles, the shorter first, and the command that compares them elsewhere."""

    earlier: Bundle
    later: Bundle

    @property
    def command(self) -> str:
        """The same on a machine of the auditor's own."""
        names = [f"{self.earlier.id}.zip", f"{self.later.id}.zip"]
        return shlex.join(["imprimatur", "compare", *names, "--trust", "trust.json"])

    @property
    def query(self) -> str:
        """The two, as in the address of the page."""
        return f"a={self.earlier.id}&b={self.later.id}"

    @property
    def lines(self) -> int:
        """The entries that the later one covers."""
        return self.later.size or 0


@page(ADMIN, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """What the second of two bundles has that the first has not, and whether it continues it."""
    ready = selectors.bundles().filter(state=Bundle.READY)[:50]
    context: dict[str, Any] = {"ready": [row for row in ready if jobs.path_of(row.id).is_file()], "found": None}
    first, second = request.GET.get("a", ""), request.GET.get("b", "")
    context |= {"a": first, "b": second, "why_not": ""}
    if first and second:
        pair = _pair(first, second)
        if pair is None:
            context["why_not"] = "Choose two different bundles that are still here."
        else:
            context["pair"] = pair
            try:
                found = _compared(pair)
                context |= _shown(found)
            except CannotCompareError as error:
                context["why_not"] = str(error)
    return render(request, "audit/compare.html", context)


@page(ADMIN, AUDITOR, methods=("POST",))
def export(request: HttpRequest) -> HttpResponseBase:
    """The comparison as a file, once the log says who takes it."""
    pair = _pair(request.POST.get("a", ""), request.POST.get("b", ""))
    if pair is None:
        return refuse(request, 400, "There is nothing to compare", "Choose two different bundles that are still here.")
    try:
        lines = list(_lines(_compared(pair)))
    except CannotCompareError as error:
        return refuse(request, 400, "They cannot be compared here", str(error))
    return take(
        request, "comparison", "jsonl", query=pair.query, size=pair.lines, count=len(lines), content=iter(lines)
    )


def _pair(first: str, second: str) -> Pair | None:
    rows = {row.id: row for row in Bundle.objects.filter(pk__in=[first, second], state=Bundle.READY)}
    if len(rows) != 2 or not all(_path(row).is_file() for row in rows.values()):
        return None
    earlier, later = sorted((rows[first], rows[second]), key=lambda row: (row.size or 0, row.asked_at))
    return Pair(earlier, later)


def _path(row: Bundle) -> Path:
    return jobs.path_of(row.id)


def _compared(pair: Pair) -> Comparison:
    if sum(_path(row).stat().st_size for row in (pair.earlier, pair.later)) > LARGEST:
        raise CannotCompareError(
            "They are too large to compare while you wait. Download both, and run the command below on a "
            "machine of yours."
        )
    try:
        return compare(_path(pair.earlier), _path(pair.later))
    except (CompareError, OSError) as error:
        raise CannotCompareError(f"{error}") from error


def _shown(found: Comparison) -> dict[str, Any]:
    gone = [opening for opening in found.openings_gone if opening.state not in _BY_CHOICE]
    return {
        "found": found,
        "added": sorted(found.added.items(), key=lambda each: (-each[1], each[0])),
        "count_added": sum(found.added.values()),
        "authority": found.authority[:_MOST_SHOWN],
        "gone": gone[:_MOST_SHOWN],
        "count_gone": len(gone),
        "not_asked_for": len(found.openings_gone) - len(gone),
        "files": [name for name in found.files_changed if not name.startswith(_PROOFS)][:_MOST_SHOWN],
        "proofs": sum(name.startswith(_PROOFS) for name in found.files_changed),
        "most": _MOST_SHOWN,
    }


def _lines(found: Comparison) -> Iterator[bytes]:
    """One canonical line of the whole, then one for each change of authority and each opening that is gone."""
    whole = {name: value for name, value in found.as_json().items() if value is not None}
    parts = {name: whole.pop(name) for name in ("authority", "openings_gone", "files_changed")}
    yield canonical.dumps({"comparison": whole}) + b"\n"
    for name, items in parts.items():
        for item in items:
            yield canonical.dumps({name: item}) + b"\n"
