"""The hub: what changed, as ids and versions, to every open page of every process.

A page that hears of a change fetches it again through the same permission checks as ever; an event grants nothing and
tells nothing but that something moved. Redis being down costs other processes their hint, and never a commit.
"""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import secrets
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass

import redis
from django.conf import settings

logger = logging.getLogger(__name__)

CHANNEL = "imprimatur.live"
RETRY_AFTER = 2.0  # seconds
MOST_WAITING = 1000


@dataclass(frozen=True)
class Event:
    """Something of this kind, with this id, now has this version. ``person`` reads it, when that is the news; it is for
    the processes of the server and is never sent to a page."""

    kind: str
    id: str
    version: int
    person: str = ""


Subscriber = Callable[[Event], None]


class Hub:
    """Fans events out to the subscribers of this process, and through Redis to those of the others.

    ``publish`` never blocks and never raises: the socket to Redis belongs to a thread of its own.
    """

    def __init__(self) -> None:
        self._me = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._subscribers: set[Subscriber] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._outgoing: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Have ``subscriber`` called with every event, on the event loop once one is attached. Returns how to stop."""
        with self._lock:
            self._subscribers.add(subscriber)

        def leave() -> None:
            with self._lock:
                self._subscribers.discard(subscriber)

        return leave

    def publish(self, event: Event) -> None:
        """Tell this process at once, and hand the event to the thread that talks to Redis. Call it after the commit."""
        self._tell(event)
        if not self._threads:
            return
        try:
            self._outgoing.put_nowait(json.dumps({"from": self._me, **asdict(event)}))
        except queue.Full:
            logger.debug("the hub dropped an event: Redis has been away for a while")

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Attach the event loop that subscribers live on, and start the two threads that talk to Redis."""
        self._loop = loop
        self._stopping.clear()
        self._threads = [
            threading.Thread(target=self._send, name="live-send", daemon=True),
            threading.Thread(target=self._receive, name="live-receive", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the threads and forget the loop. Subscribers stay."""
        self._stopping.set()
        try:
            self._outgoing.put_nowait(None)
        except queue.Full:
            self._outgoing.get_nowait()
            self._outgoing.put_nowait(None)
        for thread in self._threads:
            thread.join(5)
        self._threads = []
        self._loop = None

    def _tell(self, event: Event) -> None:
        with self._lock:
            subscribers = list(self._subscribers)
        loop = self._loop
        for subscriber in subscribers:
            if loop is None:
                subscriber(event)
                continue
            try:
                loop.call_soon_threadsafe(subscriber, event)
            except RuntimeError:  # the loop has closed: the process is on its way out
                return

    def _send(self) -> None:
        client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5)
        while not self._stopping.is_set():
            message = self._outgoing.get()
            if message is None:
                break
            try:
                client.publish(CHANNEL, message)
            except redis.RedisError:
                logger.debug("the hub could not reach Redis")
        client.close()

    def _receive(self) -> None:
        while not self._stopping.is_set():
            client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5)
            try:
                with client.pubsub(ignore_subscribe_messages=True) as listener:  # type: ignore[no-untyped-call]  # redis-py
                    listener.subscribe(CHANNEL)
                    while not self._stopping.is_set():
                        message = listener.get_message(timeout=1.0)
                        if message is not None:
                            self._heard(message["data"])
            except redis.RedisError:
                self._stopping.wait(RETRY_AFTER)
            finally:
                client.close()

    def _heard(self, raw: bytes) -> None:
        # Redis is not trusted: what does not look like an event is dropped, and an event grants nothing anyway.
        try:
            document = json.loads(raw)
            person = str(document.get("person", ""))
            event = Event(str(document["kind"]), str(document["id"]), int(document["version"]), person)
            sender = document["from"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        if sender != self._me:
            self._tell(event)


hub = Hub()
