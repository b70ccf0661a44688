"""A whole installation runs its canaries by the clock, in the worker, over its own address."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from imprimatur.rules import canaries
from tests.installation import Installation, eventually, installation

EVERY = {"IMPRIMATUR_CANARY_EVERY": "30", "IMPRIMATUR_DEMO_SCRIPT": "once"}


def runs(desk: Installation) -> list[tuple[str, list[dict[str, Any]]]]:
    """The runs that the server has, the oldest first."""
    assert desk.process.poll() is None, desk.output.read_text(encoding="utf-8", errors="replace")[-4000:]
    with closing(sqlite3.connect(f"file:{desk.data / 'imprimatur.sqlite3'}?mode=ro", uri=True)) as database:
        rows = database.execute('SELECT result, attempts FROM governance_canaryrun ORDER BY "index"').fetchall()
    return [(result, json.loads(attempts)) for result, attempts in rows]


def wrong(run: tuple[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [attempt for attempt in run[1] if not canaries.as_expected(attempt)]


def test_the_demo_runs_its_canaries_by_the_clock_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    with installation(tmp_path / "data", environment=EVERY) as desk:
        first = eventually(lambda: runs(desk), seconds=120, every=0.5)
        assert wrong(first[0]) == [] and first[0][0] == canaries.PASSED
        assert [attempt["name"] for attempt in first[0][1]] == list(canaries.ATTEMPTS)
        assert (desk.data / "canary").stat().st_mode & 0o077 == 0
    with installation(tmp_path / "data", environment=EVERY) as desk:
        done = eventually(lambda: runs(desk)[1:], seconds=150, every=0.5)
        assert wrong(done[0]) == [] and done[0][0] == canaries.PASSED
