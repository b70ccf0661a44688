from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import imprimatur
from imprimatur.formats import canonical, checkpoint, digests, evidence_zip, merkle, note, trust
from imprimatur.formats.encoding import b64u
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import CANNOT_TELL, CONTROLS, INVALID, VALID, Report
from imprimatur.verify.report import human, main
from tests.verify import builder
from tests.verify.builder import ADA, DECISION_KEY, LOG_KEY, PEOPLE_KEYS, RUI, Log, key

Files = dict[str, bytes]

RUNNING = {"launches", "observations", "canaries", "build"}


@pytest.fixture(scope="module")
def log() -> Log:
    return builder.whole_story()


@pytest.fixture
def check(tmp_path: Path, log: Log) -> Callable[..., Report]:
    """Verify files (or raw bytes) under the anchors of the log, changed as asked; None drops an anchor."""

    def run(content: Files | bytes, of: Log = log, **changes: Any) -> Report:
        path = tmp_path / "bundle.zip"
        path.write_bytes(content if isinstance(content, bytes) else builder.zipped(content))
        return verify_bundle(path, anchors(of, **changes))

    return run


def anchors(log: Log, /, **changes: Any) -> trust.Trust:
    document = {**builder.trust_document(log), **changes}
    return trust.parse(canonical.dumps({name: value for name, value in document.items() if value is not None}))


def files_of(log: Log, **more: Any) -> Files:
    return builder.bundle_files(log, **more)


def test_a_bundle_of_a_good_log_is_valid(check: Callable[..., Report], log: Log) -> None:
    report = check(builder.finished(files_of(log), log))
    assert report.ok, human(report)
    assert {claim.verdict for claim in report.claims if claim.weighs} == {VALID}
    assert {claim.name for claim in report.claims} == set(CONTROLS)
    assert report.size == len(log.envelopes)
    assert report.limits


def test_every_claim_names_its_control_and_the_report_is_json(check: Callable[..., Report], log: Log) -> None:
    document = json.loads(json.dumps(check(builder.finished(files_of(log), log)).as_json()))
    assert document["verdict"] == VALID
    assert all(claim["controls"] for claim in document["claims"])


@pytest.mark.parametrize(
    ("anchor", "claims"),
    [
        ("log", {"checkpoint", "earlier checkpoints"}),
        ("decision", {"history", "manifest", "grants", "capabilities", "votes", *RUNNING}),
        ("people", {"people", "grants", "capabilities", "votes", "launches"}),
        ("policy", {"policy"}),
        ("services", {"launches", "observations", "canaries"}),
    ],
)
def test_a_missing_anchor_makes_its_claims_cannot_tell(
    check: Callable[..., Report], log: Log, anchor: str, claims: set[str]
) -> None:
    report = check(builder.finished(files_of(log), log), **{anchor: None})
    assert report.verdict == CANNOT_TELL
    found = {claim.name for claim in report.claims if claim.weighs and claim.verdict == CANNOT_TELL}
    assert found == claims


def test_without_any_anchor_nothing_is_believed_and_nothing_is_called_wrong(tmp_path: Path, log: Log) -> None:
    path = tmp_path / "bundle.zip"
    path.write_bytes(builder.zipped(builder.finished(files_of(log), log)))
    assert verify_bundle(path).verdict == CANNOT_TELL


@pytest.mark.parametrize(
    ("changes", "claim"),
    [
        ({"log": [note.Vkey(builder.REALM, key("other log").public_key).format()]}, "checkpoint"),
        ({"decision": [{"key": b64u(key("other").public_key), "from": 0}]}, "history"),
        ({"decision": [{"key": b64u(DECISION_KEY.public_key), "from": 0, "to": 9}]}, "history"),
        ({"people": []}, "people"),
        ({"people": [{"person": ADA, "kind": "ssh", "key": builder.ssh_line(PEOPLE_KEYS[RUI])}]}, "people"),
        ({"policy": [digests.sha256(b"another")]}, "policy"),
    ],
)
def test_other_anchors_than_the_bundles_make_it_invalid(
    check: Callable[..., Report], log: Log, changes: dict[str, Any], claim: str
) -> None:
    report = check(builder.finished(files_of(log), log), **changes)
    assert report.claim(claim).verdict == INVALID
    assert report.verdict == INVALID


