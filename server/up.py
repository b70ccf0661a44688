"""`make up`: set up the data folder, then run Redis, the web process and the worker as one group, with a live demo."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

from server.embedded import redis as embedded_redis
from server.supervisor import Child, Supervisor

ROOT = Path(__file__).resolve().parent.parent
NEEDED = {"ssh-keygen": "openssh-client"}


def say(text: str = "") -> None:
    """Print to the person who started us, at once."""
    print(text, flush=True)


def parse(argv: list[str]) -> argparse.Namespace:
    """The options of `make up ARGS="…"`."""
    parser = argparse.ArgumentParser(prog="make up", description="Run Imprimatur on this machine.")
    parser.add_argument("--port", type=int, default=8000, help="port on localhost (default 8000)")
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="data folder (default ./data)")
    parser.add_argument("--no-demo", dest="demo", action="store_false", help="no sample people and no sample agent")
    parser.add_argument("--realm", default="", help="name of this installation; set once, never changed")
    options = parser.parse_args(argv)
    if not 0 < options.port < 65536:
        parser.error("--port must be between 1 and 65535")
    options.data = options.data.resolve()
    return options


def port_problem(port: int) -> str:
    """Empty when the port can be had, else what to do."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return f'Port {port} is not allowed for this user. Try `make up ARGS="--port 8000"`.'
        except OSError:
            return f'Port {port} is in use. Try `make up ARGS="--port {port + 1}"`.'
    return ""


def prepare_folder(data: Path) -> str:
    """Make the data folder, for this user alone. Empty when that worked, else what is wrong."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if data.stat().st_mode & 0o077:
            # Parameters, sessions and keys lie in there: nobody else on this machine may read them.
            data.chmod(0o700)
        with tempfile.TemporaryFile(dir=data):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return f'The data folder {data} cannot be used: {reason}. Choose another: `make up ARGS="--data FOLDER"`.'
    return ""


def take_folder(data: Path) -> BinaryIO | None:
    """Hold the folder until this process ends; None when another installation runs on it.

    Two writers on one SQLite file, and two Redis servers on one socket, would each believe to be alone.
    """
    lock = (data / "up.lock").open("wb")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def environment(options: argparse.Namespace, redis_socket: Path | None) -> dict[str, str]:
    """What every child gets. Settings that the operator already set are left alone."""
    values = {
        "DJANGO_SETTINGS_MODULE": "server.settings",
        "IMPRIMATUR_DATA": str(options.data),
        "IMPRIMATUR_ORIGINS": os.environ.get("IMPRIMATUR_ORIGINS", f"http://localhost:{options.port}"),
        "IMPRIMATUR_DEMO": "yes" if options.demo else "no",
        "PYTHONUNBUFFERED": "1",
    }
    realm = options.realm or os.environ.get("IMPRIMATUR_REALM", "")
    kept = options.data / "realm"
    if kept.exists():
        known = kept.read_text(encoding="utf-8").strip()
        if realm and realm != known:
            raise SystemExit(f"This data folder belongs to the realm {known!r}; a realm is never changed.")
        realm = known
    values["IMPRIMATUR_REALM"] = realm or ("demo.imprimatur.localhost" if options.demo else "imprimatur.localhost")
    if redis_socket is not None:
        values["IMPRIMATUR_REDIS_URL"] = embedded_redis.url_of(redis_socket)
    return values


def answers(url: str) -> bool:
    """True when the address answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310  # our own http address
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def manage(*words: str) -> None:
    """Run a management command; its message is the person's, its failure ours."""
    done = subprocess.run([sys.executable, str(ROOT / "manage.py"), *words], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def main(argv: list[str] | None = None) -> int:
    """Set up, then supervise until Ctrl-C."""
    options = parse(sys.argv[1:] if argv is None else argv)
    for program, package in NEEDED.items():
        if not any((Path(folder) / program).exists() for folder in os.environ.get("PATH", "").split(":")):
            raise SystemExit(f"{program} is missing. Install one package: `apt-get install {package}`, then try again.")
    problem = port_problem(options.port)
    if problem:
        raise SystemExit(problem)
    os.umask(0o077)
    problem = prepare_folder(options.data)
    if problem:
        raise SystemExit(problem)
    lock = take_folder(options.data)
    if lock is None:
        raise SystemExit(f"An installation already runs on {options.data}. Stop it first, or choose another folder.")
    with lock:
        return run(options)


def run(options: argparse.Namespace) -> int:
    """Set up the folder, which is ours alone, and supervise."""
    children: list[Child] = []
    redis_socket: Path | None = None
    if not os.environ.get("IMPRIMATUR_REDIS_URL"):
        try:
            binary = embedded_redis.find_server()
        except embedded_redis.RedisMissing as missing:
            raise SystemExit(str(missing)) from missing
        redis_socket = embedded_redis.socket_for(options.data)
        redis_socket.unlink(missing_ok=True)
        children.append(
            Child("redis", embedded_redis.command(binary, redis_socket, options.data), ready=redis_socket.exists)
        )
    os.environ.update(environment(options, redis_socket))
    say("Setting up the data folder…")
    manage("migrate", "--verbosity", "0")
    url = f"http://localhost:{options.port}"
    manage(*(["begin_demo", "--url", url] if options.demo else ["begin"]))
    (options.data / "realm").write_text(os.environ["IMPRIMATUR_REALM"] + "\n", encoding="utf-8")
    children.append(
        Child(
            "web",
            [
                *(sys.executable, "-m", "uvicorn", "server.asgi:application"),
                *("--host", "127.0.0.1", "--port", str(options.port)),
                *("--ws-max-size", "4096", "--no-access-log", "--log-level", "warning"),
                *("--no-server-header", "--timeout-graceful-shutdown", "3"),
            ],
            ready=lambda: answers(f"{url}/readyz"),
        )
    )
    children.append(
        Child("worker", [sys.executable, str(ROOT / "manage.py"), "rqworker", "default", "--verbosity", "0"])
    )
    if options.demo:
        children.append(
            Child("demo", [sys.executable, "-m", "examples.demo", "--data", str(options.data), "--url", url])
        )
    supervisor = Supervisor(children, say)
    return supervisor.run(lambda: welcome(options, url))


def welcome(options: argparse.Namespace, url: str) -> None:
    """One address, and who may log in."""
    say()
    say(f"  Imprimatur is ready:  {url}")
    logins = options.data / "demo.json"
    if options.demo and logins.exists():
        say()
        for person in json.loads(logins.read_text(encoding="utf-8"))["people"]:
            say(f"    {person['login']:<8} {person['password']:<22} {', '.join(person['roles'])}")
        say()
        say("  The demo lets a click count as an answer (H0). A real installation asks for a signing key (H2).")
        say("  To sign with a passkey, begin as ada: her key counts at once, and she vouches for the others.")
    else:
        say("  Sign in; the first admin's one-time password was printed when it began. The desk says how to go on.")
    say(f"  Data: {options.data}    Stop: Ctrl-C")
    say()


if __name__ == "__main__":
    sys.exit(main())
