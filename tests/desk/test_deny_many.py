"""Denying several at once: each a vote of its own, what changed is left out and said, and nothing approves in bulk."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import get_resolver, reverse

from approvals.actions import cast_vote, deny_many
from approvals.models import ActionRequest, Vote
from audit import writer
from audit.models import Entry
from governance.errors import Refused
from tests.conftest import World
from tests.desk.conftest import Login
from tests.desk.requests import ask


@pytest.fixture
def asked(world: World) -> list[ActionRequest]:
    return [ask(world, "delete_file", {"path": f"/project/src/{n}.py"}) for n in range(3)]


def pick(row: ActionRequest) -> str:
    return f"{row.id}:{row.version}"


def deny(client: Client, picks: list[str], **more: str):  # type: ignore[no-untyped-def]
    return client.post(reverse("deny-many"), {"pick": picks, **more})


def test_the_list_offers_a_tick_for_what_can_be_denied_and_only_there(
    world: World, login: Login, asked: list[ActionRequest]
) -> None:
    page = login("rui").get(reverse("desk")).content.decode()
    assert all(f'value="{pick(row)}"' in page for row in asked)
    for place in (
        login("ada").get(reverse("desk") + "?list=waiting"),
        login("rui").get(reverse("desk") + "?list=decided"),
    ):
        assert 'name="pick"' not in place.content.decode()


def test_the_sheet_lists_every_sentence_and_decides_nothing(
    world: World, login: Login, asked: list[ActionRequest]
) -> None:
    page = deny(login("rui"), [pick(row) for row in asked])
    text = page.content.decode()
    assert page.status_code == 200
    assert "You say no to 3 requests" in text
    assert all(f"/project/src/{n}.py" in text for n in range(3))
    assert not Vote.objects.exists()


def test_each_is_denied_with_a_vote_of_its_own(world: World, login: Login, asked: list[ActionRequest]) -> None:
    done = deny(login("rui"), [pick(row) for row in asked[:2]], sure="1", reason="Not on a Friday.")
    assert done.status_code == 302
    states = [ActionRequest.objects.get(pk=row.pk).state for row in asked]
    assert states == ["DENIED", "DENIED", "PENDING"]
    votes = list(Vote.objects.order_by("index"))
    assert [vote.request_id for vote in votes] == [row.id for row in asked[:2]]
    assert len({bytes(vote.statement) for vote in votes}) == 2
    assert {vote.decision for vote in votes} == {"deny"}
    assert Entry.objects.filter(kind="vote.cast").count() == 2


def test_a_reason_is_needed(world: World, login: Login, asked: list[ActionRequest]) -> None:
    page = deny(login("rui"), [pick(row) for row in asked], sure="1", reason="  ")
    assert page.status_code == 422
    assert "a denial needs a reason" in page.content.decode()
    assert not Vote.objects.exists()


def test_what_changed_meanwhile_is_left_out_and_said_one_by_one(
    world: World, login: Login, asked: list[ActionRequest]
) -> None:
    client = login("rui")
    picks = [pick(row) for row in asked]
    cast_vote.answer(world.rosa, asked[0].id, version=asked[0].version, decision="approve")
    ActionRequest.objects.filter(pk=asked[1].pk).update(version=asked[1].version + 1)
    page = deny(client, [*picks, "act_nothing:1"], sure="1", reason="no").content.decode()
    assert "You denied 1 request. 3 were left as they are." in page
    assert "Approved. The agent has not used it yet." in page
    assert "It changed after you chose it" in page
    assert "There is no such action request" in page
    states = [ActionRequest.objects.get(pk=row.pk).state for row in asked]
    assert states == ["APPROVED", "PENDING", "DENIED"]


def test_who_may_not_deny_one_is_told_and_denies_none(world: World, login: Login, asked: list[ActionRequest]) -> None:
    page = deny(login("ada"), [pick(row) for row in asked], sure="1", reason="no")
    assert page.status_code == 409
    assert "None of these can be denied" in page.content.decode()
    assert not Vote.objects.exists()


@pytest.mark.parametrize("picks", [[], ["nonsense"], ["act_x:"], ["act_x:-1"], ["act_x:1e3"], ["act_x:9999999999"]])
def test_nonsense_goes_back_to_the_desk(world: World, login: Login, picks: list[str]) -> None:
    assert deny(login("rui"), picks, sure="1", reason="no").status_code == 302
    assert not Vote.objects.exists()


def test_at_most_a_hundred_at_once(world: World, login: Login) -> None:
    assert deny(login("rui"), [f"act_{n}:1" for n in range(101)], sure="1", reason="no").status_code == 302
    with pytest.raises(Refused, match="100"):
        deny_many.deny(world.rui, [deny_many.Chosen(f"act_{n}", 1) for n in range(101)], "no")


def test_invariant_10_only_a_post_denies(world: World, login: Login, asked: list[ActionRequest]) -> None:
    client = login("rui")
    query = {"pick": [pick(row) for row in asked], "sure": "1", "reason": "no"}
    assert client.get(reverse("deny-many"), query).status_code == 405
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(world.rui.user)
    assert strict.post(reverse("deny-many"), query).status_code == 403
    assert not Vote.objects.exists()


def test_invariant_2_nothing_approves_in_bulk() -> None:
    names = {str(name) for name in get_resolver().reverse_dict if isinstance(name, str)}
    assert "deny-many" in names
    assert not {name for name in names if "many" in name or "bulk" in name or "all" in name.split("-")} - {"deny-many"}


@pytest.mark.django_db(transaction=True)
def test_with_the_writer_running_they_share_its_transactions(world: World) -> None:
    rows = [ask(world, "delete_file", {"path": f"/project/src/{n}.py"}) for n in range(5)]
    writer.start()
    try:
        chosen = [deny_many.Chosen(row.id, row.version) for row in rows]
        chosen[2] = deny_many.Chosen(rows[2].id, rows[2].version + 1)
        outcomes = deny_many.deny(world.rui, chosen, "no")
    finally:
        writer.stop()
    assert [bool(one.problem) for one in outcomes] == [False, False, True, False, False]
    assert ActionRequest.objects.filter(state="DENIED").count() == 4
