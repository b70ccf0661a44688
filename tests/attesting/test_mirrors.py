"""The rows of what runs are held against the log: each way in which one can be changed behind its back is found."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F, Model

from audit import fsck
from governance.runtime.models import CanaryRun, Launch, Observation, RefusedLaunch, Service
from tests.attesting.service import ServiceUnderTest, predicate_of, without_seccomp
from tests.conftest import World


@pytest.fixture
def attested(
    world: World, orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, canary: ServiceUnderTest
) -> Launch:
    """A launch that runs and drifted, one that ended, one that was refused, and a run of the canaries."""
    assert orchestrator.attest(delegations=[]).status == 403
    ended = orchestrator.launch()
    assert orchestrator.post("/launches", {"statement": ended}).status == 201
    orchestrator.took(ended)
    name = predicate_of(ended)["launch"]
    assert orchestrator.post(f"/launches/{name}/ended", {"how": "exited", "code": 0}).status in {200, 201}
    live = orchestrator.launch()
    assert orchestrator.post("/launches", {"statement": live}).status == 201
    said = predicate_of(live)
    assert monitor.see(said, processes=[without_seccomp(said)]).status == 201
    assert monitor.see(None).status == 201
    assert canary.report().status == 201
    world.publish()
    return Launch.objects.get(pk=said["launch"])


def told() -> list[str]:
    return [finding.what for finding in fsck.run().findings if finding.where == "running"]


def test_rows_that_repeat_the_log_are_found_good(attested: Launch) -> None:
    assert attested.drifted == 1
    assert told() == []


CHANGES: list[tuple[type[Model], dict[str, Any], str]] = [
    (Service, {"size": F("size") + 1}, "service "),
    (Service, {"role": "monitor"}, "service "),
    (Launch, {"runtime": "docker"}, "otherwise of runtime"),
    (Launch, {"launched": False}, "otherwise of runtime"),
    (Launch, {"document": {}}, "otherwise of document"),
    (Launch, {"state": Launch.ENDED}, "is in the log and not in the table"),
    (Launch, {"how": "killed"}, "does not say how it ended"),
    (Launch, {"drifted": 0}, "running launch "),
    (Launch, {"signers": []}, "running launch "),
    (RefusedLaunch, {"reasons": []}, "otherwise of reasons"),
    (Observation, {"findings": []}, "otherwise of findings"),
    (Observation, {"launch": None}, "otherwise of launch"),
    (Observation, {"claimed": "x"}, "otherwise of claimed"),
    (CanaryRun, {"result": "FAILED"}, "otherwise of result"),
    (CanaryRun, {"attempts": []}, "otherwise of attempts"),
    (CanaryRun, {"ended_at": F("ended_at") + timedelta(seconds=1)}, "otherwise of times"),
]


@pytest.mark.parametrize(
    ("model", "change", "says"), CHANGES, ids=[f"{model.__name__} {next(iter(change))}" for model, change, _ in CHANGES]
)
def test_a_row_that_was_changed_is_found(
    attested: Launch, model: type[Model], change: dict[str, Any], says: str
) -> None:
    model._default_manager.update(**change)
    found = told()
    assert found
    assert any(says in what for what in found), found


@pytest.mark.parametrize("take", [RefusedLaunch, Observation, CanaryRun], ids=lambda model: model.__name__)
def test_a_row_that_is_gone_is_found(attested: Launch, take: type[Model]) -> None:
    take._default_manager.all().delete()
    assert any("is in the log and not in the table" in what for what in told())


@pytest.mark.parametrize("model", [RefusedLaunch, CanaryRun], ids=lambda model: model.__name__)
def test_a_row_without_an_entry_is_found(attested: Launch, model: type[Model]) -> None:
    row = model._default_manager.get()
    row.pk = 10_000
    row.save(force_insert=True)
    assert any("the table holds 2 rows" in what for what in told())
