"""Out of office: one dated absence, one delegate, in the log; it hands over no authority."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from audit.log import commit, utc_now
from audit.models import Entry
from audit.selectors import payload_of
from governance import absences
from governance.actions import change_person, end_away, set_away
from governance.errors import Refused
from governance.models import Away, Person
from tests.conftest import World
from tests.door.conftest import notarised

__all__ = ["notarised"]
pytestmark = pytest.mark.usefixtures("notarised")

DAY = timedelta(days=1)


def go(
    who: Person,
    ends: datetime,
    delegate: Person | None = None,
    starts: datetime | None = None,
    by: Person | None = None,
) -> Away:
    command = set_away.Command(who.id, starts, ends, delegate.id if delegate else None, by or who)
    return commit(set_away.apply, command)


def back(who: Person, by: Person | None = None) -> None:
    commit(end_away.apply, end_away.Command(who.id, by or who))


def refused(code: str, act: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(Refused) as caught:
        act(*arguments, **more)
    assert caught.value.code == code
    return caught.value.message


def written(kind: str) -> list[dict[str, Any]]:
    return [payload_of(row) for row in Entry.objects.filter(kind=kind).order_by("index")]


def as_(person: Person) -> Client:
    client = Client()
    client.force_login(person.user)
    return client


def test_somebody_goes_and_comes_back(world: World) -> None:
    away = go(world.rui, utc_now() + DAY, world.rosa)
    assert absences.away_at(utc_now())[world.rui.id].delegate == world.rosa
    [entry] = written("person.away")
    assert entry["actor"] == {"type": "person", "id": world.rui.id, "assurance": "H0"}
    assert entry["body"]["delegate"] == world.rosa.id
    back(world.rui)
    away.refresh_from_db()
    assert away.ended_at is not None
    assert absences.away_at(utc_now()) == {}
    assert [entry["body"] for entry in written("person.back")] == [{"person": world.rui.id}]
    refused("conflict", back, world.rui)


def test_an_absence_begins_and_ends_by_itself(world: World) -> None:
    start = utc_now() + DAY
    go(world.rui, start + DAY, starts=start)
    assert [bool(absences.away_at(utc_now() + days * DAY)) for days in (0, 1.5, 2.5)] == [False, True, False]
    assert absences.standing(world.rui, utc_now()) is not None
    assert absences.standing(world.rui, utc_now() + 3 * DAY) is None


def test_it_is_not_retroactive(world: World) -> None:
    away = go(world.rui, utc_now() + DAY, starts=utc_now() - 30 * DAY)
    assert utc_now() - away.starts_at < timedelta(minutes=1)
    assert "over already" in refused("invalid", go, world.rui, utc_now() - DAY)


def test_there_is_one_at_a_time_and_a_new_one_takes_its_place(world: World) -> None:
    go(world.rui, utc_now() + DAY, world.rosa)
    go(world.rui, utc_now() + 2 * DAY)
    assert Away.objects.filter(ended_at=None).count() == 1
    assert absences.away_at(utc_now())[world.rui.id].delegate is None


def test_it_lasts_ninety_days_at_most(world: World) -> None:
    start = utc_now() + DAY
    go(world.rui, start + absences.LONGEST, starts=start)
    refused("invalid", go, world.rui, start + absences.LONGEST + timedelta(seconds=1), starts=start)
    refused("invalid", go, world.rui, start, starts=start)


def test_a_delegate_is_somebody_else_who_can_log_in_and_holds_a_role(world: World) -> None:
    for nobody in (world.rui, world.people["mallory"]):
        refused("invalid", go, world.rui, utc_now() + DAY, nobody)
    commit(change_person.apply, change_person.Command(world.rosa, active=False, by=world.ada))
    refused("invalid", go, world.rui, utc_now() + DAY, world.rosa)
    assert written("person.away") == []


def test_an_admin_says_it_for_somebody_who_is_off_sick_and_nobody_else_does(world: World) -> None:
    refused("not-allowed", go, world.rui, utc_now() + DAY, by=world.rosa)
    go(world.rui, utc_now() + DAY, by=world.ada)
    refused("not-allowed", back, world.rui, by=world.rosa)
    back(world.rui, by=world.ada)
    assert [entry["actor"]["id"] for entry in written("person.away")] == [world.ada.id]


def test_invariant_4_standing_in_gives_no_rights(world: World) -> None:
    before = {person.id: set(person.user.groups.values_list("name", flat=True)) for person in world.people.values()}
    go(world.rui, utc_now() + DAY, world.people["audra"])
    after = {person.id: set(person.user.groups.values_list("name", flat=True)) for person in world.people.values()}
    assert after == before


def test_the_page_sets_it_shows_it_and_ends_it(world: World) -> None:
    rui, admin = as_(world.rui), as_(world.ada)
    until = (utc_now() + 3 * DAY).strftime("%Y-%m-%dT%H:%M")
    assert rui.get("/away/").status_code == 200
    assert rui.post("/away/", {"ends": "", "delegate": ""}).status_code == 422
    assert rui.post("/away/", {"ends": until, "delegate": world.rosa.id}).status_code == 302
    assert "Rosa Imhof is asked instead" in rui.get("/away/").content.decode()
    for address in ("/people/", f"/people/{world.rui.id}", f"/away/?for={world.rui.id}"):
        assert "Rosa Imhof is asked instead" in admin.get(address).content.decode(), address
    assert rui.post("/away/", {"back": "yes"}).status_code == 302
    assert absences.away_at(utc_now()) == {}
    assert rui.post("/away/", {"back": "yes"}).status_code == 409


def test_the_page_of_somebody_else_is_for_admins(world: World) -> None:
    rui, admin = as_(world.rui), as_(world.ada)
    until = (utc_now() + DAY).strftime("%Y-%m-%dT%H:%M")
    assert rui.get(f"/away/?for={world.rosa.id}").status_code == 403
    assert rui.post("/away/", {"for": world.rosa.id, "ends": until}).status_code == 403
    assert admin.post("/away/", {"for": world.rosa.id, "ends": until}).status_code == 302
    assert list(absences.away_at(utc_now())) == [world.rosa.id]
    assert admin.post("/away/", {"for": "pe_nobody", "ends": until}).status_code == 404


def test_invariant_10_opening_the_page_sends_nobody_away(world: World) -> None:
    until = (utc_now() + DAY).strftime("%Y-%m-%dT%H:%M")
    as_(world.rui).get("/away/", {"ends": until, "back": "yes"})
    assert not Away.objects.exists()
