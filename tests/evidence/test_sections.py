"""What a bundle derives about what runs: every file and every line of it is held against the entries, and named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from imprimatur.formats import attestation, canonical, dsse, merkle, trust
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID, Claim, Report
from imprimatur.verify.derived import FOLDERS
from imprimatur.verify.report import human
from tests.evidence import made
from tests.evidence.made import Files
from tests.verify import builder
from tests.verify.builder import SERVICE_KEYS, Log

Check = Callable[[Files, Log], Report]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Verify these files, listed and signed anew, under the anchors of the log."""

    def run(files: Files, log: Log) -> Report:
        path = tmp_path / "bundle.zip"
        path.write_bytes(builder.zipped(builder.finished(files, log)))
        return verify_bundle(path, trust.parse(canonical.dumps(builder.trust_document(log))))

    return run


@pytest.fixture(scope="module")
def log() -> Log:
    return made.eventful()


@pytest.fixture(scope="module")
def files(log: Log) -> Files:
    return made.bundle_of(log)


def own(files: Files) -> list[str]:
    return sorted(name for name in files if name.partition("/")[0] in FOLDERS or name == "claims.json")


def sections(check: Check, files: Files, log: Log) -> Claim:
    return check(files, log).claim("sections")


def test_a_bundle_with_all_of_it_verifies(check: Check) -> None:
    log = made.good()
    report = check(made.bundle_of(log), log)
    assert report.ok, human(report)
    assert report.claim("sections").verdict == VALID
    assert not [limit for limit in report.limits if "no more" in limit]


def test_a_bundle_with_drift_and_red_canaries_has_sections_that_hold(check: Check, files: Files, log: Log) -> None:
    report = check(files, log)
    assert report.claim("sections").verdict == VALID, human(report)
    assert report.claim("canaries").verdict == INVALID
    assert {name.partition("/")[0] for name in own(files)} == FOLDERS | {"claims.json"}


def test_a_bundle_of_an_earlier_release_has_none_of_it_and_no_fault(check: Check) -> None:
    log = made.good()
    report = check(builder.bundle_files(log), log)
    assert report.ok and "has no files" in report.claim("sections").detail


def test_every_file_that_is_taken_out_is_named(check: Check, files: Files, log: Log) -> None:
    for name in [*own(files), "CLAIMS.html"]:
        claim = sections(check, {each: raw for each, raw in files.items() if each != name}, log)
        assert (claim.verdict, name in claim.detail) == (INVALID, True), (name, claim.detail)


def test_every_file_that_is_made_up_is_named(check: Check, files: Files, log: Log) -> None:
    for name in (*(f"{folder}/more.json" for folder in sorted(FOLDERS)), f"launches/effective/{'0' * 64}.json"):
        claim = sections(check, {**files, name: b"{}\n"}, log)
        assert (claim.verdict, name in claim.detail) == (INVALID, True), (name, claim.detail)


def test_every_line_that_is_taken_out_moved_forged_or_added_is_named(check: Check, files: Files, log: Log) -> None:
    tried = 0
    for name in own(files):
        if not name.endswith(".jsonl"):
            continue
        lines = files[name].splitlines(keepends=True)
        for place, line in enumerate(lines):
            wrong = [lines[:place] + lines[place + 1 :], [*lines[:place], b'{"index":0}\n', *lines[place + 1 :]]]
            wrong.append([*lines[: place + 1], line, *lines[place + 1 :]])
            if place:
                wrong.append([*lines[: place - 1], line, lines[place - 1], *lines[place + 1 :]])
            for changed in wrong:
                claim = sections(check, {**files, name: b"".join(changed)}, log)
                assert claim.verdict == INVALID and name in claim.detail, (name, place, claim.detail)
                tried += 1
        claim = sections(check, {**files, name: files[name] + b"half"}, log)
        assert claim.verdict == INVALID and name in claim.detail
    assert tried > 60