def test_a_key_counts_for_a_person_only_while_trust_says_so(check: Callable[..., Report], log: Log) -> None:
    people = [
        {"person": person, "kind": "ssh", "key": builder.ssh_line(pair), "to": "2026-02-01T00:00:00.000Z"}
        for person, pair in PEOPLE_KEYS.items()
    ]
    report = check(builder.finished(files_of(log), log), people=people)
    assert report.claim("people").verdict == INVALID


def test_invariant_12_a_bundle_of_another_realm_is_invalid(check: Callable[..., Report], log: Log) -> None:
    report = check(builder.finished(files_of(log), log), realm="gate.example/staging")
    assert report.verdict == INVALID


def test_witnesses_count_when_trust_names_them(check: Callable[..., Report], log: Log) -> None:
    pairs = [key("witness one"), key("witness two")]
    vkeys = [
        note.Vkey(f"witness{place}", pair.public_key, note.COSIGNATURE).format() for place, pair in enumerate(pairs)
    ]
    files = files_of(log)
    signed = log.checkpoint()
    text = signed.partition("\n\n")[0] + "\n"
    cosigned = signed + note.cosignature_line(text, "witness0", pairs[0].seed, 1_772_355_600)
    if not cosigned.endswith("\n"):
        cosigned += "\n"
    files["log/checkpoint"] = cosigned.encode()
    del files["log/proofs/1.tlog-proof"]
    done = builder.finished(files, log)
    assert check(done, witness={"keys": vkeys, "quorum": 1}).claim("witnesses").verdict == VALID
    assert check(done, witness={"keys": vkeys, "quorum": 2}).claim("witnesses").verdict == INVALID


# --- files ----------------------------------------------------------------------------------------------------------


def changed(name: str, content: bytes) -> Callable[[Files], None]:
    return lambda files: files.update({name: content})


def dropped(start: str) -> Callable[[Files], None]:
    """Leaves out the files whose names begin so."""

    def drop(files: Files) -> None:
        for name in [name for name in files if name.startswith(start)]:
            del files[name]

    return drop


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        (changed("extra.txt", b"x"), "files"),
        (changed("log/tile/0/001", b"\0" * 8192), "tree"),
        (changed("log/tile/1/000.p/1", b"\0" * 32), "tree"),
        (changed("log/note.txt", b"x"), "tree"),
        (changed("delegations/0.json", b"{}"), "copies"),
        (changed("votes/0.json", b"{}"), "copies"),
        (changed("trust/other.pem", b"x"), "copies"),
        (changed("trust/decision.pub.pem", b"x"), "copies"),
        (changed("trust/allowed_signers", b"pe_x ssh-ed25519 AAAA\n"), "copies"),
        (changed("log/checkpoint", b"x"), "checkpoint"),
        (changed("log/checkpoints/3", b"x"), "earlier checkpoints"),
        (changed("log/proofs/1.tlog-proof", b"x"), "earlier checkpoints"),
        (changed("views/entries.jsonl", b"{}\n"), "copies"),
        (dropped("log/tile/0/"), "tree"),
        (dropped("log/tile/entries/"), "tree"),
        (dropped("openings/openings.jsonl"), "files"),
        (dropped("SELECTION.json"), "files"),
        (dropped("log/checkpoint"), "files"),
    ],
)
def test_files_that_do_not_fit_make_it_invalid_however_well_they_are_listed(
    check: Callable[..., Report], log: Log, change: Callable[[Files], None], claim: str
) -> None:
    files = files_of(log)
    change(files)
    report = check(builder.finished(files, log))
    assert report.claim(claim).verdict == INVALID, human(report)


def test_a_list_signed_by_another_key_is_invalid(check: Callable[..., Report], log: Log) -> None:
    report = check(builder.finished(files_of(log), log, key("thief")))
    assert report.claim("manifest").verdict == INVALID


def test_a_checkpoint_of_another_history_is_a_fork(check: Callable[..., Report], log: Log) -> None:
    files = files_of(log)
    fork = checkpoint.Checkpoint(log.realm, 7, merkle.leaf_hash(b"another history"))
    files["log/checkpoints/7"] = fork.sign(LOG_KEY.seed).encode()
    report = check(builder.finished(files, log))
    assert "fork" in report.claim("earlier checkpoints").detail


