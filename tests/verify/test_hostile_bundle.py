"""Bundles made to crash the verifier, to wear it out, or to be believed for nothing: each is invalid, never an error."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imprimatur.formats import canonical, note, trust
from imprimatur.formats.encoding import b64u
from imprimatur.verify import bundle as bundles
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import INVALID, Report
from imprimatur.verify.report import as_json, human, main
from tests.verify import builder
from tests.verify.builder import DECISION_KEY, LOG_KEY, Log

Files = dict[str, bytes]
Check = Callable[..., Report]
DECISION = b64u(DECISION_KEY.public_key)


@pytest.fixture(scope="module")
def log() -> Log:
    return builder.whole_story()


@pytest.fixture
def check(tmp_path: Path, log: Log) -> Check:
    def run(files: Files, **changes: Any) -> Report:
        path = tmp_path / "bundle.zip"
        path.write_bytes(builder.zipped(files))
        document = {**builder.trust_document(log), **changes}
        return verify_bundle(path, trust.parse(canonical.dumps(document)))

    return run


def with_files(log: Log, **more: bytes) -> Files:
    files = {**builder.bundle_files(log), **{name.replace("__", "/"): content for name, content in more.items()}}
    return builder.finished(files, log)


FOR_READING = ("README.txt", "REPORT.html")
"""What is derived for people to read; the limits say so."""
JUNK = [
    b"",
    b"\n",
    b"x",
    b"\xff\n",
    b"{}\n",
    b"[]\n",
    b"null\n",
    b"1" * 5000 + b"\n",
    b"[" * 100_000,
    b'{"index":0}\n',
    b"\n" * 5000,
]


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("position", ["instead", "after"])
def test_no_junk_in_any_file_crashes_the_verifier(check: Check, log: Log, junk: bytes, position: str) -> None:
    whole = builder.bundle_files(log)
    kinds = {re.sub(r"[0-9a-f]{64}|[0-9]+", "0", name): name for name in whole}  # one vote is like another
    for name in kinds.values():
        content = junk if position == "instead" else whole[name] + junk
        report = check(builder.finished({**whole, name: content}, log))
        assert human(report)
        assert as_json(report)
        if content != whole[name] and name not in FOR_READING and not name.startswith("views/"):
            assert report.verdict == INVALID, name


def test_openings_that_end_in_the_middle_of_a_line_are_invalid(check: Check, log: Log) -> None:
    files = builder.bundle_files(log)
    name = "openings/openings.jsonl"
    report = check(builder.finished({**files, name: files[name] + b'{"in'}, log))
    assert report.claim("openings").verdict == INVALID


def test_whatever_the_verifier_did_not_think_of_is_invalid_and_no_traceback(
    check: Check, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: Any) -> None:
        raise IndexError("\x1b[2J")

    monkeypatch.setattr(bundles._Verification, "look", stumble)
    report = check(with_files(log))
    assert report.verdict == INVALID
    assert "\x1b" not in human(report) + as_json(report)


def test_a_file_far_larger_than_its_kind_is_not_read(check: Check, log: Log) -> None:
    files = builder.bundle_files(log)
    for prefix in ("log/tile/entries/", "log/tile/0/"):
        name = next(name for name in files if name.startswith(prefix))
        crafted = builder.finished({**files, name: bytes(60_000_000)}, log)
        tracemalloc.start()
        report = check(crafted)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert report.claim("tree").verdict == INVALID
        assert peak < 200_000_000


def test_a_line_without_end_is_not_gathered(check: Check, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imprimatur.verify.copies.MOST_LINE", 3_000_000)
    for name in ("openings/openings.jsonl", "trust/allowed_signers"):
        report = check(with_files(log, **{name.replace("/", "__"): b"x" * 9_000_000 + b"\n"}))
        assert report.verdict == INVALID


@pytest.mark.parametrize(
    "twin", ["Log/checkpoint", "LOG/CHECKPOINT", "log/checkpoint.", "readme.txt", "Trust/log.vkey"]
)
def test_a_name_that_another_system_takes_for_the_same_is_invalid(check: Check, log: Log, twin: str) -> None:
    files = {**builder.bundle_files(log), twin: b"another story"}
    report = check(builder.finished(files, log))
    assert report.verdict == INVALID


@pytest.mark.parametrize(
    "keys",
    [
        [{"key": DECISION, "from": 5}],
        [{"key": DECISION, "from": 0, "to": 3}, {"key": DECISION, "from": 9}],
    ],
)
def test_entries_outside_a_keys_time_are_not_believed_for_those_inside(
    check: Check, log: Log, keys: list[dict[str, Any]]
) -> None:
    report = check(with_files(log), decision=keys)
    assert report.claim("history").verdict == INVALID
    assert report.claim("manifest").verdict != "valid"


def test_one_key_in_two_roles_is_no_trust_file(log: Log) -> None:
    document = builder.trust_document(log)
    realm = log.realm
    both = {**document, "log": [note.Vkey(realm, DECISION_KEY.public_key).format()]}
    own = note.Vkey("w.example", LOG_KEY.public_key, note.COSIGNATURE).format()
    for wrong in (both, {**document, "witness": {"keys": [own], "quorum": 1}}):
        with pytest.raises(trust.TrustError, match="two purposes"):
            trust.parse(canonical.dumps(wrong))


def test_a_checkpoint_signed_with_the_decision_key_is_not_one_of_the_log(check: Check, log: Log) -> None:
    signed = note.sign_note(note.parse_note(log.checkpoint())[0], log.realm, DECISION_KEY.seed)
    assert check(with_files(log, log__checkpoint=signed.encode())).claim("checkpoint").verdict == INVALID
    key = note.Vkey(log.realm, DECISION_KEY.public_key).format()
    files = with_files(log, **{"log__checkpoint": signed.encode(), "trust__log.vkey": f"{key}\n".encode()})
    path_free = {name: value for name, value in builder.trust_document(log).items() if name != "log"}
    assert _verify(files, path_free).verdict == INVALID


def _verify(files: Files, document: dict[str, Any]) -> Report:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "b.zip"
        path.write_bytes(builder.zipped(files))
        return verify_bundle(path, trust.parse(canonical.dumps(document)))


def test_a_report_is_written_whatever_the_terminal_can_spell(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    path = tmp_path / "b.zip"
    files = builder.bundle_files(log)
    path.write_bytes(
        builder.zipped(builder.finished({**files, "log/checkpoint": "x\u202e\n1\nAA==\n\n".encode()}, log))
    )
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    assert main([str(path)]) == 1