def test_a_byte_that_is_changed_in_any_of_the_files_is_named(check: Check, files: Files, log: Log) -> None:
    for name in own(files):
        if name.endswith(".jsonl") or not files[name]:
            continue
        raw = bytearray(files[name])
        raw[len(raw) // 2] ^= 1
        claim = sections(check, {**files, name: bytes(raw)}, log)
        assert claim.verdict == INVALID and name in claim.detail, (name, claim.detail)


def test_an_entry_behind_a_line_is_named_by_its_number(check: Check, files: Files, log: Log) -> None:
    name = "canaries/index.jsonl"
    lines = files[name].splitlines(keepends=True)
    index = json.loads(lines[1])["index"]
    changed = lines[1].replace(b'"result":"PASSED"', b'"result":"FAILED"')
    assert changed != lines[1]
    claim = sections(check, {**files, name: b"".join([lines[0], changed, *lines[2:]])}, log)
    assert claim.detail == f"{name} line 2 is not what entry {index} gives"


def test_a_better_verdict_in_the_statements_is_found_out(check: Check, files: Files, log: Log) -> None:
    document = json.loads(files["claims.json"])
    for statement in document["statements"]:
        statement["verdict"], statement["why"] = "shown", ""
    claim = sections(check, {**files, "claims.json": canonical.dumps_json(document) + b"\n"}, log)
    assert (claim.verdict, claim.detail) == (INVALID, "claims.json is not what the entries give")


def test_a_selection_says_so_and_its_sections_hold(check: Check) -> None:
    log = made.good()
    asked = next(entry["subject"] for entry in log.entries if entry["kind"] == "action.requested")
    another = log.ask(log.root(), "delete_file", risk="HIGH")
    log.request(another)
    shown = builder.chosen(log, asked)
    assert len(shown) < len(log.envelopes)
    report = check(made.bundle_of(log, filters={"requests": [asked]}, shown=shown), log)
    assert report.claim("sections").verdict == VALID, human(report)
    assert report.verdict == CANNOT_TELL
    document = made.assessed(log, shown)
    assert {each["verdict"] for each in document["statements"]} == {"cannot tell"}
    assert all("selection" in each["why"] for each in document["statements"])


def test_what_services_signed_is_a_tree_of_lines_that_other_tools_verify(files: Files) -> None:
    for role, pair in SERVICE_KEYS.items():
        folder = {"orchestrator": "launches", "monitor": "monitor", "canary": "canaries"}[role]
        (name,) = [each for each in files if each.startswith(f"{folder}/statements/")]
        tree = merkle.CompactRange()
        lines = files[name].splitlines()
        for line in lines:
            opened = attestation.open_statement(line)
            assert dsse.verify(opened.envelope, pair.public_key)
            assert opened.predicate["own"] == {"size": tree.size, "root": f"sha256:{tree.root().hex()}"}
            tree.append(merkle.leaf_hash(line))
        assert tree.size == len(lines) > 1


def test_the_effective_configuration_is_named_after_its_digest_which_was_signed(files: Files) -> None:
    rows = [json.loads(line) for line in files["launches/index.jsonl"].splitlines()]
    attested = [row for row in rows if row["kind"] == "launch.attested"]
    assert len(attested) == 3
    for row in attested:
        assert row["effective"] == f"launches/effective/{row['subject']}.json"
        assert hashlib.sha256(files[row["effective"]]).hexdigest() == row["subject"]
        line = files[row["statement"]["file"]].splitlines()[row["statement"]["line"] - 1]
        assert attestation.open_statement(line).subjects["effective-config"] == row["subject"]
        assert all(layer["person"] == builder.ADA and layer["signature"] in files for layer in row["layers"])


def test_the_join_counts_what_has_no_counterpart_both_ways(files: Files) -> None:
    join = json.loads(files["monitor/join.json"])
    assert join["launches"] == {"attested": 3, "observed": 2, "without_observation": 1, "running": 2}
    assert join["observations"]["without_launch"] == 1
    assert join["observations"]["differing"] == 1 == sum(join["findings"].values())
    rows = [json.loads(line) for line in files["monitor/launches.jsonl"].splitlines()]
    assert [row["observations"] for row in rows] == [3, 1, 0]


def test_coverage_has_the_red_runs_and_the_voids(files: Files) -> None:
    (service,) = json.loads(files["canaries/coverage.json"])["services"].values()
    assert (service["runs"], service["passed"], service["failed"], service["warned"]) == (7, 4, 2, 1)
    assert {void["why"] for void in service["void"]} == {"gap", "control"}
    rows = [json.loads(line) for line in files["canaries/index.jsonl"].splitlines()]
    assert [row["got_through"] for row in rows if row["got_through"]] == [["out-of-scope"]]
