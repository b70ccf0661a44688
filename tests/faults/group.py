"""Looking at, and hurting, the processes of an installation; and the agent's own key to talk to it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2

from imprimatur import Imprimatur, KeyPair
from imprimatur.formats import dsse
from imprimatur.formats.trust import load
from tests.door.agent import PREFIX, AgentUnderTest, Answer
from tests.installation import ROOT, Installation, eventually

MARKS = {
    "redis": ("redis-server", "valkey-server"),
    "web": ("server.asgi:application",),
    "worker": ("rqworker",),
    "demo": ("examples.demo",),
}


def children(desk: Installation) -> dict[str, int]:
    """The supervisor's processes by name, as the kernel knows them."""
    found: dict[str, int] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if parent == desk.process.pid and line:
                found.update({name: int(folder.name) for name, marks in MARKS.items() if any(m in line for m in marks)})
    return found


def alive(pid: int) -> bool:
    """Whether the process still runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def kill(desk: Installation, name: str, number: int = signal.SIGKILL) -> int:
    """Send a signal to one of the processes and return its id."""
    pid = children(desk)[name]
    os.kill(pid, number)
    return pid


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process that stands still for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def again(desk: Installation, name: str, before: int, seconds: float = 60.0) -> int:
    """Wait until the supervisor has another process of this name, and return its id."""
    return eventually(lambda: (pid := children(desk).get(name)) and pid != before and pid, seconds=seconds)


def ready(desk: Installation, seconds: float = 60.0) -> None:
    """Wait until the desk says that it is ready."""
    eventually(desk.ready, seconds=seconds)


def manage(desk: Installation, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """What an operator types, with the installation's environment."""
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT,
        env={**os.environ, **surroundings(desk)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def surroundings(desk: Installation) -> dict[str, str]:
    """The environment of the installation's processes."""
    return {
        "DJANGO_SETTINGS_MODULE": "server.settings",
        "IMPRIMATUR_DATA": str(desk.data),
        "IMPRIMATUR_REALM": (desk.data / "realm").read_text(encoding="utf-8").strip(),
        "IMPRIMATUR_ORIGINS": desk.url,
        "IMPRIMATUR_DEMO": "yes",
    }


@contextmanager
def database(desk: Installation, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """The installation's SQLite file, from outside; read-only unless told otherwise."""
    path = desk.data / "imprimatur.sqlite3"
    mode = "rw" if write else "ro"
    with closing(sqlite3.connect(f"file:{path}?mode={mode}", uri=True, isolation_level=None, timeout=30)) as connection:
        yield connection


def rows(desk: Installation, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a query finds."""
    with database(desk) as connection:
        return connection.execute(query, values).fetchall()


def log_size(desk: Installation) -> int:
    """Entries in the log."""
    return int(rows(desk, "select size from audit_loghead")[0][0])


def assert_whole(desk: Installation) -> None:
    """Invariant 6 from outside: no gap, and the head counts every entry."""
    # In one statement: the log may grow at any time.
    query = 'select (select size from audit_loghead), count(*), min("index"), max("index") from audit_entry'
    [(size, count, first, last)] = rows(desk, query)
    assert (count, first, last) == (size, 0, size - 1)


def payloads(desk: Installation, since: int) -> list[dict[str, Any]]:
    """The log from an index on, opened."""
    found = rows(desk, 'select envelope from audit_entry where "index" >= ? order by "index"', since)
    return [json.loads(dsse.open_envelope(bytes(envelope)).payload) for (envelope,) in found]


def said_since(desk: Installation, since: int) -> list[dict[str, Any]]:
    """What anybody had written since an index. What ran out of time ends by itself, whatever a test does."""
    return [entry for entry in payloads(desk, since) if entry["body"].get("state") != "EXPIRED"]


def assert_receipt_stands(desk: Installation, receipt: dict[str, Any]) -> None:
    """What the receipt says is in the log, at its index, byte for byte."""
    [(envelope,)] = rows(desk, 'select envelope from audit_entry where "index" = ?', receipt["index"])
    assert bytes(envelope) == receipt["envelope"].encode()


@dataclass
class Robo:
    """The demo's agent, played by the test: its key, its pinned trust, its delegation."""

    desk: Installation
    delegation: str
    folder: Path

    def gate(self, **more: Any) -> Imprimatur:
        """The agents' own client."""
        return Imprimatur(self.desk.url, self.key, self.delegation, load(self.folder / "trust.json"), **more)

    @property
    def key(self) -> KeyPair:
        return KeyPair.load(self.folder / "robo.key")

    def raw(self) -> RawAgent:
        """The same agent, byte by byte over a socket."""
        return RawAgent(self.desk.url, self.key, self.delegation)


class RawAgent(AgentUnderTest):
    """Signs for the installation's origin and sends with a plain HTTP client."""

    def __init__(self, url: str, key: KeyPair, delegation: str) -> None:
        self.url = url
        super().__init__(self._send, key, delegation)

    def _send(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        with httpx2.Client(timeout=40) as client:
            reply = client.request(method, self.url + path, headers=headers, content=body)
        return Answer(reply.status_code, {k.lower(): v for k, v in reply.headers.items()}, reply.content)

    def headers(self, method: str, path: str, body: bytes | None, **options: Any) -> dict[str, str]:
        return super().headers(method, path, body, **{"origin": self.url, **options})

    def submission(self, body: bytes, committed: str = "", **options: Any) -> dict[str, str]:
        """Headers of a submit with exactly this body."""
        committed = committed or "sha256:" + "0" * 64
        return self.headers("POST", f"{PREFIX}/actions", body, committed=committed, **options)


# The canaries of the demo have authority of their own.
ROBOS_DELEGATIONS = (
    "select id from governance_delegation where revoked_at is null "
    "and subject_id = (select id from governance_agent where name = 'robo') order by id"
)


def find_robo(desk: Installation) -> Robo:
    """Wait until the demo's agent has its authority."""
    folder = desk.data / "demo"

    def delegation() -> str:
        found = rows(desk, ROBOS_DELEGATIONS)
        return str(found[-1][0]) if found else ""

    return Robo(desk, eventually(delegation, seconds=60), folder)


class Visitor:
    """A person with a plain HTTP client: signed in, without a browser."""

    def __init__(self, desk: Installation, who: str) -> None:
        self.desk = desk
        self.http = httpx2.Client(base_url=desk.url, timeout=30, follow_redirects=True, cookies=CookieJar())
        page = self.http.get("/accounts/login/")
        given = {"login": who, "password": desk.people[who]["password"], "csrfmiddlewaretoken": _token(page.text)}
        assert self.http.post("/accounts/login/", data=given).url.path == "/"

    def get(self, path: str) -> httpx2.Response:
        return self.http.get(path)

    def post(self, path: str, page: str, **fields: str) -> httpx2.Response:
        """Send the form on a page, with its hidden fields."""
        return self.http.post(path, data={**self.hidden(page), **fields})

    def hidden(self, page: str) -> dict[str, str]:
        """The hidden fields of a page."""
        return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', self.http.get(page).text))

    def answer(self, request: str, act: str, **fields: str) -> httpx2.Response:
        """Approve, deny or confirm as a browser does."""
        sheet = f"/requests/{request}/{act}/"
        return self.post(sheet, sheet, **fields)

    def close(self) -> None:
        self.http.close()


def _token(html: str) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', html)
    assert found, html[:500]
    return found.group(1)


@contextmanager
def connection(desk: Installation) -> Iterator[socket.socket]:
    """A bare TCP connection to the desk."""
    parts = urlsplit(desk.url)
    assert parts.hostname
    with socket.create_connection((parts.hostname, parts.port or 80), timeout=30) as line:
        yield line


def status_of(line: socket.socket) -> int:
    """The status of the answer that comes on a bare connection; 0 when it was closed without one."""
    raw = b""
    deadline = time.monotonic() + 30
    while b"\r\n" not in raw and time.monotonic() < deadline:
        try:
            part = line.recv(4096)
        except ConnectionError:
            break
        if not part:
            break
        raw += part
    return int(raw.split()[1]) if raw.startswith(b"HTTP/1.1 ") else 0
