"""Answering: what a sheet sends, and everything that makes it refuse."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from approvals import eligibility
from approvals.actions import cast_vote
from approvals.models import ActionRequest
from audit.models import Entry
from tests.conftest import World
from tests.desk.conftest import Login
from tests.desk.requests import PAY, ask


def send(client: Client, request: ActionRequest, act: str, **said: Any) -> HttpResponse:
    """Post a sheet as it stands for this row."""
    shown = {"version": request.version, "display_digest": request.display_digest, "reason": ""}
    return client.post(reverse("sheet", args=[request.id, act]), shown | said)


def states(request: ActionRequest) -> str:
    request.refresh_from_db()
    return request.state


def test_one_approval_decides_a_high_request(world: World, login: Login) -> None:
    request = ask(world)
    answer = send(login("rui"), request, "approve", reason="matches the plan")
    assert answer.status_code == 302
    assert states(request) == "APPROVED"
    [vote] = eligibility.live_votes(request)
    assert (vote.person_id, vote.decision, vote.assurance) == (world.rui.id, "approve", "H0")
    card = login("rosa").get(reverse("request", args=[request.id])).content.decode()
    assert "Approved. The agent has not used it yet." in card
    assert "matches the plan" in card
    assert "session click, an operator’s assertion" in card


def test_a_denial_needs_a_reason_and_ends_it(world: World, login: Login) -> None:
    request = ask(world)
    silent = send(login("rui"), request, "deny", reason="   ")
    assert silent.status_code == 422
    assert "Say why" in silent.content.decode()
    assert states(request) == "PENDING"
    assert send(login("rui"), request, "deny", reason="keep it").status_code == 302
    assert states(request) == "DENIED"


def test_a_confirmation_needs_the_exact_name_and_a_second_person(world: World, login: Login) -> None:
    request = ask(world, *PAY)
    send(login("rui"), request, "approve", reason="matches the order")
    assert states(request) == "AWAITING_CONFIRMATION"
    sheet = login("rosa").get(reverse("sheet", args=[request.id, "confirm"])).content.decode()
    assert "Rui Falk" in sheet
    assert "matches the order" in sheet
    assert send(login("rosa"), request, "confirm").status_code == 422
    assert send(login("rosa"), request, "confirm", typed="vendor/nordhav ").status_code == 422
    assert send(login("rui"), request, "confirm", typed=request.target).status_code == 403
    assert states(request) == "AWAITING_CONFIRMATION"
    assert send(login("rosa"), request, "confirm", typed=request.target).status_code == 302
    assert states(request) == "APPROVED"


@pytest.mark.parametrize("act", ["approve", "deny"])
def test_a_sheet_over_another_version_sends_nothing(world: World, login: Login, act: str) -> None:
    request = ask(world)
    entries = Entry.objects.count()
    stale = send(login("rui"), request, act, version=request.version + 1, reason="words that I wrote")
    assert stale.status_code == 409
    text = stale.content.decode()
    assert "changed after you opened it" in text
    assert "words that I wrote" in text
    other = send(login("rui"), request, act, display_digest="sha256:" + "0" * 64, reason="x")
    assert other.status_code == 409
    assert (states(request), Entry.objects.count()) == ("PENDING", entries)


def test_whoever_lost_the_race_learns_who_won_and_when(world: World, login: Login) -> None:
    request = ask(world)
    seen = ActionRequest.objects.get(pk=request.id)
    cast_vote.answer(world.rosa, request.id, version=1, decision="deny", reason="no")
    late = send(login("rui"), seen, "approve")
    assert late.status_code == 409
    text = late.content.decode()
    assert "Denied. It does not run." in text
    assert "Rosa Imhof answered last" in text
    assert states(request) == "DENIED"


def test_a_form_that_does_not_say_what_was_seen_is_refused(world: World, login: Login) -> None:
    request = ask(world)
    answer = login("rui").post(reverse("sheet", args=[request.id, "approve"]), {"reason": "x"})
    assert answer.status_code == 422
    assert states(request) == "PENDING"


@pytest.mark.parametrize("who", ["ada", "audra", "mallory"])
@pytest.mark.parametrize("act", ["approve", "deny"])
def test_who_may_not_answer_does_not(world: World, login: Login, who: str, act: str) -> None:
    request = ask(world)
    assert send(login(who), request, act, reason="x").status_code == 403
    assert states(request) == "PENDING"


def test_an_answer_without_the_token_of_the_form_is_refused(world: World) -> None:
    request = ask(world)
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(world.rui.user)
    assert send(strict, request, "approve").status_code == 403
    assert states(request) == "PENDING"


def test_an_approval_under_a_policy_that_wants_keys_is_refused_and_a_denial_is_not(make_world, client: Client) -> None:
    from imprimatur.rules.policy import DEFAULT_POLICY

    world = make_world(DEFAULT_POLICY)
    request = ask(world)
    client.force_login(world.rui.user)
    assert send(client, request, "approve").status_code == 403
    assert states(request) == "PENDING"
    assert send(client, request, "deny", reason="not today").status_code == 302
    assert states(request) == "DENIED"


def test_an_expired_request_takes_no_answer(world: World, login: Login) -> None:
    request = ask(world)
    ActionRequest.objects.update(expires_at=request.created_at)
    assert send(login("rui"), request, "approve").status_code == 403
    sheet = login("rui").get(reverse("sheet", args=[request.id, "approve"])).content.decode()
    assert "Nobody answered in time, so it was denied." in sheet
    assert states(request) == "PENDING"  # the clock has not written it yet; the page says it all the same


def test_a_frozen_log_decides_nothing_and_says_so(world: World, login: Login) -> None:
    from audit.log import freeze

    request = ask(world)
    freeze("a test")
    answer = send(login("rui"), request, "approve")
    assert answer.status_code == 503
    assert "Nothing was decided" in answer.content.decode()
    assert states(request) == "PENDING"


def test_an_answer_can_be_taken_back_until_it_was_used(world: World, login: Login) -> None:
    request = ask(world)
    send(login("rui"), request, "approve")
    states(request)
    assert send(login("rui"), request, "recall", reason="wrong file").status_code == 302
    assert states(request) == "RECALLED"
    assert "taken back" in login("rosa").get(reverse("request", args=[request.id])).content.decode()


def test_a_question_stands_in_the_timeline_as_text(world: World, login: Login) -> None:
    request = ask(world)
    assert send(login("rui"), request, "ask").status_code == 422
    assert send(login("rui"), request, "ask", reason="<i>why</i> now?").status_code == 302
    card = login("rosa").get(reverse("request", args=[request.id])).content.decode()
    assert "<q>&lt;i&gt;why&lt;/i&gt; now?</q>" in card
    assert states(request) == "PENDING"


@pytest.mark.parametrize(("act", "kept"), [("acknowledge", "acknowledged"), ("flag", "flagged")])
def test_what_ran_unasked_is_looked_over(world: World, login: Login, act: str, kept: str) -> None:
    request = ask(world, "write_file", {"path": "/project/src/a.py", "content": "x"})
    assert request.look_over == "open"
    assert send(login("ada"), request, act, reason="mine").status_code == 403
    assert "To look over <b>1</b>" in login("rui").get(reverse("desk")).content.decode()
    if act == "flag":
        assert send(login("rui"), request, act).status_code == 422
    assert send(login("rui"), request, act, reason="seen").status_code == 302
    request.refresh_from_db()
    assert request.look_over == kept
    assert Entry.objects.filter(kind="action.looked_over").count() == 1
