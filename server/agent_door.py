"""The agent door: the hot calls as plain ASGI coroutines, beside Django. A waiting agent holds no thread.

Reads and judgement run in a few threads outside the lock; the change joins the writer's next batch; everything else
(pages, sockets, the cold calls of the API) goes to the application behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from django.db import close_old_connections

from approvals import waiting
from approvals.door import problems, routes, serve
from approvals.door.raw import LARGEST_BODY, RawRequest, Reply, Step, Wait, Write
from audit import log, writer
from governance.errors import Refused

THREADS = 4
BODY_WITHIN = 20.0  # seconds
# A change that the writer has not taken up by then is taken back, and the agent hears "busy" instead of nothing.
TAKEN_UP_WITHIN = 4.0  # seconds

T = TypeVar("T")
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Run(Protocol):
    """Calls a blocking function away from the event loop."""

    def __call__(self, function: Callable[..., Any], /, *arguments: Any) -> Awaitable[Any]: ...


class Gone(Exception):
    """The client went away before it had an answer."""


class AgentDoor:
    """ASGI middleware: answers the hot calls itself and hands everything else to ``app``."""

    def __init__(self, app: Any, run: Run | None = None) -> None:
        self.app = app
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="agent-door") if run is None else None
        self._run: Run = run or self._in_pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = routes.find(scope["method"], _path(scope)) if scope["type"] == "http" else None
        if found is None:
            await self.app(scope, receive, send)
            return
        route, parameters = found
        try:
            raw = await _read(scope, receive)
            make = partial(serve.prepare, raw, route.operation, route.schema, parameters)
            reply = await self._carry_out(await self._run(make), receive)
        except Gone:
            return
        except Exception as error:
            reply = problems.from_error(error)
        await _send(send, reply)

    async def _carry_out(self, step: Step, receive: Receive) -> Reply:
        if isinstance(step, Write):
            thread = writer.running()
            if thread is None:
                result = await self._run(log.commit, step.apply, step.command)
            else:
                result = await _committed(thread.submit(step.apply, step.command))
            reply: Reply = await self._run(step.answer, result)
            return reply
        if isinstance(step, Wait):
            await self._hold(step, receive)
            reply = await self._run(step.answer)
            return reply
        return step

    async def _hold(self, step: Wait, receive: Receive) -> None:
        loop = asyncio.get_running_loop()
        happened = asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(happened.set)

        waiting.bell.listen(step.request, step.version, wake, step.key)
        waiting.bell.keep_polling()
        heard = asyncio.ensure_future(happened.wait())
        left = asyncio.ensure_future(_disconnected(receive))
        try:
            if not await self._run(serve.moved_on, step):
                await asyncio.wait({heard, left}, timeout=step.seconds, return_when=asyncio.FIRST_COMPLETED)
            if left.done() and not heard.done():
                raise Gone
        finally:
            waiting.bell.leave(step.request, wake)
            for task in (heard, left):
                task.cancel()

    def _in_pool(self, function: Callable[..., Any], /, *arguments: Any) -> Awaitable[Any]:
        return asyncio.get_running_loop().run_in_executor(self._pool, partial(_fresh, function, *arguments))


async def _committed(change: Future[T]) -> T:
    """The result of a change. Raises Refused ``busy`` when it waited too long in the queue and was taken back in time.

    Then it is certain that nothing was decided. What the writer has taken up is waited for: its outcome must be told.
    """
    result = asyncio.wrap_future(change)
    done, _ = await asyncio.wait({result}, timeout=TAKEN_UP_WITHIN)
    if not done and change.cancel():
        raise Refused("busy", "Too much is waiting to be written, so nothing was decided.")
    return await result


def _fresh(function: Callable[..., T], *arguments: Any) -> T:
    # A connection that the database has closed in the meantime is replaced, as Django does before each request.
    close_old_connections()
    return function(*arguments)


def _path(scope: Scope) -> str:
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8")
    return raw.partition(b"?")[0].decode("latin-1")


async def _read(scope: Scope, receive: Receive) -> RawRequest:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        label, text = name.decode("latin-1").lower(), value.decode("latin-1")
        # A header that comes twice is joined, and then no signature holds.
        headers[label] = f"{headers[label]}, {text}" if label in headers else text
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_WITHIN):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Gone
                part = message.get("body", b"")
                size += len(part)
                if size > LARGEST_BODY:
                    parts.clear()
                    break
                parts.append(part)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise Refused("malformed", "The body did not arrive in time.", 408) from None
    client = scope.get("client")
    return RawRequest(
        method=scope["method"],
        path=_path(scope),
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        body=b"".join(parts),
        peer=client[0] if client else "",
        oversized=size > LARGEST_BODY,
    )


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, reply: Reply) -> None:
    headers = {
        "content-type": reply.content_type,
        "content-length": str(len(reply.body)),
        "x-content-type-options": "nosniff",
        **reply.headers,
    }
    await send(
        {
            "type": "http.response.start",
            "status": reply.status,
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": reply.body})
