"""Who waits for which request in this process, and how they are woken: after the commit, with no thread held.

A waiter is a callback, so an event loop and a thread can both wait. Commits of this process ring at once; a poller,
alive only while somebody waits, catches what another process committed, within a second.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable

from django.db import DatabaseError, close_old_connections, connection

from governance.errors import Refused

logger = logging.getLogger(__name__)

POLL_EVERY = 1.0  # seconds
CHUNK = 500
MOST_PER_KEY = 64
"""Answers that one key may have held at a time in this process: each costs a connection, through Django a thread."""

Wake = Callable[[], None]


class Bell:
    """Waiters by request id. Thread-safe. Ringing for somebody who does not wait does nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: dict[str, dict[Wake, tuple[int, str]]] = {}
        self._held: Counter[str] = Counter()
        self._poller: threading.Thread | None = None

    def listen(self, request: str, version: int, wake: Wake, key: str) -> None:
        """Have ``wake`` called when the request is beyond ``version``. It may be called more than once.

        ``key`` is the thumbprint of whoever waits. Raises Refused ``rate-limited`` when it waits for too much already.
        """
        with self._lock:
            if self._held[key] >= MOST_PER_KEY:
                raise Refused("rate-limited", f"This key waits for {MOST_PER_KEY} answers already, the most at a time.")
            self._held[key] += 1
            self._waiters.setdefault(request, {})[wake] = (version, key)

    def leave(self, request: str, wake: Wake) -> None:
        """Stop waiting. Leaving twice is fine."""
        with self._lock:
            waiters = self._waiters.get(request, {})
            if wake not in waiters:
                return
            _, key = waiters.pop(wake)
            if not waiters:
                del self._waiters[request]
            self._held[key] -= 1
            if not self._held[key]:
                del self._held[key]

    def ring(self, request: str) -> None:
        """Wake everybody who waits for this request."""
        with self._lock:
            waiters = list(self._waiters.get(request, ()))
        for wake in waiters:
            wake()

    def waiting(self) -> int:
        """How many waiters there are."""
        with self._lock:
            return sum(len(waiters) for waiters in self._waiters.values())

    def poll(self, versions: Callable[[list[str]], Iterable[tuple[str, int]]]) -> None:
        """Wake whoever waits for a request that has moved on, as ``versions`` reads it."""
        with self._lock:
            ids = list(self._waiters)
        for start in range(0, len(ids), CHUNK):
            for request, version in versions(ids[start : start + CHUNK]):
                with self._lock:
                    late = [wake for wake, (seen, _) in self._waiters.get(request, {}).items() if seen < version]
                for wake in late:
                    wake()

    def keep_polling(self) -> None:
        """Start the poller of this process unless it runs. It ends by itself when nobody waits any more."""
        with self._lock:
            if self._poller is not None and self._poller.is_alive():
                return
            self._poller = threading.Thread(target=self._run, name="waiting-poller", daemon=True)
            self._poller.start()

    def _run(self) -> None:
        pause = threading.Event()
        try:
            while True:
                pause.wait(POLL_EVERY)
                with self._lock:
                    if not self._waiters:
                        self._poller = None
                        return
                close_old_connections()
                try:
                    self.poll(_read_versions)
                except DatabaseError:
                    logger.warning("the poller of waiting agents could not read; it tries again", exc_info=True)
        finally:
            connection.close()


def _read_versions(ids: list[str]) -> list[tuple[str, int]]:
    from approvals.models import ActionRequest

    return list(ActionRequest.objects.filter(pk__in=ids).order_by().values_list("id", "version"))


bell = Bell()
