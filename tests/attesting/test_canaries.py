"""Canary runs through the agent door: their result is the server's, and a red one can pause everything."""

from __future__ import annotations

from datetime import timedelta

import pytest

from audit.log import utc_now
from governance.models import Pause
from governance.runtime.models import CanaryRun
from imprimatur.formats import attestation
from tests.attesting.service import GOT_THROUGH, ServiceUnderTest, entry

pytestmark = pytest.mark.usefixtures("published")


def test_a_run_is_recorded_with_the_result_of_its_attempts(canary: ServiceUnderTest) -> None:
    text = canary.run()
    first = canary.post("/canaries", {"statement": text})
    canary.took(text)
    again = canary.post("/canaries", {"statement": text})

    assert (first.status, again.status) == (201, 200), first.raw
    assert first.json == again.json == {**entry(CanaryRun.objects.get().index), "result": "PASSED", "own": canary.own}


def test_a_control_that_failed_is_a_warning_and_an_attack_that_got_through_a_failure(canary: ServiceUnderTest) -> None:
    now = utc_now()
    assert canary.report(now - timedelta(seconds=2), positive_control=(503, "busy")).json["result"] == "WARNED"
    assert canary.report(now - timedelta(seconds=1), **GOT_THROUGH).json["result"] == "FAILED"
    assert not Pause.objects.exists(), "nobody told the server to do more than to say so"


def test_a_result_that_is_not_what_the_attempts_give_is_malformed(canary: ServiceUnderTest) -> None:
    text = canary.run(**GOT_THROUGH)
    lie = attestation.open_statement(text.encode())
    said = dict(lie.predicate) | {"result": "PASSED"}
    answer = canary.post("/canaries", {"statement": canary.seal(attestation.CANARY, dict(lie.subjects), said)})

    assert (answer.status, answer.code) == (422, "malformed")
    assert not CanaryRun.objects.exists()


def test_runs_come_one_after_the_other(canary: ServiceUnderTest) -> None:
    now = utc_now()
    assert canary.report(now).status == 201
    answer = canary.report(now - timedelta(seconds=5))
    assert (answer.status, answer.code) == (409, "conflict")
    backwards = canary.seal(
        attestation.CANARY,
        {"realm": "ab" * 32},
        dict(attestation.open_statement(canary.run(now).encode()).predicate)
        | {"from": "2099-01-01T00:00:00.000Z", "own": canary.own},
    )
    assert canary.post("/canaries", {"statement": backwards}).code == "malformed"
