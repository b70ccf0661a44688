"""The desk's few threads: nobody who is slow keeps one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import path

from server import django_pool
from server.django_pool import LARGE, MOST_SLOW, THREADS, PooledDjango

PIECES = 50


def small(request: HttpRequest) -> HttpResponse:
    return HttpResponse(threading.current_thread().name)


def large(request: HttpRequest) -> HttpResponse:
    return HttpResponse(b"x" * (LARGE + 1))


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def pieces() -> Iterator[str]:
        for _ in range(PIECES):
            yield threading.current_thread().name + ";"

    return StreamingHttpResponse(pieces())


def body(request: HttpRequest) -> HttpResponseBase:
    return HttpResponse(str(len(request.body)))


urlpatterns = [path(view.__name__, view) for view in (small, large, stream, body)]  # type: ignore[arg-type]


class Caller:
    """One request to the application, step by step."""

    def __init__(self, app: PooledDjango, name: str) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.reads = asyncio.Event()
        self.reads.set()
        headers = [(b"host", b"testserver")]
        method = "POST" if name == "body" else "GET"
        scope = {"type": "http", "method": method, "path": f"/{name}", "query_string": b"", "headers": headers}
        self.task = asyncio.create_task(app(scope, self.incoming.get, self.send))

    async def send(self, message: dict[str, Any]) -> None:
        await self.reads.wait()
        self.sent.append(message)

    def give(self, content: bytes = b"", more: bool = False) -> None:
        self.incoming.put_nowait({"type": "http.request", "body": content, "more_body": more})

    async def answer(self) -> tuple[int, bytes]:
        await asyncio.wait_for(self.task, 20)
        return self.sent[0]["status"], b"".join(message.get("body", b"") for message in self.sent[1:])


@pytest.fixture
def app(settings) -> PooledDjango:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = []
    settings.ALLOWED_HOSTS = ["testserver"]
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    return PooledDjango()


@pytest.fixture
async def many(app: PooledDjango) -> AsyncIterator[list[Caller]]:
    """Callers to be left hanging by a test."""
    callers: list[Caller] = []
    yield callers
    for caller in callers:
        caller.reads.set()
        caller.incoming.put_nowait({"type": "http.disconnect"})
    await asyncio.gather(*(caller.task for caller in callers))


async def page(app: PooledDjango, name: str = "small") -> tuple[int, bytes]:
    caller = Caller(app, name)
    caller.give()
    return await caller.answer()


async def test_pages_share_a_few_threads(app: PooledDjango) -> None:
    names = {(await page(app))[1] for _ in range(3 * THREADS)}
    assert len(names) <= THREADS
    together = await asyncio.gather(*(page(app) for _ in range(50)))
    assert {status for status, _ in together} == {200}
    assert len({name for _, name in together}) <= THREADS


async def test_bodies_that_never_end_hold_no_thread(app: PooledDjango, many: list[Caller]) -> None:
    for _ in range(10 * THREADS):
        many.append(Caller(app, "body"))
        many[-1].give(b"half", more=True)
    assert (await page(app))[0] == 200


@pytest.mark.parametrize("name", ["stream", "large"])
async def test_slow_readers_hold_no_thread_of_the_pages(app: PooledDjango, many: list[Caller], name: str) -> None:
    for _ in range(MOST_SLOW):
        caller = Caller(app, name)
        caller.reads.clear()
        caller.give()
        many.append(caller)
        assert (await page(app))[0] == 200
    for caller in many:
        caller.reads.set()
        status, content = await caller.answer()
        assert status == 200
        if name == "stream":
            # Made on one thread from beginning to end: a database connection belongs to one.
            pieces = content.decode().rstrip(";").split(";")
            assert len(pieces) == PIECES
            assert len(set(pieces)) == 1
    assert (await page(app))[0] == 200
    assert app._slow == 0
    assert len(app._free) == THREADS


async def test_threads_stay_bounded_however_many_are_slow(app: PooledDjango, many: list[Caller]) -> None:
    for _ in range(MOST_SLOW + THREADS + 5):
        many.append(Caller(app, "large"))
        many[-1].reads.clear()
        many[-1].give()
    await asyncio.sleep(0)
    while app._slow < MOST_SLOW:
        await asyncio.sleep(0)
    assert app._made <= THREADS + MOST_SLOW


async def test_a_body_in_pieces_arrives_whole_and_one_that_is_too_large_not_at_all(app: PooledDjango) -> None:
    caller = Caller(app, "body")
    for _ in range(9):
        caller.give(b"x" * 100, more=True)
    caller.give(b"x" * 100)
    assert await caller.answer() == (200, b"1000")
    caller = Caller(app, "body")
    caller.give(b"x" * 1000, more=True)
    caller.give(b"x", more=True)
    status, content = await caller.answer()
    assert status == 413
    assert b'"too-large"' in content


async def test_a_body_that_takes_too_long_is_refused(app: PooledDjango, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(django_pool, "BODY_WITHIN", 0.05)
    caller = Caller(app, "body")
    caller.give(b"x", more=True)
    assert (await caller.answer())[0] == 408


async def test_who_leaves_before_the_body_is_there_gets_nothing(app: PooledDjango) -> None:
    caller = Caller(app, "body")
    caller.give(b"x", more=True)
    caller.incoming.put_nowait({"type": "http.disconnect"})
    await asyncio.wait_for(caller.task, 20)
    assert caller.sent == []
    assert (await page(app))[0] == 200
