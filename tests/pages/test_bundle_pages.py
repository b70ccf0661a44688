"""Asking for a bundle of chosen requests at the desk, and taking away what belongs beside it."""

from __future__ import annotations

import re
import zipfile
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from audit import inbox, log
from audit.evidence import jobs
from audit.evidence.controls import CONTROLS
from audit.models import Bundle
from governance.models import Person
from imprimatur.formats import canonical, digests, dsse, note, tlog_proof
from tests.conftest import World
from tests.desk.requests import ask


def _text(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def _asked(desk: Any, **fields: Any) -> Bundle:
    """Ask for a bundle in the form, have it built, and return its row."""
    assert desk.post("audra", "bundle_ask", data=fields).status_code == 302
    row = Bundle.objects.order_by("-asked_at")[0]
    jobs.build_bundle(row.id)
    inbox.drain()
    row.refresh_from_db()
    assert row.state == Bundle.READY, row.error
    return row


@pytest.fixture
def wish(world: World, published: Any) -> str:
    """Something that waits for an answer, published."""
    request = ask(world)
    published()
    return request.id


def test_the_form_offers_exactly_the_controls_there_are(desk: Any, wish: str) -> None:
    page = desk.get("audra", "evidence").content.decode()
    offered = re.findall(r'name="controls" value="([^"]+)"', page)
    assert offered == list(CONTROLS)
    assert all(escape(control.title) in page for control in CONTROLS.values())


def test_every_field_becomes_a_filter(desk: Any, world: World, wish: str) -> None:
    row = _asked(
        desk,
        agents=[world.robo.id],
        requests=f" {wish},\n{wish} ",
        since="2026-01-02T03:04",
        until="2999-01-01T00:00",
        verdicts=["open"],
        risks=["HIGH", "CRITICAL"],
        controls=["AC-6(9)"],
        withhold="on",
    )
    assert row.filters == {
        "agents": [world.robo.id],
        "requests": [wish],
        "verdicts": ["open"],
        "risks": ["HIGH", "CRITICAL"],
        "controls": ["AC-6(9)"],
        "from": "2026-01-02T03:04:00.000Z",
        "until": "2999-01-01T00:00:00.000Z",
        "openings": False,
    }
    page = _text(desk.get("audra", "evidence"))
    for words in ("asked by robo", wish, "still open", "risk HIGH or CRITICAL", "without openings", "2 Jan 2026"):
        assert words in page
    assert desk.last["kind"] == "bundle.issued"
    assert desk.last["body"]["filters"] == row.filters
    assert "Left out" in zipfile.ZipFile(jobs.path_of(row.id)).read("REPORT.html").decode() or row.shown == row.size


def test_no_field_means_everything(desk: Any, wish: str) -> None:
    row = _asked(desk)
    assert row.filters == {}
    assert row.shown == row.size
    page = _text(desk.get("audra", "evidence"))
    assert "Everything" in page
    assert row.manifest in desk.get("audra", "evidence").content.decode()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"requests": "act_nothing"}, "has no request act_nothing"),
        ({"requests": "<b>x</b>"}, "has no request &lt;b&gt;x"),
        ({"controls": ["AC-1"]}, "AC-1 is not one of the available choices"),
        ({"agents": ["ag_" + "a" * 32]}, "is not one of the available choices"),
        ({"since": "2026-02-01T00:00", "until": "2026-01-01T00:00"}, "The end lies before the beginning"),
        ({"since": "yesterday"}, "Enter a valid date"),
    ],
)
def test_what_cannot_be_asked_for_is_said_beside_its_field(
    desk: Any, wish: str, fields: dict[str, Any], words: str
) -> None:
    answer = desk.post("audra", "bundle_ask", data=fields)
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert not Bundle.objects.exists()


def test_whoever_waits_for_one_is_told_so(desk: Any, wish: str) -> None:
    desk.post("audra", "bundle_ask")
    browser: Client = desk.browser("audra")
    answer = browser.post(reverse("bundle_ask"), {"risks": ["LOW"]}, follow=True)
    assert "You already wait for a bundle" in _text(answer)
    assert Bundle.objects.count() == 1
    assert "Ask for these" not in _text(answer)


