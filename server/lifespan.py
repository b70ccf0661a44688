"""What runs in the web process besides answering: the writer, the publisher, the clock, the socket hub."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async

from server import runtime


class Lifespan:
    """ASGI middleware: starts the runtime before the first request and stops it after the last."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await sync_to_async(runtime.start)()
                    runtime.attach_loop()
                except Exception as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    raise
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await sync_to_async(runtime.stop)()
                await send({"type": "lifespan.shutdown.complete"})
                return
