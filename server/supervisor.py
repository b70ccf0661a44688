"""One group of processes: started in order, restarted when one dies, stopped together and cleanly."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

STOP_AFTER = 10.0  # seconds a child has to end by itself
SHORT_LIFE = 5.0  # a child that lives less long is restarted ever more slowly
LONGEST_PAUSE = 30.0
PR_SET_PDEATHSIG = 1


@dataclass
class Child:
    """One process of the group."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None
    once: bool = False  # may end by itself with status 0 and is then not restarted
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = 0.5
    restart_at: float = 0.0
    finished: bool = False


def die_with_parent() -> None:
    # A killed supervisor must not leave a web process behind that still holds the port and the database.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Supervisor:
    """Runs children until SIGINT or SIGTERM. Invariant: when :meth:`run` returns, every child has ended."""

    def __init__(self, children: Sequence[Child], say: Callable[[str], None]) -> None:
        self.children = list(children)
        self.say = say
        self.stopping = False

    def start(self, child: Child) -> None:
        """Start one child in a process group of its own, so that Ctrl-C reaches only us and we stop it in order."""
        child.started = time.monotonic()
        child.restart_at = 0.0
        child.process = subprocess.Popen(
            list(child.command),
            env={**os.environ, **child.environment},
            preexec_fn=die_with_parent,  # noqa: PLW1509  # no threads exist yet in this process
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )

    def wait_ready(self, child: Child, seconds: float = 60.0) -> bool:
        """Wait until the child says it is ready. False when it ended or took too long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.stopping:
            if child.process is None or child.process.poll() is not None:
                return False
            if child.ready is None or child.ready():
                return True
            time.sleep(0.05)
        return False

    def run(self, on_ready: Callable[[], None]) -> int:
        """Start all in order, call ``on_ready``, then keep them running. Returns the exit status for the command."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        try:
            for child in self.children:
                self.start(child)
                if not self.wait_ready(child):
                    if not self.stopping:
                        self.say(f"{child.name} did not start; see its message above.")
                        return 1
                    return 0
            on_ready()
            while not self.stopping:
                self._look_after()
                time.sleep(0.2)
            return 0
        finally:
            self._stop_all()

    def _look_after(self) -> None:
        now = time.monotonic()
        for child in self.children:
            if child.finished:
                continue
            if child.restart_at:
                if now >= child.restart_at:
                    self.start(child)
                continue
            if child.process is None or child.process.poll() is None:
                continue
            status = child.process.returncode
            if child.once and status == 0:
                child.finished = True
                continue
            short = now - child.started < SHORT_LIFE
            child.pause = min(child.pause * 2, LONGEST_PAUSE) if short else 0.5
            child.restart_at = now + child.pause
            self.say(f"{child.name} ended (status {status}); starting it again in {child.pause:g} s.")

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _stop_all(self) -> None:
        self.stopping = True
        for child in reversed(self.children):
            process = child.process
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            try:
                process.wait(STOP_AFTER)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
