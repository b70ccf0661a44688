"""A whole installation under test: the processes that `make up` runs, on a free port, in a folder of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from server.supervisor import die_with_parent
from tests.sqlite import migrated

ROOT = Path(__file__).resolve().parent.parent
T = TypeVar("T")


def eventually(look: Callable[[], T], *, seconds: float = 30.0, every: float = 0.05) -> T:
    """Call ``look`` until it returns something true, and return that. AssertionError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = look()
        if value:
            return value
        assert time.monotonic() < deadline, f"nothing true after {seconds} s; last: {value!r}"
        time.sleep(every)


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Installation:
    """A running `make up`."""

    url: str
    data: Path
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def people(self) -> dict[str, dict[str, str]]:
        """Logins by name, from demo.json."""
        demo = json.loads((self.data / "demo.json").read_text(encoding="utf-8"))
        return {person["login"]: person for person in demo["people"]}

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a GET."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=10) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def ready(self) -> bool:
        """True once the desk answers that it is ready."""
        assert self.process.poll() is None, self.output.read_text(encoding="utf-8", errors="replace")[-4000:]
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False


@contextmanager
def installation(
    data: Path,
    *,
    demo: bool = True,
    port: int | None = None,
    environment: dict[str, str] | None = None,
    bare: bool = False,
) -> Iterator[Installation]:
    """Run the whole thing as a newcomer would, and stop it with Ctrl-C.

    Its tables are there already, which saves seconds, unless it is to begin in a ``bare`` folder.
    """
    port = port or free_port()
    data.mkdir(parents=True, exist_ok=True)
    if not bare and "IMPRIMATUR_DATABASE_URL" not in (environment or {}):
        migrated(data)
    output = data.parent / f"{data.name}.out"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("IMPRIMATUR_", "DJANGO_"))}
    command = [sys.executable, "-m", "server.up", "--port", str(port), "--data", str(data)]
    with output.open("ab") as sink:
        process = subprocess.Popen(
            [*command, *([] if demo else ["--no-demo"])],
            cwd=ROOT,
            env={**inherited, "IMPRIMATUR_CANARY_EVERY": "off", **(environment or {})},
            stdout=sink,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,  # a test run that is killed leaves nothing running
        )
    running = Installation(f"http://localhost:{port}", data, process, output)
    try:
        eventually(running.ready, seconds=90)
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
