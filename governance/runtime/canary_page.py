"""Coverage over time: which of the last thirty days the canaries' runs cover, and what they found, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

from governance.runtime.models import CanaryAgent, CanaryRun, Service
from imprimatur.formats import attestation
from imprimatur.rules import canaries
from imprimatur.rules.canaries import GREEN, GREY, RED

DAYS = 30
SHOWN = 50


@dataclass(frozen=True)
class Day:
    """One square of the strip. ``words`` say what its colour says."""

    date: date
    colour: str
    words: str


@dataclass(frozen=True)
class Period:
    """A time of which something is to be said: void, red, or grey over attacks that got no answer."""

    since: datetime
    until: datetime
    colour: str
    words: str
    index: int | None = None
    count: int = 1


@dataclass(frozen=True)
class Tried:
    """One attempt of the newest run beside what it must be told."""

    name: str
    words: str
    reason: str
    expected: str
    observed: str
    detail: str
    request: str
    colour: str
    verdict: str


@dataclass(frozen=True)
class Shown:
    """Everything on the page. ``colour`` and ``verdict`` are the state at this moment."""

    colour: str
    verdict: str
    why: str
    days: list[Day]
    periods: list[Period]
    more: int
    newest: CanaryRun | None
    tried: list[Tried]
    runs: int
    due: datetime | None
    late: bool
    services: list[Service]
    agents: list[CanaryAgent]


@dataclass
class _Tally:
    colours: Counter[str] = field(default_factory=Counter)
    void: timedelta = timedelta()


@dataclass(frozen=True)
class _Run:
    index: int
    began_at: datetime
    ended_at: datetime
    every: int
    result: str


class _Fold:
    """The runs of one service, the oldest first, by the rules of `imprimatur.rules.canaries.Coverage`.

    What passed is not looked into: a month holds thousands of runs, and a page has to come at once.
    """

    def __init__(self, service: Service, begin: datetime, tallies: dict[date, _Tally]) -> None:
        self._begin, self._tallies = begin, tallies
        self.periods: list[Period] = []
        self.runs = 0
        rows = CanaryRun.objects.filter(service=service).order_by("-index")
        given = ("index", "began_at", "ended_at", "every", "result")
        before = rows.filter(ended_at__lt=begin).values_list(*given).first()
        self.last = _Run(*before) if before is not None else None
        since = rows.filter(ended_at__gte=begin).order_by("index")
        odd = dict(since.exclude(result=canaries.PASSED).values_list("index", "attempts"))
        for row in since.values_list(*given).iterator():
            self._add(_Run(*row), odd.get(row[0]))

    def _add(self, run: _Run, attempts: list[dict[str, Any]] | None) -> None:
        self.runs += 1
        last = self.last
        if last is not None and run.ended_at <= last.ended_at:
            return  # the door refuses such a run; one that is there all the same covers nothing
        colour = GREEN if attempts is None else canaries.colour(attempts)
        _of(self._tallies, run.ended_at).colours[colour] += 1
        since = last.ended_at if last is not None else run.began_at
        if last is not None and canaries.late(last.ended_at, run.ended_at, last.every):
            self._void(since, run.ended_at, "no run came in time.")
        elif attempts is not None and canaries.control_failed(attempts):
            self._void(since, run.ended_at, "the positive control did not succeed, so the refusals prove nothing.")
        if attempts is not None:
            words = found_words(attempts)
            if words:
                self._say(Period(run.began_at, run.ended_at, colour, words, run.index))
        self.last = run

    def missing(self, now: datetime) -> bool:
        """Whether the next run should have come by now. Then the time since the newest one is void."""
        if self.last is None or not canaries.late(self.last.ended_at, now, self.last.every):
            return False
        self._void(self.last.ended_at, now, "no run has come since then.")
        return True

    def _void(self, since: datetime, until: datetime, why: str) -> None:
        _spread(self._tallies, max(since, self._begin), until)
        self._say(Period(since, until, GREY, f"Not covered: {why}"))

    def _say(self, period: Period) -> None:
        """Runs after one another of which the same is to be said are one period."""
        before = self.periods[-1] if self.periods else None
        same = before is not None and (before.colour, before.words) == (period.colour, period.words)
        if before is not None and same and self.last is not None and before.until >= self.last.ended_at:
            self.periods[-1] = replace(before, until=period.until, count=before.count + 1)
        else:
            self.periods.append(period)


def shown(now: datetime) -> Shown:
    """Judge the runs of the last thirty days of every canary runner."""
    begin = datetime.combine(now.date() - timedelta(days=DAYS - 1), datetime.min.time(), tzinfo=now.tzinfo)
    services = list(Service.objects.filter(role=attestation.CANARIES).order_by("registered_at"))
    used = [each for each in services if each.retired_at is None]
    tallies: dict[date, _Tally] = {}
    folds = {service.pk: _Fold(service, begin, tallies) for service in services}
    missing = [each for each in used if folds[each.pk].missing(now)]
    lasts = {pk: fold.last for pk, fold in folds.items() if fold.last is not None}
    newest = CanaryRun.objects.select_related("service").order_by("-index").first()
    periods = sorted(
        (period for fold in folds.values() for period in fold.periods),
        key=lambda period: (period.until, period.index or 0),
        reverse=True,
    )
    due = [lasts[each.pk].ended_at + timedelta(seconds=lasts[each.pk].every) for each in used if each.pk in lasts]
    colour, verdict, why = _state(newest, late=bool(missing), off=not used)
    return Shown(
        colour=colour,
        verdict=verdict,
        why=why,
        days=[_day(now.date() - timedelta(days=ago), tallies) for ago in range(DAYS)],
        periods=periods[:SHOWN],
        more=max(0, len(periods) - SHOWN),
        newest=newest,
        tried=_tried(newest.attempts) if newest is not None else [],
        runs=sum(fold.runs for fold in folds.values()),
        due=min(due, default=None),
        late=bool(missing),
        services=used,
        agents=list(CanaryAgent.objects.select_related("agent").filter(service__retired_at=None)),
    )


def found_words(attempts: list[dict[str, Any]]) -> str:
    """What is to be said of the attacks of a run; empty when each was refused as it must be."""
    through = [attempt["name"] for attempt in attempts if canaries.succeeded(attempt)]
    failed = canaries.sort_out(attempts).failed
    if through:
        return f"An attack got through: {', '.join(through)}."
    if canaries.colour(attempts) == RED:
        return f"Refused for another reason than its own: {', '.join(failed)}."
    return f"No proper answer, so nobody can tell: {', '.join(failed)}." if failed else ""


def _of(tallies: dict[date, _Tally], at: datetime) -> _Tally:
    return tallies.setdefault(at.date(), _Tally())


def _spread(tallies: dict[date, _Tally], since: datetime, until: datetime) -> None:
    """Put a void period on the days that it touches."""
    while since < until:
        midnight = datetime.combine(since.date() + timedelta(days=1), datetime.min.time(), tzinfo=since.tzinfo)
        end = min(until, midnight)
        _of(tallies, since).void += end - since
        since = end


def _day(day: date, tallies: Mapping[date, _Tally]) -> Day:
    tally = tallies.get(day)
    if tally is None or not (tally.colours or tally.void):
        return Day(day, "none", "no canaries ran")
    said = []
    runs = sum(tally.colours.values())
    if tally.colours[RED]:
        said.append(f"{tally.colours[RED]} of {runs} runs red")
    if tally.colours[GREY]:
        said.append(f"{tally.colours[GREY]} of {runs} runs prove nothing")
    if tally.void:
        said.append(f"{_span(tally.void)} not covered")
    if not said:
        return Day(day, GREEN, f"all refused, in {runs} run{'s' if runs != 1 else ''}")
    return Day(day, RED if tally.colours[RED] else GREY, ", ".join(said))


def _span(time: timedelta) -> str:
    minutes = int(time.total_seconds() // 60)
    if minutes < 1:
        return "less than a minute"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"


def _state(newest: CanaryRun | None, *, late: bool, off: bool) -> tuple[str, str, str]:
    if newest is None or off:
        return (
            "none",
            "No canaries run.",
            "Nothing tries what agents must not be able to do, so nothing here shows that it would be refused.",
        )
    if late:
        return (
            GREY,
            "A run is missing.",
            "Since the newest run nobody can tell what would have been refused. Look whether the worker still works, "
            "or what else runs the canaries.",
        )
    colour = canaries.colour(newest.attempts)
    if colour == GREEN:
        count = sum(not attempt.control for attempt in canaries.ATTEMPTS.values())
        return (
            GREEN,
            f"All {count} attacks were refused.",
            "Each for its own reason, and the positive control succeeded.",
        )
    words = found_words(newest.attempts) or "The positive control did not succeed, so the refusals prove nothing."
    return colour, "Look at the newest run." if colour == RED else "The newest run proves nothing.", words


def _tried(attempts: Iterable[Mapping[str, Any]]) -> list[Tried]:
    found = []
    for attempt in attempts:
        known = canaries.ATTEMPTS.get(attempt["name"])
        fine = canaries.as_expected(attempt)
        if fine:
            colour, verdict = GREEN, "allowed" if known and known.control else "refused"
        elif canaries.succeeded(attempt):
            colour, verdict = RED, "GOT THROUGH"
        elif canaries.unanswered(attempt):
            colour, verdict = GREY, "no proper answer"
        elif known is not None and known.control:
            colour, verdict = GREY, "not allowed, and must be"
        else:
            colour, verdict = RED, "refused for another reason"
        found.append(
            Tried(
                name=attempt["name"],
                words=known.words if known else "Nobody here knows this attempt.",
                reason=known.reason if known else "",
                expected=" or ".join(_answer(*each) for each in sorted(known.expected)) if known else "",
                observed=_answer(attempt["status"], attempt["code"]),
                detail=attempt.get("detail", ""),
                request=attempt.get("request", ""),
                colour=colour,
                verdict=verdict,
            )
        )
    return found


def _answer(status: int, code: str) -> str:
    if status == 0:
        return "no answer"
    return "302 to the login page" if (status, code) == (302, canaries.LOGIN) else f"{status} {code}".strip()
