"""Waking who waits, and telling open pages: hints only, and never at the price of a commit."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

from approvals import live, waiting


def test_the_bell_wakes_whoever_missed_a_commit_of_another_process() -> None:
    bell = waiting.Bell()
    woken = threading.Event()
    bell.listen("act_1", 3, woken.set, "key")
    bell.poll(lambda ids: [(one, 3) for one in ids])
    assert not woken.is_set()
    bell.poll(lambda ids: [(one, 4) for one in ids])
    assert woken.is_set()
    bell.leave("act_1", woken.set)
    assert bell.waiting() == 0


def test_an_event_reaches_this_process_without_redis(settings: Any) -> None:
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    hub, heard = live.Hub(), []
    leave = hub.subscribe(heard.append)
    hub.publish(live.Event("request", "act_1", 2))
    leave()
    hub.publish(live.Event("request", "act_1", 3))
    assert heard == [live.Event("request", "act_1", 2)]


async def test_subscribers_are_called_on_the_loop_and_a_dead_redis_breaks_nothing(settings: Any) -> None:
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    hub, heard = live.Hub(), asyncio.Event()
    hub.start(asyncio.get_running_loop())
    try:
        hub.subscribe(lambda event: heard.set())
        threading.Thread(target=hub.publish, args=(live.Event("request", "act_1", 2),)).start()
        await asyncio.wait_for(heard.wait(), 60)
    finally:
        await asyncio.to_thread(hub.stop)


def test_what_redis_says_is_only_a_hint() -> None:
    hub, heard = live.Hub(), []
    hub.subscribe(heard.append)
    for raw in (b"", b"[]", b"{}", b'{"kind":"request","id":"a","version":"x","from":"b"}', b"null"):
        hub._heard(raw)
    assert heard == []
    hub._heard(json.dumps({"kind": "request", "id": "act_1", "version": 2, "from": "another"}).encode())
    assert heard == [live.Event("request", "act_1", 2)]
