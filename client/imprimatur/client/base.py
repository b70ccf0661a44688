"""What the sync and the async client share besides the flows: set-up, and an execution in progress."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2

from imprimatur.client import config
from imprimatur.client.answers import Decision
from imprimatur.client.core import Core
from imprimatur.client.held import Held
from imprimatur.client.wire import MOST_BODY, Answer, Send, Wire
from imprimatur.client.wish import Wish, Wishes
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.trust import Trust

SHORTEST_TTL, LONGEST_TTL = 60, 3600


class Base:
    """Configuration and the making of wishes. Its repr shows the server and the agent, never a key."""

    def __init__(
        self,
        url: str | None = None,
        key: KeyPair | str | os.PathLike[str] | None = None,
        delegation: str | os.PathLike[str] | None = None,
        trust: Trust | str | os.PathLike[str] | None = None,
        *,
        agent: str | None = None,
        run: str | None = None,
        launch: str | None = None,
        single_human: bool | None = None,
        wire: Mapping[str, Any] | None = None,
    ) -> None:
        self.config = config.load(url, key, delegation, trust, agent, single_human=single_human)
        self._held = Held(self.config.realm, _file_of(key))
        self._core = Core(self.config, Wire(self.config, self._held, **(wire or {})))
        self._wishes = Wishes(self.config, run or os.environ.get("IMPRIMATUR_RUN"), launch)

    @property
    def agent(self) -> str:
        """This agent's id."""
        return self.config.agent

    @property
    def run(self) -> str:
        """The id of this run; give the same one after a restart to come back to what was asked."""
        return self._wishes.run

    def _adopt(self, told: dict[str, Any]) -> dict[str, Any]:
        """Use the key that the core has just rotated to."""
        self.config = self._wishes.config = self._core.config
        return told

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config.origin!r}, agent={self.config.agent!r})"

    def wish(
        self,
        tool: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        justification: str = "",
        redact: Iterable[str] = (),
        risk: str | None = None,
        cost: Mapping[str, str] | None = None,
        effects: Sequence[Mapping[str, str]] | None = None,
        run: str | None = None,
        call: str | None = None,
        ttl: int | None = None,
        delegation: str | None = None,
        supersedes: str | None = None,
        require_human: str | None = None,
        execute: bool = True,
        wait: float | None = None,
    ) -> Wish:
        """Commit to a call without asking yet. Raises ConfigError or RequestInvalid."""
        if ttl is None and wait:
            ttl = max(SHORTEST_TTL, min(LONGEST_TTL, math.ceil(wait)))
        return self._wishes.make(
            tool,
            parameters or {},
            justification=justification,
            redact=redact,
            risk=risk,
            cost=cost,
            effects=effects,
            run=run,
            call=call,
            ttl=ttl,
            delegation=delegation,
            supersedes=supersedes,
            require_human=require_human,
            execute=execute,
        )


def _file_of(key: KeyPair | str | os.PathLike[str] | None) -> Path | None:
    """The file that the agent's key was read from."""
    given = key if key is not None else os.environ.get(config.KEY)
    return None if given is None or isinstance(given, KeyPair) else Path(given)


class Execution:
    """An action that may run now. Set ``result`` (a short text) or ``cost`` to have them reported with the outcome."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.result: str | None = None
        self.cost: Mapping[str, str] | None = None

    @property
    def id(self) -> str:
        """The action's id: a good idempotency key for what is called inside."""
        return self.decision.id

    @property
    def receipt(self) -> Mapping[str, Any]:
        """The checked receipt, to hand to a service that checks it too."""
        return self.decision.receipt or {}

    def told(self) -> dict[str, Any]:
        """What to add to the outcome."""
        return {"result": self.result, "cost": self.cost}


def request_parts(step: Send) -> dict[str, Any]:
    """The arguments of ``client.request`` for a step: never a redirect, which would carry a signature elsewhere."""
    return {
        "method": step.method,
        "url": step.url,
        "headers": step.headers,
        "content": step.body,
        "timeout": httpx2.Timeout(step.timeout, connect=min(step.timeout, 10.0)),
        "follow_redirects": False,
    }


def may_leave(origin: str) -> bool:
    """Whether the environment may name a proxy: never for plain http, which is meant to stay on this machine."""
    return origin.startswith("https:")


class Body:
    """A response's body, piece by piece: as it is (nothing is unpacked), of bounded size, and all of it in time.

    Raises httpx2.RequestError otherwise, which is no answer.
    """

    def __init__(self, response: httpx2.Response, seconds: float, monotonic: Callable[[], float]) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise httpx2.DecodingError("the answer is packed, which was not asked for")
        self._response = response
        self._read_before = response.is_stream_consumed  # by whoever made it, as transports of tests do
        self._monotonic = monotonic
        self._end = monotonic() + seconds
        self._pieces: list[bytes] = []
        self._left = MOST_BODY

    def add(self, piece: bytes) -> None:
        """The next piece."""
        self._left -= len(piece)
        if self._left < 0:
            raise httpx2.ReadError("the answer is too large")
        if self._monotonic() > self._end:
            raise httpx2.ReadTimeout("the answer takes too long")
        self._pieces.append(piece)

    def answer(self) -> Answer:
        """The whole response for the flow."""
        whole = self._response.content if self._read_before else None
        return Answer(
            self._response.status_code,
            {name.lower(): value for name, value in self._response.headers.items()},
            b"".join(self._pieces) if whole is None else whole,
        )


def answer(response: httpx2.Response) -> Answer:
    """A whole response, read already."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content)
