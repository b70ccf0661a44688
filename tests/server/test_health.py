"""Alive, ready, and how it is: what machines ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import OperationalError
from django.test import Client

from audit import log, publisher, writer
from audit.models import LogHead
from governance.actions import invite_agent
from server import health
from tests.conftest import World


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a web process: a writer runs. (A thread would not see what this test has not committed.)"""
    monkeypatch.setattr(writer, "running", object)


@pytest.fixture(autouse=True)
def own_host(settings) -> Iterator[None]:
    settings.ALLOWED_HOSTS = ["testserver"]
    yield


def test_a_living_process_says_ok_without_asking_anybody(client: Client) -> None:
    reply = client.get("/healthz")
    assert (reply.status_code, reply.content) == (200, b"ok\n")


def test_ready_means_that_a_decision_could_be_committed(world: World, written: None, client: Client) -> None:
    publisher.Publisher().publish_once()
    reply = client.get("/readyz")
    assert reply.status_code == 200
    size = LogHead.objects.get().size
    assert reply.json() == {"ready": True, "problems": [], "realm": world.realm, "log": size, "published": size}


def problems(client: Client) -> list[str]:
    reply = client.get("/readyz")
    assert reply.status_code == 503
    assert reply.json()["ready"] is False
    return reply.json()["problems"]


def test_no_log_no_writer_and_a_frozen_log_are_said(db: None, client: Client) -> None:
    found = problems(client)
    assert any("manage.py begin" in one for one in found)
    assert "the writer is not running" in found


def test_a_frozen_log_says_why(world: World, written: None, client: Client) -> None:
    log.freeze("somebody changed entry 4")
    assert problems(client) == ["the log is frozen: somebody changed entry 4"]


def test_a_publisher_that_does_not_keep_up_is_said(
    world: World, written: None, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "MOST_UNPUBLISHED", 0)
    command, _ = invite_agent.new("late", world.ada, world.ada)
    assert log.run_batch([(invite_agent.apply, command)])
    [problem] = problems(client)
    assert problem.endswith("entries wait to be published")


def test_a_silent_database_is_a_problem_and_no_traceback(
    written: None, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent() -> None:
        raise OperationalError("connection to server at 10.0.0.7 failed: password x")

    monkeypatch.setattr(LogHead.objects, "first", silent)
    assert problems(client) == ["the database does not answer: OperationalError"]


def test_metrics_count_and_name_nobody(world: World, client: Client) -> None:
    def value(name: str) -> float:
        lines = client.get("/metrics").content.decode().splitlines()
        return float(next(line for line in lines if line.startswith(name + " ")).rpartition(" ")[2])

    assert value("imprimatur_log_entries") == LogHead.objects.get().size
    world.enrol("late")
    assert value("imprimatur_log_published_entries") == LogHead.objects.get().size - 2
    publisher.Publisher().publish_once()
    assert value("imprimatur_log_published_entries") == LogHead.objects.get().size
    assert value("imprimatur_log_frozen") == 0
    log.freeze("look at it")
    assert value("imprimatur_log_frozen") == 1
    text = client.get("/metrics").content.decode()
    for secret in ("robo", "Rui", "/project", "look at it"):
        assert secret not in text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_machines_only_read(db: None, client: Client, path: str) -> None:
    assert client.post(path).status_code == 405
    assert client.head(path).status_code in {200, 503}
