"""A thread that follows the log for somebody elsewhere, and holds up nobody when they hang, lie or are gone."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between tries while the other side fails
STOP_WITHIN = 2.0  # seconds for all threads together


class Sized(Protocol):
    """A published checkpoint, with whatever the other side needs to know of it."""

    @property
    def size(self) -> int:
        """How many entries it covers."""


Offer = TypeVar("Offer", bound=Sized)


class Follower(threading.Thread, Generic[Offer]):
    """Told of each newest checkpoint, it does its work at its own pace. `run` is for the kinds of followers."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._changed = threading.Condition()
        self._offer: Offer | None = None
        self._ending = False

    def offer(self, offer: Offer) -> None:
        """From now on, this is the newest checkpoint."""
        with self._changed:
            if self._offer is None or self._offer.size != offer.size:
                self._offer = offer
                self._changed.notify()

    def end(self) -> None:
        """End after what is under way; does not wait for it."""
        with self._changed:
            self._ending = True
            self._changed.notify()

    def _rest(self, pause: float) -> None:
        # Not all at the same moment, when many installations lost the same witness or sink.
        until = time.monotonic() + pause * random.uniform(0.8, 1.2)  # noqa: S311  # nothing secret in it
        with self._changed:
            while not self._ending and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)


def end_all(followers: Sequence[Follower[Any]]) -> None:
    """End them. What hangs in one of them is left to end by itself."""
    for follower in followers:
        follower.end()
    until = time.monotonic() + STOP_WITHIN
    for follower in followers:
        follower.join(max(until - time.monotonic(), 0))
