"""The socket of an open page: which ids changed, and nothing else.

Invariant 10: it sends ids and versions; the page fetches what it may see through the same checks as ever. It decides
nothing, and the one thing it reads is which request the page shows (``{"watching": "act_…"}``), so that colleagues see
that somebody reads it. Before every message, and every few seconds, the session, the person and the role are looked up
again; the moment one of them is gone, the socket closes with 4401.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth import get_user
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest

from approvals import live, presence
from approvals.access import access_request
from governance.actors import roles_of
from governance.errors import Refused
from governance.models import Person

NOT_SIGNED_IN = 4401
BEAT = 15.0  # seconds between looks at the session; the page takes three missed beats for a dead line
MOST_AT_ONCE = 200
LONGEST = 100  # characters of a message from a page


def who_stands(session_key: str) -> Person | None:
    """Whose session this is, as long as they are active, with a role and a password of their own."""
    request = HttpRequest()
    request.session = SessionStore(session_key)
    user = get_user(request)
    person = getattr(user, "person", None)
    stands = isinstance(person, Person) and not person.must_change_password and bool(roles_of(person))
    return person if stands else None


def may_see(person: Person, request: str) -> bool:
    """Whether this person could open this request."""
    try:
        access_request(person, request)
    except Refused:
        return False
    return True


def watched(text: str) -> str | None:
    """The request that a page says it shows, or nothing when it shows none; None for any other message."""
    if len(text) > LONGEST:
        return None
    try:
        message = json.loads(text)
    except ValueError:
        return None
    said = message.get("watching") if isinstance(message, dict) else None
    return said if isinstance(said, str) else None


class LiveConsumer(AsyncJsonWebsocketConsumer):
    """One open page. Events that come while one message is on its way are merged: only the newest version counts."""

    _leave: Callable[[], None] | None = None
    _task: asyncio.Task[None] | None = None
    _watching = ""  # the request that the page shows
    _me = ""  # whose page it is
    _told: frozenset[str] = frozenset()  # who else reads it, as the page was told last

    async def connect(self) -> None:
        """Accept, and close again at once with a code the page understands when nobody is signed in.

        It listens before it accepts: a page looks once when its line opens, and has to hear of everything after that.
        """
        session = self.scope.get("session")
        self._session_key = getattr(session, "session_key", None) or ""
        self._changed: dict[tuple[str, str], int] = {}
        self._bell = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hear(event: live.Event) -> None:
            try:
                loop.call_soon_threadsafe(self._note, event)
            except RuntimeError:  # this page's loop has closed without a goodbye; the others are still told
                if self._leave is not None:
                    self._leave()

        self._leave = live.hub.subscribe(hear)
        try:
            await self.accept()
        except BaseException:  # nobody is there any more, and nobody will say goodbye
            self._leave()
            raise
        person = await self._person()
        if person is None:
            self._leave()
            self._leave = None
            await self.close(NOT_SIGNED_IN)
            return
        self._me = person.pk
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
        self._turn_to("")

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: Any) -> None:
        """Which request the page shows. Nothing else that it sends means anything; each message is a reason to look at
        the session again."""
        person = await self._person()
        if person is None:
            await self.close(NOT_SIGNED_IN)
            return
        request = watched(text_data or "")
        if request is None:
            return
        self._turn_to(request if request and await database_sync_to_async(may_see)(person, request) else "")
        if self._others() != self._told:
            self._bell.set()

    def _turn_to(self, request: str) -> None:
        if self._watching and self._watching != request:
            presence.desk.leave(self._watching, self._me)
            self._told = frozenset()
        self._watching = request
        if request:
            presence.desk.note(request, self._me)

    def _others(self) -> frozenset[str]:
        return presence.desk.readers(self._watching) - {self._me} if self._watching else frozenset()

    def _note(self, event: live.Event) -> None:
        if event.kind in (presence.READING, presence.LEFT):
            # Only for whoever reads the same request, and only when somebody came or went.
            if event.id == self._watching and self._others() != self._told:
                self._bell.set()
            return
        key = (event.kind, event.id)
        self._changed[key] = max(event.version, self._changed.get(key, 0))
        self._bell.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._bell.wait(), BEAT)
            self._bell.clear()
            changed, self._changed = self._changed, {}
            if await self._person() is None:
                await self.close(NOT_SIGNED_IN)
                return
            others = self._others()
            if others != self._told:
                self._told = others
                changed[presence.READING, self._watching] = 0
            # Too many to name: an empty name makes the page fetch its list again, which is right in any case.
            named = changed if len(changed) <= MOST_AT_ONCE else {("request", ""): 0}
            rows = [{"kind": kind, "id": id_, "version": version} for (kind, id_), version in named.items()]
            await self.send_json({"changed": rows})

    async def _person(self) -> Person | None:
        return await database_sync_to_async(who_stands)(self._session_key) if self._session_key else None
