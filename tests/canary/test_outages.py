"""Runs that meet a busy server, none at all, a pause, or an end in the middle: nobody can tell, and it shows."""

from __future__ import annotations

import copy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from audit.log import commit, utc_now
from governance.actions import revoke_delegation, set_pause
from governance.models import Delegation, Pause
from governance.runtime import alarms, canary_page
from governance.runtime.models import CanaryRun
from imprimatur.canary import attempts, folder, runner
from imprimatur.canary.agent import Agent
from imprimatur.canary.observed import Observed
from imprimatur.client.wire import Answer
from imprimatur.errors import ConfigError
from imprimatur.rules import canaries as rules
from imprimatur.rules.policy import DEMO_POLICY
from imprimatur.service.service import StatementRefused
from tests.canary.desk import Canaries, set_up
from tests.conftest import World


def responding(make_world: Any, path: Path, settings: Any) -> Canaries:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    return set_up(make_world({**copy.deepcopy(DEMO_POLICY), "respond": {"canary": "pause"}}), path / "canary")


def got_through(party: attempts.Party) -> Observed:
    return Observed(200, detail="The test says so.")


def test_a_run_without_a_server_is_kept_and_told_later(canaries: Canaries) -> None:
    assert canaries.run().result == rules.PASSED
    canaries.desk.gate = lambda method, path: 0
    away = canaries.run()
    assert away.index is None and away.result == rules.FAILED and away.got_through == []
    assert {attempt["status"] for attempt in away.attempts} == {0}
    assert CanaryRun.objects.count() == 1
    canaries.desk.gate = lambda method, path: None
    assert canaries.run().result == rules.PASSED
    assert [row.result for row in CanaryRun.objects.order_by("index")] == ["PASSED", "FAILED", "PASSED"]
    shown = canary_page.shown(utc_now())
    assert shown.days[0].colour == rules.GREY and shown.colour == rules.GREEN


def test_an_attack_that_is_not_answered_voids_the_run_and_stops_nothing(
    make_world: Any, tmp_path: Path, settings: Any
) -> None:
    canaries = responding(make_world, tmp_path, settings)
    canaries.desk.gate = lambda method, path: 503 if path == "/pauses/lift" else None
    done = canaries.run()
    assert canaries.wrong(done) == {"switch-off": (503, "busy")} and done.result == rules.FAILED
    assert canary_page.shown(utc_now()).colour == rules.GREY
    assert not Pause.objects.exists()
    (trouble,) = alarms.standing(utc_now()).values()
    assert "got no proper answer (switch-off)" in trouble


def test_an_attack_that_got_through_trips_the_kill_switch_where_policy_says_so(
    make_world: Any, tmp_path: Path, settings: Any
) -> None:
    canaries = responding(make_world, tmp_path, settings)
    said: list[str] = []
    done = canaries.run(made={**attempts.MADE, "out-of-scope": got_through}, tell=said.append)
    assert done.got_through == ["out-of-scope"]
    pause = Pause.objects.get(scope=Pause.EVERYTHING, lifted_at=None)
    assert "was not refused" in pause.reason
    assert said[0].startswith("A CANARY WAS NOT REFUSED: out-of-scope")
    assert any("GOT THROUGH: out-of-scope" in words for words in alarms.standing(utc_now()).values())
    canaries.world.publish()
    # While everything is stopped nothing is allowed by itself, and the runs say that they prove nothing.
    after = canaries.run()
    assert after.got_through == [] and rules.colour(after.attempts) == rules.GREY
    assert canaries.wrong(after)["positive-control"] == (202, "")


def test_without_a_word_of_the_policy_an_attack_that_got_through_only_alarms(canaries: Canaries) -> None:
    assert canaries.run(made={**attempts.MADE, "replayed": got_through}).got_through == ["replayed"]
    assert not Pause.objects.exists()
    assert any("GOT THROUGH: replayed" in words for words in alarms.standing(utc_now()).values())


def test_a_control_that_fails_voids_the_time_since_the_run_before(canaries: Canaries, world: World) -> None:
    assert canaries.run().result == rules.PASSED
    commit(set_pause.apply, set_pause.Command(Pause.TOOL, "read_file", "a look", world.ada))
    done = canaries.run()
    assert canaries.wrong(done)["positive-control"] == (202, "")
    assert done.got_through == [] and rules.colour(done.attempts) == rules.GREY
    words = [period.words for period in canary_page.shown(utc_now()).periods]
    assert any("positive control did not succeed" in text for text in words)


