from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from audit import inbox, log, outbox
from audit.errors import LogFrozen
from audit.models import Outbox


@pytest.fixture
def got(monkeypatch) -> list[dict]:
    received: list[dict] = []
    monkeypatch.setattr(inbox, "_handlers", {})
    monkeypatch.setattr(outbox, "_handlers", {})

    @inbox.handler("sum.ready")
    def take(payload: dict) -> None:
        if payload.get("freeze"):
            raise LogFrozen("for the test")
        if payload.get("bad"):
            raise ValueError("bad")
        received.append(payload)

    @outbox.handler("mail")
    def send(payload: dict) -> None:
        if payload.get("bad"):
            raise ConnectionError("smtp://user:secret@host")
        received.append(payload)

    return received


only_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="the spool is for SQLite")


@only_sqlite
def test_results_wait_in_the_inbox_and_are_applied_once_in_order(folders, db, got) -> None:
    for number in range(3):
        inbox.hand_over("sum.ready", {"n": number})
    assert got == []
    assert inbox.drain() == 3
    assert [item["n"] for item in got] == [0, 1, 2]
    assert inbox.drain() == 0


@only_sqlite
def test_a_result_that_is_refused_blocks_nobody_and_is_kept(folders, db, got) -> None:
    inbox.hand_over("sum.ready", {"bad": True})
    inbox.hand_over("sum.ready", {"n": 1})
    assert inbox.drain() == 1
    assert got == [{"n": 1}]
    assert len(list((folders / "inbox" / "failed").iterdir())) == 1


@only_sqlite
def test_while_the_log_is_frozen_results_stay(folders, db, got) -> None:
    inbox.hand_over("sum.ready", {"freeze": True})
    assert inbox.drain() == 0
    assert len(list((folders / "inbox").glob("*.json"))) == 1


def test_a_name_that_nobody_takes_is_refused_at_once(folders, got) -> None:
    with pytest.raises(inbox.UnknownNameError):
        inbox.hand_over("other", {})


def publish(writer: log.Writer, payload: dict) -> None:
    writer.publish("mail", payload)


def test_the_outbox_delivers_what_is_due_once(begun, got) -> None:
    log.commit(publish, {"to": "rui"})
    assert outbox.deliver() == 1
    assert outbox.deliver() == 0
    assert got == [{"to": "rui"}]


def test_a_row_claimed_by_another_is_left_until_its_claim_lapses(begun, got) -> None:
    log.commit(publish, {"to": "rui"})
    now = log.utc_now()
    Outbox.objects.update(claimed_at=now)
    assert outbox.deliver(now) == 0
    assert outbox.deliver(now + outbox.CLAIM_LAPSES + timedelta(seconds=1)) == 1


def test_invariant_11_a_failed_delivery_is_tried_again_given_up_and_its_error_holds_no_secret(begun, got) -> None:
    log.commit(publish, {"bad": True})
    now = log.utc_now()
    for _ in range(outbox.MOST_ATTEMPTS):
        assert outbox.deliver(now) == 0
        row = Outbox.objects.get()
        assert row.error == "ConnectionError"
        assert outbox.deliver(now) == 0
        now = max(now, row.not_before)
    row = Outbox.objects.get()
    assert row.attempts == outbox.MOST_ATTEMPTS
    assert row.done_at is not None
    assert outbox.forget(now + timedelta(days=1)) == 0
