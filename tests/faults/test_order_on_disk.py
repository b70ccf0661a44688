"""What is durable when: the order of system calls, which killing a process cannot show since the page cache survives it.

A file counts as durable after fsync, a name after fsync of its folder. A power cut may take everything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pytest

from tests.faults.strace import Call, Patient, patient

CHECKPOINT, MARK, WAL = "/log/checkpoint", "/high-water.json", "/imprimatur.sqlite3-wal"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    with patient(tmp_path_factory.mktemp("watched")) as process:
        yield process


@dataclass
class Disk:
    """What a power cut would take, call by call. Names are followed in the log and of the mark; bytes everywhere."""

    bytes: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def see(self, call: Call) -> None:
        """Let a call that succeeded take effect."""
        if not call.path or " = -1 " in call.text or "(INJECTED)" in call.text or call.text.endswith("= ?"):
            return
        if call.name in {"write", "pwrite64"} and not call.path.endswith("-shm"):
            self.bytes.add(call.path)
        elif call.name in {"fsync", "fdatasync"}:
            self.bytes.discard(call.path)
            self.names -= {name for name in self.names if str(PurePosixPath(name).parent) == call.path}
        elif call.name == "rename":
            source = re.findall(r'"([^"]*)"', call.text)[0]
            assert not any(source.endswith(path) for path in self.bytes), f"the bytes may be lost: {call.text}"
            self.names.add(call.path)
        elif call.name == "mkdir":
            self.names.add(call.path)
        elif call.name in {"unlink", "rmdir"}:
            self.names.discard(call.path)


def follow(disk: Disk, calls: list[Call]) -> list[str]:
    """Go through a publication; whatever is announced must rest on what is durable. Returns what was announced."""
    announced: list[str] = []
    for call in calls:
        if call.name == "rename" and call.path in {CHECKPOINT, MARK}:
            assert disk.names == set(), f"a power cut takes names that {call.path} rests on: {disk.names}"
            assert disk.bytes == set(), f"a power cut takes bytes that {call.path} rests on: {disk.bytes}"
            announced.append(call.path)
        if call.name == "pwrite64" and call.path == WAL and MARK in announced:
            assert disk.names == set(), "the checkpoint's row is written before the mark is durable"
        disk.see(call)
    return announced


def test_invariant_6_a_checkpoint_is_shown_after_everything_it_rests_on_is_durable(watched: Patient) -> None:
    ended = watched.trace("publish", watched.fresh())
    renamed = [call.path for call in ended.calls if call.name == "rename"]
    assert {"/log/tile/0/000", "/log/tile/entries/000", "/log/tile/1/000.p/1", MARK, CHECKPOINT} <= set(renamed)
    disk = Disk()
    assert follow(disk, ended.calls) == [MARK, CHECKPOINT]
    assert disk.names == set()


def test_invariant_6_an_answer_is_given_after_the_commit_is_durable(watched: Patient) -> None:
    ended = watched.trace("append", watched.fresh())
    disk, answers = Disk(), 0
    for call in ended.calls:
        if call.name == "write" and call.text.startswith("write(1<pipe"):
            answers += 1
            assert disk.bytes == set(), f"a power cut takes what was answered: {disk.bytes}"
        disk.see(call)
    assert answers == len(ended.all("acknowledged")) == 2


def test_invariant_6_what_a_dead_publisher_left_half_durable_is_made_durable_before_it_is_relied_on(
    watched: Patient,
) -> None:
    """Killed between a rename and the fsync of the folder, the file is there for the next process, and not on disk."""
    whole = watched.trace("publish", watched.fresh())
    folders = [call for call in whole.calls if call.name == "fsync" and not call.path.endswith(".new")]
    assert len(folders) > 5
    for call in folders:
        data, disk = watched.fresh(), Disk()
        killed = watched.do("publish", data, f"fsync:signal=KILL:when={call.when}")
        for done in killed.calls[:-1]:
            disk.see(done)
        again = watched.trace("publish", data)
        assert CHECKPOINT in follow(disk, again.calls) or disk.names <= {CHECKPOINT}
        assert disk.names == set(), call.text
