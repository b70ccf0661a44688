"""Who has a request open right now: a hint between colleagues, kept in memory for half a minute and never authority.

Each page says again and again what it shows; whoever stops saying it is gone when the lease ends. Other processes hear
of it through the hub; while Redis is away they do not, and nothing else happens.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from approvals import live

LEASE = 30.0  # seconds
READING, LEFT = "reading", "left"
MOST = 10_000  # pairs of a request and a person; beyond that nobody new is noted


class Presence:
    """Pairs of a request and a person, each with the time at which it is forgotten."""

    def __init__(self, hub: live.Hub, clock: Callable[[], float] = time.monotonic) -> None:
        self._hub = hub
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[tuple[str, str], float] = {}
        hub.subscribe(self.hear)

    def note(self, request: str, person: str) -> None:
        """This person has this request open. Whoever calls it has checked that they may see it."""
        self._keep(request, person)
        self._hub.publish(live.Event(READING, request, 0, person))

    def leave(self, request: str, person: str) -> None:
        """They closed it, or turned to another."""
        self._forget(request, person)
        self._hub.publish(live.Event(LEFT, request, 0, person))

    def readers(self, request: str) -> frozenset[str]:
        """The ids of those who have it open now."""
        now = self._clock()
        with self._lock:
            return frozenset(who for (what, who), until in self._until.items() if what == request and until > now)

    def hear(self, event: live.Event) -> None:
        """What the hub says, of this process or of another."""
        if event.kind == READING:
            self._keep(event.id, event.person)
        elif event.kind == LEFT:
            self._forget(event.id, event.person)

    def _keep(self, request: str, person: str) -> None:
        now = self._clock()
        with self._lock:
            if len(self._until) >= MOST:
                self._until = {pair: until for pair, until in self._until.items() if until > now}
            if len(self._until) < MOST or (request, person) in self._until:
                self._until[request, person] = now + LEASE

    def _forget(self, request: str, person: str) -> None:
        with self._lock:
            self._until.pop((request, person), None)


desk = Presence(live.hub)
