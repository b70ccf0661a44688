"""Approving in advance on the desk: two steps, one sentence, a list, and one click that takes it back."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from approvals.models import ActionRequest, Grant
from audit.publisher import Publisher
from imprimatur.formats import canonical
from tests.conftest import World
from tests.desk.conftest import Login
from tests.desk.requests import DELETE, ask

WISH = {"path": "/project/src/a.py", "content": "x = 1", "destructive": True}


@pytest.fixture
def asked(world: World) -> ActionRequest:
    return ask(world, "write_file", dict(WISH))


def fields(asked: ActionRequest, **changes: Any) -> dict[str, Any]:
    """The form as it comes, parameters in the order of their names: content, destructive, path."""
    return {
        "version": asked.version,
        "effect_0": "file:write:/project/src/a.py",
        "how_0": "equals",
        "how_1": "equals",
        "how_2": "equals",
        "max_uses": 3,
        "minutes": 15,
        **changes,
    }


WIDER = {"effect_0": "file:write:/project/src", "how_0": "any", "how_2": "starts_with", "value_2": "/project/src/"}


def choose(client: Client, asked: ActionRequest, **changes: Any) -> str:
    """Fill in the first step; the hidden choice that the second one carries."""
    page = client.post(reverse("grant", args=[asked.id]), fields(asked, **changes))
    assert page.status_code == 200, page.content.decode()
    found = re.search(r'name="grant" value="([^"]+)"', page.content.decode())
    assert found, page.content.decode()
    return html.unescape(found[1])


def say(client: Client, asked: ActionRequest, chosen: str, **more: Any) -> Any:
    """Send the second step; what it grants is published, so that it is used."""
    reply = client.post(reverse("grant", args=[asked.id]), {"version": asked.version, "grant": chosen, **more})
    Publisher().publish_once()
    return reply


def test_the_form_starts_from_exactly_this_request(world: World, login: Login, asked: ActionRequest) -> None:
    client = login("rui")
    page = client.get(reverse("grant", args=[asked.id])).content.decode()
    assert "Step 1 of 2" in page
    for folder in ("/project/src/a.py", "/project/src"):
        assert f'value="file:write:{folder}"' in page
    assert 'value="file:write:/project"' not in page, "the delegation does not hold it"
    checked = re.findall(r'<input type="radio" name="(\w+)" value="([^"]+)"[^>]*checked', page)
    assert dict(checked) == {
        "effect_0": "file:write:/project/src/a.py",
        "how_0": "equals",
        "how_1": "equals",
        "how_2": "equals",
    }
    assert not Grant.objects.exists()


def test_the_card_leads_to_it_where_it_could_be_done(world: World, login: Login, asked: ActionRequest) -> None:
    def leads(name: str, row: ActionRequest) -> bool:
        return reverse("grant", args=[row.id]) in login(name).get(reverse("request", args=[row.id])).content.decode()

    assert leads("rui", asked)
    assert not leads("ada", asked)
    assert not leads("rui", ask(world, *DELETE))


def test_one_sentence_then_a_click_then_the_request_itself(world: World, login: Login, asked: ActionRequest) -> None:
    client = login("rui")
    chosen = choose(client, asked, **WIDER)
    assert canonical.loads(chosen.encode())["max_uses"] == 3
    assert not Grant.objects.exists(), "choosing issues nothing"
    done = say(client, asked, chosen)
    assert done.status_code == 302
    assert done["Location"] == reverse("sheet", args=[asked.id, "approve"])
    assert Grant.objects.get().reviewer == world.rui
    later = ask(world, "write_file", {**WISH, "path": "/project/src/b.py", "content": "y"})
    assert later.state == "APPROVED"
    card = client.get(reverse("request", args=[later.id])).content.decode()
    assert "<h2>Approved in advance</h2>" in card
    decided = client.get(reverse("desk") + "?list=decided").content.decode()
    assert "Rui Falk, in advance, by a click" in decided


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"effect_0": "file:write:/etc"}, "Select a valid choice"),
        ({"effect_0": "*"}, "Select a valid choice"),
        ({"effect_0": "file:write:/project/src"}, "path has to stay the same"),
        ({"max_uses": 101}, "100"),
        ({"max_uses": 0}, "1"),
        ({"minutes": 61}, "60"),
        ({"how_2": "starts_with", "value_2": "/elsewhere"}, "rule out the path"),
        ({"how_2": "starts_with", "value_2": ""}, "how it has to begin"),
        ({"how_0": ""}, "required"),
    ],
)
def test_the_form_says_what_does_not_work(
    world: World, login: Login, asked: ActionRequest, changes: dict[str, Any], problem: str
) -> None:
    page = login("rui").post(reverse("grant", args=[asked.id]), fields(asked, **changes))
    assert page.status_code == 422
    assert problem in page.content.decode()


def test_a_long_text_is_never_repeated_in_a_grant(world: World, login: Login) -> None:
    asked = ask(world, "write_file", {**WISH, "content": "x" * 3000})
    client = login("rui")
    page = client.get(reverse("grant", args=[asked.id])).content.decode()
    assert 'name="how_0" value="equals"' not in page
    assert client.post(reverse("grant", args=[asked.id]), fields(asked)).status_code == 422


@pytest.mark.parametrize("chosen", ["", "{}", "[]", "nonsense", '{"effects":["*"],"extra":1}'])
def test_a_choice_that_was_tampered_with_issues_nothing(
    world: World, login: Login, asked: ActionRequest, chosen: str
) -> None:
    assert say(login("rui"), asked, chosen).status_code == 422
    assert not Grant.objects.exists()


def test_a_choice_that_reaches_further_is_refused_under_the_lock(
    world: World, login: Login, asked: ActionRequest
) -> None:
    client = login("rui")
    chosen = canonical.loads(choose(client, asked, **WIDER).encode())
    chosen["effects"] = ["*"]
    page = say(client, asked, canonical.dumps(chosen).decode())
    assert "too wide" in page.content.decode()
    assert not Grant.objects.exists()


def test_a_request_that_changed_is_read_again_first(world: World, login: Login, asked: ActionRequest) -> None:
    client = login("rui")
    chosen = choose(client, asked, **WIDER)
    ActionRequest.objects.filter(pk=asked.pk).update(version=asked.version + 1)
    assert say(client, asked, chosen).status_code == 409
    assert not Grant.objects.exists()


def test_invariant_10_looking_at_it_issues_nothing(world: World, login: Login, asked: ActionRequest) -> None:
    client = login("rui")
    assert client.get(reverse("grant", args=[asked.id]), fields(asked)).status_code == 200
    assert client.get(reverse("grant-sign", args=[asked.id])).status_code == 405
    assert not Grant.objects.exists()
    say(client, asked, choose(client, asked))
    grant = Grant.objects.get()
    assert "Revoke what Rui Falk approved" in client.get(reverse("grant-revoke", args=[grant.id])).content.decode()
    assert client.get(reverse("grant-revoke-sign", args=[grant.id])).status_code == 405
    assert client.get(reverse("grant-revoke", args=["sha256:" + "0" * 64])).status_code == 404
    assert Grant.objects.get().revoked_at is None


def test_who_could_not_approve_it_is_told_why(world: World, login: Login, asked: ActionRequest) -> None:
    for name in ("ada", "audra"):
        page = login(name).get(reverse("grant", args=[asked.id])).content.decode()
        assert "cannot be approved in advance" in page
    client = login("rui")
    deleting = ask(world, *DELETE)
    assert "cannot be undone" in client.get(reverse("grant", args=[deleting.id])).content.decode()
    assert client.post(reverse("grant", args=[deleting.id]), fields(deleting)).status_code == 403


def test_the_list_shows_what_is_left_and_takes_it_back(world: World, login: Login, asked: ActionRequest) -> None:
    client = login("rui")
    say(client, asked, choose(client, asked, **WIDER))
    ask(world, "write_file", {**WISH, "content": "again"})
    page = client.get(reverse("grants")).content.decode()
    assert "1 of 3" in page
    assert "/project/src" in page
    assert "Rui Falk" in page
    assert "What runs without asking (1)" in client.get(reverse("desk")).content.decode()
    auditor = login("audra")
    assert "Revoke" not in auditor.get(reverse("grants")).content.decode()
    grant = Grant.objects.get()
    auditor.post(reverse("grant-revoke", args=[grant.id]), {"reason": "mine"})
    assert Grant.objects.get().revoked_at is None
    assert login("rosa").post(reverse("grant-revoke", args=[grant.id]), {"reason": "enough"}).status_code == 302
    assert Grant.objects.get().revoked_at is not None
    page = client.get(reverse("grants")).content.decode()
    assert "Revoked." in page
    assert "None: everything that asks is asked about." in page


def test_the_log_reads_like_sentences(world: World, login: Login, asked: ActionRequest) -> None:
    client = login("rui")
    say(client, asked, choose(client, asked, **WIDER))
    ask(world, "write_file", {**WISH, "content": "again"})
    client.post(reverse("grant-revoke", args=[Grant.objects.get().id]), {"reason": "enough"})
    page = client.get(reverse("log")).content.decode()
    assert "Rui Falk approved in advance: robo may use write_file up to 3 times until" in page
    assert "was allowed by Rui Falk, in advance, by a click" in page
    assert "took back what was approved in advance (enough)" in page


def test_text_of_an_agent_is_inert_on_the_sheet(world: World, login: Login) -> None:
    nasty = "<script>alert(1)</script>\u202e\u200b"
    asked = ask(world, "write_file", {**WISH, "content": nasty})
    client = login("rui")
    page = client.get(reverse("grant", args=[asked.id])).content.decode()
    assert "<script>alert" not in page
    assert "\u202e" not in re.sub(r'value="[^"]*"', "", page)
    page = client.post(reverse("grant", args=[asked.id]), fields(asked)).content.decode()
    assert "<script>alert" not in page
    assert "\u202e" not in re.sub(r'value="[^"]*"', "", page)
