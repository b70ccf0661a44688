from __future__ import annotations

import csv
import io
import json

import pytest

from audit import export, kinds, log, selectors, surroundings
from audit.models import Entry, Opening
from audit.publisher import Publisher
from audit.selectors import EntryFilter
from imprimatur.formats import commitments, entries
from imprimatur.formats.encoding import un_b64
from tests.audit.acts import AddPerson, add_person, append


def indexes(**filters) -> list[int]:
    return list(selectors.entries(EntryFilter(**filters)).values_list("index", flat=True))


def test_entries_are_found_by_what_they_say(begun, monkeypatch) -> None:
    first, _ = append(2)
    assert indexes() == [2, 1, 0]
    assert indexes(kind="person.added") == [2, 1]
    assert indexes(kind="log.") == [0]
    assert indexes(subject="pe_1") == [2]
    assert indexes(text="PE_0") == [1]
    assert indexes(text="2") == [2]
    assert indexes(text=first.leaf[:12]) == [1]
    assert indexes(text="pe_0 person") == [1]
    assert indexes(until=begun.time) == []
    assert set(indexes(since=begun.time)) == {0, 1, 2}
    monkeypatch.setattr(kinds, "_searches", [lambda text: ["pe_1"] if text == "Rosa" else []])
    assert indexes(text="Rosa") == [2]


def test_one_entry_shows_its_signed_payload_its_proof_state_and_its_openings(begun) -> None:
    commitment, opening = commitments.commit(b"s" * 32, "comment", "well")

    def comment(writer: log.Writer, text: str) -> None:
        writer.keep_opening(
            Opening(commitment=commitment, subject="act_x", name="comment", key=opening.key, value=b'"well"')
        )
        writer.append(
            "comment.added",
            subject="act_x",
            actor=log.SYSTEM,
            body={"request": "act_" + "0" * 26, "comment": commitment},
            refs=[("request", 0)],
        )

    Publisher().publish_once()
    log.commit(comment, "well")
    detail = selectors.entry_detail(1)
    assert detail.payload["body"]["comment"] == commitment
    assert [each.row.index for each in surroundings.rests_on(detail.payload)] == [0]
    assert [row.name for row in detail.openings] == ["comment"]
    assert not detail.published
    assert selectors.entry_detail(0).published
    assert "began" in selectors.entry_detail(0).sentence
    with pytest.raises(Entry.DoesNotExist):
        selectors.entry_detail(9)


def test_the_json_export_holds_the_exact_bytes(begun, monkeypatch) -> None:
    monkeypatch.setattr(export, "PAGE", 2)
    append(4)
    lines = b"".join(export.jsonl(selectors.entries())).splitlines()
    assert [json.loads(line)["index"] for line in lines] == [0, 1, 2, 3, 4]
    assert un_b64(json.loads(lines[2])["envelope"]) == bytes(Entry.objects.get(index=2).envelope)


def test_invariant_9_the_csv_export_holds_no_formula_and_no_hidden_character(begun, monkeypatch) -> None:
    monkeypatch.setattr(kinds, "_sentences", {"person.added": lambda entry, names: entry["body"]["name"]})
    log.commit(add_person, AddPerson("pe_x", "=HYPERLINK(1)\u202e"))
    text = b"".join(export.csv(selectors.entries())).decode()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["index"] for row in rows] == ["0", "1"]
    assert not rows[1]["sentence"].startswith("=")
    assert "\u202e" not in text
    assert "U+202E" in rows[1]["sentence"]


def test_every_kind_of_entry_has_a_sentence() -> None:
    assert set(entries.KINDS) - kinds.registered() == set()
