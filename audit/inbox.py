"""How a worker process hands back results: on SQLite only one process writes, so results wait for it in files.

With PostgreSQL the handler runs at once, in the worker. With SQLite the result is spooled to ``INBOX_DIR`` by an
atomic rename, and the writer process drains it. Delivery is at least once: a handler must bear being called twice
with the same payload.
"""

from __future__ import annotations

import itertools
import json
import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from audit.errors import LogError
from imprimatur.durable import write_file

logger = logging.getLogger(__name__)

Payload = dict[str, Any]
Handler = Callable[[Payload], object]

_handlers: dict[str, Handler] = {}
_order = itertools.count()


class UnknownNameError(KeyError):
    """No handler is registered under this name in this process."""


def handler(name: str) -> Callable[[Handler], Handler]:
    """Register the decorated function as the one that takes results of this name. A name has one handler."""

    def register(function: Handler) -> Handler:
        known = _handlers.get(name)
        if known is not None and known.__qualname__ != function.__qualname__:
            raise ValueError(f"the inbox already has a handler for {name}")
        _handlers[name] = function
        return function

    return register


def hand_over(name: str, payload: Payload) -> None:
    """Give a result (plain JSON) to the writer. Returns when it is durable: applied, or on disk.

    Raises UnknownNameError, or TypeError when the payload is not JSON.
    """
    if name not in _handlers:
        raise UnknownNameError(name)
    if connection.vendor != "sqlite":
        _handlers[name](payload)
        return
    raw = json.dumps({"name": name, "payload": payload}, allow_nan=False).encode("utf-8")
    # What one process hands over is applied in that order, also within one millisecond.
    file = f"{time.time_ns():020d}-{next(_order):08d}-{secrets.token_hex(4)}.json"
    write_file(_folder() / file, raw)


def drain() -> int:
    """Apply what waits, oldest first, and return how many results were applied. Called in the writer process.

    A result that cannot be applied now (the database is busy, the log is frozen) stays for the next time. One that
    its handler refuses is put aside under ``failed/`` and reported, so that it never blocks those behind it.
    """
    applied = 0
    for path in sorted(_folder().glob("*.json")):
        try:
            document = json.loads(path.read_bytes())
            _handlers[document["name"]](document["payload"])
        except (OperationalError, InterfaceError, LogError) as error:
            logger.warning("the inbox waits: %s", error)
            break
        except Exception:
            logger.exception("a result handed over by a worker was refused and put aside: %s", path.name)
            aside = path.parent / "failed"
            aside.mkdir(mode=0o700, exist_ok=True)
            path.replace(aside / path.name)
            continue
        path.unlink()
        applied += 1
    return applied


def _folder() -> Path:
    folder = Path(settings.INBOX_DIR)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder
