"""What the tests of sinks share: a published log, a collector behind HTTP, and a publisher that ships."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audit import signer
from audit.models import Checkpoint, Entry, SinkState
from audit.publisher import Publisher
from audit.sinks import shipping
from audit.sinks.tree import Published
from imprimatur.formats import merkle, note
from tests.audit.conftest import REALM
from tests.installation import eventually


def log_vkey() -> note.Vkey:
    return note.Vkey(REALM, signer.log_key().public_key)


def published() -> Published:
    """Publish what is committed, and return it as sinks get it."""
    Publisher().publish_once()
    newest = Checkpoint.objects.order_by("-size")[0]
    return shipping.published(newest.size, bytes.fromhex(newest.root), newest.note)


def envelopes(size: int) -> list[bytes]:
    return [bytes(raw) for raw in Entry.objects.order_by("index").values_list("envelope", flat=True)[:size]]


def deliver(sink: Any, log: Published) -> None:
    """Ship everything without a thread, as a thread does."""
    held = sink.where(log, 0)
    while held < log.size:
        held = sink.take(log, held, min(log.size, (held // 256 + 1) * 256))
    sink.seal(log)


@contextmanager
def shipping_to(settings: Any, *words: str) -> Iterator[Publisher]:
    """A publisher that ships. Rounds are run by hand, so the test's database does."""
    settings.SINKS = list(words)
    client = shipping.Client()
    client.start()
    try:
        yield Publisher(shipping=client)
    finally:
        client.stop()


def rounds_until(one: Publisher, look: Callable[[], Any]) -> Any:
    def once() -> Any:
        one.publish_once()
        return look()

    return eventually(once)


def state(name: str = "copy") -> SinkState:
    return SinkState.objects.filter(pk=name).first() or SinkState(name=name)


def entries_in(path: Path) -> list[bytes]:
    """The entries of a file of lines, read as somebody would who does not know our code."""
    found: list[bytes] = []
    for line in path.read_bytes().split(b"\n"):
        try:
            document = json.loads(line)
        except ValueError:
            continue
        if "envelope" in document:
            assert document["index"] == len(found)
            raw = base64.b64decode(document["envelope"])
            assert merkle.leaf_hash(raw).hex() == document["leaf"]
            found.append(raw)
    return found


@dataclass
class Collector:
    """A collector that keeps what it is sent, or does what the test wants instead."""

    url: str = ""
    entries: list[bytes] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    posts: list[dict[str, str]] = field(default_factory=list)
    offers_state: bool = True
    says: Callable[[str], tuple[int, bytes] | None] = lambda method: None
    root: str = ""

    def state(self) -> bytes:
        root = self.root or merkle.root_of(merkle.leaf_hash(raw) for raw in self.entries).hex()
        return json.dumps({"size": len(self.entries), "root": root}).encode()

    def post(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        self.posts.append(headers)
        first, count = int(headers["imprimatur-first"]), int(headers["imprimatur-count"])
        lines = [json.loads(line) for line in body.splitlines()]
        if first != len(self.entries):
            return 409, json.dumps({"size": len(self.entries)}).encode()
        found = [base64.b64decode(line["envelope"]) for line in lines if "envelope" in line]
        assert len(found) == count
        self.entries += found
        self.checkpoints += [line["checkpoint"] for line in lines if "checkpoint" in line]
        return 200, b""


@contextmanager
def collecting(**how: Any) -> Iterator[Collector]:
    known = Collector(**how)

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._answer(*(known.says("POST") or known.post(headers, body)))

        def do_GET(self) -> None:
            said = known.says("GET")
            if said is None:
                said = (200, known.state()) if known.offers_state else (405, b"")
            self._answer(*said)

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    known.url = f"http://127.0.0.1:{listening.server_address[1]}/collect"
    try:
        yield known
    finally:
        listening.shutdown()
        thread.join(10)
        listening.server_close()
