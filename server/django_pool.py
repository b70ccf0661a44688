"""Django under ASGI without a new thread for every request.

Stock Django opens a thread-sensitive context per request, and with it two threads. Here a few single-thread executors
are leased instead: persistent database connections work again, and the number of threads stays what it is.

A lease is for working, not for waiting: a request's body is there before one is taken, and whoever reads a large
answer slowly is served on a thread that pages do not need. So a few slow lines never hold up the desk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase

from approvals.door import problems
from governance.errors import Refused

THREADS = 4
MOST_SLOW = 16  # large answers on their way at once, beside the pages
LARGE = 64 * 1024  # bytes; what is smaller fits into the buffers between us and the reader
BODY_WITHIN = 20.0  # seconds

Receive = Callable[[], Awaitable[dict[str, Any]]]


async def piece_by_piece(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Read a synchronous stream one piece at a time, on the request's thread.

    Django would read it whole before sending the first byte: an export of a million entries would fill the memory.
    """
    take = sync_to_async(lambda: next(parts, None))
    while (part := await take()) is not None:
        yield part


@dataclass
class Lease:
    """The thread a request works on. ``slow`` once it has left the pages' threads."""

    executor: ThreadPoolExecutor
    slow: bool = False


_lease: ContextVar[Lease] = ContextVar("lease")


class PooledDjango(ASGIHandler):
    """Django's ASGI handler on leased threads. Not for requests that wait: those hold no thread, in the agent door."""

    def __init__(self) -> None:
        super().__init__()
        self._made = 0
        self._free = [self._executor() for _ in range(THREADS)]
        self._spare: list[ThreadPoolExecutor] = []
        self._slow = 0
        self._seats = asyncio.Semaphore(THREADS)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        try:
            whole = await _whole(receive)
        except Refused as refused:
            await _refuse(refused, send)
            return
        if whole is None:
            return
        await self._seats.acquire()
        lease = Lease(self._free.pop())
        _lease.set(lease)
        try:
            async with ThreadSensitiveContext():
                context = SyncToAsync.thread_sensitive_context.get()
                SyncToAsync.context_to_thread_executor[context] = lease.executor
                try:
                    await self.handle(scope, whole, send)
                finally:
                    SyncToAsync.context_to_thread_executor.pop(context, None)
        finally:
            self._give_back(lease)

    async def send_response(self, response: HttpResponseBase, send: Any) -> None:
        """Send a response; a stream goes out as it is made, and what is large goes out beside the pages."""
        if response.streaming or len(getattr(response, "content", b"")) > LARGE:
            self._step_aside(_lease.get())
        if isinstance(response, StreamingHttpResponse) and not response.is_async:
            response.streaming_content = piece_by_piece(iter(response.streaming_content))  # type: ignore[arg-type]
        await super().send_response(response, send)

    def _step_aside(self, lease: Lease) -> None:
        # When there are too many slow ones already, this one keeps its place among the pages: threads stay bounded.
        if lease.slow or self._slow >= MOST_SLOW:
            return
        lease.slow = True
        self._slow += 1
        self._free.append(self._spare.pop() if self._spare else self._executor())
        self._seats.release()

    def _give_back(self, lease: Lease) -> None:
        if lease.slow:
            self._slow -= 1
            self._spare.append(lease.executor)
        else:
            self._free.append(lease.executor)
            self._seats.release()

    def _executor(self) -> ThreadPoolExecutor:
        self._made += 1
        return ThreadPoolExecutor(1, thread_name_prefix=f"django-{self._made}")


async def _whole(receive: Receive) -> Receive | None:
    """A ``receive`` that has the whole body at once; None when the client left. Raises Refused (413, 408)."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_WITHIN):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
                    raise Refused("too-large", "That is more than this server takes at once.", 413)
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise Refused("malformed", "The body did not arrive in time.", 408) from None
    first = True

    async def again() -> dict[str, Any]:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": b"".join(parts), "more_body": False}
        return await receive()

    return again


async def _refuse(refused: Refused, send: Any) -> None:
    reply = problems.problem(refused)
    headers = {"content-type": reply.content_type, "content-length": str(len(reply.body)), "connection": "close"}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
    await send({"type": "http.response.body", "body": reply.body})
