"""Every system call of the publisher and the writer that touches the data folder fails once, and kills once.

The method is that of Tessera's own fault tests: trace one publication, then repeat it on a fresh copy with EIO (and
with ENOSPC where bytes are written) and with SIGKILL at one call, and look at what is there afterwards. By default one
call of each kind is failed (the kind is the call and the class of file); IMPRIMATUR_TEST_FAULTS=all fails every one.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.strace import Call, Ended, Patient, patient

ALL = os.environ.get("IMPRIMATUR_TEST_FAULTS") == "all"
GROWING = ("write", "pwrite64", "ftruncate", "mkdir", "fsync", "fdatasync")
# A kill at a call that changes nothing leaves the disk as a kill at the next one that does.
CHANGING = (*GROWING, "rename", "renameat", "unlink", "unlinkat", "rmdir", "fchmod")
# Only looked at: their failures are tried when all are.
PLENTY = ("newfstatat",)

pytestmark = [pytest.mark.timeout(3600 if ALL else 1200)]


@pytest.fixture(scope="module")
def hurt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patient]:
    with patient(tmp_path_factory.mktemp("hurt")) as process:
        yield process


def tiles_in(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in (folder / "tile").rglob("*") if path.is_file()]


def chosen(calls: list[Call], names: tuple[str, ...] | None = None) -> list[Call]:
    """The calls to fail: all of them, or the first of each kind, if they are of these names."""
    wanted = [call for call in calls if call.path and (names is None or call.name in names)]
    if ALL:
        return wanted
    kinds = {call.kind: call for call in reversed(wanted) if call.name not in PLENTY}
    return sorted(kinds.values(), key=lambda call: (call.name, call.when))


def faults(calls: list[Call]) -> Iterator[tuple[Call, str]]:
    """Each call with the fault that is put in its place, as strace writes it."""
    for call in chosen(calls):
        yield call, f"{call.name}:error=EIO:when={call.when}"
    for call in chosen(calls, GROWING):
        yield call, f"{call.name}:error=ENOSPC:when={call.when}"
    for call in chosen(calls, None if ALL else CHANGING):
        yield call, f"{call.name}:signal=KILL:when={call.when}"


def each_fault(hurt: Patient, job: str, look: str, judge: Callable[[Ended, dict[str, Any]], None]) -> int:
    """Run the job under each fault, start anew, and judge what is there. Returns how many faults were injected."""
    injected, tried, failures = 0, 0, []
    for call, fault in faults(hurt.trace(job, hurt.fresh()).calls):
        data = hurt.fresh()
        ended = hurt.do(job, data, fault)
        killed = ended.status == -signal.SIGKILL
        tried, injected = tried + 1, injected + (killed or bool(ended.injected))
        try:
            assert killed or ended.status == 0
            after = hurt.do(look, data)
            assert after.status == 0, "the next start failed"
            judge(ended, after.told[0])
        except AssertionError as error:
            failures.append(f"{fault} on {call.text}: {error}; it told {ended.told}")
    sys.stderr.write(f"{injected} faults injected into {job}\n")
    assert failures == [], f"{len(failures)} of {injected}"
    assert injected >= 0.9 * tried
    return injected


def test_invariant_6_a_publication_that_fails_or_dies_at_any_call_is_completed_with_the_same_bytes(
    hurt: Patient, record_property: Callable[[str, object], None]
) -> None:
    data = hurt.fresh()
    older = {path: hashlib.sha256((data / "log" / path).read_bytes()).hexdigest() for path in tiles_in(data / "log")}
    assert hurt.do("publish", data).status == 0
    [wanted] = hurt.do("check", data).told
    assert (wanted["findings"], wanted["state"]) == ([], "open")
    assert wanted["size"] == wanted["entries"] == len(wanted["leaves"])
    assert {"tile/0/000", "tile/entries/000", "tile/1/000.p/1"} <= set(wanted["files"])
    tiles = wanted.pop("files")

    def judge(ended: Ended, after: dict[str, Any]) -> None:
        # A failing round is followed by one that succeeds, in the same process; and the log was never frozen.
        assert ended.status or ended.all("published") == [wanted["size"]]
        # Every entry, every tile, every checkpoint and the mark are what they would have been without the fault. What
        # is there beside them are narrower tiles of before, which nobody came to delete.
        files = after.pop("files")
        assert files.items() <= {**older, **tiles}.items()
        assert files.items() >= tiles.items()
        assert after == wanted

    record_property("faults", each_fault(hurt, "publish", "quick check", judge))


def test_invariant_6_an_entry_is_acknowledged_only_if_it_is_there_after_any_call_failed_or_killed(
    hurt: Patient, record_property: Callable[[str, object], None]
) -> None:
    [before] = hurt.do("check", hurt.fresh()).told

    def judge(ended: Ended, after: dict[str, Any]) -> None:
        assert (after["findings"], after["state"]) == ([], "open")
        assert after["leaves"][: before["size"]] == before["leaves"]
        assert after["size"] == after["entries"] == len(after["leaves"]) <= before["size"] + 2
        for index, leaf in ended.all("acknowledged"):
            assert after["leaves"][index] == leaf
        # One failing call costs at most one entry: the connection is opened anew for the next.
        assert ended.status or len(ended.all("acknowledged")) >= 1

    record_property("faults", each_fault(hurt, "append", "check", judge))
