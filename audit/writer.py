"""The writer thread: commands that arrive while the previous commit runs share the next transaction (group commit)."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections, connection

from audit import log

C = TypeVar("C")
R = TypeVar("R")

MOST_IN_A_BATCH = 256
# Every signature is then a process of its own, made while the head of the log is locked.
MOST_SIGNED_BY_A_COMMAND = 8

_running: WriterThread | None = None


class WriterThread(threading.Thread):
    """Owns one database connection and takes commands from a queue. No artificial delay: a batch is what has queued."""

    def __init__(self) -> None:
        super().__init__(name="writer", daemon=True)
        self._queue: queue.SimpleQueue[tuple[Callable[..., Any], Any, Future[Any]] | None] = queue.SimpleQueue()
        self._stopping = False
        self._gate = threading.Lock()  # so that nothing is queued behind the mark that ends the thread

    def submit(self, apply: Callable[[log.Writer, C], R], command: C) -> Future[R]:
        """Queue a command. The future resolves after its transaction is durable, or with the error it raised."""
        future: Future[R] = Future()
        with self._gate:
            if self._stopping:
                future.set_exception(RuntimeError("the writer is stopping: nothing was decided, ask again"))
            else:
                self._queue.put((apply, command, future))
        return future

    def stop(self, timeout: float = 10) -> None:
        """Finish what has queued, then end."""
        with self._gate:
            self._stopping = True
            self._queue.put(None)
        self.join(timeout)

    def run(self) -> None:
        try:
            while self._one_batch(self._queue.get()):
                pass
        finally:
            connection.close()

    def _one_batch(self, first: tuple[Callable[..., Any], Any, Future[Any]] | None) -> bool:
        batch = []
        item = first
        while item is not None:
            # Who no longer waits asked for nothing; and from here on nobody can cancel what is being decided.
            if item[2].set_running_or_notify_cancel():
                batch.append(item)
            if len(batch) == (MOST_SIGNED_BY_A_COMMAND if settings.SIGNER else MOST_IN_A_BATCH):
                break
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
        if batch:
            close_old_connections()
            try:
                results = log.run_batch([(apply, command) for apply, command, _ in batch])
            except BaseException as error:  # the futures must hear of it, whatever it is
                results = [error] * len(batch)
            if any(isinstance(result, DatabaseError | InterfaceError) for result in results):
                # A connection may outlive its failure as one that can only read: the next batch opens another.
                connection.close()
            for (_, _, future), result in zip(batch, results, strict=True):
                if isinstance(result, BaseException):
                    future.set_exception(result)
                else:
                    future.set_result(result)
        return item is not None or not self._stopping


def running() -> WriterThread | None:
    """This process's writer thread, if it has been started."""
    return _running if _running is not None and _running.is_alive() else None


def start() -> WriterThread:
    """Start the writer thread of this process, once."""
    global _running
    if running() is None:
        _running = WriterThread()
        _running.start()
    assert _running is not None
    return _running


def stop() -> None:
    """Finish the queue and stop the thread."""
    global _running
    if _running is not None:
        _running.stop()
        _running = None
