"""Somebody else holds the database's lock for longer than a request waits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.group import Robo, Visitor, log_size
from tests.installation import Installation

pytestmark = pytest.mark.e2e

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("begin exclusive")
print("held", flush=True)
sys.stdin.read()
connection.execute("rollback")
"""


@contextmanager
def held(desk: Installation) -> Iterator[None]:
    """Another process holds the exclusive lock."""
    path = str(desk.data / "imprimatur.sqlite3")
    command = [sys.executable, "-c", HOLD, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield
        finally:
            process.communicate()


def test_a_locked_database_decides_nothing_and_says_busy(desk: Installation, robo: Robo, visit: type[Visitor]) -> None:
    agent, rui = robo.raw(), visit(desk, "rui")
    asked = agent.delete("/project/reports/locked.csv").json
    with held(desk):
        size = log_size(desk)  # from here on nobody writes
        key = "while-locked-" + str(size)
        refused = agent.read("/project/src/cart.js", key=key)
        assert (refused.status, refused.code) == (503, "busy")
        assert int(refused.headers["retry-after"]) > 0
        assert "receipt" not in refused.json
        assert "verdict" not in refused.json

        # Pages only read, and show everything; an answer cannot be taken, and nobody is told that it was.
        page = rui.get(f"/requests/{asked['id']}/")
        assert page.status_code == 200
        vote = rui.answer(asked["id"], "approve")
        assert vote.status_code == 503
        assert "The database does not answer right now" in vote.text
        assert log_size(desk) == size
        assert agent.get(f"/actions/{asked['id']}").json["state"] == "PENDING"

    allowed = agent.read("/project/src/cart.js", key=key)
    assert (allowed.status, allowed.json["verdict"]) == (200, "allow")
    assert rui.answer(asked["id"], "approve").status_code == 200
    assert agent.get(f"/actions/{asked['id']}").json["state"] == "APPROVED"
