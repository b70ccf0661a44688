"""The disk is full for the process that writes: no file can grow.

Each single write of tiles, mark, checkpoint and database fails with ENOSPC in `test_tile_writer_faults`.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from audit.evidence.assessment import FILE as ASSESSMENT
from tests.faults.group import Robo, Visitor, assert_receipt_stands, children, log_size, rows
from tests.installation import Installation, eventually

pytestmark = pytest.mark.e2e


@contextmanager
def full(pid: int) -> Iterator[None]:
    """No file of this process grows, as on a full disk. (The kernel says EFBIG instead of ENOSPC.)"""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def on_disk(desk: Installation) -> tuple[dict[str, bytes], list[tuple[int]]]:
    """The mark and every file of the published log, and how many openings lie beside it.

    What the claims page shows lies there too, and is no part of the log: it is tried again every few seconds.
    """
    log = (path for path in (desk.data / "log").rglob("*") if path.is_file())
    paths = [desk.data / "high-water.json", *(path for path in log if path.name[0] != "." and path.name != ASSESSMENT)]
    found = {str(path): path.read_bytes() for path in paths}
    return found, rows(desk, "select count(*) from audit_opening")


def shown(desk: Installation) -> int:
    """The size of the checkpoint that everybody sees."""
    return int((desk.data / "log" / "checkpoint").read_text(encoding="utf-8").splitlines()[1])


@contextmanager
def full_and_at_rest(desk: Installation) -> Iterator[None]:
    """The disk became full between two publications, and not in the middle of one.

    Showing the checkpoint is the last step of publishing: nothing is on its way to the disk after it.
    """
    while True:
        eventually(lambda: shown(desk) == log_size(desk))
        with full(children(desk)["web"]):
            if shown(desk) == log_size(desk):  # nothing was entered in the last moment before
                yield
                return


def test_invariant_6_a_full_disk_decides_nothing_and_is_survived(
    desk: Installation, robo: Robo, visit: type[Visitor]
) -> None:
    agent, rui = robo.raw(), visit(desk, "rui")
    asked = agent.delete("/project/reports/full.csv").json
    assert asked["state"] == "PENDING", asked
    with full_and_at_rest(desk):
        size, kept = log_size(desk), on_disk(desk)
        for number in range(3):
            refused = agent.read("/project/src/cart.js", key=f"full-{size}-{number}")
            assert (refused.status, refused.code) == (503, "busy")
            assert "receipt" not in refused.json
        assert rui.get(f"/requests/{asked['id']}/").status_code == 200
        vote = rui.answer(asked["id"], "approve")
        assert vote.status_code == 503
        assert agent.get(f"/actions/{asked['id']}").json["state"] == "PENDING"
        assert log_size(desk) == size
        assert on_disk(desk) == kept
    for number in range(3):
        allowed = agent.read("/project/src/cart.js", key=f"full-{size}-{number}")
        assert (allowed.status, allowed.json["verdict"]) == (200, "allow")
        assert_receipt_stands(desk, allowed.json["receipt"])
    assert rui.answer(asked["id"], "deny", reason="Enough.").status_code == 200
    # What could not be written then is published now.
    eventually(lambda: rows(desk, "select max(size) from audit_checkpoint") == [(log_size(desk),)])
