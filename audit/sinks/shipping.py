"""The threads that ship: one per sink, none of which anybody waits for."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from django.conf import settings

from audit import log as writing
from audit.actions import note_shipped
from audit.follower import FIRST_PAUSE, LONGEST_PAUSE, Follower, end_all
from audit.models import Entry
from audit.sinks import states
from audit.sinks.configuration import configured
from audit.sinks.reconcile import Agreed, NotOffered, Reading
from audit.sinks.sink import DIFFERS, Differs, Sink, SinkError
from audit.sinks.states import State
from audit.sinks.tree import Published
from imprimatur.formats import canonical, dsse, keyring, merkle, note, tiles

logger = logging.getLogger(__name__)

READ_EVERY = 3600.0  # seconds after which what came since is read back
READ_ALL_EVERY = 86_400.0  # seconds after which everything is
BREATH = 0.005  # seconds between two pieces that are read back: this server has other work

Tell = Callable[[State, Agreed | None], object]


class Shipper(Follower[Published]):
    """Ships to one sink whatever is published, and reads back what it holds. Tells its state after each change."""

    def __init__(self, sink: Sink, state: State, tell: Tell) -> None:
        super().__init__(f"sink {sink.name}")
        self.sink = sink
        self._state = state
        self._tell = tell
        self._done = -1  # the size of the offer that was shipped and sealed
        self._held: int | None = None  # what the sink holds; None when it has to be asked
        self._not_before = 0.0
        self._reading: Reading | None = None
        self._read_at = time.monotonic() + _left(state)
        self._read_all_at = 0.0
        self._tree: merkle.CompactRange | None = None  # what was read back and agreed
        self._whole = True  # whether the present reading reads everything
        # A difference stays until everything was read back and is as published.
        self._differs = state.error if state.error.startswith(DIFFERS) else ""
        if self._differs:
            self._read_at = 0.0

    def alarm(self, error: str) -> None:
        """It was found elsewhere that the sink holds something else: read everything back."""
        with self._changed:
            if not self._differs:
                self._differs, self._reading, self._read_at = error, None, 0.0
                self._changed.notify()

    def run(self) -> None:
        pause = FIRST_PAUSE
        while (offer := self._next()) is not None:
            try:
                self._work(offer)
            except SinkError as error:
                self._failed(str(error))
                wait = LONGEST_PAUSE if isinstance(error, Differs) else pause
            except (tiles.TileError, OSError) as error:
                self._failed(f"gets nothing, since the published files of this server cannot be read: {error}")
                wait = pause
            except Exception as error:
                # Whatever a hostile answer or a damaged file makes of us, this sink is tried again, later.
                logger.exception("shipping to the sink %s failed", self.sink.name)
                self._failed(f"{type(error).__name__}: see the server's log")
                wait = LONGEST_PAUSE
            else:
                pause = FIRST_PAUSE
                continue
            self._held = self._reading = None
            self._rest(wait)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _next(self) -> Published | None:
        """Wait until there is something to ship or to read back; None to end."""
        with self._changed:
            while not self._ending:
                now = time.monotonic()
                waits = [self._not_before - now] if self._offer and self._offer.size != self._done else []
                if self._done >= 0:
                    waits.append(0.0 if self._reading else self._read_at - now)
                if waits and min(waits) <= 0:
                    return self._offer
                self._changed.wait(min(waits) if waits else None)
            return None

    def _work(self, offer: Published) -> None:
        if offer.size != self._done and time.monotonic() >= self._not_before:
            self.ship(offer)
        else:
            self._read(offer)

    # --- shipping ---------------------------------------------------------------------------------------------------

    def ship(self, offer: Published) -> None:
        """Give the sink everything that it lacks of this tree, and the checkpoint. Raises SinkError or TileError."""
        offer.check()
        held = self._held if self._held is not None else self._ask(offer)
        while held < offer.size and not self._ending:
            start = held
            end = min(offer.size, (start // tiles.WIDTH + 1) * tiles.WIDTH)
            held = self._accepted(offer, self.sink.take(offer, start, end))
            if held < offer.size:
                self._told(held)
        if held < offer.size:
            return
        if held == offer.size:
            self.sink.seal(offer)
        self._held, self._done = held, offer.size
        self._not_before = time.monotonic() + self.sink.every
        self._told(held)

    def _ask(self, offer: Published) -> int:
        return self._accepted(offer, self.sink.where(offer, self._state.sent))

    def _accepted(self, offer: Published, held: int) -> int:
        """What the sink holds, if that can be. Raises Differs when entries are gone from it, or too many in it."""
        if held < self._state.sent:
            raise Differs(f"it accepted {self._state.sent} entries and holds {held}")
        if held > offer.size and held > (shown := offer.shown_size()):
            raise Differs(f"it holds {held} entries, more than the {shown} that were published here")
        return held

    def _told(self, held: int) -> None:
        now = writing.utc_now()
        since = self._state.failing_since if self._differs else None
        self._say(replace(self._state, sent=held, sent_at=now, error=self._differs, failing_since=since))

    # --- reading back -----------------------------------------------------------------------------------------------

    def _read(self, offer: Published) -> None:
        if self._reading is None:
            tree = self._tree if not self._differs and time.monotonic() < self._read_all_at else None
            self._whole = tree is None
            if self._whole:
                self._read_all_at = time.monotonic() + READ_ALL_EVERY
            self._reading = Reading(self.sink, offer, self._state.sent, tree)
        try:
            agreed = self._reading.step()
        except NotOffered:
            self._read_later()
        except Differs as error:
            self._read_later()
            self._tree, self._differs = None, str(error)
            self._failed(str(error))
        except SinkError:
            self._read_at = time.monotonic() + LONGEST_PAUSE
            raise
        else:
            if agreed is None:
                self._rest(BREATH)
                return
            self._read_later()
            self._agree(agreed)

    def _read_later(self) -> None:
        self._reading = None
        self._read_at = time.monotonic() + READ_EVERY

    def _agree(self, agreed: Agreed) -> None:
        if agreed.seen:
            self._tree = agreed.tree
        if self._whole and self._differs:
            logger.warning("the sink %s holds what was published, again", self.sink.name)
            self._differs = ""
        now = writing.utc_now()
        self._say(
            replace(
                self._state,
                held=agreed.size,
                held_root=agreed.root.hex(),
                held_at=now,
                error=self._differs,
                failing_since=self._state.failing_since if self._differs else None,
                whole_at=now if self._whole else self._state.whole_at,
            ),
            agreed,
        )

    # --- saying so --------------------------------------------------------------------------------------------------

    def _failed(self, error: str) -> None:
        differs = error.startswith(DIFFERS)
        if differs and self._state.error != error:
            logger.critical("the sink %s %s", self.sink.name, error)
        elif self._state.failing_since is None:
            logger.warning("the sink %s %s", self.sink.name, error)
        self._say(
            replace(
                self._state,
                # A difference is not covered up by a sink that also fails to answer.
                error=self._differs if self._differs and not differs else error,
                failing_since=self._state.failing_since or writing.utc_now(),
                failures=self._state.failures + 1,
            )
        )

    def _say(self, state: State, agreed: Agreed | None = None) -> None:
        self._state = state
        self._tell(state, agreed)


def _left(state: State) -> float:
    """Seconds until the sink is read back, by when it was last."""
    if state.held_at is None:
        return 0.0
    return min(max(READ_EVERY - (writing.utc_now() - state.held_at).total_seconds(), 0.0), READ_EVERY)


def published(size: int, root: bytes, signed: str) -> Published:
    """A published checkpoint, for sinks: it reads the published files from now on, and the database no more."""
    return Published(Path(settings.LOG_DIR), size, root, signed, _log_keys())


def _log_keys() -> tuple[note.Vkey, ...]:
    """Every key that ever signed checkpoints of this log, as its entries say: a copy also has the old checkpoints."""
    ring = keyring.Keyring()
    for raw in Entry.objects.filter(kind__in=keyring.KINDS).order_by("index").values_list("envelope", flat=True):
        ring.see(canonical.loads(dsse.open_envelope(bytes(raw)).payload))
    return tuple(key.vkey for key in ring.log)


class Client:
    """All shippers, and what they know until the publisher keeps it. Raises ImproperlyConfigured for bad settings."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}
        self._agreed: dict[str, Agreed] = {}
        self._offered = 0  # the size that was offered last
        self._shippers = {sink.name: Shipper(sink, states.read(sink.name), self._hear) for sink in configured()}

    def start(self) -> None:
        """Start shipping."""
        for shipper in self._shippers.values():
            shipper.start()

    def stop(self) -> None:
        """Stop shipping. What hangs is left to end by itself."""
        end_all(list(self._shippers.values()))

    def offer(self, size: int, root: bytes, signed: str) -> None:
        """This checkpoint is published: ship it. Returns at once."""
        if not self._shippers or size == self._offered:
            return
        offer, self._offered = published(size, root, signed), size
        for shipper in self._shippers.values():
            shipper.offer(offer)

    def keep(self) -> None:
        """Store the states that changed since. For the publisher; forgotten only when it ended well."""
        with self._lock:
            found = list(self._states.values())
        for state in found:
            if stays := states.keep(state):
                self._shippers[state.name].alarm(stays)
        with self._lock:
            for state in found:
                if self._states.get(state.name) is state:
                    del self._states[state.name]

    def note(self) -> None:
        """Enter what was read back, entry by entry, and agreed into the log. For the clock: it waits for the commit."""
        with self._lock:
            found, self._agreed = self._agreed, {}
        for name, agreed in found.items():
            writing.commit(note_shipped.apply, note_shipped.Command(name, agreed.size, agreed.root.hex()))

    def _hear(self, state: State, agreed: Agreed | None) -> None:
        with self._lock:
            self._states[state.name] = state
            if agreed is not None and agreed.seen and agreed.size:
                self._agreed[state.name] = agreed


__all__ = ["Client", "Shipper"]
