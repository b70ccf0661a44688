"""Whoever cannot be authenticated is slowed down, without slowing anybody else and without filling the log."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from approvals.door import limits, rejections
from audit.models import Entry
from governance.errors import Refused
from imprimatur.formats.keys import KeyPair
from tests.door.agent import AgentUnderTest


def test_whoever_keeps_failing_is_told_to_slow_down_and_nobody_else(
    robo: AgentUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits.rejected, "rate", limits.Rate(0.0001, 3))
    stranger = AgentUnderTest(robo.send, KeyPair.generate(), robo.delegation)
    codes = [stranger.get("/actions/act_01m7w0pz00nqxqgdnm4bcffzff").code for _ in range(5)]
    assert codes == ["key-unknown"] * 3 + ["rate-limited"] * 2
    answer = stranger.get("/actions/act_01m7w0pz00nqxqgdnm4bcffzff")
    assert answer.status == 429
    assert answer.headers["retry-after"]
    assert robo.read().status == 200


def test_a_key_has_a_limit_of_its_own(robo: AgentUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits.keys, "rate", limits.Rate(0.0001, 2))
    assert [robo.read().status for _ in range(3)] == [200, 200, 429]


def test_what_an_agent_sends_that_cannot_be_read_is_counted_under_its_key(robo: AgentUnderTest) -> None:
    before = Entry.objects.count()
    robo.post("/actions", {"surprise": True}, committed="sha256:" + "0" * 64)
    later = datetime.now(UTC) + timedelta(minutes=1)
    [(_, key, codes)] = rejections.take_finished(later)
    assert key == robo.key.thumbprint
    assert codes == {"malformed": 1}
    assert Entry.objects.count() == before


def test_a_bucket_that_is_empty_refuses() -> None:
    limiter = limits.Limiter(limits.Rate(0.0001, 1))
    limiter.take("a")
    with pytest.raises(Refused):
        limiter.take("a")
    limiter.take("b")


def test_counts_that_could_not_be_written_are_kept() -> None:
    now = datetime(2026, 11, 20, 8, 0, 30, tzinfo=UTC)
    rejections.clear()
    rejections.note("unknown", "signature", now)
    assert rejections.take_finished(now) == []
    taken = rejections.take_finished(now + timedelta(minutes=1))
    rejections.put_back(taken)
    assert rejections.take_finished(now + timedelta(minutes=1)) == taken
