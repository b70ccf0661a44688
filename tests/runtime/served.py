"""The real server behind a real socket, with real `imprimatur` commands as processes of their own.

The test's own thread answers whatever they ask, so that they see the test's database transaction.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from audit import trust as anchors
from audit.log import commit
from governance.runtime.actions import register_service
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.keys import KeyPair
from tests.conftest import World
from tests.door.agent import through_django
from tests.programs import missing, program

SECONDS = 120.0
PYTHON = next((str(path.resolve()) for path in [Path("/usr/bin/python3")] if path.exists()), "")
"""An interpreter below /usr, as the sandbox shows it."""


def needs_a_sandbox() -> None:
    """Skip the calling test, outside CI, where bubblewrap is missing or the kernel forbids it."""
    if not PYTHON:
        missing("needs python3 in /usr/bin: apt-get install python3")
    bwrap = program("bwrap")
    words = [
        bwrap,
        "--unshare-user",
        "--unshare-pid",
        "--unshare-net",
        "--ro-bind",
        "/",
        "/",
        "--proc",
        "/proc",
        "true",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        missing(f"user namespaces are not allowed here: {done.stderr.strip()}")


@dataclass
class Served:
    """The server. ``asked`` is what reached it; ``gate`` may answer in its place: (method, path) to status or None."""

    world: World
    settings: Any
    folder: Path
    asked: list[tuple[str, str]] = field(default_factory=list)
    gate: Callable[[str, str], int | None] = lambda method, path: None

    def __post_init__(self) -> None:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                status = outer.gate(self.command, self.path)
                if status == 0:
                    return  # hang up
                outer.asked.append((self.command, self.path))
                headers = dict(self.headers.items())
                if status is None:
                    reply = through_django(self.command, self.path, headers, body)
                    status, raw = reply.status, reply.raw
                    kind = reply.headers.get("content-type", "application/json")
                    to = reply.headers.get("location", "")
                else:
                    raw, kind, to = b'{"code": "busy"}', "application/problem+json", ""
                self.send_response(status)
                if to:
                    self.send_header("Location", to)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def do_GET(self) -> None:
                self.answer()

            def do_POST(self) -> None:
                self.answer()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.http.timeout = 0.02
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.settings.ORIGINS = [self.url]
        self.settings.ALLOWED_HOSTS = [*self.settings.ALLOWED_HOSTS, "127.0.0.1"]
        self.trust = self.folder / "trust.json"
        self.trust.write_text(json.dumps(anchors.document()))

    # --- processes --------------------------------------------------------------------------------------------------

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """A command that runs while the test goes on."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("IMPRIMATUR_")}
        return subprocess.Popen(
            [sys.executable, "-m", "imprimatur", *words],
            env={**kept, **environment, "IMPRIMATUR_URL": self.url, "IMPRIMATUR_TRUST": str(self.trust)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command from its beginning to its end, served meanwhile."""
        return self.finish(self.start(*words, **environment))

    def finish(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        """Serve until a command ends."""
        try:
            self.until(lambda: process.poll() is not None)
            out, err = process.communicate(timeout=SECONDS)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def until(self, look: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """Serve until this returns something true, and return that."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < deadline, "it did not happen"
            self.http.handle_request()
        return found

    # --- services ---------------------------------------------------------------------------------------------------

    def service(self, role: str) -> Path:
        """A new service's folder, registered by Ada with what `keygen` printed."""
        folder = self.folder / role
        told = self.run("service", "keygen", str(folder), "--role", role)
        assert told.returncode == 0, told.stderr
        printed = dict(line.split(None, 1) for line in told.stdout.replace("public key", "public-key").splitlines())
        command = register_service.Command(
            f"{role} here", role, un_b64u(printed["public-key"]), self.world.ada, printed.get("vkey", "")
        )
        registered = commit(register_service.apply, command).service
        assert registered.pk == printed["service"]
        return folder


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder that another user may read, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="imprimatur-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def private_key(pair: KeyPair, path: Path) -> Path:
    """The private half as a file that ssh-keygen reads."""
    raw = Ed25519PrivateKey.from_private_bytes(pair.seed).private_bytes(
        Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()
    )
    path.write_bytes(raw)
    path.chmod(0o600)
    return path


def sign_layer(path: Path, key: Path, namespace: str = "imprimatur-config-v1") -> None:
    """Sign as an admin does: ssh-keygen writes the signature beside the file."""
    path.with_name(path.name + ".sig").unlink(missing_ok=True)
    words = [program("ssh-keygen"), "-Y", "sign", "-q", "-n", namespace, "-f", str(key), str(path)]
    subprocess.run(words, check=True, capture_output=True, timeout=30)