def test_one_attempt_that_breaks_leaves_the_others(canaries: Canaries) -> None:
    def broken(party: attempts.Party) -> Observed:
        raise RuntimeError("this attempt is out of order")

    done = canaries.run(made={**attempts.MADE, "over-budget": broken})
    assert canaries.wrong(done) == {"over-budget": (0, "")}
    detail = next(each["detail"] for each in canaries.newest().attempts if each["name"] == "over-budget")
    assert "out of order" in detail


def test_a_run_that_ended_in_the_middle_is_followed_by_a_whole_one(canaries: Canaries) -> None:
    def killed(party: attempts.Party) -> Observed:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        canaries.run(made={**attempts.MADE, "redeem-changed": killed})
    assert not CanaryRun.objects.exists()
    assert canaries.run().result == rules.PASSED


def test_two_runs_at_once_are_one(canaries: Canaries) -> None:
    kept = folder.load(canaries.path)
    with kept.alone(), pytest.raises(folder.RunUnderway):
        canaries.run()


def test_without_a_delegation_nothing_is_proven_and_the_run_says_what_to_do(canaries: Canaries, world: World) -> None:
    root = Delegation.objects.get(subject=canaries.agents[0])
    commit(revoke_delegation.apply, revoke_delegation.Command(root.pk, world.ada, "over"))
    done = canaries.run()
    assert done.got_through == [] and rules.colour(done.attempts) == rules.GREY
    control = done.attempts[-1]
    assert control["status"] == 0 and "Have an admin sign one" in control["detail"]


def test_a_new_root_replaces_what_was_left_to_expire(canaries: Canaries, world: World) -> None:
    canaries.run()
    first = folder.load(canaries.path).between
    root = Delegation.objects.get(subject=canaries.agents[0])
    commit(revoke_delegation.apply, revoke_delegation.Command(root.pk, world.ada, "renewed"))
    limit = {"unit": "USD", "limit": attempts.LIMIT}
    world.delegate("canary one", scope=list(attempts.SCOPE), spend=limit, max_depth=1)
    done = canaries.run()
    assert canaries.wrong(done) == {}
    assert folder.load(canaries.path).between not in (None, first)


def test_a_missed_heartbeat_is_told_once_per_outage_by_the_clock_of_the_server(canaries: Canaries) -> None:
    canaries.run(every=60)
    now = utc_now()
    assert alarms.standing(now) == {}
    first, later = (alarms.standing(now + timedelta(seconds=each)) for each in (125, 500))
    assert first.keys() == later.keys() and "have not reported since" in next(iter(first.values()))


def test_a_clock_that_was_set_back_holds_up_no_run(canaries: Canaries, monkeypatch: pytest.MonkeyPatch) -> None:
    canaries.run()
    first = canaries.newest().ended_at
    monkeypatch.setattr(Agent, "now", lambda agent: first - timedelta(seconds=1))
    done = canaries.run()
    assert done.index == canaries.newest().index
    assert canaries.newest().ended_at == first + timedelta(milliseconds=1)


def test_a_run_from_the_future_is_not_taken_before_its_time(
    canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = utc_now() + timedelta(minutes=5)
    with monkeypatch.context() as patch:
        patch.setattr(Agent, "now", lambda agent: ahead)
        with pytest.raises(StatementRefused, match="from the future"):
            canaries.run()
    assert not CanaryRun.objects.exists()


def test_a_folder_that_is_none_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="imprimatur canary init"):
        runner.run(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("/accounts/login/?next=/pauses/lift", rules.LOGIN),
        ("//elsewhere.example.org/accounts/login/", ""),
        ("https://elsewhere.example.org/accounts/login/", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_only_our_own_login_page_counts_as_one(location: str, code: str) -> None:
    from imprimatur.canary import observed

    assert observed.of(Answer(302, {"location": location}, b"")).code == code


def test_only_a_problem_document_has_a_code() -> None:
    from imprimatur.canary import observed

    body = b'{"code": "out-of-scope"}'
    assert observed.of(Answer(403, {"content-type": "application/json"}, body)).code == ""
    assert observed.of(Answer(403, {"content-type": "application/problem+json"}, body)).code == "out-of-scope"
    assert observed.of(Answer(999, {}, b"")).status == 0
