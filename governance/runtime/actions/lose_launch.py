"""Give up launches of which nobody will tell how they ended. The server's own act, by the clock.

A launch is lost when its orchestrator was retired, or when its configured wall-clock time and ten minutes more are over
and no monitor has seen it during the last ten minutes. What does run then is found by monitors as unmatched.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from audit.log import SYSTEM, Writer
from governance.runtime.actions import end_launch
from governance.runtime.models import Launch

GRACE = timedelta(minutes=10)
AT_ONCE = 100
_WALL = "document__effective__limits__wall_seconds"


@dataclass(frozen=True)
class Command:
    """``launches`` that looked lost; each is looked at again under the lock."""

    launches: tuple[str, ...]


def due(now: datetime) -> tuple[str, ...]:
    """The launches that are lost now, at most a hundred at once."""
    live = Launch.objects.filter(state=Launch.ATTESTED).order_by("attested_at")
    rows = live.values_list("pk", "service__retired_at", "attested_at", "observed_at", _WALL)
    lost = [
        name
        for name, retired, since, seen, wall in rows.iterator(chunk_size=500)
        if retired is not None or _is_over(since, seen, wall, now)
    ]
    return tuple(lost[:AT_ONCE])


def apply(writer: Writer, command: Command) -> int:
    """End those that are lost. Returns how many."""
    rows = Launch.objects.select_related("service").filter(pk__in=command.launches, state=Launch.ATTESTED)
    ended = 0
    for launch in rows.order_by("index"):
        wall = launch.document["effective"]["limits"]["wall_seconds"]
        retired = launch.service.retired_at is not None
        if retired or _is_over(launch.attested_at, launch.observed_at, wall, writer.now):
            end_launch.end(writer, launch, end_launch.LOST, None, actor=SYSTEM)
            ended += 1
    return ended


def _is_over(since: datetime, seen: datetime | None, wall: int, now: datetime) -> bool:
    silent = seen is None or now - seen > GRACE
    return silent and now > since + timedelta(seconds=wall) + GRACE
