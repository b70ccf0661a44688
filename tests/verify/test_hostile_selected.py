"""What an operator who holds every key of the server tries on an auditor: crafted bundles, odd anchors, odd keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from imprimatur.formats import canonical, checkpoint, ids, keyring, merkle, note, sshsig, trust
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.trust import DecisionKey
from imprimatur.verify import copies, rulebook
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import INVALID, VALID, Report
from imprimatur.verify.disclosed import Disclosed
from imprimatur.verify.history import History
from imprimatur.verify.report import human, main
from tests.verify import builder
from tests.verify.builder import DECISION_KEY, LOG_KEY, REALM, Log, key
from tests.verify.reading import broken
from tests.verify.test_history import ended, erasure

Files = dict[str, bytes]
Check = Callable[..., Report]


@pytest.fixture(scope="module")
def log() -> Log:
    return builder.whole_story()


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Verify these files as a bundle, with its lists made and signed anew."""

    def run(files: Files, log: Log, pair: KeyPair = DECISION_KEY, **changes: Any) -> Report:
        path = tmp_path / "bundle.zip"
        path.write_bytes(builder.zipped(builder.finished(files, log, pair)))
        return verify_bundle(path, trust.parse(canonical.dumps({**builder.trust_document(log), **changes})))

    return run


# --- sizes that only a checkpoint names -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2**33, 2**40, merkle.MAX_TREE_SIZE])
@pytest.mark.parametrize("filters", [{}, {"risks": ["LOW"]}])
def test_a_checkpoint_of_more_entries_than_there_are_tiles_costs_no_memory(
    check: Check, log: Log, size: int, filters: dict[str, Any]
) -> None:
    files = builder.bundle_files(log, filters=filters or None, shown=[0] if filters else None)
    said = checkpoint.Checkpoint(REALM, size, merkle.leaf_hash(b"x"))
    files["log/checkpoint"] = said.sign(LOG_KEY.seed).encode()
    report = check(files, log)
    assert report.claim("tree").verdict == INVALID
    assert "has not all the tiles" in report.claim("tree").detail


# --- which decision keys trust.json lets sign -------------------------------------------------------------------------


def pin(pair: KeyPair, first: int, last: int | None = None) -> DecisionKey:
    return DecisionKey(pair.public_key, first, last)


TURNED_AWAY = {"key": "unknown", "minute": "2026-03-01T09:00:00.000Z", "codes": {"signature": 1}}
FIRST, SECOND, THIEF = key("first decision"), key("second decision"), key("thief")


def ring(*keys: DecisionKey) -> keyring.Keyring:
    return keyring.Keyring(decision=list(keys))


@pytest.mark.parametrize(
    "pinned",
    [
        [pin(FIRST, 0, 99)],  # it was to sign up to 99, and signed a successor in at 30
        [pin(FIRST, 0, 99), pin(SECOND, 100)],
        [pin(FIRST, 0), pin(SECOND, 100)],
        [pin(FIRST, 0), pin(SECOND, 31, 40)],
        [pin(SECOND, 31), pin(FIRST, 0)],
    ],
)
def test_a_key_signed_in_where_another_was_trusted_to_sign_rests_on_nothing(pinned: list[DecisionKey]) -> None:
    forged = ring(pin(FIRST, 0, 30), pin(THIEF, 31))
    assert "trust.json" in forged.not_anchored(pinned, 200)


@pytest.mark.parametrize(
    ("pinned", "size"),
    [
        ([pin(FIRST, 0)], 200),  # written before the key changed
        ([pin(FIRST, 0, 30)], 200),
        ([pin(FIRST, 0), pin(SECOND, 200)], 200),  # of a change that this log has not come to
        ([pin(FIRST, 0), pin(SECOND, 100, 120)], 60),
        ([pin(FIRST, 0), pin(FIRST, 0)], 200),
    ],
)
def test_a_key_that_no_anchor_contradicts_rests_on_the_one_before(pinned: list[DecisionKey], size: int) -> None:
    assert ring(pin(FIRST, 0, 30), pin(THIEF, 31)).not_anchored(pinned, size) == ""


