"""The witness as a process of its own: over HTTP, killed, restarted, and beset by clients that hang."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from imprimatur.cli import main
from imprimatur.formats import cosignature
from imprimatur.formats.cosignature import Cosigner
from imprimatur.witness import server
from imprimatur.witness.protocol import MAX_BODY, Witness
from imprimatur.witness.state import State
from server.supervisor import die_with_parent
from tests.installation import eventually, free_port
from tests.witness.log import COSIGNER, ORIGIN, VKEY, Log

LOG = Log(size=100)

# A witness that kills itself, as the power would, once it has done the step named on its command line.
DYING = """
import os, signal, sys
from pathlib import Path
from imprimatur.formats.cosignature import Cosigner
from imprimatur.formats.note import Vkey
from imprimatur.witness import server
from imprimatur.witness.protocol import Witness
from imprimatur.witness.state import State

key, state, log, port, step = sys.argv[1:]
def die(done):
    if done == step:
        os.kill(os.getpid(), signal.SIGKILL)
cosigner = Cosigner.load(Path(key))
witness = Witness(cosigner, State(Path(state), cosigner.vkey), [Vkey.parse(log)], at_step=die)
server.Server(("127.0.0.1", int(port)), witness).serve_forever()
"""


@dataclass
class Place:
    """Where a witness lives: its files and its port."""

    key: Path
    state: Path
    port: int

    @property
    def cosigner(self) -> Cosigner:
        return Cosigner.load(self.key)

    def command(self, *more: str) -> list[str]:
        words = ["--listen", f"127.0.0.1:{self.port}", "--key", str(self.key), "--state", str(self.state)]
        return [sys.executable, "-m", "imprimatur", "witness", *words, "--log", str(VKEY), *more]

    def post(self, body: bytes, path: str = "/add-checkpoint") -> tuple[int, str, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer.headers["Content-Type"]
        finally:
            connection.close()

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    key, state = tmp_path / "witness.key", tmp_path / "witness.state"
    assert main(["witness", "keygen", "--name", "witness.example/w1", "--key", str(key), "--state", str(state)]) == 0
    assert f"vkey         {Cosigner.load(key).vkey}\n" in capsys.readouterr().out
    return Place(key, state, free_port())


@contextlib.contextmanager
def running(command: list[str], place: Place) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent
    )
    try:
        eventually(lambda: place.answers() or process.poll() is not None)
        assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def serving(witness: Witness, prefix: str = "") -> Iterator[Place]:
    """A witness in this process."""
    listening = server.Server(("127.0.0.1", 0), witness, prefix)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield Place(Path(), Path(), listening.server_address[1])
    finally:
        listening.shutdown()
        thread.join(10)
        listening.server_close()


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    return Witness(COSIGNER, State.create(tmp_path / "own.state", COSIGNER.vkey), [VKEY])


def test_a_witness_runs_stops_and_goes_on_where_it_was(place: Place) -> None:
    with running(place.command("--prefix", "/w1"), place) as process:
        status, line, kind = place.post(LOG.request(0, 5), "/w1/add-checkpoint")
        assert (status, kind) == (200, "text/plain; charset=utf-8")
        assert cosignature.verify(LOG.checkpoint(5).text(), line, place.cosigner.vkey)
        assert place.post(LOG.request(0, 5))[0] == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    with running(place.command(), place):
        assert place.post(LOG.request(0, 9)) == (409, "5\n", "text/x.tlog.size")
        assert place.post(LOG.request(5, 9))[0] == 200


@pytest.mark.parametrize(("step", "remembered"), [("opened", 5), ("checked", 5), ("written", 5), ("stored", 9)])
def test_a_witness_killed_at_any_step_signs_neither_backwards_nor_sideways_afterwards(
    place: Place, step: str, remembered: int
) -> None:
    with running(place.command(), place):
        assert place.post(LOG.request(0, 5))[0] == 200
    dying = [sys.executable, "-c", DYING, str(place.key), str(place.state), str(VKEY), str(place.port), step]
    with running(dying, place) as process:
        with pytest.raises((OSError, http.client.HTTPException)):
            place.post(LOG.request(5, 9))
        assert process.wait(60) == -signal.SIGKILL
    fork = Log("fork", same=5, size=100)
    with running(place.command(), place):
        assert place.post(LOG.request(0, 3))[:2] == (409, f"{remembered}\n")
        if remembered == 9:  # stored, and the cosignature was never seen: only this very checkpoint can have it
            assert place.post(fork.request(5, 9))[:2] == (409, "9\n")
            assert place.post(fork.request(9, 9))[:2] == (409, "9\n")
        status, line, _ = place.post(LOG.request(remembered, 9))
        assert status == 200
        assert cosignature.verify(LOG.checkpoint(9).text(), line, place.cosigner.vkey)
        assert place.post(fork.request(9, 12))[0] == 422


def test_a_witness_without_its_memory_does_not_start(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.state.unlink()
    words = place.command()[3:]
    assert main(words) == 2
    assert "must not sign with this key again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--log", "garbage"], "verifier key"),
        (["--listen", "nowhere"], "no address to listen on"),
        (["--listen", "127.0.0.1:70000"], "no address to listen on"),
        (["--mirror", "x"], "go together"),
        (["--mirror", "x", "--from", "ftp://log.example/"], "no address of a log"),
        (["--key", "none"], "cannot open the key file"),
    ],
)
def test_what_cannot_work_is_said_before_anything_starts(
    place: Place, wrong: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.key.parent)
    assert main([*place.command()[3:], *wrong]) == 2
    assert said in capsys.readouterr().err


def test_keygen_overwrites_nothing(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    before = place.key.read_bytes(), place.state.read_bytes()
    for key, state in ((place.key, "new"), ("new", place.state)):
        words = ["witness", "keygen", "--name", "w", "--key", str(key), "--state", str(state)]
        assert main(words) == 2
        assert "never overwritten" in capsys.readouterr().err
    assert (place.key.read_bytes(), place.state.read_bytes()) == before


def test_only_whole_posts_of_a_known_length_are_read(witness: Witness) -> None:
    with serving(witness) as place:
        for start, status in (
            (b"GET /add-checkpoint HTTP/1.1\r\nHost: w\r\n\r\n", 405),
            (b"GET / HTTP/1.1\r\nHost: w\r\n\r\n", 404),
            (b"PUT /add-checkpoint HTTP/1.1\r\nHost: w\r\n\r\n", 501),
            (b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\n\r\n", 411),
            (b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: -1\r\n\r\n", 411),
            (b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
            (b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY + 1), 413),
            (b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 99999999999999\r\n\r\n", 413),
        ):
            with socket.create_connection(("127.0.0.1", place.port), 20) as connection:
                connection.sendall(start)
                assert connection.recv(65_536).split(b" ")[1] == str(status).encode()
        assert place.post(LOG.request(0, 5))[0] == 200


def test_a_connection_may_be_kept_for_many_requests(witness: Witness) -> None:
    with serving(witness) as place:
        connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=60)
        for old, wanted in ((0, 200), (0, 409), (5, 200)):
            connection.request("POST", "/add-checkpoint", LOG.request(old, old + 5))
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (wanted, True)
        connection.close()


def test_clients_that_hang_keep_the_log_not_out(witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 5)
    with serving(witness) as place:
        hanging = [socket.create_connection(("127.0.0.1", place.port), 20) for _ in range(20)]
        for connection in hanging:
            connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 500\r\n\r\nold ")
        assert place.post(LOG.request(0, 5))[0] == 200
        for connection in hanging:
            connection.close()


def test_a_body_that_never_ends_is_given_up(witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_WITHIN", 0.2)
    with serving(witness) as place, socket.create_connection(("127.0.0.1", place.port), 20) as connection:
        connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 500\r\n\r\nold ")
        assert connection.recv(100) == b""


def test_nothing_is_answered_with_a_cosignature_when_nothing_can_be_remembered(
    witness: Witness, tmp_path: Path
) -> None:
    with serving(witness) as place:
        (tmp_path / "own.state").rename(tmp_path / "away")
        status, said, _ = place.post(LOG.request(0, 5))
        assert (status, "signs nothing" in said) == (503, True)
        (tmp_path / "away").rename(tmp_path / "own.state")
        assert place.post(LOG.request(0, 5))[0] == 200


def test_what_a_client_wrote_cannot_forge_lines_of_the_record(
    witness: Witness, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(witness) as place:
        place.post("old 0\n\u202e\x1b[2J\n\nx".encode())
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "\x1b" not in said and "\u202e" not in said
    assert ORIGIN not in said
