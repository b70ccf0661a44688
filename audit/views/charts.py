"""Charts of decisions over time: drawn here as SVG, with the same numbers as a table below each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from audit import charts
from audit.charts import Counts, Decisions
from audit.forms import ChartForm
from audit.log import utc_now
from audit.views.guard import ADMIN, AUDITOR, REVIEWER, page

STEP = 10
"""Width of a period in units of the drawing; a bar takes most of it."""
HEIGHT = 100
_BAR, _GAP = 8, 1
_LABELS = {charts.HOUR: "{at.day} {at:%b}, {at:%H}:00", charts.DAY: "{at.day} {at:%b %Y}", charts.MONTH: "{at:%b %Y}"}
_MOST_CODES = 12


@dataclass(frozen=True)
class Bar:
    """A rectangle of the drawing; ``style`` names what it counts."""

    style: str
    x: int
    y: str
    height: str


@dataclass(frozen=True)
class Column:
    """One period: its bars, what it says in words, and its numbers for the table."""

    label: str
    says: str
    x: int
    bars: list[Bar]
    numbers: list[int]
    total: int
    link: str


@dataclass(frozen=True)
class Chart:
    """A drawing: its columns, the scale, and what each series is called and counts in all."""

    name: str
    title: str
    says: str
    series: list[tuple[str, str, int]]
    columns: list[Column]
    width: int
    top: int
    ends: tuple[str, str, str]


@page(ADMIN, REVIEWER, AUDITOR)
def index(request: HttpRequest) -> HttpResponse:
    """How many decisions there were, when, of which risk, and why requests were refused."""
    form = ChartForm(request.GET)
    context: dict[str, Any] = {"form": form, "found": None}
    if form.is_valid():
        agent = form.cleaned_data["agent"]
        found = charts.decisions(form.cleaned_data["since"], form.cleaned_data["until"], agent, utc_now())
        context |= {
            "found": found,
            "charts": [
                _chart(found, agent, "verdict", _VERDICTS, lambda counts: counts.verdict),
                _chart(found, agent, "risk", _RISKS, lambda counts: counts.risk),
            ],
            "codes": _codes(found),
            "more_codes": sum(count for _, count in found.codes[_MOST_CODES:]),
            "all_read": found.read == found.refused,
        }
    return render(request, "audit/charts.html", context)


_VERDICTS = (("deny", "Denied"), ("allow", "Allowed"))
_RISKS = (("LOW", "Low"), ("MEDIUM", "Medium"), ("HIGH", "High"), ("CRITICAL", "Critical"))


def _chart(
    found: Decisions,
    agent: str,
    name: str,
    series: Sequence[tuple[str, str]],
    counted: Callable[[Counts], Counter[str]],
) -> Chart:
    title = f"By {name}"
    top = round_up(max((counts.total for counts in found.periods), default=0))
    columns = []
    for place, counts in enumerate(found.periods):
        numbers = [counted(counts)[key] for key, _ in series]
        words = ", ".join(f"{number} {label.lower()}" for number, (_, label) in zip(numbers, series, strict=True))
        label = _LABELS[found.unit].format(at=counts.start)
        columns.append(
            Column(
                label=label,
                says=f"{label}: {words}",
                x=place * STEP,
                bars=_bars(place, [key for key, _ in series], numbers, top),
                numbers=numbers,
                total=counts.total,
                link=_link(counts, found, agent) if counts.total else "",
            )
        )
    sums = [(key, label, counted(found.total)[key]) for key, label in series]
    per = {charts.HOUR: "hour", charts.DAY: "day", charts.MONTH: "month"}[found.unit]
    busiest = max(columns, key=lambda column: column.total, default=None)
    says = f"Decisions per {per}, in UTC. " + ", ".join(f"{label.lower()}: {count}" for _, label, count in sums) + "."
    if busiest is not None and busiest.total:
        says += f" The most were on {busiest.label}: {busiest.total}."
    middle = columns[len(columns) // 2].label if len(columns) > 4 else ""
    ends = (columns[0].label, middle, columns[-1].label if len(columns) > 1 else "") if columns else ("", "", "")
    return Chart(name, title, says, sums, columns, max(len(columns), 1) * STEP, top, ends)


def _bars(place: int, keys: Sequence[str], numbers: Sequence[int], top: int) -> list[Bar]:
    bars, floor = [], float(HEIGHT)
    for key, number in zip(keys, numbers, strict=True):
        if number:
            height = HEIGHT * number / top
            floor -= height
            bars.append(Bar(key.lower(), place * STEP + _GAP, f"{floor:.3f}", f"{height:.3f}"))
    return bars


def _link(counts: Counts, found: Decisions, agent: str) -> str:
    end = charts.next_period(counts.start, found.unit)
    query = {"kind": charts.DECIDED, "agent": agent, "since": f"{counts.start:%Y-%m-%dT%H:%M}"}
    query["until"] = f"{end:%Y-%m-%dT%H:%M}"
    return f"{reverse('log')}?{urlencode({name: value for name, value in query.items() if value})}"


def _codes(found: Decisions) -> list[dict[str, Any]]:
    most = found.codes[0][1] if found.codes else 0
    return [{"code": code, "count": count, "most": most} for code, count in found.codes[:_MOST_CODES]]


def round_up(number: int) -> int:
    """The next number that reads well at the top of an axis and can be halved: 2, 4, 10, 20, 40, 100…"""
    scale = 1
    while True:
        for step in (2, 4, 10):
            if number <= step * scale:
                return step * scale
        scale *= 10
