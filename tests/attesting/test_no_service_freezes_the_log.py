"""Whatever a service signs, at the limits of every field and beside whatever admins do at the same moment: it is
entered or refused, and the notary signs what was entered."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from audit.log import commit_each, utc_now
from governance.actions import (
    activate_policy,
    change_person,
    revoke_delegation,
    revoke_key,
    revoke_person_key,
    set_pause,
    suspend_agent,
)
from governance.errors import Refused
from governance.models import AgentKey, PersonKey
from governance.runtime.actions import (
    attest_launch,
    end_launch,
    lose_launch,
    record_observation,
    report_canary,
    retire_service,
)
from governance.runtime.models import Launch, Observation
from imprimatur.formats import attestation
from imprimatur.rules.policy import DEMO_POLICY
from tests.attesting.service import GOT_THROUGH, ServiceUnderTest, predicate_of, process_of, without_seccomp
from tests.conftest import World
from tests.verify.builder import CONFIGURATION as LAYER

pytestmark = pytest.mark.usefixtures("published")

WIDE = "\U0001f512"
HIDDEN = "\u202e\u200b\x1b\x7f"
FILLERS = {
    "ascii": "x",
    "wide": WIDE,
    "latin": "é",
    "hidden": HIDDEN,
    "backslash": "\\",
    "quote": '"',
    "apostrophe": "'",
}

filled_with = pytest.mark.parametrize("filler", FILLERS.values(), ids=FILLERS.keys())


def filled(build: Callable[[int], str]) -> str:
    """The statement that `build` makes with the largest filling that still fits."""
    low, high, best = 0, attestation.MAX_PAYLOAD, ""
    while low <= high:
        middle = (low + high) // 2
        try:
            best, low = build(middle), middle + 1
        except ValueError:
            high = middle - 1
    assert len(best) > attestation.MAX_PAYLOAD
    return best


def test_the_largest_launch_is_attested(orchestrator: ServiceUnderTest, world: World) -> None:
    text = LAYER.format(realm=world.realm, agent=world.robo.pk)
    largest = filled(
        lambda n: orchestrator.launch(layers=[orchestrator.layer(world.robo.pk, text=f"{text}#{'x' * n}")])
    )
    assert orchestrator.post("/launches", {"statement": largest}).status == 201


@filled_with
def test_the_largest_command_is_refused_and_entered(orchestrator: ServiceUnderTest, filler: str) -> None:
    def command(n: int) -> str:
        each = (filler * (n // len(filler) + 1))[:n]
        words = ["--debug", *(each[at : at + 4000] for at in range(0, n, 4000))]
        return orchestrator.launch(command=["/usr/bin/robo", *words])

    assert orchestrator.post("/launches", {"statement": filled(command)}).code == "launch-refused"


@filled_with
def test_the_most_and_longest_reasons_are_entered(orchestrator: ServiceUnderTest, filler: str) -> None:
    good = predicate_of(orchestrator.launch())

    def strange(n: int) -> str:
        tables = {f"{filler * 10}{number}": {"x": 1} for number in range(n)}
        return orchestrator.seal(attestation.LAUNCH, {"effective-config": "00" * 32}, {**good, "effective": tables})

    answer = orchestrator.post("/launches", {"statement": filled(strange)})
    assert answer.code == "launch-refused"
    assert answer.json["reasons"][-1]["code"] == "more"


@filled_with
def test_the_largest_observation_with_the_most_findings_is_entered(
    orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, filler: str
) -> None:
    text = orchestrator.launch()
    assert orchestrator.post("/launches", {"statement": text}).status == 201
    launch = predicate_of(text)

    def seen(n: int) -> str:
        each = (filler * (n // 40 + 1))[: max(1, n // 40)]
        other = {
            **process_of(launch),
            "command": [each],
            "executable": {"path": each},
            "seccomp": 0,
            "no_new_privileges": False,
            "capabilities": {},
            "namespaces": {},
            "limits": {},
            "configuration": "sha256:" + "00" * 32,
        }
        processes = [{**other, "pid": 5000 + at, "parent": 4710 + at, "uid": at} for at in range(40)]
        return monitor.observation(launch, processes=processes)

    answer = monitor.observe(filled(seen))
    assert answer.status == 201, answer.raw
    assert len({finding["code"] for finding in answer.json["observations"][0]["findings"]}) == 9


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00.000Z", "1970-01-01T00:00:00.000Z"])
def test_a_statement_from_long_ago_is_entered(
    orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, canary: ServiceUnderTest, at: str
) -> None:
    assert orchestrator.attest(at=at).status == 201
    assert monitor.see(None, at=at).status == 201
    ended = datetime.fromisoformat(at).astimezone(UTC).replace(year=1970)
    assert canary.report(ended).status == 201


@pytest.mark.parametrize("depth", [10, 60, 70, 200, 300, 330, 400, 900])
def test_a_layer_that_is_nested_is_judged_alike_wherever_it_is_read(orchestrator: ServiceUnderTest, depth: int) -> None:
    # Where a parser gives up depends on how deep its caller stands; the server and the notary do not stand alike.
    layer = orchestrator.layer(orchestrator.world.robo.pk, text=f"x = {'[' * depth}{']' * depth}\n")
    assert orchestrator.attest(layers=[layer], effective={}).code == "launch-refused"


def _second_policy() -> dict[str, Any]:
    return {**copy.deepcopy(DEMO_POLICY), "name": "Another"}


MEANWHILE: dict[str, Callable[[World, ServiceUnderTest], tuple[Any, Any]]] = {
    "suspended": lambda world, _: (suspend_agent.apply, suspend_agent.Command(world.robo, "stop", world.ada)),
    "delegation revoked": lambda world, _: (
        revoke_delegation.apply,
        revoke_delegation.Command(world.delegation.id if world.delegation else "", world.ada, "over"),
    ),
    "layer key revoked": lambda world, _: (
        revoke_person_key.apply,
        revoke_person_key.Command(PersonKey.objects.get(person=world.ada).pk, "lost", by=world.ada),
    ),
    "agent key revoked": lambda world, _: (
        revoke_key.apply,
        revoke_key.Command(AgentKey.objects.get(agent=world.robo).pk, "lost", by=world.ada),
    ),
    "demoted": lambda world, _: (
        change_person.apply,
        change_person.Command(world.ada, roles=("reviewer",), by=None, reason="moved"),
    ),
    "switched off": lambda world, _: (
        change_person.apply,
        change_person.Command(world.ada, active=False, by=None, reason="left"),
    ),
    "policy": lambda world, _: (activate_policy.apply, activate_policy.Command(_second_policy(), world.ada)),
    "paused": lambda world, _: (set_pause.apply, set_pause.Command("everything", "", "stop", world.ada)),
    "retired": lambda world, service: (
        retire_service.apply,
        retire_service.Command(service.row.pk, "replaced", world.ada),
    ),
}


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("what", ["launch", "refused", "observation", "canary"])
def test_a_statement_beside_what_an_admin_does_in_the_same_batch(
    orchestrator: ServiceUnderTest,
    monitor: ServiceUnderTest,
    canary: ServiceUnderTest,
    world: World,
    what: str,
    meanwhile: str,
    first: bool,
) -> None:
    if meanwhile in ("demoted", "switched off"):  # there is always an admin
        [done] = commit_each(
            [(change_person.apply, change_person.Command(world.rosa, roles=("admin", "reviewer"), reason="helps"))]
        )
        assert not isinstance(done, BaseException), done
    running = orchestrator.launch()
    assert orchestrator.post("/launches", {"statement": running}).status == 201
    orchestrator.took(running)
    launch, now = predicate_of(running), utc_now()
    drifting = [without_seccomp(launch)]
    service, module, said = {
        "launch": (orchestrator, attest_launch, orchestrator.launch()),
        "refused": (orchestrator, attest_launch, orchestrator.launch(delegations=[])),
        "observation": (monitor, record_observation, [monitor.observation(launch, processes=drifting)]),
        "canary": (canary, report_canary, canary.run(**GOT_THROUGH)),
    }[what]
    prepared: tuple[Any, Any] = (module.apply, module.prepare(service.row, said, now))
    act = MEANWHILE[meanwhile](world, service)
    batch = [act, prepared] if first else [prepared, act]

    results = commit_each(batch)

    acted, stated = results if first else reversed(results)
    assert not isinstance(acted, BaseException), acted
    if meanwhile == "retired" and first:
        assert isinstance(stated, Refused) and stated.code == "key-revoked"
    else:
        assert not isinstance(stated, BaseException), stated
    if what == "launch" and first and meanwhile not in ("paused", "agent key revoked", "retired"):
        assert Launch.objects.count() == 1, "it was judged again, by what is so now"


def test_the_end_of_a_launch_beside_its_retirement_and_what_was_seen_of_it(
    orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, world: World
) -> None:
    text = orchestrator.launch()
    assert orchestrator.post("/launches", {"statement": text}).status == 201
    launch = predicate_of(text)
    seen = [monitor.observation(launch, processes=[without_seccomp(launch)])]
    results = commit_each(
        [
            (end_launch.apply, end_launch.Command(launch["launch"], orchestrator.row.pk, "exited", 0)),
            (retire_service.apply, retire_service.Command(orchestrator.row.pk, "replaced", world.ada)),
            (lose_launch.apply, lose_launch.Command((launch["launch"],))),
            (record_observation.apply, record_observation.prepare(monitor.row, seen, utc_now())),
        ]
    )
    assert not [each for each in results if isinstance(each, BaseException)]
    assert Observation.objects.get().launch is None
