"""A desk on which something runs: as attested, with drift, unseen, refused, and belonging to nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from audit.log import commit, utc_now
from governance.runtime.actions import attest_launch, record_observation
from governance.runtime.models import Launch
from imprimatur.formats.attestation import MONITOR, ORCHESTRATOR
from tests.attesting.service import ServiceUnderTest, predicate_of, service, without_seccomp
from tests.conftest import World
from tests.door.agent import through_django


def runs(world: World) -> None:
    """Three launches of which one runs as attested, one differs and one was never seen; a refusal; a stray."""
    orchestrator = service(world, through_django, ORCHESTRATOR, "orchestrator host-7")
    monitor = service(world, through_django, MONITOR, "monitor host-7")
    good, bad, unseen = (_start(orchestrator, name) for name in ("robo", "twin", "robo"))
    Launch.objects.filter(pk=unseen["launch"]).update(attested_at=utc_now() - timedelta(minutes=12))
    _start(orchestrator, "robo", command=["/usr/bin/robo", "--dangerously-skip-permissions"])
    _see(monitor, good)
    _see(monitor, bad)
    _see(monitor, bad, processes=[{**without_seccomp(bad), "command": ["/usr/bin/robo", "--verbose", "x" * 300]}])
    _see(monitor, None, claimed="something else")


def _start(orchestrator: ServiceUnderTest, name: str, **changes: Any) -> dict[str, Any]:
    text = orchestrator.launch(name, **changes)
    commit(attest_launch.apply, attest_launch.prepare(orchestrator.row, text, utc_now()))
    orchestrator.took(text)
    return predicate_of(text)


def _see(monitor: ServiceUnderTest, launch: dict[str, Any] | None, **changes: Any) -> None:
    text = monitor.observation(launch, **changes)
    commit(record_observation.apply, record_observation.prepare(monitor.row, [text], utc_now()))
    monitor.took(text)
