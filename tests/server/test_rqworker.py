"""`manage.py rqworker`: jobs are JSON, so who can write to Redis still cannot run code of their own in the worker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from rq import Queue
from rq.job import Job, JobStatus
from rq.serializers import DefaultSerializer, JSONSerializer

from server.embedded import redis as embedded
from tests.installation import ROOT, eventually


@pytest.fixture
def line(tmp_path: Path) -> Iterator[redis.Redis]:
    """A Redis of this test."""
    socket = embedded.socket_for(tmp_path)
    with subprocess.Popen(embedded.command(embedded.find_server(), socket, tmp_path)) as process:
        eventually(socket.exists)
        client = redis.Redis.from_url(embedded.url_of(socket))
        eventually(lambda: _answers(client))
        yield client
        client.close()
        process.terminate()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def work(client: redis.Redis, data: Path) -> None:
    """Let a worker do what waits, and end."""
    path = client.connection_pool.connection_kwargs["path"]
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "server.settings",
        "IMPRIMATUR_DATA": str(data),
        "IMPRIMATUR_REDIS_URL": embedded.url_of(Path(path)),
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "rqworker", "default", "--burst"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_a_job_in_json_is_done_and_one_in_pickle_is_never_opened(line: redis.Redis, tmp_path: Path) -> None:
    good = Queue("default", connection=line, serializer=JSONSerializer).enqueue("operator.add", 2, 3)
    trap = tmp_path / "trap"
    bad = Queue("default", connection=line, serializer=DefaultSerializer).enqueue("builtins.print", Bomb(trap))
    work(line, tmp_path / "data")

    assert not trap.exists()
    done = Job.fetch(good.id, connection=line, serializer=JSONSerializer)
    assert (done.get_status(), done.return_value()) == (JobStatus.FINISHED, 5)
    assert Job.fetch(bad.id, connection=line, serializer=DefaultSerializer).get_status() == JobStatus.FAILED


def test_the_settings_queue_in_json_too() -> None:
    import django_rq

    queue = django_rq.get_queue("default")
    assert queue.serializer is JSONSerializer or queue.serializer == JSONSerializer
