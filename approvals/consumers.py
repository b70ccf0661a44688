"""The socket of an open page: which ids changed, and nothing else.

Invariant 10: it sends ids and versions; the page fetches what it may see through the same checks as ever. It decides
nothing and reads nothing it is sent. Before every message, and every few seconds, the session, the person and the
role are looked up again; the moment one of them is gone, the socket closes with 4401.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest

from approvals import live
from governance.actors import roles_of

NOT_SIGNED_IN = 4401
BEAT = 15.0  # seconds between looks at the session; the page takes three missed beats for a dead line
MOST_AT_ONCE = 200


def still_stands(session_key: str) -> bool:
    """Whether this session still belongs to an active person with a role and a password of their own."""
    request = HttpRequest()
    request.session = SessionStore(session_key)
    user = get_user(request)
    person = getattr(user, "person", None)
    return person is not None and not person.must_change_password and bool(roles_of(person))


class LiveConsumer(AsyncJsonWebsocketConsumer):
    """One open page. Events that come while one message is on its way are merged: only the newest version counts."""

    _leave: Callable[[], None] | None = None
    _task: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Accept, and close again at once with a code the page understands when nobody is signed in."""
        await self.accept()
        session = self.scope.get("session")
        self._session_key = getattr(session, "session_key", None) or ""
        self._changed: dict[tuple[str, str], int] = {}
        self._bell = asyncio.Event()
        if not await self._stands():
            await self.close(NOT_SIGNED_IN)
            return
        loop = asyncio.get_running_loop()

        def hear(event: live.Event) -> None:
            loop.call_soon_threadsafe(self._note, event)

        self._leave = live.hub.subscribe(hear)
        self._task = asyncio.create_task(self._run())
        await self.send_json({"changed": []})

    async def disconnect(self, code: int) -> None:
        """Stop listening."""
        if self._leave is not None:
            self._leave()
            self._leave = None
        if self._task is not None:
            self._task.cancel()
            self._task = None

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Nothing that a page sends means anything; it is only a reason to look at the session again."""
        if not await self._stands():
            await self.close(NOT_SIGNED_IN)

    def _note(self, event: live.Event) -> None:
        key = (event.kind, event.id)
        self._changed[key] = max(event.version, self._changed.get(key, 0))
        self._bell.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._bell.wait(), BEAT)
            self._bell.clear()
            changed, self._changed = self._changed, {}
            if not await self._stands():
                await self.close(NOT_SIGNED_IN)
                return
            # Too many to name: an empty name makes the page fetch its list again, which is right in any case.
            named = changed if len(changed) <= MOST_AT_ONCE else {("request", ""): 0}
            rows = [{"kind": kind, "id": id_, "version": version} for (kind, id_), version in named.items()]
            await self.send_json({"changed": rows})

    async def _stands(self) -> bool:
        return bool(self._session_key) and await database_sync_to_async(still_stands)(self._session_key)
