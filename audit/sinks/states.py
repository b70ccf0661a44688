"""How the sinks are, as far as we know: kept by the publisher, shown to people. Nothing is decided by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from audit.log import utc_now
from audit.models import Checkpoint, SinkState
from audit.sinks.configuration import configured
from audit.sinks.sink import DIFFERS, Stated

LATE = timedelta(minutes=5)


@dataclass(frozen=True)
class State:
    """What one thread knows of its sink: the columns of `SinkState`."""

    name: str
    sent: int = 0
    sent_at: datetime | None = None
    held: int = 0
    held_root: str = ""
    held_at: datetime | None = None
    failing_since: datetime | None = None
    error: str = ""
    failures: int = 0
    whole_at: datetime | None = None  # when everything was read back last and agreed; not a column


@dataclass(frozen=True)
class Standing:
    """One sink, for people. ``behind`` counts published entries that it has not accepted; ``differs`` is an alarm;
    ``late`` says that it has failed for too long; ``own_word`` that what was read back is only what it says itself."""

    name: str
    place: str
    published: int
    sent: int
    sent_at: datetime | None
    behind: int
    held: int
    held_at: datetime | None
    own_word: bool
    failing_since: datetime | None
    error: str
    failures: int
    differs: bool
    late: bool


def read(name: str) -> State:
    """The state that was kept last."""
    row = SinkState.objects.filter(pk=name).first()
    if row is None:
        return State(name)
    return State(
        name,
        row.sent,
        row.sent_at,
        row.held,
        row.held_root,
        row.held_at,
        row.failing_since,
        row.error,
        row.failures,
    )


def keep(state: State) -> str:
    """Store a state as it is now; what was accepted and read back never becomes less.

    A difference goes away only when everything was read back since and agreed. Returns the difference that stays
    although this state does not say so, or nothing.
    """
    row = SinkState.objects.filter(pk=state.name).first() or SinkState(name=state.name)
    if state.sent >= row.sent:
        row.sent, row.sent_at = state.sent, state.sent_at
    if state.held >= row.held:
        row.held, row.held_root, row.held_at = state.held, state.held_root, state.held_at
    row.failures = max(row.failures, state.failures)
    stays = ""
    found = row.failing_since if row.error.startswith(DIFFERS) else None
    again = state.error.startswith(DIFFERS) or (found and state.whole_at and state.whole_at > found)
    if found is not None and not again:
        stays = row.error
    else:
        row.failing_since, row.error = state.failing_since, state.error[:500]
    row.save()
    return stays


def standing() -> list[Standing]:
    """How each configured sink is, in the order of the settings; empty without any."""
    sinks = configured()
    if not sinks:
        return []
    rows = {row.name: row for row in SinkState.objects.all()}
    published = Checkpoint.objects.order_by("-size").values_list("size", flat=True).first() or 0
    now = utc_now()
    found = []
    for sink in sinks:
        row = rows.get(sink.name) or SinkState(name=sink.name, error="not asked yet")
        found.append(
            Standing(
                name=sink.name,
                place=sink.place,
                published=published,
                sent=row.sent,
                sent_at=row.sent_at,
                behind=max(published - row.sent, 0),
                held=row.held,
                held_at=row.held_at,
                own_word=isinstance(sink, Stated),
                failing_since=row.failing_since,
                error=row.error,
                failures=row.failures,
                differs=row.error.startswith(DIFFERS),
                late=row.failing_since is not None and now - row.failing_since > LATE,
            )
        )
    return found
