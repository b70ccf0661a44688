"""The threads of the web process, started and stopped in one place."""

from __future__ import annotations

import asyncio
import logging
import threading

from django.db import close_old_connections, connection

from approvals import clock, live
from audit import inbox, publisher, writer
from audit.evidence import jobs
from audit.log import utc_now
from server import checks

logger = logging.getLogger("imprimatur.runtime")

TICK = 1.0  # seconds

_clock: Ticker | None = None
_publisher: publisher.Publisher | None = None


class Ticker(threading.Thread):
    """Once a second: expiries, reminders, what the worker handed back, bundles that lost their builder.

    A failing tick is logged, not fatal.
    """

    def __init__(self) -> None:
        super().__init__(name="clock", daemon=True)
        self._stop_now = threading.Event()

    def run(self) -> None:
        try:
            while not self._stop_now.wait(TICK):
                close_old_connections()
                for work in (lambda now: inbox.drain(), clock.tick, jobs.look_after):
                    try:
                        work(utc_now())
                    except Exception:
                        logger.exception("a tick of the clock failed; the next one tries again")
        finally:
            connection.close()

    def stop(self) -> None:
        self._stop_now.set()
        self.join(10)


def start() -> None:
    """Check that commits are durable and the log is guarded, then start writer, publisher and clock.

    Raises ImproperlyConfigured when a guarantee does not hold: rather no desk than one that forgets.
    """
    global _clock, _publisher
    checks.assert_known_schema()
    checks.assert_durable()
    writer.start()
    _publisher = publisher.Publisher()
    _publisher.start()
    _clock = Ticker()
    _clock.start()


def attach_loop() -> None:
    """Tell the socket hub which event loop it lives on."""
    live.hub.start(asyncio.get_running_loop())


def stop() -> None:
    """Stop in reverse order; the writer finishes what has queued."""
    live.hub.stop()
    if _clock is not None:
        _clock.stop()
    writer.stop()
    if _publisher is not None:
        _publisher.stop()
