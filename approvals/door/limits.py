"""Rate limits, kept in this process: no other service can switch them off, and none has to be there."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from governance.errors import Refused

MOST_KEPT = 20_000


@dataclass(frozen=True)
class Rate:
    """So many a second on average, and so many at once."""

    per_second: float
    burst: float


PER_ADDRESS = Rate(2_000, 4_000)
PER_KEY = Rate(500, 1_000)
# A service attests, and nobody waits for a decision; each statement is an entry of up to 45 kB, for ever. A monitor
# sends twenty at once.
PER_SERVICE = Rate(20, 400)
# Whoever keeps sending what cannot be authenticated is told much earlier to slow down; what verifies never is.
REJECTIONS = Rate(20, 100)


class Limiter:
    """Token buckets by name. Thread-safe; memory is bounded by forgetting full buckets."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> None:
        """Take one token. Raises Refused ``rate-limited`` when there is none."""
        now = time.monotonic()
        with self._lock:
            tokens, then = self._buckets.get(name, (self.rate.burst, now))
            tokens = min(self.rate.burst, tokens + (now - then) * self.rate.per_second)
            if tokens < 1:
                raise Refused("rate-limited", "Too many requests in a short time.")
            self._buckets[name] = (tokens - 1, now)
            if len(self._buckets) > MOST_KEPT:
                self._forget(now)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._buckets.clear()

    def _forget(self, now: float) -> None:
        refill = self.rate.burst / self.rate.per_second
        self._buckets = {name: kept for name, kept in self._buckets.items() if now - kept[1] < refill}
        if len(self._buckets) > MOST_KEPT:
            self._buckets.clear()


addresses = Limiter(PER_ADDRESS)
keys = Limiter(PER_KEY)
services = Limiter(PER_SERVICE)
rejected = Limiter(REJECTIONS)
