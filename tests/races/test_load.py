"""No gap, no fork, no other order: the log on PostgreSQL while many write, and readers believe nothing.

IMPRIMATUR_TEST_LOAD is how many entries each of the 32 clients appends (60 unless told).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.installation import ROOT
from tests.postgres import fresh_database, postgres_server

EACH = int(os.environ.get("IMPRIMATUR_TEST_LOAD", "60"))
CLIENTS, PROCESSES = 32, 4


@pytest.mark.postgres
@pytest.mark.timeout(900 if EACH <= 60 else 3600)
def test_invariant_6_the_log_has_no_gap_fork_or_other_order_under_load(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    with postgres_server() as server, fresh_database(server, migrated=True) as url:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("IMPRIMATUR_")},
            "IMPRIMATUR_DATA": str(tmp_path / "data"),
            "IMPRIMATUR_REALM": "test.imprimatur",
            "IMPRIMATUR_REDIS_URL": f"unix://{tmp_path}/none.sock",
            "IMPRIMATUR_DATABASE_URL": url,
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.races.load", str(CLIENTS), str(PROCESSES), str(EACH)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-4000:]
    counted = json.loads(done.stdout.splitlines()[-1])
    for name, value in counted.items():
        record_property(name, value)
    sys.stderr.write(f"{counted}\n")
    assert counted["entries"] == CLIENTS * EACH
    # The readers really read while the log grew.
    assert counted["consistency"] >= 2
    assert counted["inclusion"] > 4 * counted["consistency"]
    assert counted["prefixes"] >= counted["checkpoints"]
