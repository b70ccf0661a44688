"""The threads of the web process, started and stopped in one place."""

from __future__ import annotations

import asyncio
import logging
import threading

from django.conf import settings
from django.db import close_old_connections, connection

from approvals import clock, live
from approvals.notifications import alarms
from audit import inbox, publisher, retention_clock, roles, witnesses, writer
from audit.evidence import jobs
from audit.log import utc_now
from audit.models import Checkpoint
from audit.sinks import shipping
from server import checks, started
from server.canary import schedule

logger = logging.getLogger("imprimatur.runtime")

TICK = 1.0  # seconds
WORK = (
    lambda now: inbox.drain(),
    clock.tick,
    jobs.look_after,
    retention_clock.look_after,
    alarms.look_after,
    schedule.look_after,
)

_clock: Ticker | None = None
_publisher: publisher.Publisher | None = None
_asking: witnesses.Client | None = None
_shipping: shipping.Client | None = None
_measuring: started.Measuring | None = None


class Ticker(threading.Thread):
    """Once a second: expiries, reminders, what the worker handed back, bundles that lost their builder, what is
    old enough to be erased.

    A failing tick is logged, not fatal.
    """

    def __init__(self) -> None:
        super().__init__(name="clock", daemon=True)
        self._stop_now = threading.Event()

    def run(self) -> None:
        try:
            while not self._stop_now.wait(TICK):
                close_old_connections()
                for work in WORK:
                    try:
                        work(utc_now())
                    except Exception:
                        logger.exception("a tick of the clock failed; the next one tries again")
                self._note_shipped()
        finally:
            connection.close()

    def stop(self) -> None:
        self._stop_now.set()
        self.join(10)

    def _note_shipped(self) -> None:
        try:
            if _shipping is not None:
                if _publisher is None:
                    _offer_published(_shipping)
                _shipping.note()
        except Exception:
            logger.exception("what a sink holds was not entered into the log; the next reading tries again")


def _offer_published(client: shipping.Client) -> None:
    """What the publisher's thread does where there is one: ship the newest checkpoint, keep what became of it."""
    newest = Checkpoint.objects.order_by("-size").first()
    if newest is not None:
        client.offer(newest.size, bytes.fromhex(newest.root), newest.note)
        client.keep()


def start() -> None:
    """Check that commits are durable and the log is guarded, then start writer, publisher and clock.

    The publisher is left out where it is a process of its own (IMPRIMATUR_PUBLISHER).

    Raises ImproperlyConfigured when a guarantee does not hold: rather no desk than one that forgets.
    """
    global _asking, _clock, _measuring, _publisher, _shipping
    checks.assert_enforced()
    checks.assert_known_schema()
    checks.assert_durable()
    checks.assert_keys_apart()
    held = started.provenance_of_this_tree()
    writer.start()
    _shipping = shipping.Client()
    _shipping.start()
    if settings.PUBLISHER == roles.HERE:
        _asking = witnesses.Client(publisher.read_tile, publisher.kick)
        _asking.start()
        _publisher = publisher.Publisher(asking=_asking, shipping=_shipping)
        _publisher.start()
    _clock = Ticker()
    _clock.start()
    _measuring = started.Measuring("web", held)
    _measuring.start()


def attach_loop() -> None:
    """Tell the socket hub which event loop it lives on."""
    live.hub.start(asyncio.get_running_loop())


def stop() -> None:
    """Stop in reverse order; the writer finishes what has queued."""
    live.hub.stop()
    if _measuring is not None:
        _measuring.stop()
    if _clock is not None:
        _clock.stop()
    writer.stop()
    if _publisher is not None:
        _publisher.stop()
    if _asking is not None:
        _asking.stop()
    if _shipping is not None:
        _shipping.stop()
