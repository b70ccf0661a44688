"""Carries out what a :mod:`imprimatur.client.wire` flow asks for: sends, sleeps, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar, cast

import httpx2

from imprimatur.client import base
from imprimatur.client.wire import Answer, Flow, Send, Unreachable
from imprimatur.errors import ServerError

T = TypeVar("T")


class Carrier:
    """A connection to one server. Close it at the end."""

    def __init__(
        self,
        origin: str,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = httpx2.Client(transport=transport, trust_env=base.may_leave(origin))
        self._sleep = sleep
        self._origin = origin

    def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end. Raises what it raises; ServerError (code ``unavailable``) when nobody answers."""
        try:
            step = next(flow)
            while True:
                reply: Answer | None = None
                try:
                    if isinstance(step, Send):
                        reply = self._send(step)
                    else:
                        self._sleep(step.seconds)
                except (httpx2.RequestError, httpx2.StreamError):
                    step = flow.throw(Unreachable())
                else:
                    step = flow.send(reply)
        except StopIteration as end:
            return cast("T", end.value)
        except Unreachable:
            raise ServerError(
                f"There was no answer from {self._origin}. Check the server and the network.", code="unavailable"
            ) from None

    def _send(self, step: Send) -> Answer:
        with self._http.stream(**base.request_parts(step)) as response:
            body = base.Body(response, step.timeout, time.monotonic)
            if not response.is_stream_consumed:
                for piece in response.iter_raw():
                    body.add(piece)
            return body.answer()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
