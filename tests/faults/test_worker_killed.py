"""The worker is killed while it builds an evidence bundle."""

from __future__ import annotations

import os
import re
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.group import Visitor, again, children, rows
from tests.installation import Installation, eventually

pytestmark = pytest.mark.e2e


def horse_of(worker: int) -> int:
    """The process in which the worker runs its present job, or 0."""
    found = Path(f"/proc/{worker}/task/{worker}/children").read_text(encoding="ascii").split()
    return int(found[0]) if found else 0


def state_of(pid: int) -> str:
    """The state of a process in one letter, as the kernel says it; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return ""


def caught_building(desk: Installation, audra: Visitor) -> tuple[str, int, int]:
    """Ask for bundles until one is stopped in the middle. Returns its id, the worker and the process that builds it."""
    worker, folder = children(desk)["worker"], desk.data / "bundles"
    for _ in range(20):
        assert audra.post("/evidence/ask", "/evidence/").status_code == 200
        [(bundle,)] = rows(desk, "select id from audit_bundle order by asked_at desc limit 1")
        whole = folder / f"{bundle}.zip"
        eventually(lambda: list(folder.glob(f".bundle-{bundle}-*")) or whole.exists(), every=0.001)  # noqa: B023
        horse = horse_of(worker)
        if horse:
            with suppress(ProcessLookupError):
                os.kill(horse, signal.SIGSTOP)
            eventually(lambda: state_of(horse) in {"T", "Z", ""}, every=0.001)  # noqa: B023
            if state_of(horse) == "T" and not whole.exists():
                return bundle, worker, horse
            with suppress(ProcessLookupError):
                os.kill(horse, signal.SIGCONT)
        finished(desk)
    raise AssertionError("no bundle was caught in the making")


def finished(desk: Installation) -> None:
    """Wait until nothing is being built."""
    eventually(lambda: not rows(desk, "select id from audit_bundle where state in ('waiting', 'building')"), seconds=60)


def test_a_bundle_whose_worker_was_killed_is_never_offered_and_says_so(
    desk: Installation, visit: type[Visitor]
) -> None:
    audra = visit(desk, "audra")
    bundle, worker, horse = caught_building(desk, audra)
    eventually(lambda: rows(desk, "select state from audit_bundle where id = ?", bundle) == [("building",)])
    page = audra.get("/evidence/").text
    assert f"/evidence/bundles/{bundle}/download" not in page
    assert audra.get(f"/evidence/bundles/{bundle}/download").status_code == 404
    for pid in (worker, horse):
        os.kill(pid, signal.SIGKILL)

    again(desk, "worker", worker)
    eventually(lambda: rows(desk, "select state from audit_bundle where id = ?", bundle) == [("failed",)], seconds=90)
    page = audra.get("/evidence/").text
    assert "ended before it was done" in page
    assert f"/evidence/bundles/{bundle}/download" not in page
    assert not list((desk.data / "bundles").glob(f".bundle-{bundle}-*"))

    # The next one is whole.
    assert audra.post("/evidence/ask", "/evidence/").status_code == 200
    finished(desk)
    links = re.findall(r"/evidence/bundles/\w+/download", audra.get("/evidence/").text)
    whole = audra.get(links[0])
    assert whole.status_code == 200
    assert whole.content.startswith(b"PK")


def test_a_job_that_waits_while_the_worker_is_away_is_done_afterwards(desk: Installation, visit: type[Visitor]) -> None:
    audra = visit(desk, "audra")
    worker = children(desk)["worker"]
    os.kill(worker, signal.SIGKILL)
    assert audra.post("/evidence/ask", "/evidence/").status_code == 200
    again(desk, "worker", worker)
    finished(desk)
    assert rows(desk, "select state from audit_bundle order by asked_at desc limit 1") == [("ready",)]