def test_a_shorter_log_under_the_old_checkpoint_is_invalid(check: Callable[..., Report], log: Log) -> None:
    files = files_of(log)
    shorter = builder.whole_story()
    shorter.envelopes.pop()
    shorter.entries.pop()
    files = {**files_of(shorter), "log/checkpoint": files["log/checkpoint"]}
    assert check(builder.finished(files, log)).verdict == INVALID


def test_a_log_that_breaks_a_rule_is_invalid_though_its_operator_signed_it(check: Callable[..., Report]) -> None:
    forged = builder.whole_story()
    forged.enrol(key("second"), "second")
    root = forged.root(subject=key("second"))
    ask = forged.ask(root, "delete_file", pair=key("second"), risk="HIGH")
    forged.allow(ask)
    report = check(builder.finished(files_of(forged), forged), forged)
    assert report.claim("history").verdict == INVALID
    assert "rule 25" in report.claim("history").detail


# --- what is disclosed ----------------------------------------------------------------------------------------------


def rewritten(files: Files, change: Callable[[list[dict[str, Any]]], None]) -> Files:
    lines = [canonical.loads(line) for line in files["openings/openings.jsonl"].splitlines()]
    change(lines)
    return {**files, "openings/openings.jsonl": b"".join(canonical.dumps_json(line) + b"\n" for line in lines)}


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[0].update(value="/project/other"),
        lambda lines: lines[0].update(name="other"),
        lambda lines: lines[0].update(state="unknown"),
        lambda lines: lines.reverse(),
        lambda lines: lines.pop(),
        lambda lines: lines.append(dict(lines[0])),
    ],
)
def test_an_opening_that_does_not_open_its_commitment_is_invalid(
    check: Callable[..., Report], log: Log, change: Callable[[list[dict[str, Any]]], None]
) -> None:
    report = check(builder.finished(rewritten(files_of(log), change), log))
    assert report.claim("openings").verdict == INVALID


def test_erased_parameters_leave_the_log_valid_and_their_effects_unknown(
    check: Callable[..., Report], log: Log
) -> None:
    report = check(builder.finished(files_of(log, erased=2), log))
    assert report.claim("openings").verdict == VALID
    assert report.claim("effects").verdict == CANNOT_TELL
    assert report.verdict == CANNOT_TELL


def test_effects_that_do_not_follow_from_the_parameters_are_invalid(check: Callable[..., Report]) -> None:
    log, root = builder.standing()
    ask = log.ask(root, effects=[{"action": "file:read", "resource": "/project/harmless"}])
    log.allow(ask)
    report = check(builder.finished(files_of(log), log), log)
    assert report.claim("history").verdict == VALID
    assert report.claim("effects").verdict == INVALID


def test_a_card_that_showed_something_else_is_invalid(check: Callable[..., Report]) -> None:
    log, root = builder.standing()
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask, display_digest=digests.sha256(b"something nicer"))
    report = check(builder.finished(files_of(log), log), log)
    assert report.claim("cards").verdict == INVALID


def test_a_file_larger_than_the_delegation_allows_is_found(check: Callable[..., Report]) -> None:
    writing = builder.tool_document(
        "note", effects=[{"action": "file:write", "resource": "{path}"}], size="{content}", reversibility="reversible"
    )
    log = Log().begun()
    log.tool(writing)
    log.keyed()
    log.enrol()
    root = log.root(constraints={"max_file_size": 3})
    builder.TOOLS["note"] = writing
    try:
        ask = log.ask(root, "note", {"path": "/project/a", "content": "long enough"}, risk="MEDIUM")
    finally:
        del builder.TOOLS["note"]
    log.allow(ask)
    report = check(builder.finished(files_of(log), log), log)
    assert report.claim("history").verdict == VALID
    assert report.claim("effects").verdict == INVALID


def test_a_statement_that_names_another_log_is_invalid(check: Callable[..., Report]) -> None:
    log, root = builder.standing()
    ask = log.ask(root, "delete_file", risk="HIGH")
    log.request(ask)
    log.vote(ask, log_root=digests.sha256(b"another log"))
    report = check(builder.finished(files_of(log), log), log)
    assert report.claim("statements").verdict == INVALID


