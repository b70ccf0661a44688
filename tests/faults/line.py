"""The socket of an open page, from outside."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.faults.group import Visitor
from tests.installation import Installation


class Line:
    """A connected page, and what it hears."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def next(self, seconds: float = 60) -> list[dict[str, Any]]:
        """What the next message says has changed. Raises TimeoutError, and ConnectionClosed when the line ended."""
        changed: list[dict[str, Any]] = json.loads(self.socket.recv(timeout=seconds))["changed"]
        return changed

    def hears(self, request: str, seconds: float = 60) -> None:
        """Wait until a message names this request."""
        deadline = time.monotonic() + seconds
        while not any(one["id"] == request for one in self.next(max(0.01, deadline - time.monotonic()))):
            pass


@contextmanager
def open_line(desk: Installation, visitor: Visitor | None, origin: str | None = None) -> Iterator[Line]:
    """Connect as the page of this visitor. It never asks whether the other side is there: that is the server's to do."""
    cookies = "; ".join(f"{one.name}={one.value}" for one in visitor.http.cookies.jar) if visitor else ""
    with connect(
        desk.url.replace("http:", "ws:") + "/ws/live/",
        origin=desk.url if origin is None else origin,  # type: ignore[arg-type]  # a NewType of str
        additional_headers={"Cookie": cookies} if cookies else {},
        ping_interval=None,
        open_timeout=60,
    ) as socket:
        yield Line(socket)