def test_a_bundle_that_a_replaced_key_continued_another_way_is_invalid(check: Check) -> None:
    log, _ = builder.standing()
    whole = len(log.envelopes) + 50
    log.change_decision_key(THIEF)
    for _ in range(2):
        log.add("door.rejected", "key:unknown", builder.SYSTEM, {**TURNED_AWAY})
    anchors = [{"key": b64u(DECISION_KEY.public_key), "from": 0, "to": whole}]
    files = builder.bundle_files(log)
    files["trust/decision.pub.pem"] = copies._pem(THIEF.public_key)
    path_report = check(files, log, pair=THIEF)
    assert path_report.claim("history").verdict == VALID, human(path_report)
    report = check(files, log, pair=THIEF, decision=anchors)
    assert report.claim("history").verdict == INVALID
    assert "another key sign there" in report.claim("history").detail


def test_many_retired_log_keys_are_not_read_again_for_each_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    log, _ = builder.standing()
    console, before = builder.CONSOLE, str(note.Vkey(REALM, LOG_KEY.public_key))
    for number in range(30):
        line = str(note.Vkey(REALM, key(f"log {number}").public_key))
        log.add("log.key_added", REALM, console, {"log_vkey": line, "reason": "more"})
        log.add("log.key_retired", REALM, console, {"log_vkey": before, "reason": "old"})
        before = line
    read: list[str] = []
    parse = note.Vkey.parse

    def counted(line: str) -> note.Vkey:
        read.append(line)
        return parse(line)

    monkeypatch.setattr(note.Vkey, "parse", counted)
    history = History(REALM, [DECISION_KEY.public_key])
    for index, raw in enumerate(log.envelopes):
        history.feed(index, raw)
    assert len(read) <= 2 * 30 + 2


@pytest.mark.parametrize("purpose", ["log", "decision"])
def test_a_retired_log_key_never_serves_again(purpose: str) -> None:
    log, _ = builder.standing()
    old, new = str(note.Vkey(REALM, LOG_KEY.public_key)), str(note.Vkey(REALM, SECOND.public_key))
    log.add("log.key_added", REALM, builder.CONSOLE, {"log_vkey": new, "reason": "more"})
    log.add("log.key_retired", REALM, builder.CONSOLE, {"log_vkey": old, "reason": "old"})
    if purpose == "log":
        log.add("log.key_added", REALM, builder.CONSOLE, {"log_vkey": old, "reason": "again"})
    else:
        log.change_decision_key(LOG_KEY)
    broken(log, rulebook.LOG_KEY)


