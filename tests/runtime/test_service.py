"""A service and a server that is away, behind, ahead, forged or lying."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imprimatur.errors import APIError, ConfigError, ServerError
from imprimatur.formats import attestation
from imprimatur.formats.digests import sha256
from imprimatur.formats.keys import KeyPair
from imprimatur.service import folder as folders
from imprimatur.service.ledger import Ledger
from imprimatur.service.service import AT_ONCE, ForkError, Service, StatementRefused, Voice
from tests.runtime.desk import REALM, URL, FakeDesk

SUBJECT = {"launch": "00" * 32}


@pytest.fixture
def desk(tmp_path: Path) -> FakeDesk:
    folders.create(tmp_path / "monitor", "monitor")
    return FakeDesk(folders.load(tmp_path / "monitor", "monitor", REALM))


@pytest.fixture
def service(desk: FakeDesk) -> Iterator[Service]:
    with Service(desk.folder, URL, desk.trust, transport=desk.transport, sleep=lambda seconds: None, retries=1) as made:
        yield made


def seen(number: int) -> dict[str, Any]:
    return {
        "node": {"name": "host", "kernel": "Linux"},
        "host": {"pid": 1},
        "log": {"size": 0, "root": sha256(b"")},
        "processes": [],
        "launch": f"lau_{number}",
    }


def sign(voice: Voice, *numbers: int) -> None:
    for number in numbers:
        voice.say(attestation.OBSERVATION, SUBJECT, seen(number))


def said(desk: FakeDesk) -> list[str]:
    return [predicate["launch"] for predicate in desk.predicates()]


def test_what_is_said_is_in_the_servers_log_in_order(desk: FakeDesk, service: Service) -> None:
    with service.speaking() as voice:
        sign(voice, 1, 2, 3)
        told = voice.send()

    assert said(desk) == ["lau_1", "lau_2", "lau_3"]
    assert [each.kind for each in told] == ["observation.recorded"] * 3
    assert [each.envelope for each in told] == Ledger(desk.folder).envelopes() == desk.statements
    assert [each.entry["index"] for each in told] == [8, 9, 10]


def test_what_was_signed_during_an_outage_is_sent_afterwards_in_order_and_once(
    desk: FakeDesk, service: Service
) -> None:
    with service.speaking() as voice:
        desk.down = True
        sign(voice, *range(AT_ONCE + 5))
        with pytest.raises(ServerError, match="no answer"):
            voice.send()
    assert desk.statements == []

    desk.down = False
    with service.speaking() as voice:
        sign(voice, 99)
        voice.send()

    assert said(desk) == [*(f"lau_{number}" for number in range(AT_ONCE + 5)), "lau_99"]
    sizes = [len(body["statements"]) for path, body in desk.asked if path == "/observations"]
    assert sizes == [AT_ONCE, 5, 1]


def test_an_answer_that_got_lost_makes_nothing_twice(desk: FakeDesk, service: Service) -> None:
    with service.speaking() as voice:
        sign(voice, 1)
        desk.lose_answers = 1
        told = voice.send()

    assert said(desk) == ["lau_1"]
    assert len(told) == 1


def test_a_crash_between_sending_and_the_answer_makes_nothing_twice(desk: FakeDesk, service: Service) -> None:
    with service.speaking() as voice:
        sign(voice, 1, 2)
        desk.lose_answers = 2
        with pytest.raises(ServerError):
            voice.send()
    with service.speaking() as voice:
        sign(voice, 3)
        voice.send()

    assert said(desk) == ["lau_1", "lau_2", "lau_3"]


def test_a_server_that_has_more_than_was_signed_here_stops_everything(
    desk: FakeDesk, service: Service, tmp_path: Path
) -> None:
    with service.speaking() as voice:
        sign(voice, 1, 2)
        voice.send()
    lines = desk.folder.statements.read_bytes().splitlines(keepends=True)
    desk.folder.statements.write_bytes(lines[0])  # an older copy of the folder was put back

    with pytest.raises(ForkError, match=r"STOPPED.*2 statements.*only 1"), service.speaking():
        raise AssertionError("nothing may be signed")


def test_a_server_with_another_history_stops_everything(desk: FakeDesk, service: Service) -> None:
    with service.speaking() as voice:
        sign(voice, 1, 2)
        voice.send()
    desk.statements[0] = desk.statements[1]

    with pytest.raises(ForkError, match="first 2 statements"), service.speaking():
        raise AssertionError("nothing may be signed")


def test_a_server_that_claims_another_tree_after_an_answer_stops_everything(desk: FakeDesk, service: Service) -> None:
    def lie(document: dict[str, Any]) -> None:
        document["own"]["root"] = sha256(b"another")

    with service.speaking() as voice:
        sign(voice, 1)
        desk.change = lie
        with pytest.raises(ForkError, match="names the tree"):
            voice.send()


@pytest.mark.parametrize("name", ["service", "role", "realm"])
def test_a_server_that_knows_this_key_as_something_else_is_not_spoken_to(
    desk: FakeDesk, service: Service, name: str
) -> None:
    desk.change_about = lambda about: about.update({name: "other"})

    with pytest.raises(ServerError, match=name), service.speaking():
        raise AssertionError("nothing may be signed")


LIES: dict[str, Any] = {
    "no entry": lambda row: row.pop("envelope"),
    "no index": lambda row: row.pop("index"),
    "another index": lambda row: row.update(index=row["index"] + 1),
    "an entry cut short": lambda row: row.update(envelope=row["envelope"][:-1]),
    "nothing": lambda row: row.clear(),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_without_the_entry_that_it_names_does_not_count(desk: FakeDesk, service: Service, lie: str) -> None:
    with service.speaking() as voice:
        sign(voice, 1)
        desk.change = lambda document: LIES[lie](document["observations"][0])
        with pytest.raises(ServerError, match="does not count"):
            voice.send()


FORGERIES: dict[str, Any] = {
    "another realm": lambda entry: entry.update(realm="other.example.org"),
    "another kind": lambda entry: entry.update(kind="launch.ended", body={"launch": "lau_" + "0" * 26, "how": "lost"}),
    "another statement": lambda entry: entry["body"].update(statement=entry["body"]["statement"] + " "),
    "another service": lambda entry: entry["actor"].update(id="sv_" + "b" * 32),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_entry_about_something_else_does_not_count(desk: FakeDesk, service: Service, forgery: str) -> None:
    desk.change_entry = FORGERIES[forgery]
    with service.speaking() as voice:
        sign(voice, 1)
        with pytest.raises(ServerError, match="does not count"):
            voice.send()


def test_an_entry_by_a_key_that_is_not_pinned_does_not_count(desk: FakeDesk, service: Service) -> None:
    desk.signs_with = KeyPair(bytes(range(1, 33)))
    with service.speaking() as voice:
        sign(voice, 1)
        with pytest.raises(ServerError, match="not signed by a decision key"):
            voice.send()


def test_a_statement_that_the_server_will_not_have_stops_everything(desk: FakeDesk, service: Service) -> None:
    with service.speaking() as voice:
        sign(voice, 1)
        real = desk.answer

        def refuse(path: str, body: Any) -> tuple[int, dict[str, Any]]:
            return (422, {"code": "malformed", "detail": "no."}) if body else real(path, body)

        desk.answer = refuse  # type: ignore[method-assign]
        with pytest.raises(StatementRefused, match="statement 0"):
            voice.send()


def test_a_retired_service_hears_so(desk: FakeDesk, service: Service) -> None:
    desk.answer = lambda path, body: (401, {"code": "key-revoked", "detail": "retired."})  # type: ignore[method-assign]

    with pytest.raises(APIError, match="retired") as refused, service.speaking():
        raise AssertionError("nothing may be signed")
    assert refused.value.code == "key-revoked"


def test_a_service_of_another_realm_or_without_a_pin_is_not_opened(desk: FakeDesk) -> None:
    from dataclasses import replace

    with pytest.raises(ConfigError, match="does not belong"):
        Service(desk.folder, URL, replace(desk.trust, realm="other.example.org"))
    with pytest.raises(ConfigError, match="no decision key"):
        Service(desk.folder, URL, replace(desk.trust, decision=()))
