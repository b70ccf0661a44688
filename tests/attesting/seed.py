"""A desk on which something runs: as attested, with drift, unseen, refused, and belonging to nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from audit.log import commit, utc_now
from governance.runtime.actions import attest_launch, record_observation, report_canary
from governance.runtime.models import Launch
from imprimatur.formats.attestation import CANARIES, MONITOR, ORCHESTRATOR
from tests.attesting.service import GOT_THROUGH, ServiceUnderTest, predicate_of, service, without_seccomp
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
    _canaries(world)


def _canaries(world: World) -> None:
    """Twelve days with four runs each, of which one gap, a red day and one that proves nothing."""
    runner = service(world, through_django, CANARIES, "canaries host-9")
    now = utc_now()
    odd: dict[int, dict[str, tuple[int, str]]] = {
        8: GOT_THROUGH,
        14: {"replayed": (401, "signature")},
        30: {"positive_control": (503, "log-behind"), "redeem_twice": (0, "")},
    }
    for number in range(48, -1, -1):
        if not 20 <= number <= 23:
            text = runner.run(now - timedelta(hours=6 * number), 21_600, **odd.get(number, {}))
            commit(report_canary.apply, report_canary.prepare(runner.row, text, utc_now()))
            runner.took(text)


def _start(orchestrator: ServiceUnderTest, name: str, **changes: Any) -> dict[str, Any]:
    text = orchestrator.launch(name, **changes)
    commit(attest_launch.apply, attest_launch.prepare(orchestrator.row, text, utc_now()))
    orchestrator.took(text)
    return predicate_of(text)


def _see(monitor: ServiceUnderTest, launch: dict[str, Any] | None, **changes: Any) -> None:
    text = monitor.observation(launch, **changes)
    commit(record_observation.apply, record_observation.prepare(monitor.row, [text], utc_now()))
    monitor.took(text)
