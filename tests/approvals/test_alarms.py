"""Admins hear of it when something is wrong with the log itself: once, and without looking."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from approvals import jobs
from approvals.notifications import alarms
from audit import fsck, log, outbox, sinks
from audit.log import utc_now
from audit.models import LogHead, Outbox
from audit.sinks import states
from governance.models import Person
from tests.conftest import World


@pytest.fixture
def told(world: World, settings: Any, monkeypatch: pytest.MonkeyPatch, mailoutbox: list[Any]) -> Any:
    """Look at the clock at a time, deliver, and return the new mails."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    for person in Person.objects.select_related("user"):
        person.user.email = f"{person.user.username}@example.org"
        person.user.save()
    queued: list[tuple[str, dict[str, Any]]] = []

    class Queue:
        def enqueue(self, function: str, payload: dict[str, Any]) -> None:
            queued.append((function, payload))

    monkeypatch.setattr("django_rq.get_queue", lambda name: Queue())
    alarms.forget()
    world.publish()

    def look(after: float = 0) -> list[Any]:
        at = utc_now() + timedelta(minutes=after)
        mailoutbox.clear()
        queued.clear()
        alarms.look_after(at)
        outbox.deliver(at)
        for function, payload in queued:
            assert function == "approvals.jobs.deliver_alarm"
            jobs.deliver_alarm(payload)
        return list(mailoutbox)

    yield look
    alarms.forget()


def test_nothing_is_said_while_all_is_well(told: Any) -> None:
    assert told() == []
    assert told(2) == []


def test_a_frozen_log_is_told_to_admins_once_and_again_when_it_freezes_anew(told: Any) -> None:
    log.freeze("entry 3 is missing <b>now</b>")
    [mail] = told()
    assert mail.to == ["ada@example.org"]
    assert "The log is frozen, so nothing is decided: entry 3 is missing" in mail.body
    assert "/log/" in mail.body
    assert told(2) == []
    LogHead.objects.update(state=LogHead.OPEN)
    assert told(4) == []
    LogHead.objects.update(state=LogHead.FROZEN)
    assert len(told(6)) == 1


def test_entries_that_wait_too_long_for_the_publisher_are_an_alarm(told: Any, world: World) -> None:
    world.enrol("late")
    assert told() == []
    [mail] = told(2)
    assert "wait to be published" in mail.body


def test_a_copy_that_differs_and_a_failed_check_are_alarms(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = states.Standing("archive", "x", 9, 9, None, 0, 9, None, False, None, "entry 4 differs", 1, True, False)
    monkeypatch.setattr(sinks, "standing", lambda: [bad])
    monkeypatch.setattr(fsck, "last", lambda: {"good": False})
    [mail] = told()
    assert "The copy at archive is not what this log says: entry 4 differs" in mail.body
    assert "audit_fsck" in mail.body


def test_without_a_mail_server_nothing_piles_up(told: Any, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    log.freeze("by hand")
    assert told() == []
    assert not Outbox.objects.filter(topic="approvals.alarm").exists()
