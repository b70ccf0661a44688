"""A sink in a file: only ever added to, mended after crashes and full disks, never overwritten."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from audit.sinks.file import FileSink
from audit.sinks.reconcile import Reading
from audit.sinks.sink import Differs, SinkError
from audit.sinks.tree import Published
from tests.audit.acts import append, append_together
from tests.audit.sinking import deliver, entries_in, envelopes, log_vkey, published
from tests.audit.test_durability import ROOT, script


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere") / "archive.jsonl"


def read_back(path: Path, log: Published, least: int | None = None) -> int:
    return Reading(FileSink("copy", path), log, log.size if least is None else least).finish().size


def test_a_file_gets_every_entry_once_and_every_checkpoint(begun, path) -> None:
    append(2)
    for more in (0, 600, 5):
        append_together(more, f"more{more}_") if more else None
        log = published()
        deliver(FileSink("copy", path), log)  # each time anew, as after a restart
        assert entries_in(path) == envelopes(log.size)
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["checkpoint"].split("\n")[1] for line in lines if "checkpoint" in line] == ["3", "603", "608"]
    assert read_back(path, log) == 608
    before = path.read_bytes()
    deliver(FileSink("copy", path), log)
    assert path.read_bytes() == before


@pytest.mark.parametrize("cut", [1, 2, 9, 200, -1])
def test_a_line_that_a_crash_tore_is_ended_and_comes_again(begun, path, cut) -> None:
    append(3)
    old = published()
    deliver(FileSink("copy", path), old)
    sealed = path.read_bytes()
    append(2, "later_")
    log = published()
    deliver(FileSink("copy", path), log)
    more = path.read_bytes()[len(sealed) :]
    torn = sealed + (more.split(b"\n")[0][:cut] if cut > 0 else more.split(b"\n")[0])
    path.write_bytes(torn)
    deliver(FileSink("copy", path), log)
    assert path.read_bytes().startswith(torn), "nothing is ever taken away"
    assert entries_in(path) == envelopes(log.size)
    assert read_back(path, log) == log.size
    assert (b'{"torn":' in path.read_bytes()) is (cut > 0)


def test_a_torn_checkpoint_and_a_torn_mending_are_mended(begun, path) -> None:
    append(3)
    log = published()
    deliver(FileSink("copy", path), log)
    whole = path.read_bytes()
    last = whole.rindex(b'{"checkpoint"')
    for torn in (whole[: last + 3], whole[: last + 30], whole[:-2], whole[: last + 30] + b'\n{"to'):
        path.write_bytes(torn)
        sink = FileSink("copy", path)
        deliver(sink, log)
        assert path.read_bytes().startswith(torn)
        assert read_back(path, log) == log.size


def test_the_end_of_another_history_is_an_alarm_and_nothing_is_added(begun, path) -> None:
    append(3)
    log = published()
    deliver(FileSink("copy", path), log)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for number, changed in enumerate(
        (
            b"".join([*lines[:3], lines[2].replace(b'"index":2', b'"index":3')]),  # another last entry
            b"".join(lines[:4]).replace(b'"index":3', b'"index":9'),
            b"".join([*lines[:3], lines[3][:40] + b"x" + lines[3][41:]]),
            b"".join(lines[:3]) + b"something else",
            whole + b"\x00" * 40,
        )
    ):
        path.write_bytes(changed)
        append(1, f"more{number}_")
        with pytest.raises(Differs):
            deliver(FileSink("copy", path), published())
        assert path.read_bytes() == changed


def test_every_changed_byte_of_an_entry_is_found_when_it_is_read_back(begun, path) -> None:
    append(2)
    log = published()
    deliver(FileSink("copy", path), log)
    whole = path.read_bytes()
    assert read_back(path, log) == 3 and log.keys == (log_vkey(),)
    for place in range(0, len(whole), 11):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(Differs):
            read_back(path, log)


def test_lines_that_are_gone_doubled_or_swapped_are_found(begun, path) -> None:
    append(4)
    log = published()
    deliver(FileSink("copy", path), log)
    lines = path.read_bytes().splitlines(keepends=True)
    for changed in (lines[:2] + lines[3:], lines[:2] + lines[1:], [lines[1], lines[0], *lines[2:]], lines[:2], []):
        path.write_bytes(b"".join(changed))
        with pytest.raises(Differs):
            read_back(path, log)


def test_reading_back_goes_on_where_the_last_one_ended(begun, path) -> None:
    append_together(300)
    log = published()
    sink = FileSink("copy", path)
    deliver(sink, log)
    agreed = Reading(sink, log, log.size).finish()
    append_together(300, "more_")
    log = published()
    deliver(sink, log)
    looked: list[int] = []
    original = sink.read
    sink.read = lambda log, start: looked.append(start) or original(log, start)  # type: ignore[method-assign]
    assert Reading(sink, log, log.size, agreed.tree).finish().root == log.root
    assert looked == [301]


@contextmanager
def full_at(size: int) -> Iterator[None]:
    """No file of this process grows beyond this size, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_takes_nothing_and_is_survived(begun, path) -> None:
    append(3)
    log = published()
    deliver(FileSink("copy", path), log)
    append(5, "more_")
    log = published()
    sink = FileSink("copy", path)
    held = sink.where(log, 4)
    size = path.stat().st_size
    for room in (0, 5, 8, 3000):
        with full_at(size + room), pytest.raises(SinkError, match="cannot be written"):
            sink.take(log, held, log.size)
        assert path.stat().st_size == size + room
    deliver(sink, log)
    assert entries_in(path) == envelopes(log.size)
    assert read_back(path, log) == log.size


