"""When the clock asks for the next run, and when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import django_rq
import pytest
from redis.exceptions import RedisError

from audit.log import utc_now
from imprimatur.canary import runner
from imprimatur.canary.folder import RunUnderway
from server.canary import schedule
from tests.canary.desk import Canaries, set_up
from tests.conftest import World


class Queue:
    """A queue that keeps what it was given; or Redis is away."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.away = False

    def enqueue(self, function: Any, **options: Any) -> None:
        if self.away:
            raise RedisError
        self.jobs.append({"run": function, **options})


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Queue]:
    made = Queue()
    monkeypatch.setattr(django_rq, "get_queue", lambda: made)
    settings.CANARY_EVERY = 300
    schedule.forget()
    yield made
    schedule.forget()


@pytest.fixture
def own(world: World, settings: Any) -> Canaries:
    """Canaries that the installation itself runs."""
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    return set_up(world, schedule.folder())


def ask(now: datetime, **later: int) -> None:
    schedule.look_after(now + timedelta(**later))


@pytest.mark.usefixtures("world")
def test_without_a_folder_nothing_runs(queue: Queue) -> None:
    ask(utc_now())
    assert queue.jobs == []


@pytest.mark.usefixtures("own")
def test_switched_off_nothing_runs(queue: Queue, settings: Any) -> None:
    settings.CANARY_EVERY = None
    ask(utc_now())
    assert queue.jobs == []


@pytest.mark.usefixtures("own")
def test_the_first_run_is_due_at_once_and_the_next_after_the_interval(queue: Queue) -> None:
    now = utc_now()
    for seconds in (0, 1, 3, 200, 299):
        ask(now, seconds=seconds)
    assert len(queue.jobs) == 1
    assert queue.jobs[0]["run"] is schedule.run and queue.jobs[0]["at_front"] is True
    ask(now, seconds=301)
    assert len(queue.jobs) == 2


def test_after_a_restart_the_newest_run_says_when_the_next_is_due(queue: Queue, own: Canaries) -> None:
    own.run(every=300)
    ended = own.newest().ended_at
    ask(ended, seconds=200)
    assert queue.jobs == []
    schedule.forget()
    ask(ended, seconds=300)
    assert len(queue.jobs) == 1


@pytest.mark.usefixtures("own")
def test_without_redis_it_is_tried_again(queue: Queue) -> None:
    now = utc_now()
    queue.away = True
    ask(now)
    queue.away = False
    ask(now, seconds=3)
    assert len(queue.jobs) == 1


def test_the_job_gives_way_to_a_run_that_is_underway(
    queue: Queue, own: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[dict[str, Any]] = []

    def run(path: Any, **options: Any) -> Any:
        ran.append({"path": path, **options})
        raise RunUnderway("another one")

    monkeypatch.setattr(runner, "run", run)
    schedule.run()
    assert ran[0]["path"] == own.path and ran[0]["every"] == 300
