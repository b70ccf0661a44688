"""The newest entry of the log that this agent was handed: presented to the server, so that a log cannot lose it unseen.

A server that was put back to an earlier state, or that shows two histories, does not have what it signed before. It
stops when it is shown that. Kept in memory and, when the agent's key is a file, beside it (``agent.key.seen``), so that
a restart of the agent forgets nothing. There is no secret in it, and losing it costs nothing but this one check.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from imprimatur import durable
from imprimatur.formats import dsse, entries

logger = logging.getLogger("imprimatur")

SUFFIX = ".seen"
BETWEEN_WRITES = 1.0  # seconds: a busy agent does not write a file with every action
LARGEST = 65_535  # bytes


class Held:
    """The newest entry held, of one realm. Safe to share between threads."""

    def __init__(
        self, realm: str, key_file: Path | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._realm = realm
        self._file = None if key_file is None else key_file.with_name(key_file.name + SUFFIX)
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._index, self._envelope = self._load()
        self._written_at = float("-inf")
        self._unwritten = False

    @property
    def newest(self) -> str | None:
        """The exact text of its envelope, or None while nothing is held."""
        return self._envelope

    def take(self, index: int, envelope: bytes) -> None:
        """Hold this entry from now on, unless a newer one is held. Its signature has been verified."""
        with self._lock:
            if index <= self._index:
                return
            self._index, self._envelope = index, envelope.decode("utf-8")
            self._unwritten = True
            if self._monotonic() - self._written_at >= BETWEEN_WRITES:
                self._save()

    def drop(self) -> None:
        """Hold nothing: the server says that this was never of its log, as after it was set up anew."""
        with self._lock:
            self._index, self._envelope, self._unwritten = -1, None, False

    def keep(self) -> None:
        """Write down what was not yet written, at the end."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        if self._file is None or self._envelope is None or not self._unwritten:
            return
        self._unwritten, self._written_at = False, self._monotonic()
        try:
            durable.write_file(self._file, self._envelope.encode("utf-8"))
        except OSError as error:
            # A folder that cannot be written is common where keys are handed to a container: memory has to do.
            logger.info("the newest receipt is kept in memory only: %s cannot be written (%s)", self._file, error)
            self._file = None

    def _load(self) -> tuple[int, str | None]:
        if self._file is None:
            return -1, None
        try:
            with self._file.open("rb") as stream:
                raw = stream.read(LARGEST + 1)
            entry = entries.parse(dsse.open_envelope(raw).payload)
        except (OSError, ValueError):
            return -1, None
        if entry["realm"] != self._realm or len(raw) > LARGEST:
            return -1, None  # the agent has moved to another realm since
        return entry["index"], raw.decode("utf-8")
