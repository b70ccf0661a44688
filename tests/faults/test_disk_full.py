"""The disk is full for the process that writes: no file can grow."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

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


def test_invariant_6_a_full_disk_decides_nothing_and_is_survived(
    desk: Installation, robo: Robo, visit: type[Visitor]
) -> None:
    agent, rui = robo.raw(), visit(desk, "rui")
    asked = agent.delete("/project/reports/full.csv").json
    eventually(lambda: rows(desk, "select max(size) from audit_checkpoint") == [(log_size(desk),)])
    size = log_size(desk)
    with full(children(desk)["web"]):
        for number in range(3):
            refused = agent.read("/project/src/cart.js", key=f"full-{size}-{number}")
            assert (refused.status, refused.code) == (503, "busy")
            assert "receipt" not in refused.json
        assert rui.get(f"/requests/{asked['id']}/").status_code == 200
        vote = rui.answer(asked["id"], "approve")
        assert vote.status_code == 503
        assert agent.get(f"/actions/{asked['id']}").json["state"] == "PENDING"
        assert log_size(desk) == size
    for number in range(3):
        allowed = agent.read("/project/src/cart.js", key=f"full-{size}-{number}")
        assert (allowed.status, allowed.json["verdict"]) == (200, "allow")
        assert_receipt_stands(desk, allowed.json["receipt"])
    assert rui.answer(asked["id"], "deny", reason="Enough.").status_code == 200
    # What could not be written then is published now.
    eventually(lambda: rows(desk, "select max(size) from audit_checkpoint") == [(log_size(desk),)])
