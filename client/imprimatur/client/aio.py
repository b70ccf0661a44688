"""The client for asyncio programs: the same flows as :mod:`imprimatur.client.sync`, awaited."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

import httpx2

from imprimatur.client import base, rotation, tools
from imprimatur.client.answers import Decision
from imprimatur.client.base import Base, Execution
from imprimatur.client.core import a_delegation, an_action
from imprimatur.client.sync import Justification
from imprimatur.client.tools import OnDenied
from imprimatur.client.wire import Answer, Flow, Send, Unreachable
from imprimatur.client.wish import unchanged
from imprimatur.errors import ActionBlocked

T = TypeVar("T")


class AsyncImprimatur(Base):
    """:class:`imprimatur.Imprimatur` for asyncio. Cancelling a task that waits cancels the request."""

    def __init__(
        self,
        *args: Any,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._http = httpx2.AsyncClient(transport=transport, trust_env=base.may_leave(self.config.origin))
        self._sleep = sleep
        self.delegations = AsyncDelegations(self)
        self.receipts = AsyncReceipts(self)

    async def _run(self, flow: Flow[T]) -> T:
        try:
            step = next(flow)
            while True:
                try:
                    reply = None
                    if isinstance(step, Send):
                        reply = await self._send(step)
                    else:
                        await self._sleep(step.seconds)
                except (httpx2.RequestError, httpx2.StreamError):
                    step = flow.throw(Unreachable())
                except BaseException as interruption:
                    # The flow may still want to cancel what it asked for; then it raises this again.
                    step = flow.throw(interruption)
                else:
                    step = flow.send(reply)
        except StopIteration as end:
            return cast("T", end.value)

    async def _send(self, step: Send) -> Answer:
        async with self._http.stream(**base.request_parts(step)) as response:
            body = base.Body(response, step.timeout, self._core.wire.monotonic)
            if not response.is_stream_consumed:
                async for piece in response.aiter_raw():
                    body.add(piece)
            return body.answer()

    async def submit(self, tool: str, parameters: Mapping[str, Any] | None = None, **options: Any) -> Decision:
        """See :meth:`imprimatur.Imprimatur.submit`."""
        return await self._run(self._core.submit(self.wish(tool, parameters, **{"execute": False, **options})))

    async def wait(self, decision: Decision, seconds: float | None = None) -> Decision:
        """See :meth:`imprimatur.Imprimatur.wait`."""
        return await self._run(self._core.wait(decision, seconds))

    async def redeem(self, decision: Decision) -> Decision:
        """See :meth:`imprimatur.Imprimatur.redeem`."""
        return await self._run(self._core.redeem(decision))

    async def outcome(
        self, decision: Decision, outcome: str, *, result: str | None = None, cost: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """See :meth:`imprimatur.Imprimatur.outcome`."""
        return await self._run(self._core.outcome(decision, outcome, result=result, cost=cost))

    async def outcomes(self, reports: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """See :meth:`imprimatur.Imprimatur.outcomes`."""
        return await self._run(self._core.outcomes(reports))

    async def cancel(self, decision: Decision | str) -> dict[str, Any]:
        """See :meth:`imprimatur.Imprimatur.cancel`."""
        return await self._run(self._core.cancel(decision if isinstance(decision, str) else decision.id))

    async def look(self, action_id: str, hold: int = 0) -> dict[str, Any]:
        """See :meth:`imprimatur.Imprimatur.look`."""
        return await self._run(self._core.look(action_id, hold))

    async def me(self) -> dict[str, Any]:
        """See :meth:`imprimatur.Imprimatur.me`."""
        return await self._run(self._core.read("/me"))

    async def rotate(self, new_key: str | os.PathLike[str]) -> dict[str, Any]:
        """See :meth:`imprimatur.Imprimatur.rotate`."""
        return self._adopt(await self._run(self._core.rotate(rotation.successor(new_key, self.config))))

    @asynccontextmanager
    async def action(
        self, tool: str, parameters: Mapping[str, Any] | None = None, *, wait: float | None = None, **options: Any
    ) -> AsyncIterator[Execution]:
        """See :meth:`imprimatur.Imprimatur.action`."""
        given = {} if parameters is None else parameters
        wish = self.wish(tool, given, wait=wait, **options)
        execution = Execution(await self._run(self._core.obtain(wish, wait, lambda: unchanged(wish, given))))
        try:
            yield execution
        except BaseException:
            await self._run(self._core.report(execution.decision, "FAILED", **execution.told()))
            raise
        await self._run(self._core.report(execution.decision, "SUCCEEDED", **execution.told()))

    def tool(
        self,
        name: Any = None,
        /,
        *,
        redact: Sequence[str] = (),
        risk: str | None = None,
        justification: Justification = "",
        wait: float | None = None,
        on_denied: OnDenied = "raise",
        **options: Any,
    ) -> Any:
        """See :meth:`imprimatur.Imprimatur.tool`. The governed function is awaited, also when it is an ordinary one."""

        def decorate(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
            governed = tools.govern(
                function,
                name if isinstance(name, str) else None,
                redact=redact,
                options={"risk": risk, **options},
                justification=justification,
                wait=wait,
                on_denied=on_denied,
            )

            @functools.wraps(function)
            async def guarded(*args: Any, **kwargs: Any) -> Any:
                args_kept, kwargs_kept = governed.keep(args, kwargs)
                arguments, live = governed.arguments(args_kept, kwargs_kept), governed.arguments(args, kwargs)
                try:
                    wish = self.wish(governed.name, arguments, wait=wait, **governed.wish_options(arguments))
                    execution = await self._run(self._core.obtain(wish, wait, lambda: unchanged(wish, live)))
                except ActionBlocked as blocked:
                    if governed.on_denied == "return":
                        return tools.refusal(blocked)
                    raise
                try:
                    result = function(*args_kept, **kwargs_kept)
                    if inspect.isawaitable(result):
                        result = await result
                    tools.finished(result)
                except BaseException:
                    await self._run(self._core.report(execution, "FAILED"))
                    raise
                await self._run(self._core.report(execution, "SUCCEEDED"))
                return result

            return guarded

        return decorate(name) if callable(name) else decorate

    secure_tool = tool

    def require_approval(self, name: Any = None, /, **options: Any) -> Any:
        """:meth:`tool` with at least HIGH risk: a person is always asked."""
        return self.tool(name, **{"risk": "HIGH", **options})

    async def close(self) -> None:
        """Close the connections."""
        self._held.keep()
        await self._http.aclose()

    async def __aenter__(self) -> AsyncImprimatur:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncDelegations:
    """See :class:`imprimatur.client.sync.Delegations`."""

    def __init__(self, gate: AsyncImprimatur) -> None:
        self._gate = gate

    async def get(self, identifier: str) -> dict[str, Any]:
        """One delegation and what is left of it. Raises APIError."""
        return await self._gate._run(self._gate._core.read(f"/delegations/{a_delegation(identifier)}"))

    async def pass_on(
        self, to: str, scope: Sequence[str], *, expires: datetime | timedelta, **facets: Any
    ) -> dict[str, Any]:
        """Delegate a narrower part to the agent ``to``. Raises ConfigError, APIError."""
        nonce = secrets.token_urlsafe(18)
        return await self._gate._run(self._gate._core.pass_on(to, scope, expires=expires, nonce=nonce, **facets))

    async def revoke(self, identifier: str, reason: str) -> dict[str, Any]:
        """Take back a delegation this agent issued. Raises APIError."""
        return await self._gate._run(self._gate._core.take_back(identifier, reason))


class AsyncReceipts:
    """See :class:`imprimatur.client.sync.Receipts`."""

    def __init__(self, gate: AsyncImprimatur) -> None:
        self._gate = gate

    async def get(self, action_id: str) -> dict[str, Any]:
        """The receipt of one request, as it came. Raises APIError."""
        return await self._gate._run(self._gate._core.read(f"/receipts/{an_action(action_id)}"))
