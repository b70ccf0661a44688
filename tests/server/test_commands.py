"""The operator's commands: they explain, ask, and say plainly what they did."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client

from audit import log, publisher
from audit.models import LogHead
from imprimatur.formats import trust
from tests.conftest import World


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_there_is_nothing_to_recover_before_the_beginning_or_in_an_open_log(db: None) -> None:
    with pytest.raises(CommandError, match="has no log yet"):
        run("log_recover")


def test_an_open_log_is_left_alone(world: World) -> None:
    with pytest.raises(CommandError, match="there is nothing to recover"):
        run("log_recover", "--yes", "--reopen")


def test_without_a_yes_a_frozen_log_is_only_explained(world: World) -> None:
    publisher.Publisher().publish_once()
    log.freeze("entry 3 was changed")
    said = run("log_recover")
    assert "entry 3 was changed" in said
    assert "Nothing was changed" in said
    assert LogHead.objects.get().state == LogHead.FROZEN
    assert "still frozen" in run("log_recover", "--yes")
    assert LogHead.objects.get().state == LogHead.FROZEN
    assert "The log is open" in run("log_recover", "--yes", "--reopen")
    assert LogHead.objects.get().state == LogHead.OPEN


def test_a_log_that_is_still_broken_does_not_open(world: World) -> None:
    publisher.Publisher().publish_once()
    mark = publisher.mark_path()
    mark.write_text(mark.read_text(encoding="utf-8").replace('"root":"', '"root":"00')[:-1], encoding="utf-8")
    log.freeze("something is wrong")
    with pytest.raises(CommandError, match="The log stays frozen"):
        run("log_recover", "--yes", "--reopen")
    assert LogHead.objects.get().state == LogHead.FROZEN


def test_there_are_no_anchors_before_the_first_checkpoint(db: None) -> None:
    run("begin", "--realm", "test.imprimatur")
    with pytest.raises(CommandError, match="Nothing has been published yet"):
        run("trust")
    publisher.Publisher().publish_once()
    assert trust.parse(run("trust").encode()).realm == "test.imprimatur"


def test_trust_prints_what_auditors_pin(world: World) -> None:
    raw = run("trust").encode()
    document = json.loads(raw)
    assert document["realm"] == world.realm
    assert trust.parse(raw).realm == world.realm
    assert [one["person"] for one in document["people"]] == [world.ada.id]


def test_whoever_lost_their_password_gets_a_new_one_to_change(world: World, client: Client) -> None:
    rui = world.people["rui"]
    client.force_login(rui.user)
    assert client.get("/").status_code == 200
    password = run("one_time_password", "rui").splitlines()[0].removeprefix("One-time password of rui: ")
    assert client.get("/").status_code == 302, "the old session is over"
    cache.clear()  # how often anybody of before tried to sign in
    client.post("/accounts/login/", {"login": "rui", "password": password})
    assert client.get("/")["Location"] == "/accounts/password/change/"
    with pytest.raises(CommandError, match="nobody"):
        run("one_time_password", "nobody")
