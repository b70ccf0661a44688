"""The page Retention, and what every other page says of a request whose words were erased."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from approvals.views.lists import NAMES
from audit import fsck, retention
from audit.evidence import jobs
from audit.models import Bundle, Entry, Hold, Opening
from tests.approvals.test_retention import MARKER, a_bundle, denied, hold, pending, wish
from tests.conftest import World

SCRIPT = "<script>alert(1)</script>"


def told(answer: Any) -> str:
    return str(answer.content.decode())


def test_an_admin_places_and_lifts_a_hold_and_auditors_read_it(desk: Any, world: World) -> None:
    row = denied(world)
    sent = {"scope": "request", "target": row.id, "reason": f"case 12 {SCRIPT}"}
    assert desk.post("ada", "hold_place", data=sent).status_code == 302
    entry = desk.last
    held = Hold.objects.get()
    assert (entry["kind"], entry["subject"], entry["actor"]["id"]) == ("hold.placed", held.id, world.ada.id)
    assert entry["body"] == {"hold": held.id, "scope": "request", "target": row.id, "reason": sent["reason"]}
    for login in ("ada", "audra"):
        page = told(desk.get(login, "retention"))
        assert row.id in page and "Ada Brandt" in page and "case 12" in page and SCRIPT not in page
        assert reverse("entry", args=[held.placed_index]) in page
    assert "Place the hold" not in told(desk.get("audra", "retention"))
    refused = desk.post("ada", "retention_erase", data={"request": row.id, "reason": "gdpr", "certain": "on"})
    assert refused.status_code == 422 and "legal hold" in told(refused)
    assert Opening.objects.filter(subject=row.id, erased_at=None).exists()
    assert "Lift the hold" in told(desk.get("ada", "hold_lift", held.id))
    assert desk.post("ada", "hold_lift", held.id, data={"reason": ""}).status_code == 422
    assert desk.post("ada", "hold_lift", held.id, data={"reason": "closed"}).status_code == 302
    assert (desk.last["kind"], desk.last["body"]) == ("hold.lifted", {"hold": held.id, "reason": "closed"})
    page = told(desk.get("audra", "retention"))
    assert "No hold stands" in page and "lifted the hold on" in page
    again = desk.post("ada", "hold_lift", held.id, data={"reason": "closed"})
    assert again.status_code == 422 and "lifted already" in told(again)
    assert (
        desk.post("ada", "retention_erase", data={"request": row.id, "reason": "gdpr", "certain": "on"}).status_code
        == 302
    )


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({"request": "act_nothing", "reason": "x", "certain": "on"}, "no request"),
        ({"request": "", "reason": "x", "certain": "on"}, "required"),
        ({"request": "act_nothing", "reason": "", "certain": "on"}, "required"),
        ({"request": "act_nothing", "reason": "x"}, "required"),
    ],
)
def test_a_wish_that_is_no_wish_changes_nothing(desk: Any, world: World, sent: dict[str, str], words: str) -> None:
    size = desk.size
    answer = desk.post("ada", "retention_erase", data=sent)
    assert answer.status_code == 422 and words in told(answer)
    assert desk.size == size


def test_what_still_waits_is_refused_in_words(desk: Any, world: World) -> None:
    row = pending(world)
    answer = desk.post("ada", "retention_erase", data={"request": row.id, "reason": "gdpr", "certain": "on"})
    assert answer.status_code == 422 and "has not ended: it is PENDING" in told(answer)


def test_an_admin_erases_one_request_and_the_bundle_that_held_it(desk: Any, world: World) -> None:
    row = denied(world)
    old = a_bundle(world)
    Bundle.objects.filter(pk=old.id).update(issued_index=0, ready_at=old.asked_at, bytes=3)
    sent = {"request": row.id, "reason": "asked to be forgotten", "certain": "on"}
    browser: Client = desk.browser("ada")
    answer = browser.post(reverse("retention_erase"), sent, follow=True)
    assert "4 openings" in told(answer) and "1 bundle on this server" in told(answer)
    assert "asked to be forgotten" in told(answer)
    assert not jobs.path_of(old.id).exists()
    assert "Removed: it held openings that were erased since" in told(desk.get("audra", "evidence"))
    assert desk.get("audra", "bundle_download", old.id).status_code == 404


def test_every_page_of_an_erased_request_answers_and_says_so(desk: Any, world: World) -> None:
    row = denied(world)
    said = MARKER
    before = told(desk.get("rui", "request", row.id))
    assert said in before
    erasure = wish(world, row.id)
    world.publish()
    page = told(desk.get("rui", "request", row.id))
    assert said not in page
    assert "were erased on" in page and "by the wish of an admin" in page and "asked to be forgotten" in page
    assert reverse("entry", args=[erasure.index]) in page
    assert "(words erased)" in page and "These words were erased" in page
    for entry in Entry.objects.filter(subject=row.id):
        shown = told(desk.get("audra", "entry", entry.index))
        assert said not in shown
        if entry.kind in ("action.requested", "comment.added"):
            assert "<b>Erased</b>" in shown and "by the wish of an admin" in shown
            assert reverse("entry", args=[erasure.index]) in shown
    for login in ("ada", "rui", "audra"):
        for name in NAMES:
            answer = desk.browser(login).get(reverse("desk"), {"list": name})
            assert answer.status_code == 200 and said not in told(answer)
    for act in ("approve", "deny", "suggest", "ask", "recall", "flag"):
        assert desk.get("rui", "sheet", row.id, act).status_code in (200, 404, 409)
    for name in ("log", "evidence", "retention"):
        assert said not in told(desk.get("audra", name))
    assert "asked to be forgotten" in told(desk.get("audra", "entry", erasure.index))
    assert fsck.run().findings == []


def test_the_page_says_what_the_rule_is(desk: Any, world: World, settings: Any) -> None:
    assert "Nothing is erased by itself" in told(desk.get("audra", "retention"))
    settings.RETENTION_DAYS = 90
    assert "90 days after the last entry" in told(desk.get("audra", "retention"))
    assert retention.days() == 90


def test_somebody_who_is_no_admin_any_more_holds_and_erases_nothing(desk: Any, world: World) -> None:
    row = denied(world)
    held = hold(world, "everything")
    world.ada.user.groups.clear()
    size = desk.size
    for name, args in (("hold_place", ()), ("hold_lift", (held.id,)), ("retention_erase", ())):
        sent = {"scope": "everything", "reason": "x", "request": row.id, "certain": "on"}
        assert desk.post("ada", name, *args, data=sent).status_code == 403
    assert desk.size == size
