"""Launches through the agent door: attested or refused, ended or lost, and every entry stands before the notary."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from audit.log import commit, utc_now
from audit.models import Entry
from governance.actions import suspend_agent
from governance.models import Agent
from governance.runtime import trees
from governance.runtime.actions import lose_launch, retire_service
from governance.runtime.models import Launch, RefusedLaunch, Service
from imprimatur.formats import attestation, canonical, dsse, ids
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import bubblewrap
from tests.attesting.service import ServiceUnderTest, entry, predicate_of, service
from tests.conftest import World
from tests.door.agent import AgentUnderTest, through_django
from tests.verify.builder import CONFIGURATION as LAYER

Publish = Callable[[], int]

pytestmark = pytest.mark.usefixtures("published")


def body_of(index: int) -> dict[str, Any]:
    """The body of an entry."""
    row = Entry.objects.get(pk=index)
    found: dict[str, Any] = canonical.loads(dsse.open_envelope(bytes(row.envelope)).payload)["body"]
    return found


def test_a_launch_is_attested_and_the_log_has_what_was_signed(orchestrator: ServiceUnderTest, world: World) -> None:
    text = orchestrator.launch()
    answer = orchestrator.post("/launches", {"statement": text})
    orchestrator.took(text)

    assert answer.status == 201, answer.raw
    launch = Launch.objects.get()
    assert answer.json == {
        "launch": predicate_of(text)["launch"],
        "agent": world.robo.pk,
        "state": "attested",
        **entry(launch.index),
        "own": orchestrator.own,
    }
    assert body_of(launch.index)["statement"] == text
    assert launch.signers == [world.ada.pk]
    assert launch.service_id == orchestrator.row.pk and launch.agent_id == world.robo.pk


def test_the_same_statement_again_answers_the_same_and_writes_nothing(orchestrator: ServiceUnderTest) -> None:
    text = orchestrator.launch()
    first = orchestrator.post("/launches", {"statement": text})
    size = Entry.objects.count()
    again = orchestrator.post("/launches", {"statement": text})

    assert (first.status, again.status) == (201, 200)
    assert again.json == first.json
    assert Entry.objects.count() == size


def test_a_statement_that_was_answered_before_the_newest_one_still_is(orchestrator: ServiceUnderTest) -> None:
    first = orchestrator.launch()
    told = orchestrator.post("/launches", {"statement": first})
    orchestrator.took(first)
    assert orchestrator.attest("twin").status == 201

    again = orchestrator.post("/launches", {"statement": first})
    assert again.status == 200
    assert again.json["index"] == told.json["index"]
    assert again.json["own"] == orchestrator.own


def test_a_refused_launch_is_in_the_log_with_its_reasons(orchestrator: ServiceUnderTest, world: World) -> None:
    text = orchestrator.launch(delegations=[])
    answer = orchestrator.post("/launches", {"statement": text})
    orchestrator.took(text)

    assert (answer.status, answer.code) == (403, "launch-refused")
    assert [reason["code"] for reason in answer.json["reasons"]] == ["grants-changed"]
    assert answer.json["own"] == orchestrator.own
    assert "receipt" not in answer.json and "verdict" not in answer.json
    assert body_of(answer.json["index"])["reasons"] == answer.json["reasons"]
    assert RefusedLaunch.objects.get().index == answer.json["index"]
    assert not Launch.objects.exists()
    again = orchestrator.post("/launches", {"statement": text})
    assert again.status == 403 and again.json["index"] == answer.json["index"]


def _unsafe(orchestrator: ServiceUnderTest, world: World) -> dict[str, Any]:
    text = LAYER.format(realm=world.realm, agent=world.robo.pk).replace("memory_mb = 256", 'memory_mb = "unlimited"')
    return {"layers": [orchestrator.layer(world.robo.pk, text=text)], "effective": {}, "flags": []}


def _wildcard(orchestrator: ServiceUnderTest, world: World) -> dict[str, Any]:
    text = LAYER.format(realm=world.realm, agent=world.robo.pk) + '[imports]\nallow = ["*"]\n'
    return {"layers": [orchestrator.layer(world.robo.pk, text=text)]}


def _bypass(orchestrator: ServiceUnderTest, world: World) -> dict[str, Any]:
    return {"command": ["/usr/bin/robo", "--dangerously-skip-permissions"]}


def _unsigned(orchestrator: ServiceUnderTest, world: World) -> dict[str, Any]:
    return {"layers": [orchestrator.layer(world.robo.pk, who=None)]}


def _signed_by_nobody(orchestrator: ServiceUnderTest, world: World) -> dict[str, Any]:
    world.ssh["stranger"] = KeyPair.generate()
    return {"layers": [orchestrator.layer(world.robo.pk, who="stranger")]}


def _other_flags(orchestrator: ServiceUnderTest, world: World) -> dict[str, Any]:
    return {"flags": [*bubblewrap.arguments(predicate_of(orchestrator.launch())["effective"]), "--share-net"]}


def _another_policy(orchestrator: ServiceUnderTest, world: World) -> dict[str, Any]:
    return {"policy": f"sha256:{'0' * 64}"}


def _another_command(orchestrator: ServiceUnderTest, world: World) -> dict[str, Any]:
    return {"command": ["/usr/bin/python3"]}


def _unknown_agent(orchestrator: ServiceUnderTest, world: World) -> dict[str, Any]:
    return {"agent": ids.agent_id(KeyPair.generate().public_key), "delegations": []}


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (_unsafe, "unlimited-memory"),
        (_wildcard, "wildcard-import"),
        (_bypass, "unsafe-flag"),
        (_unsigned, "unsigned-layer"),
        (_signed_by_nobody, "layer-signature"),
        (_other_flags, "flags-mismatch"),
        (_another_policy, "policy-changed"),
        (_another_command, "command-not-allowed"),
        (_unknown_agent, "agent-unknown"),
    ],
)
def test_what_must_not_be_started_is_refused_for_its_own_reason(
    orchestrator: ServiceUnderTest, world: World, wrong: Callable[..., dict[str, Any]], code: str
) -> None:
    changes = wrong(orchestrator, world)
    answer = orchestrator.attest(**changes)

    assert (answer.status, answer.code) == (403, "launch-refused"), answer.raw
    assert code in [reason["code"] for reason in answer.json["reasons"]]
    assert not Launch.objects.exists()


def test_a_refusal_with_many_reasons_fits_into_an_entry(orchestrator: ServiceUnderTest, world: World) -> None:
    keys = "\n".join(f'[{"t" * 180}{number}]\nkey = "{"x" * 200}"' for number in range(50))
    layer = orchestrator.layer(world.robo.pk, text=LAYER.format(realm=world.realm, agent=world.robo.pk) + keys)
    answer = orchestrator.attest(layers=[layer], effective={}, flags=[])

    assert (answer.status, answer.code) == (403, "launch-refused"), answer.raw
    assert len(answer.json["reasons"]) == 32


def test_a_suspended_agent_is_not_launched_and_launching_does_not_resume_it(
    orchestrator: ServiceUnderTest, world: World
) -> None:
    commit(suspend_agent.apply, suspend_agent.Command(world.robo, "looked odd", world.ada))
    answer = orchestrator.attest()

    assert [reason["code"] for reason in answer.json["reasons"]] == ["agent-suspended"]
    assert Agent.objects.get(pk=world.robo.pk).state == Agent.SUSPENDED


def test_the_terms_are_those_that_the_launch_is_judged_by(orchestrator: ServiceUnderTest, world: World) -> None:
    assert world.delegation is not None
    ended = world.delegate(not_after=format_time(utc_now() + timedelta(milliseconds=400)))
    deadline = utc_now() + timedelta(seconds=10)
    while ended.pk in orchestrator.get(f"/launches/terms?agent={world.robo.pk}").json["delegations"]:
        assert utc_now() < deadline
    answer = orchestrator.get(f"/launches/terms?agent={world.robo.pk}")

    assert answer.status == 200
    said = predicate_of(orchestrator.launch())
    assert answer.json == {
        "agent": world.robo.pk,
        "name": "robo",
        "state": "active",
        "realm": world.realm,
        "delegations": [world.delegation.pk],
        "policy": said["policy"],
        "merge": said["merge"],
        "own": orchestrator.own,
    }
    assert orchestrator.attest().status == 201


def test_terms_of_an_agent_that_does_not_exist_are_not_found(orchestrator: ServiceUnderTest) -> None:
    nobody = ids.agent_id(KeyPair.generate().public_key)
    assert orchestrator.get(f"/launches/terms?agent={nobody}").code == "not-found"
    assert orchestrator.get("/launches/terms?agent=robo").code == "not-found"
    assert orchestrator.get("/launches/terms").code == "malformed"


def test_a_statement_that_does_not_follow_is_told_what_the_server_has(orchestrator: ServiceUnderTest) -> None:
    assert orchestrator.attest().status == 201
    size = Entry.objects.count()
    text = orchestrator.launch(own={"size": 0, "root": f"sha256:{'0' * 64}"})
    answer = orchestrator.post("/launches", {"statement": text})

    assert (answer.status, answer.code) == (409, "wrong-state")
    assert answer.json["own"] == orchestrator.own
    assert Entry.objects.count() == size
    assert orchestrator.get("/service").json["own"] == orchestrator.own


def test_two_launches_with_one_id_are_a_conflict(orchestrator: ServiceUnderTest) -> None:
    launch = orchestrator.attest().json["launch"]
    answer = orchestrator.attest("twin", launch=launch)
    assert (answer.status, answer.code) == (409, "conflict")
    assert orchestrator.attest("twin").status == 201, "nothing was taken, so the tree is as it was"


@pytest.mark.parametrize("change", ["realm", "service", "key", "future", "type", "noise"])
def test_what_is_no_statement_of_this_service_leaves_no_entry(
    orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, change: str
) -> None:
    later = format_time(utc_now() + timedelta(minutes=5))
    text = {
        "realm": lambda: orchestrator.launch(realm="elsewhere.example"),
        "service": lambda: orchestrator.launch(service=monitor.row.pk),
        "key": lambda: orchestrator.launch(key=KeyPair.generate()),
        "future": lambda: orchestrator.launch(at=later),
        "type": lambda: orchestrator.observation(None),
        "noise": lambda: "{}",
    }[change]()
    size = Entry.objects.count()
    answer = orchestrator.post("/launches", {"statement": text})

    assert (answer.status, answer.code) == (422, "malformed")
    assert Entry.objects.count() == size
    assert Service.objects.get(pk=orchestrator.row.pk).size == 0


def test_an_orchestrator_ends_its_launch_once(orchestrator: ServiceUnderTest) -> None:
    launch = orchestrator.attest().json["launch"]
    first = orchestrator.post(f"/launches/{launch}/ended", {"how": "exited", "code": 3})
    again = orchestrator.post(f"/launches/{launch}/ended", {"how": "exited", "code": 3})

    assert first.status == again.status == 200
    assert (
        first.json
        == again.json
        == {
            "launch": launch,
            "state": "ended",
            "how": "exited",
            "code": 3,
            **entry(Entry.objects.get(kind="launch.ended").index),
        }
    )
    other = orchestrator.post(f"/launches/{launch}/ended", {"how": "killed"})
    assert (other.status, other.code) == (409, "wrong-state")
    assert orchestrator.attest().status == 201, "its tree did not grow with what is no statement"


def test_another_orchestrator_ends_and_sees_nothing_of_it(orchestrator: ServiceUnderTest, world: World) -> None:
    launch = orchestrator.attest().json["launch"]
    other = service(world, through_django, attestation.ORCHESTRATOR, "the other")

    answer = other.post(f"/launches/{launch}/ended", {"how": "exited"})
    assert (answer.status, answer.code) == (404, "not-found")
    assert other.post("/launches/nothing/ended", {"how": "exited"}).code == "not-found"
    assert other.get("/launches?live=1").json == {"launches": [], "more": False}


def test_live_launches_are_listed_page_by_page_without_their_layers(
    orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("approvals.door.attesting.PAGE", 1)
    first, second, ended = (orchestrator.attest(name).json for name in ("robo", "twin", "robo"))
    orchestrator.post(f"/launches/{ended['launch']}/ended", {"how": "exited"})

    page = monitor.get("/launches?live=1").json
    assert page["more"] is True
    [item] = page["launches"]
    assert item["launch"] == first["launch"] and item["index"] == first["index"]
    assert "layers" not in item["predicate"] and item["predicate"]["command"] == ["/usr/bin/robo"]
    rest = monitor.get(f"/launches?live=1&after={first['index']}").json
    assert [item["launch"] for item in rest["launches"]] == [second["launch"]]
    assert rest["more"] is False
    assert monitor.get("/launches?live=0").code == "malformed"


# --- lost ---------------------------------------------------------------------------------------------------------


def lose(after: timedelta) -> int:
    """What the clock does so much later. Returns how many are lost."""
    due = lose_launch.due(utc_now() + after)
    return commit(lose_launch.apply, lose_launch.Command(due)) if due else 0


def test_a_launch_whose_orchestrator_was_retired_is_lost(orchestrator: ServiceUnderTest, world: World) -> None:
    launch = orchestrator.attest().json["launch"]
    assert lose(timedelta()) == 0
    commit(retire_service.apply, retire_service.Command(orchestrator.row.pk, "replaced", world.ada))

    assert lose(timedelta()) == 1
    row = Launch.objects.get(pk=launch)
    assert (row.state, row.how, row.code) == (Launch.ENDED, "lost", None)
    assert Entry.objects.get(kind="launch.ended").actor_id == "imprimatur"


def test_a_launch_is_lost_ten_minutes_after_its_time_unless_it_is_seen(
    orchestrator: ServiceUnderTest, world: World
) -> None:
    row = Launch.objects.get(pk=orchestrator.attest().json["launch"])
    wall = timedelta(seconds=row.document["effective"]["limits"]["wall_seconds"])
    over = wall + lose_launch.GRACE + timedelta(seconds=1)

    assert lose_launch.due(row.attested_at + over - timedelta(seconds=2)) == ()
    assert lose_launch.due(row.attested_at + over) == (row.pk,)
    row.observed_at = row.attested_at + over
    row.save()
    assert lose_launch.due(row.attested_at + over) == ()
    assert lose_launch.due(row.attested_at + over + lose_launch.GRACE + timedelta(seconds=1)) == (row.pk,)


def test_what_looked_lost_and_is_not_under_the_lock_goes_on(orchestrator: ServiceUnderTest) -> None:
    launch = orchestrator.attest().json["launch"]
    assert commit(lose_launch.apply, lose_launch.Command((launch,))) == 0
    assert Launch.objects.get(pk=launch).state == Launch.ATTESTED


# --- what is asked under a launch ----------------------------------------------------------------------------------


def test_a_request_names_a_live_launch_of_its_own_agent_or_none(
    orchestrator: ServiceUnderTest, robo: AgentUnderTest
) -> None:
    mine = orchestrator.attest("robo").json["launch"]
    twins = orchestrator.attest("twin").json["launch"]

    assert robo.read(context={"launch": mine}).status == 200
    for wrong in (twins, "lau_nothing", ids.new_id("lau", utc_now())):
        answer = robo.read(context={"launch": wrong})
        assert (answer.status, answer.code) == (422, "malformed")
        assert "context.launch" in answer.json["detail"]


def test_what_was_asked_under_a_launch_goes_on_when_it_ends_and_nothing_new_is_asked(
    orchestrator: ServiceUnderTest, robo: AgentUnderTest
) -> None:
    launch = orchestrator.attest("robo").json["launch"]
    waits = robo.delete(context={"launch": launch})
    assert waits.status == 202
    orchestrator.post(f"/launches/{launch}/ended", {"how": "exited"})

    assert robo.get(f"/actions/{waits.json['id']}").status == 202
    assert robo.delete(context={"launch": launch}).code == "malformed"


def test_launch_document_keeps_what_was_signed(orchestrator: ServiceUnderTest) -> None:
    text = orchestrator.launch()
    orchestrator.post("/launches", {"statement": text})
    assert Launch.objects.get().document == predicate_of(text)
    row = Service.objects.get(pk=orchestrator.row.pk)
    orchestrator.took(text)
    assert trees.own_of(row) == orchestrator.own
    assert row.last_seen_at is not None
