"""What a policy may say besides rules: a freeze calendar, who is asked when, device-bound keys, grants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.rules import freeze, policy
from imprimatur.rules.asking import Level
from imprimatur.rules.policy import DEFAULT_POLICY, DEMO_POLICY, Facts, Policy, PolicyError, validate
from imprimatur.rules.quorum import Candidate
from imprimatur.rules.risk import Risk

NIGHTS = {"name": "weekend nights", "days": ["sat", "sun"], "from": "16:00", "until": "07:00"}
HOLIDAYS = {"name": "holidays", "from": "2026-12-24T00:00:00.000Z", "until": "2026-12-27T00:00:00.000Z"}


def make(**fields: Any) -> Policy:
    return validate({**DEFAULT_POLICY, **fields})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("when", "name"),
    [
        ("2026-11-21T15:59", None),  # a Saturday
        ("2026-11-21T16:00", "weekend nights"),
        ("2026-11-22T06:59", "weekend nights"),
        ("2026-11-22T07:00", None),
        ("2026-11-23T06:59", "weekend nights"),  # Sunday's night ends on Monday
        ("2026-11-23T16:00", None),
        ("2026-12-23T23:59", None),
        ("2026-12-24T00:00", "holidays"),
        ("2026-12-26T23:59", "holidays"),  # first in the calendar wins, and this is the Saturday night as well
        ("2026-12-27T00:00", "weekend nights"),
    ],
)
def test_the_calendar_says_when_it_is_frozen(when: str, name: str | None) -> None:
    made = make(freeze=[HOLIDAYS, NIGHTS])
    assert made.frozen(at(when)) == name
    # The same moment in another zone is the same moment.
    assert made.frozen(at(when).astimezone(timezone(timedelta(hours=-9)))) == name
    verdict = made.evaluate(
        Facts("read_file", action="file:read", known=True, reversibility="read-only", time=at(when))
    )
    assert verdict.outcome == ("HIGH" if name else "LOW")
    assert ("freeze" in verdict.floors) is (name is not None)


def test_a_whole_day_ends_at_24_00() -> None:
    made = make(freeze=[{"name": "sundays", "days": ["sun"], "from": "00:00", "until": "24:00"}])
    found = [
        made.frozen(at(f"2026-11-{day}T{hour}"))
        for day, hour in ((21, "23:59"), (22, "00:00"), (22, "23:59"), (23, "00:00"))
    ]
    assert found == [None, "sundays", "sundays", None]


def test_a_calendar_that_cannot_be_asked_counts_as_frozen() -> None:
    read = Facts("read_file", action="file:read", known=True, reversibility="read-only")
    assert make().evaluate(read).outcome == "LOW"
    assert make(freeze=[NIGHTS]).evaluate(read).outcome == "HIGH"
    with pytest.raises(ValueError, match="zone"):
        make(freeze=[NIGHTS]).frozen(at("2026-01-01").replace(tzinfo=None))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("freeze", [{**NIGHTS, "from": "07:00"}], "empty"),
        ("freeze", [{**NIGHTS, "from": "24:00"}], '"24:00" is its end'),
        ("freeze", [{**NIGHTS, "from": "25:00"}], "freeze[0].from"),
        ("freeze", [{**NIGHTS, "days": ["someday"]}], "must be one of"),
        ("freeze", [{**NIGHTS, "days": []}], "items"),
        ("freeze", [{**HOLIDAYS, "days": ["sat"]}], "hours"),
        ("freeze", [{"name": "x", "from": "10:00", "until": "12:00"}], "two times"),
        ("freeze", [{**HOLIDAYS, "until": HOLIDAYS["from"]}], "ends before it begins"),
        ("freeze", [{**HOLIDAYS, "until": "2026-12-32T00:00:00.000Z"}], "no such date"),
        ("ask", [{"after": 10, "roles": ["reviewer"]}], "after = 0"),
        ("ask", [{"after": 0, "roles": ["reviewer"]}, {"after": 0, "roles": ["admin"]}], "in order"),
        ("ask", [{"after": 0}], "whom this level asks"),
        ("ask", [{"after": 100, "roles": ["reviewer"]}], "ask[0].after"),
        ("ask", [{"after": 0, "people": ["ada"]}], "ask[0].people[0]"),
        ("device_bound", ["LOW"], "must be one of"),
        ("grants", "yes", "true or false"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_words(field: str, value: Any, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        make(**{field: value})
    assert says in str(caught.value)


def test_who_is_asked_widens_to_everybody_at_three_quarters() -> None:
    assert make().ask_levels() == (Level(0, everyone=True),)
    made = make(
        ask=[{"after": 0, "people": ["pe_1"]}, {"after": 30, "roles": ["admin"]}, {"after": 80, "people": ["pe_2"]}]
    )
    assert [level.after for level in made.ask_levels()] == [0, 30, 75]
    first, second, last = made.ask_levels()
    assert first.asks("pe_1", []) and not first.asks("pe_2", ["admin"]) and second.asks("pe_2", ["admin"])
    assert last.asks("anybody", [])
    assert [warning.where for warning in made.warnings] == ["ask[2]"]


def test_the_new_fields_are_optional_and_toml_reads_its_own_times() -> None:
    plain = make()
    assert plain.grants and not plain.needs_device_bound(Risk.CRITICAL)
    made = make(
        freeze=[HOLIDAYS, NIGHTS], ask=[{"after": 0, "roles": ["reviewer"]}], device_bound=["CRITICAL"], grants=False
    )
    assert not made.grants and made.needs_device_bound("CRITICAL") and not made.needs_device_bound("HIGH")
    assert policy.from_toml(policy.to_toml(made.document)) == made.document
    text = (
        policy.to_toml(DEFAULT_POLICY)
        + '\n[[freeze]]\nname = "holidays"\nfrom = 2026-12-24T01:00:00+01:00\nuntil = 2026-12-27T00:00:00\n'
    )
    assert policy.from_toml(text)["freeze"] == [HOLIDAYS]
    hours = policy.from_toml('[[freeze]]\nname = "n"\ndays = ["sat"]\nfrom = 16:00:00\nuntil = "07:00"\n')
    assert hours["freeze"][0]["from"] == "16:00"


def person(name: str, *, keys: int = 1, bound: bool = False, attested: bool = False) -> Candidate:
    held = frozenset(f"{name} {number}" for number in range(keys))
    none: frozenset[str] = frozenset()
    return Candidate(name, ("reviewer",), True, True, held, name, held if bound else none, held if attested else none)


def test_only_people_with_a_fitting_key_can_fill_a_seat() -> None:
    ada, bo = person("ada"), person("bo")
    keyless = person("cleo", keys=0)
    assert make().satisfiable_by([ada, bo]) == []
    missing = make().satisfiable_by([ada, keyless])
    assert [problem.message.startswith("CRITICAL") for problem in missing] == [True]
    assert "hold a signing key" in missing[0].message
    assert make().satisfiable_by([ada, keyless], keys=False) == []
    assert validate(DEMO_POLICY).satisfiable_by([keyless, person("dan", keys=0)]) == []
    bound = make(device_bound=["CRITICAL"])
    assert "device-bound" in bound.satisfiable_by([ada, bo])[0].message
    assert bound.satisfiable_by([person("ada", bound=True), person("bo", bound=True)]) == []
    best = make(assurance="H3")
    assert len(best.satisfiable_by([person("ada", bound=True), person("bo", bound=True)])) == 2
    assert (
        best.satisfiable_by([person("ada", bound=True, attested=True), person("bo", bound=True, attested=True)]) == []
    )


WINDOWS = st.builds(
    lambda days, start, end: {"name": "w", "days": sorted(days), "from": start, "until": end},
    st.sets(st.sampled_from(freeze.DAYS), min_size=1),
    st.times().map(lambda time: f"{time:%H:%M}"),
    st.times().map(lambda time: f"{time:%H:%M}") | st.just("24:00"),
).filter(lambda window: window["from"] != window["until"])


@given(st.lists(WINDOWS, min_size=1, max_size=3), st.integers(0, 366 * 24 * 60))
def test_a_moment_is_frozen_exactly_when_the_next_span_has_begun(windows: list[dict[str, Any]], minutes: int) -> None:
    now = at("2026-01-01") + timedelta(minutes=minutes)
    read = freeze.read(windows)
    spans = freeze.upcoming(read, now, most=1)
    assert spans and spans[0].end > now
    assert (freeze.frozen(read, now) is not None) is (spans[0].start <= now)
