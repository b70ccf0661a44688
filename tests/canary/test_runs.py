"""Runs of the canaries against the server itself: each attempt is refused for its own reason."""

from __future__ import annotations

from imprimatur.rules import canaries as rules
from tests.canary.desk import Canaries


def test_every_attempt_gets_exactly_what_it_must(canaries: Canaries) -> None:
    first = canaries.run()
    second = canaries.run()

    for done in (first, second):
        assert canaries.wrong(done) == {}, done.attempts
        assert done.result == rules.PASSED
    assert canaries.newest().index == second.index
    assert [each["name"] for each in canaries.newest().attempts] == list(rules.ATTEMPTS)