def test_clicks_are_labelled_as_the_operators_assertion(check: Callable[..., Report]) -> None:
    log = Log(policy={**builder.POLICY, "assurance": "H0"}).found()
    log.enrol()
    ask = log.ask(log.root(), "delete_file", risk="HIGH")
    log.request(ask)
    log.allow(ask, (log.vote(ask, session=True),))
    report = check(builder.finished(files_of(log), log), log)
    votes = report.claim("votes")
    assert votes.verdict == CANNOT_TELL
    assert "operator" in votes.detail
    assert votes.evidence["assurance"] == {"H0": 1}
    assert report.ok, "whoever pins a policy that accepts clicks has accepted them"
    assert any("H0" in limit for limit in report.limits)


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../b", "a//b", "a\\b", ".hidden", "a/.b", "", "ä", "a\nb"])
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(evidence_zip.EvidenceZipError):
        builder.zipped({name: b"x"})


def test_a_name_cannot_be_a_file_and_a_folder() -> None:
    with pytest.raises(evidence_zip.EvidenceZipError):
        builder.zipped({"a": b"x", "a-b": b"x", "a/b": b"x"})


# --- the command, and the standard library alone ------------------------------------------------------------------------


def written(folder: Path, files: Files, log: Log, **changes: Any) -> tuple[str, str]:
    (folder / "bundle.zip").write_bytes(builder.zipped(files))
    document = {**builder.trust_document(log), **changes}
    (folder / "trust.json").write_bytes(canonical.dumps(document))
    return str(folder / "bundle.zip"), str(folder / "trust.json")


def test_the_command_answers_with_its_exit_code(tmp_path: Path, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    files = builder.finished(files_of(log), log)
    bundle, anchored = written(tmp_path, files, log)
    assert main([bundle, "--trust", anchored]) == 0
    assert "VALID" in capsys.readouterr().out
    assert main([bundle]) == 2
    assert "CANNOT TELL" in capsys.readouterr().out
    assert main([bundle, "--trust", anchored, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == VALID
    bundle, _ = written(tmp_path, {**files, "README.txt": b"another\n"}, log)
    assert main([bundle, "--trust", anchored]) == 1
    assert main([str(tmp_path / "nowhere.zip"), "--trust", anchored]) == 2
    assert main([bundle, "--trust", str(tmp_path / "nowhere.json")]) == 2
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2


def alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the verifier without any installed package."""
    client = str(Path(imprimatur.__file__).parent.parent)
    blocked = "('nacl', 'orjson', 'rfc8785', 'cel', 'django', 'jsonschema_rs')"
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({blocked}))\n"
        f"sys.path.insert(0, {client!r})\n"
        "from imprimatur.verify.report import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-S", "-I", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_invariant_7_the_standard_library_alone_gives_the_same_verdicts(tmp_path: Path, log: Log) -> None:
    good = builder.finished(files_of(log), log)
    forged_log = builder.whole_story()
    forged_log.envelopes[-1] = forged_log.seal(canonical.dumps(forged_log.entries[-1]), key("thief"))
    forged = builder.finished(files_of(forged_log), forged_log)
    for name, files in {
        "good": good,
        "forged": forged,
        "erased": builder.finished(files_of(log, erased=1), log),
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        bundle, anchored = written(folder, files, log)
        report = verify_bundle(bundle, trust.load(anchored))
        ran = alone(bundle, "--trust", anchored, "--json")
        assert ran.stderr == ""
        assert json.loads(ran.stdout) == json.loads(json.dumps(report.as_json()))
        assert ran.returncode == {VALID: 0, INVALID: 1, CANNOT_TELL: 2}[report.verdict]


def test_invariant_9_text_from_a_bundle_is_inert_in_the_terminal() -> None:
    from imprimatur.verify.claims import Claim

    report = Report(claims=[Claim("zip", INVALID, "\x1b]0;owned\x07 \u202egood")], realm="x\x1b[2J")
    text = human(report)
    assert "\x1b" not in text and "\x07" not in text and "\u202e" not in text


def test_a_report_without_claims_says_that_it_cannot_tell() -> None:
    assert Report().verdict == CANNOT_TELL
    assert not replace(Report(), size=1).ok