def test_the_proof_beside_the_zip_shows_who_took_it(desk: Any, wish: str, published: Any) -> None:
    row = _asked(desk)
    early = desk.get("audra", "bundle_proof", row.id)
    assert early.status_code == 404
    assert "Ask again in a moment" in _text(early)
    assert "Proof with the next checkpoint" in _text(desk.get("audra", "evidence"))
    published()
    assert reverse("bundle_proof", args=[row.id]) in desk.get("audra", "evidence").content.decode()
    answer = desk.get("audra", "bundle_proof", row.id)
    assert f'filename="bundle-{row.id}.tlog-proof"' in answer["Content-Disposition"]
    beside = desk.get("audra", "bundle_entry", row.id)
    assert f'filename="bundle-{row.id}.entry.json"' in beside["Content-Disposition"]
    with zipfile.ZipFile(jobs.path_of(row.id)) as archive:
        vkey = note.Vkey.parse(archive.read("trust/log.vkey").decode().splitlines()[0])
        manifest = archive.read("MANIFEST.sha256")
    tlog_proof.verify(tlog_proof.parse(answer.content.decode()), beside.content, [vkey])
    issued = canonical.loads(dsse.open_envelope(beside.content).payload)
    assert issued["body"]["manifest"] == digests.sha256(manifest)
    assert issued["actor"]["id"] == desk.world.people["audra"].id


def test_there_is_no_proof_of_what_is_not_there(desk: Any, wish: str) -> None:
    for name in ("bundle_proof", "bundle_entry"):
        assert desk.get("audra", name, "bdl_none").status_code == 404
        desk.post("audra", "bundle_ask")
        assert desk.get("audra", name, Bundle.objects.get().id).status_code == 404


def test_progress_says_what_is_done_with_counts(desk: Any, wish: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(jobs, "_Reporter", lambda: lambda *said: told.append(said))
    row = _asked(desk, risks=["HIGH"])
    size = row.size
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert all(done < of for _, done, of in told)
    said = [doing for doing, _, _ in told]
    assert said[0] == "the choice of requests"
    assert f"the log: 0 of {size} entries" in said
    assert any(re.fullmatch(r"the zip: 1 of \d+ files", each) for each in said)


def test_text_of_an_agent_is_inert_in_the_report(desk: Any, world: World, wish: str, published: Any) -> None:
    Person.objects.filter(pk=world.ada.id).update(name="<script>x</script>")
    from governance.actions import set_pause

    log.commit(set_pause.apply, set_pause.Command("tool", "write_file", "<img src=x onerror=y>\u202e", world.ada))
    published()
    row = _asked(desk)
    report = zipfile.ZipFile(jobs.path_of(row.id)).read("REPORT.html").decode()
    assert "<img" not in report and "<script" not in report and "\u202e" not in report
    assert "&lt;img src=x onerror=y&gt;" in report
    assert "Ada Brandt paused the tool write_file" in report  # as the log has her name, not the database
    assert "http://" not in report and "https://" not in report


def test_a_report_counts_what_happened(desk: Any, world: World, wish: str, published: Any) -> None:
    from approvals.actions import cast_vote
    from approvals.models import ActionRequest

    request = ActionRequest.objects.get(pk=wish)
    cast_vote.answer(world.rui, request.id, version=request.version, decision="deny", reason="no")
    ask(world, "delete_file", {"path": "/etc/passwd"})
    ask(world)
    published()
    row = _asked(desk)
    report = re.sub(
        r"\s+", " ", re.sub(r"<[^>]+>", " ", zipfile.ZipFile(jobs.path_of(row.id)).read("REPORT.html").decode())
    )
    for words in (
        "3 requests in all",
        "1 denied by a person or by the policy",
        "1 refused: outside",
        "1 still open when",
        "Rui Falk",
        "1 denied",
        "1 H0: a click in a session",
        "1 a person denied it reviewer-denied",
    ):
        assert words in report, words
    chosen = _asked(desk, requests=wish)
    partly = zipfile.ZipFile(jobs.path_of(chosen.id)).read("REPORT.html").decode()
    assert chosen.size is not None and chosen.shown is not None
    left = chosen.size - chosen.shown
    assert f"Left out: {left} of {chosen.size} entries, all about other requests as the log says" in partly
    readme = zipfile.ZipFile(jobs.path_of(chosen.id)).read("README.txt").decode()
    assert f"Left out: {left} of {chosen.size} entries" in readme
