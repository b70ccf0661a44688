"""The page of the canaries: which time their runs cover, what the newest found, and why a period is void."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from audit.log import commit, utc_now
from governance.runtime import canary_page
from governance.runtime.actions import report_canary
from governance.runtime.models import CanaryRun
from imprimatur.formats.attestation import CANARIES
from imprimatur.rules import canaries
from tests.attesting.service import GOT_THROUGH, ServiceUnderTest, predicate_of, service
from tests.conftest import World
from tests.door.agent import through_django

NOW = datetime.fromisoformat("2026-11-20T12:00:00+00:00")
EVERY = 3600


@pytest.fixture
def runner(world: World, settings: Any) -> Iterator[ServiceUnderTest]:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    made = service(world, through_django, CANARIES)
    yield made
    world.publish()


def ran(runner: ServiceUnderTest, at: datetime, every: int = EVERY, **answers: Any) -> None:
    """A run that ended then, as the door would take it at that time."""
    text = runner.run(at, every, **answers)
    commit(report_canary.apply, report_canary.prepare(runner.row, text, max(at, utc_now())))
    runner.took(text)


def at(**ago: int) -> datetime:
    return NOW - timedelta(**ago)


def words(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", html.partition("<main")[2])))


def test_without_runs_the_page_says_that_nothing_is_shown(world: World, client: Client) -> None:
    shown = canary_page.shown(NOW)
    assert (shown.colour, shown.verdict) == ("none", "No canaries run.")
    assert {day.colour for day in shown.days} == {"none"} and len(shown.days) == 30
    client.force_login(world.people["audra"].user)
    said = words(client.get(reverse("canaries")).content.decode())
    assert "No canaries run. Nothing tries what agents must not be able to do" in said


def test_a_day_is_green_when_every_run_of_it_is_and_covers_it(runner: ServiceUnderTest) -> None:
    for hours in range(30, -1, -1):
        ran(runner, at(hours=hours))
    shown = canary_page.shown(NOW)
    assert [day.colour for day in shown.days[:3]] == ["green", "green", "none"]
    assert shown.days[0].words == "all refused, in 13 runs"
    assert (shown.colour, shown.periods, shown.late) == ("green", [], False)
    assert shown.due == NOW + timedelta(hours=1)


def test_a_gap_is_void_on_every_day_that_it_touches(runner: ServiceUnderTest) -> None:
    ran(runner, at(hours=36))
    ran(runner, at(hours=1))
    shown = canary_page.shown(NOW)
    assert [day.colour for day in shown.days[:3]] == ["grey", "grey", "none"]
    assert shown.days[0].words == "11 h not covered" and shown.days[1].words == "24 h not covered"
    assert [period.words for period in shown.periods] == ["Not covered: no run came in time."]
    assert shown.colour == "green", "the newest run is as it must be"


def test_a_run_that_is_missing_now_is_told_by_the_clock_of_the_page(runner: ServiceUnderTest) -> None:
    ran(runner, at(hours=2))
    assert not canary_page.shown(NOW).late
    shown = canary_page.shown(NOW + timedelta(seconds=1))
    assert shown.late and (shown.colour, shown.verdict) == ("grey", "A run is missing.")
    assert shown.periods[0].words == "Not covered: no run has come since then."


def test_red_and_grey_are_told_apart_in_words_and_in_colour(runner: ServiceUnderTest) -> None:
    ran(runner, at(days=3), every=86_400, **GOT_THROUGH)
    ran(runner, at(days=2), every=86_400, replayed=(401, "signature"))
    ran(runner, at(days=1), every=86_400, replayed=(0, ""), positive_control=(0, ""))
    ran(runner, at(hours=1), every=86_400, positive_control=(503, "paused"))
    shown = canary_page.shown(NOW)
    assert [day.colour for day in shown.days[:4]] == ["grey", "grey", "red", "red"]
    said = [(period.colour, period.words) for period in shown.periods]
    assert ("red", "An attack got through: out-of-scope.") in said
    assert ("red", "Refused for another reason than its own: replayed.") in said
    assert ("grey", "No proper answer, so nobody can tell: replayed.") in said
    assert any("positive control did not succeed" in text for _, text in said)
    assert (shown.colour, shown.verdict) == ("grey", "The newest run proves nothing.")
    verdicts = {each.name: each.verdict for each in shown.tried}
    assert verdicts["positive-control"] == "no proper answer"
    assert verdicts["replayed"] == "refused"


def test_what_lasts_over_many_runs_is_one_period(runner: ServiceUnderTest) -> None:
    for hours in range(5, -1, -1):
        ran(runner, at(hours=hours), replayed=(0, ""))
    (period,) = canary_page.shown(NOW).periods
    assert (period.count, period.until) == (6, NOW)


def test_void_periods_are_those_that_the_verifiers_rules_find(runner: ServiceUnderTest) -> None:
    folded = canaries.Coverage()
    answers: list[tuple[int, dict[str, tuple[int, str]]]] = [
        (20, {}),
        (19, {"positive_control": (202, "")}),
        (15, {}),
        (14, {"out_of_scope": (503, "busy")}),
        (10, {"positive_control": (0, "")}),
        (9, {}),
    ]
    for hours, given in answers:
        text = runner.run(at(hours=hours), EVERY, **given)
        folded.add(predicate_of(text))
        ran(runner, at(hours=hours), EVERY, **given)
    shown = canary_page.shown(at(hours=8))
    void = sorted((each.since, each.until) for each in shown.periods if each.words.startswith("Not covered"))
    assert void == [(datetime.fromisoformat(each["from"]), datetime.fromisoformat(each["to"])) for each in folded.void]


def test_the_page_costs_as_much_for_many_runs_as_for_few(
    runner: ServiceUnderTest, client: Client, django_assert_max_num_queries: Any
) -> None:
    now = utc_now()
    client.force_login(runner.world.ada.user)
    ran(runner, now - timedelta(minutes=50), every=60)
    client.get(reverse("canaries"))
    with django_assert_max_num_queries(30) as few:
        assert client.get(reverse("canaries")).status_code == 200
    for minutes in range(40, 0, -1):
        ran(runner, now - timedelta(minutes=minutes), every=60, replayed=(0, ""))
    with django_assert_max_num_queries(30) as many:
        assert "GOT THROUGH" not in client.get(reverse("canaries")).content.decode()
    assert len(many) <= len(few)
    assert CanaryRun.objects.count() == 41


def test_nobody_else_than_admins_and_auditors_opens_it(runner: ServiceUnderTest, client: Client) -> None:
    for name, status in (("ada", 200), ("audra", 200), ("rui", 403), ("mallory", 403)):
        client.force_login(runner.world.people[name].user)
        assert client.get(reverse("canaries")).status_code == status