def test_keys_of_people_are_not_read_again_for_each_that_is_revoked(
    check: Check, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    parse = sshsig.parse_public_key

    def counted(line: str) -> sshsig.SshKey:
        read.append(line)
        return parse(line)

    files = builder.bundle_files(log)
    with monkeypatch.context() as patched:
        patched.setattr(copies, "sshsig", SimpleNamespace(parse_public_key=counted))
        assert check(files, log).ok
    kinds = [entry["kind"] for entry in log.entries]
    assert "person.key_revoked" in kinds
    assert len(read) <= kinds.count("person.key_added") + kinds.count("person.key_enrolled")


def test_decisions_are_anchored_up_to_the_first_key_that_is_not(check: Check) -> None:
    log, root = builder.standing()
    log.allow(log.ask(root))
    first = len(log.envelopes) - 1
    log.change_decision_key(SECOND)
    log.allow(log.ask(root))
    log.allow(log.ask(root))
    files = builder.bundle_files(log)
    files["trust/decision.pub.pem"] = copies._pem(SECOND.public_key)

    def statuses(*anchors: dict[str, Any]) -> list[str]:
        return [made["status"] for made in check(files, log, pair=SECOND, decision=list(anchors)).decisions]

    one, two = b64u(DECISION_KEY.public_key), b64u(SECOND.public_key)
    assert statuses({"key": one, "from": 0}) == ["verified"] * 3
    assert statuses({"key": one, "from": 0, "to": first}) == ["verified", "cannot tell", "cannot tell"]
    late = {"key": two, "from": first + 2, "to": first + 2}
    assert statuses({"key": one, "from": 0}, late) == ["verified", "verified", "cannot tell"]
    assert statuses({"key": two, "from": first + 2}) == ["cannot tell"] * 3


# --- files that nobody would look at twice ----------------------------------------------------------------------------


def first_opening(files: Files, **changes: Any) -> Files:
    """The same files, with these fields of the first opening; None takes one away."""
    lines = files["openings/openings.jsonl"].split(b"\n")
    said = {name: value for name, value in {**canonical.loads(lines[0]), **changes}.items() if value is not None}
    return {**files, "openings/openings.jsonl": b"\n".join([canonical.dumps_json(said), *lines[1:]])}


@pytest.mark.parametrize(
    "changes",
    [
        {"value": "what was never said"},
        {"key": b64u(bytes(32))},
        {"note": "it was approved by phone"},
        {"name": None},
        {"name": 5},
        {"name": "another"},
        {"erased_at": "long ago"},
        {"state": "never held"},
    ],
)
def test_a_line_of_what_was_erased_says_nothing_that_was_not_checked(
    check: Check, log: Log, changes: dict[str, Any]
) -> None:
    files = builder.bundle_files(log, erased=1)
    assert check(first_opening(files, erased_at="2026-03-01T09:00:00.000Z"), log).claim("openings").verdict == VALID
    assert check(first_opening(files, **changes), log).claim("openings").verdict == INVALID


@pytest.mark.parametrize("state", ["held", "withheld"])
@pytest.mark.parametrize("changes", [{"note": "x"}, {"erased_at": "2026-03-01T09:00:00.000Z"}])
def test_a_line_of_the_openings_has_no_field_that_its_state_has_not(
    check: Check, log: Log, state: str, changes: dict[str, Any]
) -> None:
    files = builder.bundle_files(log, withheld=state == "withheld")
    assert check(first_opening(files), log).claim("openings").verdict == VALID
    assert check(first_opening(files, **changes), log).claim("openings").verdict == INVALID


def test_true_is_no_index_of_an_opening(check: Check) -> None:
    disclosed = Disclosed(iter([b'{"commitment":"x","index":true,"state":"never held","where":"a"}']))
    with pytest.raises(ValueError, match="integer"):
        disclosed._opening(1, "a", "x", {})


def test_what_the_log_says_was_erased_is_gone_and_was_that_agents(check: Check) -> None:
    def erased(**changes: Any) -> Log:
        log, request = ended()
        log.add("openings.erased", ids.agent_id(builder.ROBO.public_key), builder.SYSTEM, erasure(request, **changes))
        return log

    log = erased()
    claim = check(builder.bundle_files(log, erased=100), log).claim("openings")
    assert claim.verdict == VALID
    assert "no entry in here erased" not in claim.detail
    assert "are still here" in check(builder.bundle_files(log), log).claim("openings").detail
    other = erased(agent=ids.agent_id(builder.CHILD.public_key))
    assert "another agent" in check(builder.bundle_files(other, erased=100), other).claim("openings").detail
    untold, _ = ended()
    assert "no entry in here erased" in check(builder.bundle_files(untold, erased=100), untold).claim("openings").detail


@pytest.mark.parametrize("name", ["openings/approved.html", "openings/index.jsonl", "openings/openings.jsonl.txt"])
def test_nothing_lies_beside_the_openings(check: Check, log: Log, name: str) -> None:
    report = check({**builder.bundle_files(log), name: b"They said yes.\n"}, log)
    assert report.claim("copies").verdict == INVALID
    assert name in report.claim("copies").detail


def policy_of(*vkeys: note.Vkey) -> bytes:
    return "".join(f"log {vkey}\n" for vkey in vkeys).encode() + b"quorum none\n"


OWN, STRANGE = note.Vkey(REALM, LOG_KEY.public_key), note.Vkey(REALM, THIEF.public_key)


@pytest.mark.parametrize(
    "policy", [policy_of(STRANGE), policy_of(OWN, STRANGE), policy_of(), b"log lies\n", b"x" * 300_000]
)
def test_a_policy_for_other_tools_names_the_log_keys_of_the_entries(check: Check, log: Log, policy: bytes) -> None:
    files = builder.bundle_files(log)
    assert check({**files, "trust/policy.tlog": policy_of(OWN)}, log).ok
    report = check({**files, "trust/policy.tlog": policy}, log)
    assert report.claim("copies").verdict == INVALID
    assert "policy.tlog" in report.claim("copies").detail


def test_what_was_not_looked_at_is_said(check: Check, log: Log) -> None:
    files = {**builder.bundle_files(log), "REPORT.html": b"<h1>Everything was approved by Ada</h1>"}
    limits = " ".join(check(files, log).limits)
    assert "REPORT.html" in limits
    assert "none of that was checked" in limits
    assert "verify.pyz" not in limits
    limits = " ".join(check({**files, "verify.pyz": b"print('VALID')"}, log).limits)
    assert "Use a verifier that you got another way" in limits


# --- exit status ------------------------------------------------------------------------------------------------------


def test_no_bundle_that_is_not_valid_ends_with_0(tmp_path: Path, log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    anchors = tmp_path / "trust.json"
    anchors.write_bytes(canonical.dumps(builder.trust_document(log)))

    def put(name: str, files: Files, of: Log = log) -> str:
        (tmp_path / name).write_bytes(builder.zipped(builder.finished(files, of)))
        return str(tmp_path / name)

    good = put("good.zip", builder.bundle_files(log))
    earlier = builder.cut(log, len(log.envelopes) - 1)
    before = put("before.zip", builder.bundle_files(earlier), earlier)
    some = put("some.zip", builder.bundle_files(log, filters={"risks": ["LOW"]}, shown=[0]))
    none = str(tmp_path / "none.zip")
    junk = tmp_path / "junk.zip"
    junk.write_bytes(b"PK")
    trusted = ["--quiet", "--trust", str(anchors)]
    found = {
        "good": main([*trusted, good]),
        "continued": main([*trusted, "--compare", before, good]),
        "no anchors": main(["--quiet", good]),
        "some": main([*trusted, some]),
        "missing": main([*trusted, none]),
        "a folder": main([*trusted, str(tmp_path)]),
        "junk": main([*trusted, str(junk)]),
        "no trust file": main(["--quiet", "--trust", none, good]),
        "trust is the bundle": main(["--quiet", "--trust", good, good]),
        "swapped": main([*trusted, "--compare", good, before]),
        "compared with junk": main([*trusted, "--compare", str(junk), good]),
        "compared with some": main([*trusted, "--compare", some, good]),
        "some compared with whole": main([*trusted, "--compare", before, some]),
    }
    capsys.readouterr()
    assert {name for name, status in found.items() if status == 0} == {"good", "continued"}
    assert found["junk"] == 1
    assert found["compared with junk"] == 1
    assert found["swapped"] == 2


def test_a_comparison_that_cannot_be_made_still_says_which_bundle_is_invalid(
    tmp_path: Path, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    files = builder.finished(builder.bundle_files(log), log)
    whole, short = tmp_path / "a.zip", tmp_path / "b.zip"
    whole.write_bytes(builder.zipped(files))
    short.write_bytes(whole.read_bytes()[:-1])
    assert main(["--quiet", "--compare", str(short), str(whole)]) == 1
    assert "invalid" in capsys.readouterr().err
