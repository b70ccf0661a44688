"""The agent's day: routine work all the time, now and then something for people, now and then something forbidden."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

from examples.demo import identity as identities
from examples.demo.deeds import Deed, Script, World, do
from examples.demo.identity import DemoError, Identity
from examples.demo.journal import Journal
from imprimatur import APIError, AsyncImprimatur

MOST_PENDING = 4
PATIENCE = 1800.0
"""Seconds a request waits for people: a visitor may look around first."""


class Robo:
    """One agent. It keeps asking when the server restarts, and does nothing while there is no answer."""

    def __init__(self, identity: Identity, world: World, journal: Journal) -> None:
        self._identity = identity
        self._world = world
        self._journal = journal
        self._script = Script(world.project)
        self._gate = AsyncImprimatur(identity.url, identity.key, None, identity.trust)
        self._delegation = ""
        self._ends = datetime.min.replace(tzinfo=UTC)
        self._waiting: set[asyncio.Task[bool]] = set()

    async def run(self, script: str) -> None:
        """Work until cancelled. What still waits then is cancelled too."""
        try:
            await self._authority(first=True)
            await (self._once() if script == "once" else self._steady())
        finally:
            for task in self._waiting:
                task.cancel()
            await asyncio.gather(*self._waiting, return_exceptions=True)
            await self._gate.close()

    async def _once(self) -> None:
        """Everything once; then idle, so that ledger and mailbox stay up."""
        for deed in self._script.routine():
            await self._do(deed)
        for _ in range(Script.FORBIDDEN):
            await self._do(self._script.forbidden())
        for _ in range(MOST_PENDING):
            self._ask()
        await asyncio.gather(*self._waiting)
        self._journal.write(event="finished")
        await asyncio.Event().wait()

    async def _steady(self) -> None:
        clock = asyncio.get_running_loop().time
        next_ask = next_try = clock()
        while True:
            await self._authority()
            for deed in self._script.routine():
                await self._do(deed)
                await asyncio.sleep(random.uniform(1.0, 3.0))
                if clock() >= next_ask and await self._pending() < MOST_PENDING:
                    self._ask()
                    next_ask = clock() + random.uniform(20.0, 40.0)
            if clock() >= next_try:
                await self._do(self._script.forbidden())
                next_try = clock() + random.uniform(15.0, 30.0)
            await asyncio.sleep(random.uniform(4.0, 8.0))

    async def _do(self, deed: Deed, wait: float | None = 30.0) -> bool:
        return await do(self._gate, self._world, self._journal, deed, delegation=self._delegation, wait=wait)

    def _ask(self) -> None:
        task = asyncio.create_task(self._do(self._script.request(), PATIENCE))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _pending(self) -> int:
        try:
            found = (await self._gate.me()).get("pending", 0)
        except APIError as error:
            self._journal.write(event="no-answer", code=error.code)
            return MOST_PENDING
        return max(int(found), len(self._waiting))

    async def _authority(self, *, first: bool = False) -> None:
        """Have Ada delegate at the start and shortly before the end. A delegation that was revoked is not replaced
        while this process runs: then every request is refused, as whoever revoked it wanted."""
        if not first and datetime.now(UTC) < self._ends - identities.RENEW:
            return
        try:
            found = await asyncio.to_thread(identities.standing, self._identity)
            if found is None:
                found = await asyncio.to_thread(identities.delegate, self._identity)
                self._journal.write(event="delegated", delegation=found)
            self._ends = await asyncio.to_thread(identities.ends, self._identity, found)
            self._delegation = found
        except (APIError, DemoError) as error:
            if first:
                raise
            self._journal.write(event="not-delegated", message=str(error))
