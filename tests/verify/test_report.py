"""The command that verifies and compares: its exit codes, its JSON, its bar, and what it says of enforcement."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from imprimatur import cli
from imprimatur.formats import canonical
from imprimatur.verify import progress
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID
from imprimatur.verify.report import main
from tests.verify import builder
from tests.verify.builder import Log


@pytest.fixture(scope="module")
def log() -> Log:
    return builder.whole_story()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(folder: Path, name: str, log: Log, **more: Any) -> str:
    (folder / name).write_bytes(builder.zipped(builder.finished(builder.bundle_files(log, **more), log)))
    return str(folder / name)


@pytest.fixture
def anchored(tmp_path: Path, log: Log) -> str:
    (tmp_path / "trust.json").write_bytes(canonical.dumps(builder.trust_document(log)))
    return str(tmp_path / "trust.json")


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# --- one bundle ---------------------------------------------------------------------------------------------------------


def test_the_json_of_a_report_has_the_documented_shape(
    tmp_path: Path, log: Log, anchored: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([written(tmp_path, "b.zip", log), "--trust", anchored, "--json"]) == 0
    report = told(capsys)
    assert {name: type(value) for name, value in report.items()} == {
        "typ": str,
        "verdict": str,
        "realm": str,
        "size": int,
        "shown": int,
        "root": str,
        "filters": dict,
        "coverage": dict,
        "counts": dict,
        "claims": list,
        "limits": list,
        "decisions": list,
    }
    assert report["typ"] == "imprimatur/verification/v1"
    assert all(
        set(claim) == {"name", "verdict", "detail", "evidence", "weighs", "controls"} for claim in report["claims"]
    )
    assert set(report["counts"]) == {"verified", "invalid", "cannot tell"}
    assert set(report["coverage"]) == {"E0", "E1", "E2", "E3"}


def test_decisions_and_redemptions_are_counted_by_what_forced_the_agent_to_ask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, root = builder.standing()
    for level, redeemed in (("E0", "no"), ("E1", "at once"), ("E1", "later"), ("E3", "no"), ("E3", "later")):
        ask = log.ask(root)
        log.allow(ask, at_once=redeemed == "at once", enforcement=level)
        if redeemed == "later":
            log.redeem(ask)
    log.deny(log.ask(root), "REFUSED", "out-of-scope", enforcement="E2")
    path = written(tmp_path, "b.zip", log)
    main([path, "--json"])
    assert told(capsys)["coverage"] == {
        "E0": {"decisions": 1, "redeemed": 0},
        "E1": {"decisions": 2, "redeemed": 2},
        "E2": {"decisions": 1, "redeemed": 0},
        "E3": {"decisions": 2, "redeemed": 1},
    }
    main([path])
    table = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("  E")]
    assert [(line[0], *line[-2:]) for line in table] == [
        ("E0", "1", "0"),
        ("E1", "2", "2"),
        ("E2", "1", "0"),
        ("E3", "2", "1"),
    ]


def test_a_selective_bundle_exits_as_cannot_tell(
    tmp_path: Path, log: Log, anchored: str, capsys: pytest.CaptureFixture[str]
) -> None:
    one = next(entry["subject"] for entry in log.entries if entry["kind"] == "action.requested")
    path = written(tmp_path, "b.zip", log, filters={"requests": [one]}, shown=builder.chosen(log, one))
    assert main([path, "--trust", anchored, "--json"]) == 2
    report = told(capsys)
    assert report["verdict"] == CANNOT_TELL
    assert report["shown"] < report["size"] == len(log.envelopes)
    assert main([path, "--trust", anchored]) == 2
    assert "CANNOT TELL" in capsys.readouterr().out


# --- the bar ------------------------------------------------------------------------------------------------------------


def test_a_terminal_sees_how_far_it_is_and_nothing_of_it_stays(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "_BETWEEN", 0.0)
    main([written(tmp_path, "b.zip", log)])
    drawn = sys.stderr.getvalue()  # type: ignore[attr-defined]  # it is a Terminal
    for words in progress.STAGES.values():
        assert words in drawn
        assert f"100% {list(progress.STAGES.values()).index(words) + 1}/3 {words}" in drawn
    assert drawn.endswith("\r")
    assert drawn.split("\r")[-2].strip() == ""
    assert "#" not in capsys.readouterr().out


@pytest.mark.parametrize(("stream", "flags"), [(io.StringIO(), []), (Terminal(), ["--quiet"])])
def test_nobody_else_sees_a_bar(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, flags: list[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    main([written(tmp_path, "b.zip", log), *flags])
    assert stream.getvalue() == ""


# --- two bundles --------------------------------------------------------------------------------------------------------


def test_two_good_bundles_of_one_log_compare_as_valid(
    tmp_path: Path, log: Log, anchored: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # An earlier bundle from before a service was registered that trust.json names cannot tell of what runs.
    size = max(entry["index"] for entry in log.entries if entry["kind"] == "service.registered") + 1
    pair = written(tmp_path, "a.zip", builder.cut(log, size)), written(tmp_path, "b.zip", log, erased=1)
    assert cli.main(["compare", *pair, "--trust", anchored]) == 2  # something was erased: effects cannot be told
    said = capsys.readouterr().out
    assert f"begins with the same {size} entries" in said
    assert "delegation.revoked" in said and "is now erased" in said
    pair = pair[0], written(tmp_path, "c.zip", log)
    assert cli.main(["compare", *pair, "--trust", anchored, "--json"]) == 0
    found = told(capsys)
    assert found["typ"] == "imprimatur/comparison/v1"
    assert (found["verdict"], found["continues"], found["sizes"]) == (VALID, True, [size, len(log.envelopes)])
    assert found["earlier"]["verdict"] == found["later"]["verdict"] == VALID
    assert main([pair[1], "--compare", pair[0], "--trust", anchored]) == 0
    assert main([pair[1], "--compare", pair[0]]) == 2


def test_a_forked_log_is_invalid_and_said_loudly(
    tmp_path: Path, log: Log, anchored: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other, root = builder.standing()
    for _ in range(60):
        other.allow(other.ask(root))
    pair = written(tmp_path, "a.zip", builder.cut(log, 60)), written(tmp_path, "b.zip", other)
    assert cli.main(["compare", *pair, "--trust", anchored]) == 1
    said = capsys.readouterr().out
    assert "FORKED" in said and "is another one in the later bundle" in said
    assert cli.main(["compare", *pair, "--json"]) == 1
    found = told(capsys)
    assert (found["verdict"], found["continues"]) == (INVALID, False)


def test_what_cannot_be_compared_is_said_in_one_line(
    tmp_path: Path, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs = written(tmp_path, "a.zip", log), written(tmp_path, "b.zip", Log("other.example").found())
    for words in ([theirs, mine], [mine, theirs], [mine, str(tmp_path / "nowhere.zip")]):
        assert cli.main(["compare", *words]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert len(captured.err.splitlines()) == 1


def test_an_invalid_bundle_makes_the_comparison_invalid(
    tmp_path: Path, log: Log, anchored: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {**builder.finished(builder.bundle_files(log), log), "README.txt": b"changed\n"}
    (tmp_path / "b.zip").write_bytes(builder.zipped(files))
    pair = written(tmp_path, "a.zip", builder.cut(log, 40)), str(tmp_path / "b.zip")
    assert cli.main(["compare", *pair, "--trust", anchored]) == 1
    assert "INVALID" in capsys.readouterr().out
