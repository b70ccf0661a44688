"""Decisions over time: counted by the database, over a bounded number of periods.

One index holds everything that is counted (kind, time, verdict, risk, agent), so a million entries are counted without
reading one of them. Why something was refused stands in the signed bytes alone: that is read for the newest refusals.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import CharField, Count, F, Func, QuerySet, Value
from django.db.models.functions import Coalesce

from audit import selectors
from audit.models import Entry

DECIDED = "action.decided"
VERDICTS = ("allow", "deny")
RISKS = ("LOW", "MEDIUM", "HIGH", "CRITICAL")
USUAL = timedelta(days=30)
LONGEST = timedelta(days=3660)
REFUSALS_READ = 2000

HOUR, DAY, MONTH = "hour", "day", "month"
_CUT = {HOUR: 13, DAY: 10, MONTH: 7}  # characters of "2026-11-20 14:00:00"
_PATTERN = {HOUR: "YYYY-MM-DD HH24", DAY: "YYYY-MM-DD", MONTH: "YYYY-MM"}
_FORM = {HOUR: "%Y-%m-%d %H", DAY: "%Y-%m-%d", MONTH: "%Y-%m"}


class Period(Func):
    """The hour, day or month of a time, in UTC, as text. Native on both databases: no call back into Python."""

    def __init__(self, expression: Any, unit: str) -> None:
        super().__init__(expression, output_field=CharField())
        self.unit = unit

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Times are text there, in UTC."""
        return self.as_sql(compiler, connection, template=f"substr(%(expressions)s, 1, {_CUT[self.unit]})", **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """The same text."""
        template = f"to_char(%(expressions)s AT TIME ZONE 'UTC', '{_PATTERN[self.unit]}')"
        return self.as_sql(compiler, connection, template=template, **context)


@dataclass
class Counts:
    """Decisions of one period (or of all), by verdict and by risk."""

    start: datetime
    verdict: Counter[str] = field(default_factory=Counter)
    risk: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Every decision of the period."""
        return self.verdict.total()

    def add(self, verdict: str, risk: str, count: int) -> None:
        """Count decisions of one sort."""
        self.verdict[verdict] += count
        self.risk[risk] += count


@dataclass(frozen=True)
class Decisions:
    """Decisions from ``since`` to ``until``: in total, per period, and the reasons of the newest refusals.

    ``read`` of ``refused`` refusals were read for ``codes``.
    """

    since: datetime
    until: datetime
    unit: str
    periods: list[Counts]
    total: Counts
    codes: list[tuple[str, int]]
    refused: int
    read: int


def decisions(since: datetime | None, until: datetime | None, agent: str, now: datetime) -> Decisions:
    """Count decisions. Without a beginning, the thirty days before the end; without an end, until now."""
    end = until or now
    start = since or end - USUAL
    start = max(start, end - LONGEST)
    unit = unit_for(end - start)
    found = decided(start, end, agent)
    periods = {each.strftime(_FORM[unit]): Counts(each) for each in periods_of(start, end, unit)}
    total = Counts(start)
    for period, verdict, risk, count in counted(found, unit):
        periods[period].add(verdict, risk, count)
        total.add(verdict, risk, count)
    refusals = found.filter(verdict="deny").order_by("-time")[:REFUSALS_READ]
    codes = Counter(str(selectors.payload_of(row)["body"].get("code", "none")) for row in refusals)
    return Decisions(
        start, end, unit, list(periods.values()), total, codes.most_common(), total.verdict["deny"], codes.total()
    )


def decided(start: datetime, end: datetime, agent: str = "") -> QuerySet[Entry]:
    """The decisions between two times, of one agent or of all, found by the index that holds all of it."""
    found = Entry.objects.filter(kind=DECIDED, time__gte=start, time__lt=end)
    # As an expression, the agent is compared without its own index, which does not hold what is counted.
    return found.alias(named=Coalesce("agent", Value(""))).filter(named=agent) if agent else found


def counted(found: QuerySet[Entry], unit: str) -> QuerySet[Entry, tuple[str, str, str, int]]:
    """How many there are for each period, verdict and risk."""
    periods = found.order_by().annotate(period=Period(F("time"), unit))
    return periods.values_list("period", "verdict", "risk").annotate(count=Count("*"))


def unit_for(length: timedelta) -> str:
    """Hours for up to three days, days for up to four months, months beyond: never more than 123 periods."""
    return HOUR if length <= timedelta(days=3) else DAY if length <= timedelta(days=122) else MONTH


def periods_of(start: datetime, end: datetime, unit: str) -> list[datetime]:
    """The beginning of every period that lies at least partly between the two, in UTC."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    at = start.replace(minute=0, second=0, microsecond=0)
    if unit != HOUR:
        at = at.replace(hour=0)
    if unit == MONTH:
        at = at.replace(day=1)
    found = []
    while at < end:
        found.append(at)
        at = next_period(at, unit)
    return found


def next_period(at: datetime, unit: str) -> datetime:
    """The beginning of the period after the one that begins at this time."""
    if unit == MONTH:
        return (at + timedelta(days=32)).replace(day=1)
    return at + (timedelta(hours=1) if unit == HOUR else timedelta(days=1))
