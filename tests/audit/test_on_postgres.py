"""The log on PostgreSQL: the same tests again, in a process of their own with a database of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.postgres import fresh_database, postgres_server

ROOT = Path(__file__).resolve().parent.parent.parent
AGAIN = (
    "test_append_only.py",
    "test_log.py",
    "test_publisher.py",
    "test_boxes.py",
    "test_reading.py",
    "test_recovery.py",
    "test_witnesses.py::test_a_witness_that_comes_back_catches_up_and_completes_the_quorum",
    "test_witnesses.py::test_fsck_knows_cosignatures_and_nothing_else_below_a_checkpoint",
)


@pytest.mark.postgres
@pytest.mark.timeout(1200)
def test_invariant_6_the_log_keeps_its_promises_on_postgresql() -> None:
    tests = [str(Path("tests", "audit", name)) for name in AGAIN]
    # Sentences have nothing to do with the database.
    without = ("--deselect", "tests/audit/test_reading.py::test_every_kind_of_entry_has_a_sentence")
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *without, *tests]
    with postgres_server() as server, fresh_database(server) as url:
        environment = {**os.environ, "IMPRIMATUR_DATABASE_URL": url}
        environment.pop("PYTEST_ADDOPTS", None)
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1100, check=False
        )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
