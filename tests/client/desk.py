"""A real desk behind a real socket, a real ``imprimatur`` in a process of its own, and a real ``ssh-keygen``.

The test's own thread serves the desk while the command runs, so both see the same database transaction; what passes
between them can be changed on the way, which is what a hostile server would do.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.test import Client

from governance.models import Person
from imprimatur.formats.keys import KeyPair
from tests.conftest import World, ssh_line

SECONDS = 60.0

Change = Callable[[dict[str, Any]], Any]
"""Changes an answer on its way, in place; or returns what is answered instead, as (status, document)."""


@dataclass
class Done:
    """How the command ended, and what it and the person saw."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.stdout)
        return found


@dataclass
class Desk:
    """The way between a terminal and the desk. ``sent`` is what the terminal sent, by path."""

    folder: Path
    client: Client = field(default_factory=Client)
    sent: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    change: dict[str, Change] = field(default_factory=dict)

    def __post_init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                status, content = outer.answer(self.path, body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.http.timeout = 0.02
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, path: str, body: bytes) -> tuple[int, bytes]:
        self.sent.append((path, json.loads(body)))
        reply = self.client.post(path, body, content_type="application/json")
        if path in self.change and reply.status_code == 200:
            document = reply.json()
            instead = self.change[path](document)
            if isinstance(instead, tuple):
                return instead[0], json.dumps(instead[1]).encode()
            return 200, json.dumps(document).encode()
        return reply.status_code, reply.content

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.sent]

    def run(self, *words: str, types: str | None = None, interrupt: str | None = None, **environment: str) -> Done:
        """Run the command. ``types`` is what the person at the terminal types; without it nobody sits there.

        ``interrupt`` is the path after whose answer they press Ctrl-C.
        """
        before = len(self.sent)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("IMPRIMATUR_", "SSH_"))}
        home = {"HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder / "config")}
        mine, theirs = pty.openpty() if types is not None else (None, subprocess.DEVNULL)
        process = subprocess.Popen(
            [sys.executable, "-m", "imprimatur", *words],
            cwd=self.folder,
            env={**kept, **home, **environment},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            if mine is not None:
                os.close(theirs)
                os.write(mine, str(types).encode())
            end = time.monotonic() + SECONDS
            while process.poll() is None:
                assert time.monotonic() < end, "the command did not end"
                self.http.handle_request()
                if interrupt in self.paths[before:]:
                    process.send_signal(signal.SIGINT)
                    interrupt = None
            out, err = process.communicate()
        finally:
            process.kill()
            if mine is not None:
                os.close(mine)
        assert "Traceback" not in err, err
        return Done(process.returncode, out, err)


@dataclass
class Terminal:
    """Somebody of the cast at their own machine, with the SSH key that the desk knows."""

    desk: Desk
    world: World
    who: str
    key: Path

    @property
    def person(self) -> Person:
        return self.world.people[self.who]

    @property
    def options(self) -> list[str]:
        return [
            *("--server", self.desk.url, "--realm", self.world.realm),
            *("--person", self.person.id, "--key", str(self.key)),
        ]

    def run(self, command: str, request: str, *more: str, **how: str) -> Done:
        return self.desk.run(command, request, *self.options, *more, **how)


def key_file(folder: Path, name: str, pair: KeyPair) -> Path:
    """The pair as ``ssh-keygen`` keeps it."""
    private = Ed25519PrivateKey.from_private_bytes(pair.seed)
    path = folder / name
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    path.with_suffix(".pub").write_text(f"{ssh_line(pair)} {name}\n")
    return path
