"""Bundles of chosen requests: what stays, what goes, and that everything that stays has its place in the one tree."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from approvals.actions import cast_vote
from approvals.models import ActionRequest
from audit import inbox, log
from audit.actions import ask_bundle
from audit.evidence import bundle, jobs
from audit.evidence.controls import CONTROLS
from audit.models import Bundle, Entry
from audit.publisher import Publisher
from governance.models import Person
from imprimatur.formats import canonical, dsse, merkle, tiles
from imprimatur.formats.encoding import un_b64
from imprimatur.formats.selection import REQUEST_KINDS
from imprimatur.formats.shapes import ShapeError
from imprimatur.formats.timestamps import format_time
from tests.conftest import World
from tests.desk.requests import PAY, ask
from tests.vectors import vectors


@dataclass
class Told:
    """A log in which everything happened once: which request is which."""

    read: ActionRequest
    denied: ActionRequest
    approved: ActionRequest
    paid: ActionRequest
    refused: ActionRequest
    waiting: ActionRequest

    def ids(self, *names: str) -> set[str]:
        return {getattr(self, name).id for name in names}


def answer(person: Person, request: ActionRequest, decision: str, **more: Any) -> None:
    request.refresh_from_db()
    cast_vote.answer(person, request.id, version=request.version, decision=decision, **more)


@pytest.fixture
def told(world: World) -> Told:
    found = Told(
        read=ask(world, "read_file", {"path": "/project/readme"}),
        denied=ask(world),
        approved=ask(world),
        paid=ask(world, *PAY),
        refused=ask(world, "delete_file", {"path": "/etc/passwd"}),
        waiting=ask(world),
    )
    answer(world.rui, found.denied, "deny", reason="Not on a Friday.")
    answer(world.rui, found.approved, "approve")
    answer(world.rui, found.paid, "approve")
    found.paid.refresh_from_db()
    answer(world.rosa, found.paid, "confirm", typed=found.paid.target)
    Publisher().publish_once()
    return found


@dataclass
class Opened:
    """The files of a bundle."""

    built: bundle.Built
    files: dict[str, bytes]

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files[name].splitlines()]

    @property
    def kept(self) -> dict[int, dict[str, Any]]:
        shown = {line["index"]: un_b64(line["envelope"]) for line in self.lines("log/selected.jsonl")}
        return {index: canonical.loads(dsse.open_envelope(raw).payload) for index, raw in shown.items()}

    @property
    def requests(self) -> set[str]:
        return {entry["subject"] for entry in self.kept.values() if entry["kind"] in REQUEST_KINDS}


def build(folder: Path, **filters: Any) -> Opened:
    built = bundle.build(folder / "b.zip", filters=filters)
    with zipfile.ZipFile(built.path) as archive:
        return Opened(built, {name: archive.read(name) for name in archive.namelist()})


def test_a_bundle_of_everything_says_so(told: Told, tmp_path: Path) -> None:
    opened = build(tmp_path)
    size = opened.built.size
    assert json.loads(opened.files["SELECTION.json"]) == {"filters": {}, "size": size, "shown": size}
    assert "log/selected.jsonl" not in opened.files
    statement = canonical.loads(dsse.open_envelope(opened.files["MANIFEST.dsse.json"]).payload)
    assert statement["predicate"]["filters"] == {}
    assert statement["predicate"]["shown"] == size


def test_only_entries_about_other_requests_are_left_out(told: Told, tmp_path: Path) -> None:
    opened = build(tmp_path, requests=[told.paid.id])
    everything = {row.index: row for row in Entry.objects.all()}
    kept = opened.kept
    assert opened.requests == told.ids("paid")
    left_out = [row for index, row in everything.items() if index not in kept]
    assert left_out
    assert all(row.kind in REQUEST_KINDS and row.subject != told.paid.id for row in left_out)
    said = {"filters": {"requests": [told.paid.id]}, "size": len(everything), "shown": len(kept)}
    assert opened.files["SELECTION.json"] == canonical.dumps(said)
    assert (opened.built.size, opened.built.shown) == (len(everything), len(kept))
    statement = canonical.loads(dsse.open_envelope(opened.files["MANIFEST.dsse.json"]).payload)
    assert {name: statement["predicate"][name] for name in ("filters", "shown")} == {
        "filters": said["filters"],
        "shown": said["shown"],
    }


def test_every_entry_that_is_there_stands_at_its_place_in_the_tree(told: Told, tmp_path: Path) -> None:
    opened = build(tmp_path, requests=[told.denied.id])
    assert not any(name.startswith("log/tile/entries/") for name in opened.files)
    reader = tiles.HashReader(lambda path: opened.files[f"log/{path}"], opened.built.size)
    lines = opened.lines("log/selected.jsonl")
    assert [line["index"] for line in lines] == sorted(line["index"] for line in lines)
    for line, raw in zip(lines, opened.files["log/selected.jsonl"].splitlines(), strict=True):
        assert canonical.dumps_json(line) == raw
        envelope = un_b64(line["envelope"])
        assert merkle.leaf_hash(envelope) == reader.node(0, line["index"])
        assert envelope == bytes(Entry.objects.get(index=line["index"]).envelope)
    assert reader.root() == un_b64(opened.files["log/checkpoint"].decode().splitlines()[2])


def test_what_is_derived_covers_what_is_kept(told: Told, tmp_path: Path) -> None:
    opened = build(tmp_path, requests=[told.denied.id])
    kept = set(opened.kept)
    assert [line["index"] for line in opened.lines("views/entries.jsonl")] == sorted(kept)
    assert {line["index"] for line in opened.lines("openings/openings.jsonl")} <= kept
    voted = [line for line in opened.lines("votes/index.jsonl") if line["kind"] == "vote.cast"]
    assert {line["request"] for line in voted} == told.ids("denied")


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"verdicts": ["open"]}, {"waiting"}),
        ({"verdicts": ["deny"]}, {"denied", "refused"}),
        ({"verdicts": ["allow", "open"]}, {"read", "approved", "paid", "waiting"}),
        ({"risks": ["CRITICAL"]}, {"paid"}),
        ({"risks": ["LOW"], "verdicts": ["allow"]}, {"read"}),
        ({"risks": ["LOW"], "verdicts": ["deny"]}, set()),
        ({"controls": ["AC-3(2)"]}, {"paid"}),
        ({"controls": ["AC-5"]}, {"paid"}),
        ({"controls": ["AC-3"]}, {"denied", "refused"}),
        ({"controls": ["AC-6(10)"]}, {"refused"}),
        ({"controls": ["AU-10"]}, {"denied", "approved", "paid"}),
        ({"controls": ["AU-10(4)"]}, {"approved", "paid"}),
        ({"controls": ["AU-10(1)"]}, set()),
        ({"controls": ["AC-3(8)"]}, set()),
        ({"controls": ["AC-24"]}, {"read", "denied", "approved", "paid", "refused"}),
        ({"controls": ["AC-6(9)"]}, {"read", "denied", "approved", "paid", "refused", "waiting"}),
        ({"controls": ["AC-3(2)", "AC-6(10)"]}, {"paid", "refused"}),
    ],
)
def test_the_filters_choose_by_what_the_entries_say(
    told: Told, tmp_path: Path, filters: dict[str, Any], wanted: set[str]
) -> None:
    assert build(tmp_path, **filters).requests == told.ids(*wanted)


def test_agents_and_times_choose_too(told: Told, world: World, tmp_path: Path) -> None:
    everybody = told.ids("read", "denied", "approved", "paid", "refused", "waiting")
    assert build(tmp_path, agents=[world.robo.id]).requests == everybody
    assert build(tmp_path, agents=[world.agents["twin"].id]).requests == set()
    first = {row.subject: row for row in Entry.objects.order_by("-index") if row.kind in REQUEST_KINDS}
    begun = format_time(first[told.approved.id].time)
    between = build(tmp_path, **{"from": begun, "until": "2999-01-01T00:00:00.000Z"}).requests
    assert between == {row.subject for row in first.values() if format_time(row.time) >= begun}
    assert build(tmp_path, until=begun).requests == {
        row.subject for row in first.values() if format_time(row.time) < begun
    }


def test_what_a_chosen_request_supersedes_is_chosen_with_it(told: Told, world: World, tmp_path: Path) -> None:
    again = ask(world, supersedes=told.denied.id)
    Publisher().publish_once()
    assert build(tmp_path, requests=[again.id]).requests == {again.id, told.denied.id}


def test_nothing_kept_points_at_something_left_out(told: Told, tmp_path: Path) -> None:
    kept = build(tmp_path, risks=["CRITICAL"]).kept
    assert all(ref["index"] in kept for entry in kept.values() for ref in entry["refs"])


def test_the_same_selection_gives_the_same_bytes(told: Told, tmp_path: Path) -> None:
    first = bundle.build(tmp_path / "1.zip", filters={"risks": ["HIGH"]})
    second = bundle.build(tmp_path / "2.zip", filters={"risks": ["HIGH"]})
    assert first.path.read_bytes() == second.path.read_bytes()


@pytest.mark.parametrize("more", [{}, {"verdicts": ["deny"]}])
def test_openings_can_be_withheld_and_everything_else_stays(told: Told, tmp_path: Path, more: dict[str, Any]) -> None:
    shown, withheld = build(tmp_path, **more), build(tmp_path, openings=False, **more)
    without = withheld.lines("openings/openings.jsonl")
    assert {line["state"] for line in without} == {"withheld"}
    assert all(set(line) == {"index", "where", "commitment", "state"} for line in without)
    places = [(line["index"], line["where"], line["commitment"]) for line in without]
    assert places == [
        (line["index"], line["where"], line["commitment"]) for line in shown.lines("openings/openings.jsonl")
    ]
    rest = {name for name in shown.files if name.startswith(("log/", "votes/", "delegations/", "trust/", "views/"))}
    assert all(shown.files[name] == withheld.files[name] for name in rest)
    for secret in (b"Not on a Friday.", b"This is routine"):
        assert any(secret in raw for raw in shown.files.values())
        assert not any(secret in raw for raw in withheld.files.values())


@pytest.mark.parametrize(
    "filters",
    [
        {"agents": []},
        {"agents": ["robo"]},
        {"risks": ["SEVERE"]},
        {"controls": ["AC-1"]},
        {"controls": ["AC-3", "AC-3"]},
        {"verdicts": ["maybe"]},
        {"openings": True},
        {"from": "yesterday"},
        {"from": "2026-02-01T00:00:00.000Z", "until": "2026-01-01T00:00:00.000Z"},
        {"owner": "ada"},
    ],
)
def test_filters_that_are_none_are_refused_everywhere(told: Told, world: World, filters: Any, tmp_path: Path) -> None:
    with pytest.raises(ShapeError):
        bundle.build(tmp_path / "b.zip", filters=filters)
    audra = world.people["audra"]
    with pytest.raises(ShapeError):
        log.commit(ask_bundle.apply, ask_bundle.Command(audra.user_id, audra.id, filters))
    assert not Bundle.objects.exists()


def test_what_was_asked_for_is_built_and_logged(told: Told, world: World) -> None:
    audra = world.people["audra"]
    filters = {"risks": ["CRITICAL"], "openings": False}
    row = log.commit(ask_bundle.apply, ask_bundle.Command(audra.user_id, audra.id, filters))
    jobs.build_bundle(row.pk)
    inbox.drain()
    row.refresh_from_db()
    assert row.state == Bundle.READY
    assert row.shown is not None and row.size is not None and row.issued_index is not None
    assert row.shown < row.size
    issued = canonical.loads(dsse.open_envelope(bytes(Entry.objects.get(index=row.issued_index).envelope)).payload)
    assert issued["body"]["filters"] == filters
    with zipfile.ZipFile(jobs.path_of(row.id)) as archive:
        said = json.loads(archive.read("SELECTION.json"))
    assert said == {"filters": filters, "size": row.size, "shown": row.shown}


def test_titles_of_controls_are_those_of_nist() -> None:
    titles = json.loads((vectors() / "oscal" / "sp800-53r5_titles.json").read_text(encoding="utf-8"))
    for control in CONTROLS.values():
        known = titles[control.id.lower().replace("(", ".").replace(")", "")]
        assert control.title == known["title"], control.id
