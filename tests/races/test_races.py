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
from tests.sqlite import migrated

Race = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as uri:
        yield uri


# As they are run in earnest: on SQLite one process writes, on PostgreSQL several do. The others are for a longer run.
EARNEST = ["sqlite-threads", "postgres-processes"]
ALL = [*EARNEST, "sqlite-processes", "postgres-threads"]


@pytest.fixture(params=ALL if os.environ.get("IMPRIMATUR_TEST_RACES") == "all" else EARNEST)
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
        migrated(tmp_path / "data")
        yield run
        return
    with fresh_database(request.getfixturevalue("server"), migrated=True) as url:
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


def test_invariant_3_one_signature_counts_once_however_often_it_is_sent_at_once(race: Race):
    found = race("same_ceremony")
    assert found["votes"] == 1
    assert found["states"].count("AWAITING_CONFIRMATION") == 1
    assert set(found["states"]) <= {"AWAITING_CONFIRMATION", "wrong-state", "not-allowed"}
    assert (found["state"], found["decisions"]) == ("AWAITING_CONFIRMATION", 0)


def test_invariant_3_one_person_in_two_windows_counts_once(race: Race):
    found = race("two_ceremonies_of_one")
    assert (found["votes"], found["people"]) == (1, 1)
    assert found["states"].count("AWAITING_CONFIRMATION") == 1
    assert (found["state"], found["decisions"]) == ("AWAITING_CONFIRMATION", 0)


def test_invariant_3_two_approvals_at_once_are_no_confirmation(race: Race):
    found = race("two_approve")
    assert sorted(found["states"]) == ["AWAITING_CONFIRMATION", "wrong-state"]
    assert (found["state"], found["votes"], found["decisions"]) == ("AWAITING_CONFIRMATION", 1, 0)


def test_invariant_3_of_many_confirmations_at_once_one_by_another_person_counts(race: Race):
    found = race("confirmations")
    assert found["states"].count("APPROVED") == 1
    assert found["states"][0] in {"not-allowed", "wrong-state"}
    assert found["states"][2] in {"not-allowed", "wrong-state"}
    assert (found["state"], found["votes"], found["people"], found["decisions"]) == ("APPROVED", 2, 2, 1)


def test_a_key_that_is_revoked_as_it_signs_leaves_nothing_to_use(race: Race):
    found = race("revoked_meanwhile")
    assert found["states"][1] == "revoked"
    assert found["states"][0] in {"APPROVED", "key-revoked", "not-allowed", "wrong-state"}
    assert found["state"] in {"AWAITING_CONFIRMATION", "INVALIDATED"}


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


def test_invariant_3_the_last_use_of_a_grant_is_made_once(race: Race):
    found = race("grant")
    assert (found["uses"], found["decided"]) == (1, 1)
    assert sorted(found["states"]) == ["APPROVED"] + ["PENDING"] * 5


def test_after_a_grant_is_revoked_nothing_runs_on_it(race: Race):
    found = race("revoked_grant")
    assert found["states"][0] == "revoked"
    assert set(found["states"][1:]) <= {"APPROVED", "PENDING"}
    assert found["late"] == 0
    assert found["uses"] == found["states"].count("APPROVED")


def test_nothing_is_erased_after_the_hold_that_covers_it(race: Race):
    found = race("holds")
    assert found["after_the_hold"] == []
    assert set(found["states"]) <= {"erased", "passed by", "declined"}
    assert found["states"].count("erased") == found["erased"] == found["gone"]
    assert found["still_in_files"] == [], "SQLite wrote over what was erased"


def test_of_statements_that_race_for_one_place_in_their_tree_one_is_written(race: Race):
    found = race("statements_of_one")
    assert sorted(found["states"]) == ["attested"] + ["wrong-state"] * 5
    assert (found["launches"], found["statements"], found["same_tree"]) == (1, 1, True)


def test_a_statement_that_is_sent_many_times_at_once_is_written_once(race: Race):
    found = race("same_statement")
    assert len(set(found["states"])) == 1, "everybody is told the same entry"
    assert found["observations"] == 1


def test_after_a_service_is_retired_nothing_it_signed_is_written(race: Race):
    found = race("retired_meanwhile")
    assert found["states"][0] == "retired"
    assert found["states"][1] in {"attested", "key-revoked"}
    assert found["launches"] == (found["states"][1] == "attested")
