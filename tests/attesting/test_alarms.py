"""Admins hear once per change of what runs otherwise than attested, and of whoever fell silent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from approvals.notifications import alarms as mails
from audit import alarms as log_alarms
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
    second = standing()
    assert set(second) != set(first)
    monitor.see(launch)
    assert set(standing()) == set(second), "it is not told again"
    assert "robo did not always run as it was attested" in next(iter(standing().values()))
    assert not [words for words in standing(alarms.LASTS + timedelta(seconds=1)).values() if "attested" in words]


def test_what_was_wrong_between_two_looks_is_told_all_the_same(
    orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, canary: ServiceUnderTest
) -> None:
    """Drift of seconds, an end right behind it, and an attack that got through once only."""
    launch = start(orchestrator)
    monitor.see(launch, processes=[without_seccomp(launch)])
    monitor.see(launch)
    assert orchestrator.post(f"/launches/{launch['launch']}/ended", {"how": "exited", "code": 0}).status == 200
    now = utc_now()
    canary.report(now - timedelta(seconds=5), **GOT_THROUGH)
    canary.report(now)
    assert sorted(words.partition(" ")[0] for words in standing()) == ["canary", "drift"]
    assert "AN ATTACK BY A CANARY GOT THROUGH: out-of-scope. Look at once." in standing().values()
    assert standing(alarms.LASTS + timedelta(seconds=6)).keys().isdisjoint(standing())


def test_whoever_runs_otherwise_at_every_look_fills_no_mailbox(
    orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    mails.forget()
    now, troubles = utc_now(), dict[str, str]()
    monkeypatch.setattr(alarms, "standing", lambda at: dict(troubles))
    monkeypatch.setattr(log_alarms, "standing", lambda at: {})
    for minute in range(60):
        troubles = {f"drift lau_x code {minute}": "It drifts.", **({"canary sv_y z": "Red."} if minute == 30 else {})}
        mails.look_after(now + timedelta(minutes=minute))
    said = [row.payload["runs"] for row in Outbox.objects.filter(topic="approvals.alarm").order_by("pk")]
    assert said == [["It drifts."]] * mails.OFTEN + [["Red."]]
    mails.look_after(now + timedelta(minutes=61))
    assert Outbox.objects.filter(topic="approvals.alarm").count() == mails.OFTEN + 2, "what lasts is told in the end"
    mails.forget()


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
    through = standing()
    assert list(through.values()) == ["AN ATTACK BY A CANARY GOT THROUGH: out-of-scope. Look at once."]
    canary.report(now + timedelta(seconds=1.3), out_of_scope=(403, "busy"))
    assert beside(through) == ["A canary was not refused as it must be: out-of-scope."]
    canary.report(now + timedelta(seconds=1.6), out_of_scope=(503, "busy"))
    assert "got no proper answer (out-of-scope)" in beside(through)[0]
    canary.report(now + timedelta(seconds=2), positive_control=(503, "busy"))
    assert "prove nothing" in beside(through)[0]
    canary.report(now + timedelta(seconds=3), every=60)
    assert beside(through, timedelta(seconds=90)) == []
    assert "have not reported since" in beside(through, timedelta(seconds=130))[0]
    assert standing(alarms.LASTS + timedelta(minutes=1)).keys().isdisjoint(through)


def beside(through: dict[str, str], after: timedelta = timedelta()) -> list[str]:
    """What is told beside the attack that got through, which is a trouble for a while under a name of its own."""
    found = standing(after)
    assert through.items() <= found.items()
    return [words for name, words in found.items() if name not in through]


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
