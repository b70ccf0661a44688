"""Two bundles of one log: the later continues the earlier, or somebody rewrote what was signed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imprimatur.formats import canonical, entries, merkle, selection
from imprimatur.formats.selection import AUTHORITY, BOOKKEEPING
from imprimatur.verify.compare import CompareError, Comparison, compare
from tests.verify import builder
from tests.verify.builder import Log

Files = dict[str, bytes]
Compare = Callable[..., Comparison]


@pytest.fixture(scope="module")
def log() -> Log:
    return builder.whole_story()


@pytest.fixture
def comparing(tmp_path: Path) -> Compare:
    def run(earlier: Files, later: Files) -> Comparison:
        paths = tmp_path / "earlier.zip", tmp_path / "later.zip"
        for path, files in zip(paths, (earlier, later), strict=True):
            path.write_bytes(builder.zipped(files))
        return compare(*paths)

    return run


def bundle(log: Log, size: int | None = None, **more: Any) -> Files:
    of = log if size is None else builder.cut(log, size)
    return builder.finished(builder.bundle_files(of, **more), of)


def test_a_later_bundle_continues_an_earlier_one_and_says_what_it_adds(comparing: Compare, log: Log) -> None:
    size = len(log.envelopes)
    for before in (2, 3, 40, size - 1, size):
        found = comparing(bundle(log, before), bundle(log))
        assert found.continues is True, found.fault
        assert found.realm == log.realm
        assert found.sizes == (before, size)
        assert found.roots[1] == merkle.root_of(map(merkle.leaf_hash, log.envelopes)).hex()
        new = log.entries[before:]
        assert sum(found.added.values()) == len(new)
        assert found.added.get("vote.cast", 0) == sum(entry["kind"] == "vote.cast" for entry in new)
        told = [(change.index, change.time, change.kind, change.subject) for change in found.authority]
        assert told == [
            (entry["index"], entry["time"], entry["kind"], entry["subject"])
            for entry in new
            if entry["kind"] in AUTHORITY
        ]
        assert found.left_out == 0
        assert not found.openings_gone


def test_erased_openings_are_listed(comparing: Compare, log: Log) -> None:
    found = comparing(bundle(log), bundle(log, erased=2))
    first = canonical.loads(builder.bundle_files(log)["openings/openings.jsonl"].split(b"\n")[0])
    assert [gone.state for gone in found.openings_gone] == ["erased", "erased"]
    assert found.openings_gone[0].commitment == first["commitment"]
    assert "openings/openings.jsonl" in found.files_changed
    assert not comparing(bundle(log, erased=2), bundle(log)).openings_gone


def test_files_that_say_something_else_are_listed(comparing: Compare, log: Log) -> None:
    assert comparing(bundle(log), bundle(log)).files_changed == []
    other = builder.finished({**builder.bundle_files(log), "README.txt": b"other words\n"}, log)
    assert comparing(bundle(log), other).files_changed == ["MANIFEST.dsse.json", "MANIFEST.sha256", "README.txt"]


def test_a_later_bundle_of_some_requests_says_how_many_new_entries_it_leaves_out(comparing: Compare, log: Log) -> None:
    one = next(entry["subject"] for entry in log.entries[60:] if entry["kind"] == "action.requested")
    shown = builder.chosen(log, one)
    part = {"filters": {"requests": [one]}, "shown": shown}
    found = comparing(bundle(log, 40), bundle(log, **part))
    new = [index for index in shown if index >= 40]
    assert found.continues is True
    assert sum(found.added.values()) == len(new)
    assert found.left_out == len(log.envelopes) - 40 - len(new) > 0
    other_way_round = comparing(bundle(log, **part), bundle(log))
    assert other_way_round.continues is True
    assert other_way_round.left_out == 0 and not other_way_round.openings_gone
    assert {gone.state for gone in comparing(bundle(log), bundle(log, **part)).openings_gone} == {"left out"}


@pytest.mark.parametrize("place", [0, 1, 17, 30])
def test_a_fork_is_found_with_the_first_entry_that_differs(comparing: Compare, log: Log, place: int) -> None:
    forked = builder.whole_story()
    forked.envelopes[place] = forked.seal(b"another story")
    found = comparing(bundle(log, 40), builder.finished(builder.bundle_files(forked), forked))
    assert found.continues is False
    assert found.forked_at == place
    assert not found.added and not found.authority and not found.files_changed


def test_bundles_of_different_realms_are_not_compared(comparing: Compare, log: Log) -> None:
    other = Log("other.example").found()
    with pytest.raises(CompareError, match="different realms"):
        comparing(bundle(other), bundle(log))


def test_the_earlier_one_comes_first(comparing: Compare, log: Log) -> None:
    with pytest.raises(CompareError, match="earlier one first"):
        comparing(bundle(log), bundle(log, 9))


def test_what_is_no_bundle_is_not_compared(tmp_path: Path, log: Log) -> None:
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    good.write_bytes(builder.zipped(bundle(log)))
    bad.write_bytes(b"nothing")
    with pytest.raises(CompareError):
        compare(bad, good)
    with pytest.raises(OSError):
        compare(tmp_path / "nowhere.zip", good)


def test_nothing_is_told_of_a_bundle_that_is_not_intact(comparing: Compare, log: Log) -> None:
    tile = next(name for name in bundle(log) if name.startswith("log/tile/0/"))
    entry = next(name for name in bundle(log) if name.startswith("log/tile/entries/"))
    last = len(log.envelopes) - 1
    for name, content in (
        (tile, bytes(len(bundle(log)[tile]))),
        (tile, b""),
        (entry, bundle(log)[entry][:-1] + b"!"),
        ("openings/openings.jsonl", b"{}\n"),
        ("openings/openings.jsonl", b"["),
    ):
        found = comparing(bundle(log, last), {**bundle(log), name: content})
        assert found.continues is None
        assert found.fault
        assert not found.added and not found.authority
        assert json.dumps(found.as_json())


@pytest.mark.parametrize("junk", [b"", b"\n", b"\xff\n", b"[]\n", b"null\n", b"[" * 100_000, b'{"index":"0"}\n'])
def test_no_junk_in_any_file_crashes_the_comparison(comparing: Compare, log: Log, junk: bytes) -> None:
    one = next(entry["subject"] for entry in log.entries if entry["kind"] == "action.requested")
    part = {"filters": {"requests": [one]}, "shown": builder.chosen(log, one)}
    assert comparing(bundle(log, **part), bundle(log)).continues
    for more in ({}, part):
        good = bundle(log, **more)
        names = {name.rpartition("/")[0] or name: name for name in good if not name.startswith(("votes/", "views/"))}
        for name in {*names.values(), *(known for known in ("log/selected.jsonl",) if known in good)}:
            for pair in (({**good, name: junk}, bundle(log)), (bundle(log, 40), {**good, name: junk})):
                try:
                    assert comparing(*pair).continues is not False
                except CompareError as error:
                    assert str(error)


def test_whatever_the_comparison_did_not_think_of_tells_nothing(
    comparing: Compare, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: Any) -> None:
        raise IndexError("odd")

    monkeypatch.setattr("imprimatur.verify.compare._openings_gone", stumble)
    found = comparing(bundle(log, 40), bundle(log))
    assert found.continues is None and "IndexError" in found.fault


def test_every_kind_of_entry_is_about_requests_authority_or_books() -> None:
    rooms = [AUTHORITY, BOOKKEEPING, selection.REQUEST_KINDS]
    assert sum(map(len, rooms)) == len(entries.KINDS)
    assert frozenset().union(*rooms) == set(entries.KINDS)
