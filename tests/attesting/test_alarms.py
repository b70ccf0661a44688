"""Admins hear once per change of what runs otherwise than attested, and of whoever fell silent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from approvals.notifications import alarms as mails
from audit.log import commit, utc_now
from audit.models import Outbox
from governance.models import Person
from governance.runtime import alarms
from governance.runtime.actions import retire_service
from governance.runtime.models import Service
from tests.attesting.service import GOT_THROUGH, ServiceUnderTest, predicate_of, without_seccomp
from tests.conftest import World


def standing(after: timedelta = timedelta()) -> dict[str, str]:
    return alarms.standing(utc_now() + after)


def start(orchestrator: ServiceUnderTest, name: str = "robo") -> dict[str, Any]:
    text = orchestrator.launch(name)
    assert orchestrator.post("/launches", {"statement": text}).status == 201
    orchestrator.took(text)
    return predicate_of(text)


def test_nothing_is_said_of_what_runs_as_attested(orchestrator: ServiceUnderTest, monitor: ServiceUnderTest) -> None:
    assert standing() == {}
    monitor.see(start(orchestrator))
    assert standing() == {}


def test_drift_is_one_trouble_until_it_is_another_or_over(
    orchestrator: ServiceUnderTest, monitor: ServiceUnderTest
) -> None:
    launch = start(orchestrator)
    monitor.see(launch, processes=[without_seccomp(launch)])
    first = standing()
    monitor.see(launch, processes=[without_seccomp(launch)])
    assert standing() == first
    assert list(first.values()) == [
        f"robo does not run as it was attested: seccomp missing (launch {launch['launch']})."
    ]
    monitor.see(launch, processes=[{**without_seccomp(launch), "no_new_privileges": False}])
    assert set(standing()) != set(first)
    monitor.see(launch)
    assert standing() == {}


def test_strays_and_refusals_are_one_trouble_each_for_a_while(
    orchestrator: ServiceUnderTest, monitor: ServiceUnderTest
) -> None:
    for number in range(3):
        monitor.see(None, claimed=f"other {number}")
        orchestrator.attest(delegations=[])
    first = standing()
    assert sorted(words.partition(" ")[0] for words in first) == ["refused", "stray"]
    assert any("belong to no launch" in words for words in first.values())
    assert any("grants-changed" in words for words in first.values())
    orchestrator.attest(policy=f"sha256:{'0' * 64}")
    assert len(standing()) == 3, "another reason is another trouble"
    assert standing(alarms.LASTS + timedelta(seconds=1)) == {}


def test_a_canary_is_a_trouble_while_it_is_red_void_or_silent(canary: ServiceUnderTest) -> None:
    now = utc_now() - timedelta(seconds=10)
    assert standing() == {}
    assert "never reported" in next(iter(standing(alarms.FIRST_RUN + timedelta(minutes=1)).values()))
    canary.report(now)
    assert standing() == {}
    canary.report(now + timedelta(seconds=1), **GOT_THROUGH)
    assert list(standing().values()) == ["AN ATTACK BY A CANARY GOT THROUGH: out-of-scope. Look at once."]
    canary.report(now + timedelta(seconds=1.3), out_of_scope=(403, "busy"))
    assert list(standing().values()) == ["A canary was not refused as it must be: out-of-scope."]
    canary.report(now + timedelta(seconds=1.6), out_of_scope=(503, "busy"))
    assert "got no proper answer (out-of-scope)" in next(iter(standing().values()))
    canary.report(now + timedelta(seconds=2), positive_control=(503, "busy"))
    assert "prove nothing" in next(iter(standing().values()))
    canary.report(now + timedelta(seconds=3), every=60)
    assert standing(timedelta(seconds=90)) == {}
    assert "have not reported since" in next(iter(standing(timedelta(seconds=130)).values()))


def test_a_monitor_is_silent_only_while_something_runs(
    orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, world: World
) -> None:
    assert standing(timedelta(minutes=6)) == {}
    launch = start(orchestrator)
    assert standing() == {}
    assert "observed nothing yet" in next(iter(standing(timedelta(minutes=6)).values()))
    monitor.see(launch)
    assert "observed nothing since" in next(iter(standing(timedelta(minutes=6)).values()))
    commit(retire_service.apply, retire_service.Command(monitor.row.pk, "moved", world.ada))
    assert standing(timedelta(minutes=6)) == {}
    assert Service.objects.get(pk=monitor.row.pk).retired_at is not None


def test_admins_get_one_mail_per_change(
    orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, settings: Any, world: World
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    world.publish()
    launch = start(orchestrator)
    monitor.see(launch, processes=[without_seccomp(launch)])
    world.publish()
    mails.forget()
    now = utc_now()
    for minutes in (0, 2, 4):
        mails.look_after(now + timedelta(minutes=minutes))
    [row] = Outbox.objects.filter(topic="approvals.alarm")
    ada = Person.objects.select_related("user").get(pk=world.ada.pk)
    ada.user.email = "ada@example.org"
    mail = mails.compose(row.payload, ada)

    assert mail is not None
    assert mail.subject == f"[{world.realm}] What runs needs somebody"
    assert "robo does not run as it was attested" in mail.body
    assert "/runtime/" in mail.body and "/log/" not in mail.body
    mails.forget()


@pytest.mark.parametrize("words", ["\u202eevil", "<b>"])
def test_words_of_a_stranger_are_inert_in_a_mail(words: str, world: World) -> None:
    ada = Person.objects.select_related("user").get(pk=world.ada.pk)
    ada.user.email = "ada@example.org"
    mail = mails.compose({"said": [], "runs": [words]}, ada)
    assert mail is not None and "\u202e" not in mail.body
