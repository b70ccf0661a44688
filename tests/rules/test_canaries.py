"""Canaries: what each must be told, what a run amounts to, and which time the runs cover."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.formats import attestation, canonical, shapes
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import canaries
from imprimatur.rules.canaries import ATTEMPTS, CONTROL, FAILED, PASSED, WARNED, Coverage

BEGIN = datetime(2026, 10, 1, tzinfo=UTC)
EVERY = 300
ATTACKS = [name for name in ATTEMPTS if name != CONTROL]


def answered(name: str, answer: tuple[int, str] | None = None) -> dict[str, Any]:
    status, code = answer or sorted(ATTEMPTS[name].expected)[0]
    return {"name": name, "status": status, "code": code, "at": format_time(BEGIN)}


def good() -> list[dict[str, Any]]:
    return [answered(name) for name in ATTEMPTS]


def changed(name: str, answer: tuple[int, str]) -> list[dict[str, Any]]:
    return [answered(name, answer) if each["name"] == name else each for each in good()]


def test_the_table_has_one_control_and_words_for_everything() -> None:
    assert [name for name, attempt in ATTEMPTS.items() if attempt.control] == [CONTROL]
    for name, attempt in ATTEMPTS.items():
        shapes.check(name, shapes.Text(max=64, pattern=r"[a-z][a-z0-9-]*"))
        assert attempt.words.endswith(".") and attempt.reason.endswith(".") and attempt.expected
    assert len(ATTEMPTS) == 17


def test_no_attack_is_expected_to_succeed() -> None:
    for name in ATTACKS:
        for status, code in ATTEMPTS[name].expected:
            assert status >= 400 or (status, code) == (302, canaries.LOGIN)
            assert not canaries.succeeded(answered(name, (status, code)))


def test_a_run_in_which_all_is_as_it_must_be_passes_whatever_its_order() -> None:
    assert canaries.result(good()) == PASSED
    assert canaries.result(list(reversed(good()))) == PASSED
    assert canaries.sort_out(good()) == canaries.Sorted(tuple(ATTEMPTS), (), ())


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(
    "answer", [(200, ""), (201, ""), (302, ""), (403, "busy"), (503, "busy"), (429, "rate-limited"), (0, "")]
)
def test_an_attack_that_ends_in_any_other_way_fails_the_run(name: str, answer: tuple[int, str]) -> None:
    run = changed(name, answer)
    assert canaries.result(run) == FAILED
    assert canaries.sort_out(run).failed == (name,)
    assert canaries.succeeded(answered(name, answer)) == (answer[0] in {200, 201, 302})


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_that_is_missing_or_was_made_twice_with_two_ends_fails_the_run(name: str) -> None:
    assert canaries.result([each for each in good() if each["name"] != name]) == FAILED
    assert canaries.result([*good(), answered(name, (200, ""))]) == FAILED


def test_a_control_that_fails_or_is_missing_is_a_warning_and_an_unknown_attempt_a_failure() -> None:
    assert canaries.result(changed(CONTROL, (503, "busy"))) == WARNED
    assert canaries.result(changed(CONTROL, (202, ""))) == WARNED
    assert canaries.result([each for each in good() if each["name"] != CONTROL]) == WARNED
    assert canaries.result([*good(), {**answered(CONTROL), "name": "something-else"}]) == FAILED
    assert canaries.result([]) == FAILED
    assert canaries.control_failed([]) and not canaries.control_failed(good())


def run(
    end: float, attempts: list[dict[str, Any]] | None = None, every: int = EVERY, took: float = 5
) -> dict[str, Any]:
    """A run that ended so many seconds after the beginning of time."""
    return {
        "from": format_time(BEGIN + timedelta(seconds=end - took)),
        "at": format_time(BEGIN + timedelta(seconds=end)),
        "every": every,
        "attempts": good() if attempts is None else attempts,
    }


def folded(*runs: dict[str, Any]) -> Coverage:
    coverage = Coverage()
    for each in runs:
        coverage.add(each)
    return coverage


@given(st.lists(st.integers(1, 1500), min_size=1, max_size=12), st.integers(10, 600))
def test_exactly_the_gaps_of_more_than_twice_the_promise_are_void(gaps: list[int], every: int) -> None:
    ends = [0]
    for gap in gaps:
        ends.append(ends[-1] + gap)
    coverage = folded(*(run(end, every=every, took=0) for end in ends))
    expected = [
        {"from": run(one)["at"], "to": run(other)["at"], "why": "gap"}
        for one, other in pairwise(ends)
        if other - one > 2 * every
    ]
    assert coverage.void == expected
    assert coverage.voids == len(expected)
    assert coverage.void_seconds == sum(gap for gap in gaps if gap > 2 * every)
    assert coverage.runs == coverage.passed == len(ends)


def test_a_run_that_claims_to_have_lasted_through_a_gap_does_not_close_it() -> None:
    coverage = folded(run(0), run(5000, took=4990))
    assert [each["why"] for each in coverage.void] == ["gap"]


def test_what_the_run_before_promised_counts_and_not_what_the_next_one_says() -> None:
    assert folded(run(0, every=10), run(100, every=86_400)).voids == 1
    assert folded(run(0, every=86_400), run(100, every=10)).voids == 0


def test_a_failed_control_voids_the_time_since_the_run_before() -> None:
    coverage = folded(run(0), run(300, changed(CONTROL, (503, "busy"))), run(600))
    assert coverage.void == [{"from": run(0)["at"], "to": run(300)["at"], "why": "control"}]
    assert (coverage.passed, coverage.warned, coverage.failed) == (2, 1, 0)
    both = changed(CONTROL, (503, "busy"))[1:]
    assert folded(run(0), run(300, both)).void[0]["why"] == "control"


def test_red_runs_are_kept_with_what_failed_and_what_got_through_is_counted() -> None:
    coverage = folded(run(0), run(300, changed("expired", (200, ""))), run(600, changed("replayed", (503, "busy"))))
    assert [each["failed"] for each in coverage.red] == [["expired"], ["replayed"]]
    assert (coverage.failed, coverage.got_through, coverage.voids) == (2, 1, 0)


def test_order_matters_and_a_run_out_of_order_changes_nothing() -> None:
    coverage = folded(run(0), run(300))
    before = coverage.as_json()
    for wrong in (run(300), run(200), run(0), run(600, took=-1)):
        with pytest.raises(canaries.OutOfOrder):
            coverage.add(wrong)
        assert coverage.as_json() == before


def test_the_time_since_the_newest_run_is_open_until_it_is_late() -> None:
    assert not Coverage().open_gap(BEGIN)
    coverage = folded(run(0))
    assert not coverage.open_gap(BEGIN + timedelta(seconds=2 * EVERY))
    assert coverage.open_gap(BEGIN + timedelta(seconds=2 * EVERY, milliseconds=1))


KINDS = st.sampled_from([good(), changed(CONTROL, (0, "")), changed("depth-exceeded", (201, "")), []])


@given(st.lists(st.tuples(st.integers(1, 1500), KINDS), max_size=10), st.integers(0, 10))
def test_the_fold_goes_on_from_its_json_at_any_point(steps: list[tuple[int, list[dict[str, Any]]]], cut: int) -> None:
    runs, end = [], 0
    for gap, attempts in steps:
        end += gap
        runs.append(run(end, attempts))
    half = folded(*runs[:cut]).as_json()
    resumed = Coverage.from_json(json.loads(canonical.dumps(half)))
    for each in runs[cut:]:
        resumed.add(each)
    assert resumed.as_json() == folded(*runs).as_json()
    assert folded(*runs[:cut]).as_json() == half


def test_memory_is_bounded_and_everything_is_counted() -> None:
    bad = changed("expired", (200, ""))
    coverage = Coverage()
    for place in range(canaries.MOST + 50):
        coverage.add(run(place * 1000, bad))
    assert len(coverage.void) == len(coverage.red) == canaries.MOST
    assert coverage.voids == canaries.MOST + 49 and coverage.failed == canaries.MOST + 50
    assert coverage.red[-1]["to"] == coverage.void[-1]["to"] == coverage.last
    assert Coverage.from_json(coverage.as_json()).as_json() == coverage.as_json()


def test_what_is_no_coverage_is_refused() -> None:
    with pytest.raises(shapes.ShapeError):
        Coverage.from_json({**Coverage().as_json(), "more": 1})
    shapes.check(answered("expired"), attestation.ATTEMPT)


@pytest.mark.parametrize(
    ("name", "answer", "colour"),
    [
        ("out-of-scope", (200, ""), canaries.RED),
        ("out-of-scope", (403, "depth"), canaries.RED),
        ("out-of-scope", (503, "busy"), canaries.GREY),
        ("out-of-scope", (429, "rate-limited"), canaries.GREY),
        ("out-of-scope", (0, ""), canaries.GREY),
        (CONTROL, (403, "paused"), canaries.GREY),
    ],
)
def test_a_run_is_red_for_a_break_and_grey_where_nobody_can_tell(
    name: str, answer: tuple[int, str], colour: str
) -> None:
    assert canaries.colour(changed(name, answer)) == colour
    assert canaries.colour(good()) == canaries.GREEN
    assert canaries.colour([each for each in good() if each["name"] != "replayed"]) == canaries.GREY
    worse = [*changed(name, answer), answered("self-grant", (201, ""))]
    assert canaries.colour(worse) == canaries.RED
