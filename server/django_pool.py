"""Django under ASGI without a new thread for every request.

Stock Django opens a thread-sensitive context per request, and with it two threads. Here a few single-thread executors
are leased instead: persistent database connections work again, and the number of threads stays what it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase

THREADS = 4


async def piece_by_piece(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Read a synchronous stream one piece at a time, on the request's thread.

    Django would read it whole before sending the first byte: an export of a million entries would fill the memory.
    """
    take = sync_to_async(lambda: next(parts, None))
    while (part := await take()) is not None:
        yield part


class PooledDjango(ASGIHandler):
    """Django's ASGI handler on leased threads. Not for requests that wait: those hold no thread, in the agent door."""

    def __init__(self) -> None:
        super().__init__()
        self._free = [ThreadPoolExecutor(1, thread_name_prefix=f"django-{n}") for n in range(THREADS)]
        self._seats = asyncio.Semaphore(THREADS)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        async with self._seats:
            executor = self._free.pop()
            try:
                async with ThreadSensitiveContext():
                    context = SyncToAsync.thread_sensitive_context.get()
                    SyncToAsync.context_to_thread_executor[context] = executor
                    try:
                        await self.handle(scope, receive, send)
                    finally:
                        SyncToAsync.context_to_thread_executor.pop(context, None)
            finally:
                self._free.append(executor)

    async def send_response(self, response: HttpResponseBase, send: Any) -> None:
        """Send a response; a stream goes out as it is made."""
        if isinstance(response, StreamingHttpResponse) and not response.is_async:
            response.streaming_content = piece_by_piece(iter(response.streaming_content))  # type: ignore[arg-type]
        await super().send_response(response, send)
