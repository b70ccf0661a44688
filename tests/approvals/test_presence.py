"""Who has a request open: a hint with a lease, for colleagues who could open it too."""

from __future__ import annotations

import json

import pytest

from approvals import live, presence
from approvals.consumers import may_see, watched
from approvals.models import ActionRequest
from governance.models import Person
from tests.conftest import World
from tests.desk.requests import ask


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_whoever_stops_saying_so_is_gone_when_the_lease_ends(clock: Clock) -> None:
    desk = presence.Presence(live.Hub(), clock)
    desk.note("act_1", "pe_1")
    clock.now += presence.LEASE - 1
    desk.note("act_1", "pe_1")
    clock.now += presence.LEASE - 1
    assert desk.readers("act_1") == {"pe_1"}
    clock.now += 1
    assert desk.readers("act_1") == frozenset()


def test_leaving_ends_it_at_once_and_for_one_request_only(clock: Clock) -> None:
    desk = presence.Presence(live.Hub(), clock)
    for request in ("act_1", "act_2"):
        desk.note(request, "pe_1")
    desk.note("act_1", "pe_2")
    desk.leave("act_1", "pe_1")
    assert desk.readers("act_1") == {"pe_2"}
    assert desk.readers("act_2") == {"pe_1"}


def test_another_process_hears_of_it_through_the_hub_and_nothing_else_is_believed(clock: Clock) -> None:
    here, there = live.Hub(), live.Hub()
    desk, other = presence.Presence(here, clock), presence.Presence(there, clock)
    here.subscribe(lambda event: there._heard(json.dumps({"from": "here", **vars(event)}).encode()))
    desk.note("act_1", "pe_1")
    assert other.readers("act_1") == {"pe_1"}
    desk.leave("act_1", "pe_1")
    assert other.readers("act_1") == frozenset()
    there._heard(b'{"from":"x","kind":"request","id":"act_1","version":1,"person":"pe_1"}')
    assert other.readers("act_1") == frozenset()


def test_memory_stays_small_and_makes_room_by_itself(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "MOST", 2)
    desk = presence.Presence(live.Hub(), clock)
    for number in range(5):
        desk.note(f"act_{number}", "pe_1")
    assert [bool(desk.readers(f"act_{number}")) for number in range(5)] == [True, True, False, False, False]
    clock.now += presence.LEASE
    desk.note("act_4", "pe_1")
    assert desk.readers("act_4") == {"pe_1"}


@pytest.mark.parametrize(
    ("text", "request_id"),
    [
        ('{"watching":"act_1"}', "act_1"),
        ('{"watching":""}', ""),
        ('{"watching":null}', None),
        ('{"watching":["act_1"]}', None),
        ('["watching"]', None),
        ('{"decision":"approve","request":"act_1"}', None),
        ("not even json", None),
        ('{"watching":"' + "a" * 200 + '"}', None),
    ],
)
def test_invariant_10_a_page_can_say_what_it_shows_and_nothing_else(text: str, request_id: str | None) -> None:
    assert watched(text) == request_id


def test_nobody_is_noted_at_what_they_could_not_open(world: World) -> None:
    request: ActionRequest = ask(world)
    assert may_see(Person.objects.get(pk=world.rosa.pk), request.id)
    assert not may_see(Person.objects.get(pk=world.people["mallory"].pk), request.id)
    assert not may_see(Person.objects.get(pk=world.rosa.pk), "act_nothing")
