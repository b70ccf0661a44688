"""A claim is a soft lock: it tells the others, ends by itself, and keeps nobody from answering."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from approvals import claims, live
from approvals.actions import cast_vote, claim_request, release_request
from approvals.models import ActionRequest
from audit.log import commit, utc_now
from audit.models import Entry
from governance.errors import Refused
from governance.models import Person
from tests.conftest import World
from tests.desk.requests import PAY, ask

pytestmark = pytest.mark.usefixtures("notarised")


@pytest.fixture(autouse=True)
def pages(settings: Any) -> None:
    settings.ROOT_URLCONF = "server.urls"


def claim(person: Person, request: ActionRequest) -> ActionRequest:
    return commit(claim_request.apply, claim_request.Command(person.id, request.id))


def release(person: Person, request: ActionRequest) -> ActionRequest:
    return commit(release_request.apply, release_request.Command(person.id, request.id))


def refused(code: str, act: Any, person: Person, request: ActionRequest) -> str:
    with pytest.raises(Refused) as caught:
        act(person, request)
    assert caught.value.code == code
    return caught.value.message


def on_it(request: ActionRequest) -> Person | None:
    request.refresh_from_db()
    found = claims.claim_of(request, utc_now())
    return found.person if found is not None else None


def kinds() -> list[str]:
    return list(Entry.objects.filter(kind__startswith="review.c").values_list("kind", flat=True))


def as_(person: Person) -> Client:
    client = Client()
    client.force_login(person.user)
    return client


def test_a_claim_holds_for_ten_minutes_and_is_renewed_by_whoever_made_it(world: World) -> None:
    request = claim(world.rui, ask(world))
    assert on_it(request) == world.rui
    assert request.claimed_until is not None
    assert timedelta(minutes=9, seconds=50) < request.claimed_until - utc_now() <= claims.LEASE
    ActionRequest.objects.update(claimed_until=utc_now() + timedelta(seconds=5))
    again = claim(world.rui, request)
    assert again.claimed_until is not None
    assert again.claimed_until - utc_now() > timedelta(minutes=9)
    assert kinds() == ["review.claimed"] * 2


def test_a_claim_ends_by_itself_and_then_somebody_else_may_have_it(world: World) -> None:
    request = claim(world.rui, ask(world))
    assert "Rui Falk is on this until" in refused("conflict", claim, world.rosa, request)
    ActionRequest.objects.update(claimed_until=utc_now())
    assert on_it(request) is None
    claim(world.rosa, request)
    assert on_it(request) == world.rosa


def test_only_whoever_made_it_leaves_it_to_the_others(world: World) -> None:
    request = claim(world.rui, ask(world))
    refused("conflict", release, world.rosa, request)
    release(world.rui, request)
    assert on_it(request) is None
    refused("conflict", release, world.rui, request)


def test_invariant_2_a_claim_keeps_nobody_from_answering_and_answers_nothing(world: World) -> None:
    request = claim(world.rui, ask(world))
    assert request.state == "PENDING"
    answered = cast_vote.answer(world.rosa, request.id, version=request.version, decision="approve").request
    assert answered.state == "APPROVED"
    assert on_it(request) is None


def test_a_claim_changes_no_version_so_an_answer_that_is_being_signed_still_counts(world: World) -> None:
    request = ask(world)
    prepared = cast_vote.clicked(world.rosa, request, version=request.version, decision="approve")
    claim(world.rui, request)
    assert commit(cast_vote.apply, prepared).request.state == "APPROVED"


def test_whoever_approved_is_not_on_the_confirmation(world: World) -> None:
    request = claim(world.rui, ask(world, *PAY))
    cast_vote.answer(world.rui, request.id, version=request.version, decision="approve")
    assert on_it(request) is None
    refused("not-allowed", claim, world.rui, request)
    claim(world.rosa, request)
    assert on_it(request) == world.rosa


@pytest.mark.parametrize("who", ["ada", "audra", "mallory"])
def test_who_may_not_answer_has_nothing_to_claim(world: World, who: str) -> None:
    refused("not-allowed", claim, world.people[who], ask(world))


def test_what_is_over_is_claimed_by_nobody(world: World) -> None:
    request = ask(world)
    cast_vote.answer(world.rosa, request.id, version=request.version, decision="deny", reason="No.")
    refused("wrong-state", claim, world.rui, request)
    late = ask(world)
    ActionRequest.objects.filter(pk=late.pk).update(expires_at=utc_now())
    refused("approval-expired", claim, world.rui, late)


def test_open_pages_are_told_of_a_claim(world: World, django_capture_on_commit_callbacks: Any) -> None:
    heard: list[live.Event] = []
    leave = live.hub.subscribe(heard.append)
    request = ask(world)
    with django_capture_on_commit_callbacks(execute=True):
        claim(world.rui, request)
    leave()
    assert live.Event("request", request.id, request.version) in heard


def test_the_card_the_row_and_the_sheet_say_who_is_on_it(world: World) -> None:
    request = ask(world)
    rui, rosa = as_(world.rui), as_(world.rosa)
    assert b"I am on it" in rosa.get(f"/requests/{request.id}/").content
    assert rui.post(f"/requests/{request.id}/claim/").headers["Location"] == f"/requests/{request.id}/"
    card = rosa.get(f"/requests/{request.id}/").content.decode()
    assert "<b>Rui Falk</b> is on this since" in card
    assert "I am on it" not in card
    assert "Rui Falk is on it" in rosa.get("/desk/queue/").content.decode()
    assert "you are on it" in rui.get("/desk/queue/").content.decode()
    sheet = rosa.get(f"/requests/{request.id}/approve/").content.decode()
    assert "<b>Rui Falk</b> is on this since" in sheet
    assert "You can answer it all the same." in sheet
    assert "is on this since" not in rui.get(f"/requests/{request.id}/approve/").content.decode()
    assert b"<b>You are on this</b>" in rui.get(f"/requests/{request.id}/").content
    rosa.post(f"/requests/{request.id}/release/")
    assert on_it(request) == world.rui
    rui.post(f"/requests/{request.id}/release/")
    assert on_it(request) is None


@pytest.mark.parametrize("act", ["claim", "release"])
def test_invariant_10_a_link_claims_nothing(world: World, act: str) -> None:
    request = ask(world)
    assert as_(world.rui).get(f"/requests/{request.id}/{act}/").status_code == 405
    assert Client(enforce_csrf_checks=True).post(f"/requests/{request.id}/{act}/").status_code == 403
    assert as_(world.people["mallory"]).post(f"/requests/{request.id}/{act}/").status_code == 403
    assert kinds() == []


def test_the_timeline_says_who_was_asked_and_who_took_it_on(world: World) -> None:
    request = ask(world)
    claim(world.rui, request)
    release(world.rui, request)
    card = as_(world.rosa).get(f"/requests/{request.id}/").content.decode()
    for said in (
        "asked Rosa Imhof and Rui Falk",
        "is on it until",
        "left it to the others",
        "Asked: you and Rui Falk.",
    ):
        assert said in card
