"""Races with real processes and real threads, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.installation import ROOT
from tests.postgres import fresh_database, postgres_server

Race = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as uri:
        yield uri


@pytest.fixture(
    params=["sqlite-processes", "sqlite-threads", "postgres-processes", "postgres-threads"],
)
def race(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Race]:
    """Run one scenario in a fresh installation and return what it saw."""
    database, together = request.param.split("-")

    def run(scenario: str, url: str = "") -> dict[str, Any]:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("IMPRIMATUR_")},
            "IMPRIMATUR_DATA": str(tmp_path / "data"),
            "IMPRIMATUR_REALM": "test.imprimatur",
            "IMPRIMATUR_REDIS_URL": f"unix://{tmp_path}/none.sock",
            "IMPRIMATUR_DATABASE_URL": url,
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.races.scenario", scenario, together],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert found["contiguous"], "the log has a gap"
        assert found["published"] == found["size"], "the notary refused to publish"
        return found

    if database == "sqlite":
        yield run
        return
    with fresh_database(request.getfixturevalue("server")) as url:
        yield lambda scenario: run(scenario, url)


def test_invariant_5_concurrent_payments_never_reserve_more_than_the_limit(race: Race):
    found = race("spend")
    assert found["states"].count("PENDING") == 7
    assert found["states"].count("REFUSED") == 5
    assert found["reserved"] == 140_000_000 <= found["limit"]


def test_invariant_3_two_reviewers_at_once_give_one_decision(race: Race):
    found = race("votes")
    assert found["decisions"] == 1
    assert found["state"] in {"APPROVED", "DENIED"}
    won = found["states"].count(found["state"])
    assert won == 1, "one of the two won"
    assert len(set(found["states"])) == 2, "and the other was told"


def test_invariant_1_one_approval_is_redeemed_by_one_execution(race: Race):
    found = race("redeem")
    assert found["redeemed"] == 1
    assert sorted(found["states"]) == ["REDEEMED"] + ["already-redeemed"] * 5


def test_the_same_request_from_many_copies_of_an_agent_is_one_request(race: Race):
    found = race("idempotency")
    assert found["requests"] == 1
    assert set(found["states"]) == {"PENDING"}


def test_after_a_revocation_commits_nothing_under_it_is_redeemed(race: Race):
    found = race("revocation")
    assert found["states"][0] == "revoked"
    assert set(found["states"][1:]) <= {"REDEEMED", "delegation-revoked", "invalidated", "wrong-state"}
    assert found["after"] == "REFUSED"
    assert found["still_usable"] == 0