def test_a_file_that_only_grows_is_enough(begun, path) -> None:
    path.touch()
    if subprocess.run(["chattr", "+a", str(path)], capture_output=True, check=False).returncode:
        pytest.skip("this file system or user knows no append-only files")
    try:
        append(2)
        deliver(FileSink("copy", path), published())
        with path.open("ab") as stream:
            stream.write(b'{"envelope":"')
        append(2, "more_")
        log = published()
        deliver(FileSink("copy", path), log)
        assert read_back(path, log) == log.size
        with pytest.raises(PermissionError):
            path.write_bytes(b"")
    finally:
        subprocess.run(["chattr", "-a", str(path)], check=True)


def test_what_is_no_plain_file_or_is_used_by_another_process_is_left_alone(begun, path) -> None:
    append(1)
    log = published()
    os.mkfifo(path)
    with pytest.raises(SinkError, match="no plain file"):
        deliver(FileSink("copy", path), log)
    path.unlink()
    with FileSink("copy", path)._open(), pytest.raises(SinkError, match="another process"):
        deliver(FileSink("copy", path), log)
    with pytest.raises(SinkError, match="cannot be opened"):
        deliver(FileSink("copy", path.parent / "away" / "archive"), log)


SHIP = """
import json, os, signal, sys
from pathlib import Path
from audit.sinks import file
from audit.sinks.shipping import Shipper
from audit.sinks.states import State
from audit.sinks.tree import Published
given = json.loads(sys.stdin.readline())
log = Published(Path(given["folder"]), given["size"], bytes.fromhex(given["root"]), given["signed"])
left, write = given["bytes"], os.write
def dying(handle, raw):
    global left
    if left is not None and len(raw) > left:
        write(handle, bytes(raw)[:left])
        os.kill(os.getpid(), signal.SIGKILL)
    if left is not None:
        left -= len(raw)
    return write(handle, raw)
file.os.write = dying
shipper = Shipper(file.FileSink("copy", Path(given["path"])), State("copy"), lambda state, agreed: None)
shipper.ship(log)
"""


def test_invariant_6_a_process_killed_while_it_ships_leaves_no_gap_and_no_second_entry(begun, path, tmp_path) -> None:
    append_together(600)
    log = published()
    given: dict[str, Any] = {
        "folder": str(log.folder),
        "size": log.size,
        "root": log.root.hex(),
        "signed": log.signed,
        "path": str(path),
    }
    command, environment = script(SHIP, tmp_path)
    lengths = []
    for left in (0, 1, 5000, 150_000, 17, 0, 200_000, 7):
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            input=json.dumps({**given, "bytes": left}) + "\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
        lengths.append(path.stat().st_size)
    assert lengths == sorted(lengths)
    deliver(FileSink("copy", path), log)
    assert entries_in(path) == envelopes(log.size)
    assert read_back(path, log) == log.size
