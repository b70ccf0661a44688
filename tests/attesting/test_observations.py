"""Observations through the agent door: drift, what matches nothing, and what the server does about it by itself."""

from __future__ import annotations

from typing import Any

import pytest

from audit.models import Entry
from governance.runtime.models import Launch, Observation
from tests.attesting.service import (
    ServiceUnderTest,
    entry,
    predicate_of,
    process_of,
    without_seccomp,
)
from tests.conftest import World
from tests.door.agent import AgentUnderTest
from tests.verify.builder import CONFIGURATION as LAYER

pytestmark = pytest.mark.usefixtures("published")


@pytest.fixture
def running(orchestrator: ServiceUnderTest) -> dict[str, Any]:
    """What the orchestrator signed of a launch of robo that runs now."""
    text = orchestrator.launch()
    assert orchestrator.post("/launches", {"statement": text}).status == 201
    orchestrator.took(text)
    return predicate_of(text)


def test_a_launch_that_runs_as_it_was_attested_has_no_findings(
    monitor: ServiceUnderTest, running: dict[str, Any]
) -> None:
    answer = monitor.see(running)

    assert answer.status == 201, answer.raw
    index = Observation.objects.get().index
    assert answer.json == {
        "observations": [{**entry(index), "launch": running["launch"], "matched": True, "findings": []}],
        "own": monitor.own,
    }
    launch = Launch.objects.get()
    assert (launch.observations, launch.drifted) == (1, 0)
    assert launch.observed_at is not None


def test_drift_is_found_by_the_server_and_by_itself_suspends_nobody(
    monitor: ServiceUnderTest, running: dict[str, Any], robo: AgentUnderTest
) -> None:
    answer = monitor.see(running, processes=[without_seccomp(running)])

    [seen] = answer.json["observations"]
    assert [(finding["code"], finding["pid"]) for finding in seen["findings"]] == [("seccomp-missing", 4711)]
    assert Launch.objects.get().drifted == 1
    assert robo.read().status == 200


def test_what_matches_no_launch_is_recorded_as_that(
    monitor: ServiceUnderTest, orchestrator: ServiceUnderTest, running: dict[str, Any]
) -> None:
    orchestrator.post(f"/launches/{running['launch']}/ended", {"how": "exited"})
    for claimed in ("", "what the process says", running["launch"]):
        text = monitor.observation(None, claimed)
        [seen] = monitor.observe(text).json["observations"]
        monitor.took(text)
        assert (seen["matched"], seen["findings"]) == (False, [])
        assert "launch" not in seen
    assert Observation.objects.filter(launch=None).count() == 3


def test_twenty_observations_go_in_one_call_and_all_are_answered_again(
    monitor: ServiceUnderTest, running: dict[str, Any]
) -> None:
    texts = []
    for _ in range(20):
        texts.append(monitor.observation(running))
        monitor.took(texts[-1])
    first = monitor.observe(*texts)
    size = Entry.objects.count()
    again = monitor.observe(*texts)

    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    assert first.json["own"] == monitor.own
    assert Entry.objects.count() == size
    assert monitor.observe(*texts, texts[0]).code == "malformed", "21 are too many"


def test_a_batch_of_which_some_are_there_already_goes_on_behind_them(
    monitor: ServiceUnderTest, running: dict[str, Any]
) -> None:
    first = monitor.observation(running)
    assert monitor.observe(first).status == 201
    monitor.took(first)
    second = monitor.observation(running)
    answer = monitor.observe(first, second)

    assert answer.status == 201
    assert len(answer.json["observations"]) == 2
    assert Observation.objects.count() == 2


def test_a_batch_with_one_out_of_place_is_not_written_at_all(
    monitor: ServiceUnderTest, running: dict[str, Any]
) -> None:
    good, stray = monitor.observation(running), monitor.observation(running, node={"name": "other", "kernel": "6"})
    size = Entry.objects.count()
    answer = monitor.observe(good, stray)

    assert (answer.status, answer.code) == (409, "wrong-state")
    assert answer.json["own"] == monitor.own, "as it was before the call, since nothing was written"
    assert Entry.objects.count() == size


def test_what_is_found_fits_into_an_entry_whatever_runs(
    monitor: ServiceUnderTest, orchestrator: ServiceUnderTest, world: World
) -> None:
    """Whoever makes the processes must not be able to keep a monitor from saying so."""
    allowed = ", ".join(f'"/opt/{"tool" * 12}/{number}"' for number in range(20))
    layer = LAYER.format(realm=world.realm, agent=world.robo.pk).replace(
        '"/usr/bin/robo"', f'"/usr/bin/robo", {allowed}'
    )
    launched = orchestrator.launch(layers=[orchestrator.layer(world.robo.pk, text=layer)])
    assert orchestrator.post("/launches", {"statement": launched}).status == 201
    running = predicate_of(launched)
    swarm = [
        {
            "pid": 5000 + number,
            "parent": 1,
            "started": 20000 + number,
            "uid": 0,
            "command": ["\U0001f4a3" * 350],
            "executable": {"path": f"/tmp/{number}"},
            "seccomp": 0,
            "no_new_privileges": False,
            "capabilities": {},
            "namespaces": {},
            "cgroup": "",
            "limits": {},
        }
        for number in range(10)
    ]
    text = monitor.observation(running, processes=[process_of(running), *swarm])
    assert len(text) > 20_000
    answer = monitor.observe(text)

    assert answer.status == 201, answer.raw
    codes = {finding["code"] for finding in answer.json["observations"][0]["findings"]}
    assert {"unknown-process", "seccomp-missing", "privileges", "namespace", "limit", "other-user"} <= codes
