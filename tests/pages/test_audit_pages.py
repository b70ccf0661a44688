"""The auditor's pages: find an entry, prove it, take it away."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from django.urls import reverse

from audit.log import commit
from audit.models import Bundle, Entry
from audit.selectors import payload_of
from imprimatur.formats import merkle, tlog_proof
from imprimatur.formats.checkpoint import Checkpoint
from imprimatur.formats.encoding import un_b64


def _text(answer) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


@pytest.fixture
def busy(world):
    """A log with a formula in a reason and more entries than a page holds."""
    from governance.actions import lift_pause, set_pause

    for n in range(30):
        commit(set_pause.apply, set_pause.Command("everything", "", '=HYPERLINK("http://evil")', world.ada))
        commit(lift_pause.apply, lift_pause.Command("everything", "", f"over {n}", world.ada))
    return world


def _indexes(answer) -> list[int]:
    return [int(found) for found in re.findall(r'class="at mono" href="/log/(\d+)"', answer.content.decode())]


def test_filters_stand_in_the_address_and_pages_follow_each_other_without_gaps(desk, busy):
    client, seen, address = desk.browser("rui"), [], reverse("log")
    while address:
        answer = client.get(address)
        seen += _indexes(answer)
        older = re.search(r'href="(\?[^"]*before=[^"]*)">Older', answer.content.decode())
        address = reverse("log") + older[1].replace("&amp;", "&") if older else ""
    assert seen == list(range(Entry.objects.count()))[::-1]
    lifted = _indexes(client.get(reverse("log"), {"kind": "pause.lifted"}))
    assert set(lifted) == set(Entry.objects.filter(kind="pause.lifted").values_list("index", flat=True))
    family = _indexes(client.get(reverse("log"), {"kind": "agent.", "agent": busy.robo.id}))
    assert family == [Entry.objects.get(kind="agent.enrolled", agent=busy.robo.id).index]
    assert "No entry matches" in _text(client.get(reverse("log"), {"text": "zzzz"}))
    assert client.get(reverse("log"), {"since": "yesterday"}).status_code == 200
    assert client.get(reverse("log"), {"kind": "nonsense", "before": "x"}).status_code == 200


def test_an_entry_shows_its_bytes_and_once_published_a_proof_that_holds(desk, world, published):
    from governance.actions import set_pause

    commit(set_pause.apply, set_pause.Command("tool", "write_file", "odd", world.ada))
    index = Entry.objects.get(kind="pause.set").index
    assert "Not published yet" in _text(desk.get("rui", "entry", index))
    assert desk.get("rui", "entry_proof", index).status_code == 404
    published()
    page = _text(desk.get("rui", "entry", index))
    assert "Ada Brandt" in page and "Download the proof" in page and "Proven." in page
    raw = desk.get("rui", "entry_envelope", index).content
    assert raw == bytes(Entry.objects.get(index=index).envelope)
    proof = tlog_proof.parse(desk.get("rui", "entry_proof", index).content.decode())
    head = Checkpoint.parse(proof.checkpoint.split("\n\n")[0] + "\n")
    assert merkle.verify_inclusion(merkle.leaf_hash(raw), index, head.size, list(proof.hashes), head.root)
    assert desk.get("rui", "log_checkpoint").content.decode() == proof.checkpoint
    assert desk.get("rui", "entry", 10**6).status_code == 404


def test_openings_are_shown_and_once_erased_said_to_be(desk, world):
    from audit.log import Actor, Writer
    from audit.models import Opening
    from imprimatur.formats import commitments
    from imprimatur.formats.ids import new_id

    commitment, opening = commitments.commit(b"s" * 32, "comment", "<i>because</i>")
    row = Opening(commitment=commitment, name="comment", key=opening.key, value=b'"<i>because</i>"')

    def say(writer: Writer, request: str):
        actor = Actor("person", world.rui.id, assurance="H0")
        return writer.append(
            "comment.added", subject=request, actor=actor, body={"request": request, "comment": commitment}
        )

    index = commit(say, new_id("act", world.robo.enrolled_at)).index
    assert "Not held here" in _text(desk.get("audra", "entry", index))
    row.save()
    assert "&lt;i&gt;because&lt;/i&gt;" in desk.get("audra", "entry", index).content.decode()
    Opening.objects.filter(pk=commitment).update(value=None, erased_at=world.robo.enrolled_at)
    page = _text(desk.get("audra", "entry", index))
    assert "Erased" in page and "because" not in page


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_exports_stream_the_filtered_entries(desk, busy, form):
    size = Entry.objects.count()
    answer = desk.post("audra", "log_export", form, data={"query": "kind=pause."})
    assert answer.streaming
    taken = desk.last
    assert (taken["kind"], taken["actor"]["id"]) == ("export.taken", busy.people["audra"].id)
    assert taken["body"] == {"what": "entries", "form": form, "query": "kind=pause.", "size": size, "count": 60}
    assert "attachment" in answer["Content-Disposition"]
    raw = b"".join(answer.streaming_content)
    wanted = list(Entry.objects.filter(kind__startswith="pause.").order_by("index"))
    if form == "csv":
        found = [int(row["index"]) for row in csv.DictReader(io.StringIO(raw.decode()))]
    else:
        lines = [json.loads(line) for line in raw.splitlines()]
        found = [line["index"] for line in lines]
        assert un_b64(lines[0]["envelope"]) == bytes(wanted[0].envelope)
    assert found == [row.index for row in wanted]
    assert desk.post("audra", "log_export", "xlsx", data={"query": ""}).status_code == 404
    assert desk.post("audra", "log_export", form, data={"query": "since=yesterday"}).status_code == 400
    assert desk.size == size + 1


def test_invariant_9_no_cell_of_the_csv_export_is_a_formula(desk, busy):
    from governance.actions import set_pause

    for name in ("=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1"):
        commit(set_pause.apply, set_pause.Command("tool", name, "odd", busy.ada))
    answer = desk.post("audra", "log_export", "csv", data={"query": ""})
    cells = [cell for row in csv.reader(io.StringIO(b"".join(answer.streaming_content).decode())) for cell in row]
    assert any("HYPERLINK" in cell for cell in cells)
    assert [cell for cell in cells if cell[:1] in "=+-@\t\r" and cell] == []


def test_the_panel_says_when_the_log_is_behind_and_when_it_is_frozen(desk, world, published):
    from governance.actions import set_pause

    published()
    commit(set_pause.apply, set_pause.Command("tool", "write_file", "odd", world.ada))
    assert "To seal 1" in _text(desk.get("rui", "log_integrity"))
    published()
    panel = _text(desk.get("rui", "log_integrity"))
    assert "To seal nothing" in panel and "open" in panel
    from audit.log import freeze

    freeze("the notary refused entry 7")
    assert "the notary refused entry 7" in _text(desk.get("rui", "log_integrity"))


def test_the_trust_anchors_are_a_trust_file_that_names_everybody(desk, world):
    from imprimatur.formats import trust

    found = trust.parse(desk.get("audra", "trust").content)
    assert found.realm == world.realm
    assert [key.person for key in found.people or ()] == [world.ada.id]
    assert len(found.policy or ()) == 1
    assert "another way" in _text(desk.get("audra", "evidence"))


def test_without_redis_the_page_says_so_and_keeps_the_wish(desk, world, settings, published, tmp_path):
    settings.RQ_QUEUES["default"]["URL"] = f"unix://{tmp_path / 'nobody.sock'}"
    published()
    answer = desk.post("audra", "bundle_ask")
    assert answer.status_code == 302
    page = _text(desk.get("audra", "evidence"))
    assert "Redis does not answer" in page and "Waiting for Redis" in page
    row = Bundle.objects.get()
    assert "starts by itself" in _text(desk.get("audra", "bundle_progress", row.id))


def test_a_finished_bundle_can_be_taken_away_and_reads_as_a_report(desk, world, published):
    from audit.evidence import jobs

    published()
    desk.post("audra", "bundle_ask")
    row = Bundle.objects.get()
    assert "no finished bundle" in _text(desk.get("audra", "evidence_summary"))
    assert desk.get("audra", "bundle_download", row.id).status_code == 404
    from audit import inbox

    jobs.build_bundle(row.id)
    inbox.drain()
    taken = b"".join(desk.get("audra", "bundle_download", row.id).streaming_content)
    assert taken[:2] == b"PK"
    # It was entered in Audra's name. Ada takes it as well, and only in her own.
    assert desk.get("ada", "bundle_download", row.id).status_code == 403
    assert b"".join(desk.post("ada", "bundle_download", row.id).streaming_content) == taken
    newest = payload_of(Entry.objects.latest("index"))
    assert (newest["kind"], newest["actor"]["id"]) == ("export.taken", world.ada.id)
    assert (newest["body"]["what"], newest["body"]["form"], newest["body"]["query"]) == ("bundle", "zip", row.id)
    page = desk.get("audra", "evidence").content.decode()
    assert f"imprimatur verify {row.id}.zip --trust trust.json" in page
    report = desk.get("audra", "evidence_summary")
    assert "Every capability traces to a person’s signature" in _text(report)
    assert "What this does not prove" in _text(report)
    assert "Broken" not in _text(report)
    jobs.path_of(row.id).unlink()
    assert "no longer here" in _text(desk.get("audra", "evidence_summary"))
    assert desk.get("audra", "bundle_download", row.id).status_code == 404
