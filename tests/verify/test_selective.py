"""Bundles that show some requests and leave others out: what is there is held to everything, and nothing is called
valid that something left out could undo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imprimatur.formats import canonical, ids, merkle, selection, tlog_proof, trust
from imprimatur.formats.encoding import b64
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID, Report
from imprimatur.verify.report import human
from tests.verify import builder
from tests.verify.builder import ADA, CHILD, ROBO, Log

Files = dict[str, bytes]
Check = Callable[..., Report]
OVER_ALL = ("complete", "history", "grants", "capabilities", "people", "policy", "votes")
AGENT = ids.agent_id(CHILD.public_key)


@pytest.fixture(scope="module")
def log() -> Log:
    return builder.whole_story()


@pytest.fixture
def check(tmp_path: Path) -> Check:
    def run(files: Files, log: Log, **changes: Any) -> Report:
        path = tmp_path / "bundle.zip"
        path.write_bytes(builder.zipped(files))
        document = {**builder.trust_document(log), **changes}
        return verify_bundle(path, trust.parse(canonical.dumps(document)))

    return run


def requests_of(log: Log, agent: str) -> list[str]:
    """The requests of an agent, in order."""
    firsts = {entry["subject"]: entry for entry in reversed(log.entries) if "binding" in entry["body"]}
    return [name for name, entry in reversed(firsts.items()) if entry["body"]["binding"]["agent"] == agent]


def selective(log: Log, filters: dict[str, Any], shown: list[int] | None = None, **more: Any) -> Files:
    """A selective bundle; without `shown`, of all requests of the agents in the filters."""
    if shown is None:
        wanted = [name for agent in filters["agents"] for name in requests_of(log, agent)]
        shown = builder.chosen(log, *wanted)
    return builder.finished(builder.bundle_files(log, filters=filters, shown=shown, **more), log)


def without(log: Log, index: int, filters: dict[str, Any] | None = None) -> Files:
    """Everything but this entry, and the filters say it was another request."""
    shown = [at for at in range(len(log.envelopes)) if at != index]
    return selective(log, filters or {"agents": [ids.agent_id(ROBO.public_key), AGENT]}, shown)


NONE_HERE = {"launches", "observations", "canaries", "build"}
"""Of these this log has none."""


def test_a_selective_bundle_cannot_tell_of_what_is_over_all_entries(check: Check, log: Log) -> None:
    report = check(selective(log, {"agents": [AGENT]}), log)
    assert report.verdict == CANNOT_TELL, human(report)
    verdicts = {claim.name: claim.verdict for claim in report.claims}
    assert {name for name, verdict in verdicts.items() if verdict != VALID} == {*OVER_ALL, "witnesses", *NONE_HERE}
    complete = report.claim("complete")
    assert complete.evidence["size"] == len(log.envelopes)
    assert complete.evidence["shown"] == len(builder.chosen(log, *requests_of(log, AGENT))) < len(log.envelopes)
    assert AGENT in complete.detail
    assert report.filters == {"agents": [AGENT]}
    assert "nothing in here can show" in report.claim("history").detail
    assert any("entries that are not here" in limit for limit in report.limits)


def test_no_decision_in_a_selective_bundle_is_called_verified(check: Check, log: Log) -> None:
    report = check(selective(log, {"agents": [ids.agent_id(ROBO.public_key)]}), log)
    assert report.decisions
    assert {made["status"] for made in report.decisions} == {CANNOT_TELL}
    assert all("left out" in " ".join(made["why"]) for made in report.decisions)


@pytest.mark.parametrize("name", ["agents", "requests", "from", "until", "verdicts", "risks", "controls"])
def test_every_filter_can_be_asked_for(check: Check, log: Log, name: str) -> None:
    one = requests_of(log, AGENT)[0]
    first = next(entry for entry in log.entries if entry["subject"] == one)
    until = next(entry["time"] for entry in log.entries if entry["index"] > first["index"] + 1)
    filters: dict[str, Any] = {
        "agents": {"agents": [AGENT]},
        "requests": {"requests": [one]},
        "from": {"from": first["time"], "until": until},
        "until": {"until": until, "from": first["time"]},
        "verdicts": {"agents": [AGENT], "verdicts": ["allow"]},
        "risks": {"agents": [AGENT], "risks": ["LOW"]},
        "controls": {"controls": ["AC-3"]},
    }[name]
    report = check(selective(log, filters, builder.chosen(log, one)), log)
    assert report.verdict == CANNOT_TELL, human(report)


def test_a_filter_that_leaves_nothing_out_makes_no_claim_valid_all_the_same(check: Check, log: Log) -> None:
    everybody = {"agents": [ids.agent_id(ROBO.public_key), AGENT]}
    report = check(selective(log, everybody, list(range(len(log.envelopes)))), log)
    assert report.verdict == CANNOT_TELL
    assert report.claim("history").verdict == CANNOT_TELL


def test_missing_anchors_and_wrong_ones_count_as_in_a_whole_bundle(check: Check, log: Log) -> None:
    files = selective(log, {"agents": [AGENT]})
    assert check(files, log, people=[]).verdict == INVALID
    assert check(files, log, realm="gate.example/staging").verdict == INVALID
    assert check(files, log, policy=["sha256:" + "0" * 64]).claim("policy").verdict == INVALID


# --- left out, and found ----------------------------------------------------------------------------------------------


def test_entry_0_left_out_is_invalid(check: Check, log: Log) -> None:
    assert check(without(log, 0), log).claim("history").verdict == INVALID


def test_no_single_entry_of_whatever_kind_can_be_left_out_and_the_bundle_be_valid(check: Check, log: Log) -> None:
    found: dict[str, set[str]] = {}
    for entry in log.entries:
        report = check(without(log, entry["index"]), log)
        assert report.verdict != VALID, entry
        assert report.claim("history").verdict != VALID, entry
        found.setdefault(report.verdict, set()).add(entry["kind"])
    # These have always something after them that speaks of them.
    assert found[INVALID] >= {
        "log.genesis",
        "person.added",
        "tool.registered",
        "policy.activated",
        "person.key_enrolled",
        "person.key_vouched",
        "agent.enrolled",
        "agent.invited",
        "delegation.issued",
        "action.requested",
        "action.decided",
        "action.redeemed",
        "vote.cast",
        "grant.issued",
        "change.proposed",
        "change.seconded",
        "pause.set",
        "delegation.revoked",
    }


@pytest.mark.parametrize("kind", ["action.requested", "vote.cast"])
def test_a_part_of_a_shown_request_left_out_is_invalid(check: Check, kind: str) -> None:
    log, root = builder.standing()
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask)
    log.allow(ask, (log.vote(ask),))
    at = next(entry["index"] for entry in log.entries if entry["kind"] == kind)
    report = check(without(log, at), log)
    assert report.claim("history").verdict == INVALID


def test_the_beginning_of_a_request_that_nothing_checks_again_is_missed_as_well(check: Check) -> None:
    log, root = builder.standing()
    ask = log.ask(root)
    at = log.allow(ask)
    comment = {"request": ask.id, "comment": "c:" + "A" * 43}
    log.add("comment.added", ask.id, builder.by(ADA), comment)
    files = builder.bundle_files(log, filters={"agents": [AGENT]}, shown=builder.chosen(log), withheld=True)
    assert check(builder.finished(files, log), log).verdict == CANNOT_TELL
    shown = [index for index in range(len(log.envelopes)) if index != at]
    files = builder.bundle_files(log, filters={"requests": [ask.id]}, shown=shown, withheld=True)
    report = check(builder.finished(files, log), log)
    assert "the beginning was left out" in report.claim("complete").detail
    assert report.verdict == INVALID


def test_what_an_entry_points_at_may_not_be_left_out(check: Check) -> None:
    log, root = builder.standing()
    first = log.ask(root)
    at = log.allow(first)
    second = log.ask(root)
    log.add("delegation.revoked", root, builder.by(ADA), _revocation(log, root), refs=(("decision", at),))
    log.deny(second, "REFUSED", "delegation-revoked")
    report = check(selective(log, {"requests": [second.id]}, builder.chosen(log, second.id)), log)
    assert report.verdict == CANNOT_TELL, human(report)
    shown = [index for index in range(len(log.envelopes)) if index != at]
    report = check(selective(log, {"requests": [second.id]}, shown), log)
    assert f"points at entry {at}" in report.claim("complete").detail
    assert report.verdict == INVALID


def test_what_a_request_supersedes_may_not_be_left_out(check: Check) -> None:
    log, root = builder.standing()
    first, second = log.ask(root), log.ask(root)
    log.allow(first)
    second.body["supersedes"] = first.id
    log.allow(second)
    assert check(selective(log, {"requests": [second.id]}, builder.chosen(log, second.id)), log).verdict == CANNOT_TELL
    shown = [index for index in range(len(log.envelopes)) if index != len(log.envelopes) - 2]
    report = check(selective(log, {"requests": [second.id]}, shown), log)
    assert "supersedes" in report.claim("complete").detail
    assert report.verdict == INVALID


def test_a_proof_of_an_entry_that_was_left_out_is_invalid(check: Check, log: Log) -> None:
    shown = builder.chosen(log, *requests_of(log, AGENT))
    gone = next(index for index in range(len(log.envelopes)) if index not in shown)
    leaves = [merkle.leaf_hash(raw) for raw in log.envelopes]
    proof = tlog_proof.TlogProof(gone, tuple(merkle.inclusion_proof(leaves, gone)), log.checkpoint())
    files = builder.bundle_files(log, filters={"agents": [AGENT]}, shown=shown)
    files[f"log/proofs/{gone}.tlog-proof"] = tlog_proof.encode(proof).encode()
    assert check(builder.finished(files, log), log).claim("earlier checkpoints").verdict == INVALID


def _revocation(log: Log, root: str) -> dict[str, Any]:
    return {"delegation": root, "reason": "over", "since": log.entries[-1]["time"]}


# --- said of itself, and not kept ---------------------------------------------------------------------------------------


def relabelled(log: Log, change: Callable[[dict[str, Any]], None], **more: Any) -> Files:
    files = builder.bundle_files(log, **more)
    said = canonical.loads(files["SELECTION.json"])
    change(said)
    files["SELECTION.json"] = canonical.dumps(said)
    return builder.finished(files, log)


def chosen(log: Log) -> dict[str, Any]:
    return {"filters": {"agents": [AGENT]}, "shown": builder.chosen(log, *requests_of(log, AGENT))}


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update(filters={}),
        lambda said: said.update(filters={"openings": False}),
        lambda said: said.update(filters={}, shown=said["size"]),
        lambda said: said.update(shown=said["shown"] + 1),
        lambda said: said.update(shown=said["size"]),
        lambda said: said.update(size=said["size"] - 1),
        lambda said: said.update(filters={"agents": [ids.agent_id(ROBO.public_key)]}),
        lambda said: said.update(filters={"agents": [AGENT], "risks": ["CRITICAL"]}),
        lambda said: said.update(filters={"agents": [AGENT], "verdicts": ["open"]}),
        lambda said: said.update(filters={"agents": [AGENT], "until": "2026-01-01T00:00:00.000Z"}),
        lambda said: said.update(filters={"agents": [AGENT], "from": "2027-01-01T00:00:00.000Z"}),
        lambda said: said.update(filters={"agents": []}),
        lambda said: said.update(filters={"weather": "fine"}),
        lambda said: said.update(more=1),
    ],
)
def test_a_selection_that_says_something_else_is_invalid(
    check: Check, log: Log, change: Callable[[dict[str, Any]], None]
) -> None:
    assert check(relabelled(log, change, **chosen(log)), log).verdict == INVALID


@pytest.mark.parametrize(
    "change",
    [
        lambda said: said.update(filters={"agents": [AGENT]}),
        lambda said: said.update(shown=said["shown"] - 1),
        lambda said: said.update(filters={"openings": False}),
    ],
)
def test_a_whole_bundle_that_says_it_is_not_is_invalid(
    check: Check, log: Log, change: Callable[[dict[str, Any]], None]
) -> None:
    assert check(relabelled(log, change), log).verdict == INVALID


def test_a_bundle_without_openings_proves_everything_else(check: Check, log: Log) -> None:
    report = check(builder.finished(builder.bundle_files(log, withheld=True), log), log)
    assert report.claim("openings").verdict == VALID, human(report)
    assert report.claim("openings").evidence["withheld"] > 0
    assert report.claim("history").verdict == VALID
    assert report.claim("effects").verdict == report.claim("cards").verdict == CANNOT_TELL
    assert report.verdict == CANNOT_TELL
    files = builder.bundle_files(log, withheld=True)
    files["openings/openings.jsonl"] = builder.bundle_files(log)["openings/openings.jsonl"]
    assert check(builder.finished(files, log), log).claim("openings").verdict == INVALID
    files = builder.bundle_files(log)
    files["openings/openings.jsonl"] = builder.bundle_files(log, withheld=True)["openings/openings.jsonl"]
    assert check(builder.finished(files, log), log).claim("openings").verdict == INVALID


# --- the list of entries ------------------------------------------------------------------------------------------------


def lines_of(files: Files) -> list[bytes]:
    return files["log/selected.jsonl"].splitlines(keepends=True)


def line(index: int, raw: bytes) -> bytes:
    return canonical.dumps({"index": index, "envelope": b64(raw)}) + b"\n"


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("reordered", lambda lines, log: lines.insert(3, lines.pop(4))),
        ("doubled", lambda lines, log: lines.insert(3, lines[3])),
        ("not in the tiles", lambda lines, log: lines.__setitem__(3, line(3, log.seal(b"another")))),
        ("of another place", lambda lines, log: lines.__setitem__(3, line(3, log.envelopes[4]))),
        ("beyond the end", lambda lines, log: lines.append(line(len(log.envelopes), log.envelopes[-1]))),
        ("not canonical", lambda lines, log: lines.__setitem__(3, lines[3].replace(b":", b": ", 1))),
        ("not base64", lambda lines, log: lines.__setitem__(3, lines[3].replace(b'e":"', b'e":"!', 1))),
        ("more fields", lambda lines, log: lines.__setitem__(3, lines[3].replace(b"{", b'{"a":1,', 1))),
        ("without an end", lambda lines, log: lines.__setitem__(-1, lines[-1].removesuffix(b"\n"))),
        ("an empty line", lambda lines, log: lines.insert(3, b"\n")),
        ("below zero", lambda lines, log: lines.insert(0, line(-1, log.envelopes[0]))),
        ("no entries", lambda lines, log: lines.clear()),
    ],
)
def test_a_list_of_entries_in_another_form_is_invalid(
    check: Check, log: Log, what: str, change: Callable[[list[bytes], Log], None]
) -> None:
    files = builder.bundle_files(log, **chosen(log))
    lines = lines_of(files)
    change(lines, log)
    files["log/selected.jsonl"] = b"".join(lines)
    said = canonical.loads(files["SELECTION.json"])
    files["SELECTION.json"] = canonical.dumps({**said, "shown": len(lines)})
    assert check(builder.finished(files, log), log).verdict == INVALID, what


@pytest.mark.parametrize("name", ["log/tile/0/000.p/", "log/selected.jsonl", "log/checkpoint", "SELECTION.json"])
def test_a_missing_file_is_invalid(check: Check, log: Log, name: str) -> None:
    files = {path: raw for path, raw in builder.bundle_files(log, **chosen(log)).items() if not path.startswith(name)}
    assert check(builder.finished(files, log), log).verdict == INVALID


def test_both_forms_of_the_entries_at_once_are_invalid(check: Check, log: Log) -> None:
    whole, part = builder.bundle_files(log), builder.bundle_files(log, **chosen(log))
    entries = {name: raw for name, raw in whole.items() if name.startswith("log/tile/entries/")}
    assert check(builder.finished({**part, **entries}, log), log).verdict == INVALID
    added = {**whole, "log/selected.jsonl": part["log/selected.jsonl"]}
    assert check(builder.finished(added, log), log).verdict == INVALID


def test_copies_of_what_was_left_out_are_invalid(check: Check, log: Log) -> None:
    whole, part = builder.bundle_files(log), builder.bundle_files(log, **chosen(log))
    vote = next(name for name in whole if name.startswith("votes/") and name not in part)
    for name in (vote, "views/entries.jsonl", "openings/openings.jsonl"):
        assert check(builder.finished({**part, name: whole[name]}, log), log).verdict == INVALID, name


def test_every_request_can_be_shown_alone(check: Check, log: Log) -> None:
    names = {entry["subject"] for entry in log.entries if entry["kind"] in selection.REQUEST_KINDS}
    for name in names:
        report = check(selective(log, {"requests": [name]}, builder.chosen(log, name)), log)
        assert report.verdict == CANNOT_TELL, human(report)
