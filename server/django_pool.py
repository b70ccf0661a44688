"""Django under ASGI without a new thread for every request.

Stock Django opens a thread-sensitive context per request, and with it two threads. Here a few single-thread executors
are leased instead: persistent database connections work again, and the number of threads stays what it is.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.core.handlers.asgi import ASGIHandler

THREADS = 4


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
