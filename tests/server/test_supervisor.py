"""One group of processes, looked after by one: run here as a program, with small scripts for children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server import supervisor
from server.supervisor import Child, Supervisor
from tests.faults.group import alive
from tests.installation import ROOT, eventually

GROUP = """
import sys
from pathlib import Path
from server import supervisor
from server.supervisor import Child, Supervisor
supervisor.STOP_AFTER = float(sys.argv[2])
supervisor.SHORT_LIFE = 3600.0
folder = Path(sys.argv[1])
def say(text):
    print(text, flush=True)
def child(name, script, **more):
    return Child(name, [sys.executable, "-c", SCRIPTS[script], str(folder / name)], **more)
SCRIPTS = {
    "steady": '''
import os, signal, sys, time
from pathlib import Path
def end(*_):
    with open(Path(sys.argv[1]).parent / "ends", "a") as file: file.write(Path(sys.argv[1]).name + chr(10))
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
Path(sys.argv[1]).write_text(str(os.getpid()))
while True: time.sleep(0.05)
''',
    "stubborn": '''
import os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
Path(sys.argv[1]).write_text(str(os.getpid()))
while True: time.sleep(0.05)
''',
    "short": '''
import sys
with open(sys.argv[1], "a") as file: file.write("x")
sys.exit(3)
''',
    "done": '''
import sys
with open(sys.argv[1], "a") as file: file.write("x")
''',
}
def up(name):
    return lambda: (folder / name).exists() and (folder / name).read_text()
"""


@contextmanager
def group(folder: Path, children: str, *, stop_after: float = 60.0) -> Iterator[subprocess.Popen[str]]:
    """A supervisor over these children, in a process of its own. It kills who has not ended after ``stop_after`` s."""
    script = GROUP + f"sys.exit(Supervisor([{children}], say).run(lambda: say('ready')))"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder), str(stop_after)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def pid_in(path: Path) -> int:
    return int(eventually(lambda: path.exists() and path.read_text(encoding="ascii")))


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_stops_all_in_reverse_order(tmp_path: Path, number: int) -> None:
    children = ", ".join(f"child('{name}', 'steady', ready=up('{name}'))" for name in ("one", "two", "three"))
    with group(tmp_path, children) as process:
        assert line(process) == "ready"
        pids = [pid_in(tmp_path / name) for name in ("one", "two", "three")]
        process.send_signal(number)
        assert process.wait(60) == 0
        assert (tmp_path / "ends").read_text(encoding="ascii").split() == ["three", "two", "one"]
        assert not [pid for pid in pids if alive(pid)]


def test_a_child_that_does_not_want_to_end_is_ended(tmp_path: Path) -> None:
    children = "child('one', 'steady', ready=up('one')), child('two', 'stubborn', ready=up('two'))"
    with group(tmp_path, children, stop_after=0.5) as process:
        assert line(process) == "ready"
        pids = [pid_in(tmp_path / "one"), pid_in(tmp_path / "two")]
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not [pid for pid in pids if alive(pid)]


def test_a_dead_child_is_started_again_ever_more_slowly(tmp_path: Path) -> None:
    with group(tmp_path, "child('short', 'short')") as process:
        assert line(process) == "ready"
        for pause in ("1", "2"):
            assert line(process) == f"short ended (status 3); starting it again in {pause} s."
        eventually(lambda: len((tmp_path / "short").read_text(encoding="ascii")) >= 3)


def test_one_that_dies_leaves_the_others_alone(tmp_path: Path) -> None:
    children = "child('one', 'steady', ready=up('one')), child('two', 'steady', ready=up('two'))"
    with group(tmp_path, children) as process:
        assert line(process) == "ready"
        kept, killed = pid_in(tmp_path / "one"), pid_in(tmp_path / "two")
        os.kill(killed, signal.SIGKILL)
        assert line(process).startswith("two ended (status -9)")
        eventually(lambda: pid_in(tmp_path / "two") != killed)
        assert pid_in(tmp_path / "one") == kept
        assert alive(kept)


def test_a_child_that_may_end_is_not_started_again(tmp_path: Path) -> None:
    children = "child('done', 'done', once=True), child('short', 'short')"
    with group(tmp_path, children) as process:
        assert line(process) == "ready"
        # By the time another child has been started twice, this one would have been too.
        assert line(process).startswith("short ended")
        assert line(process).startswith("short ended")
        assert (tmp_path / "done").read_text(encoding="ascii") == "x"


def test_a_child_that_never_gets_ready_ends_the_start(tmp_path: Path) -> None:
    children = "child('one', 'steady', ready=up('one')), child('short', 'short', ready=lambda: False)"
    with group(tmp_path, children) as process:
        assert line(process) == "short did not start; see its message above."
        assert process.wait(60) == 1
        assert not alive(pid_in(tmp_path / "one"))


def test_a_killed_supervisor_leaves_nobody_behind(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("the kernel's signal to orphans is Linux'")
    with group(tmp_path, "child('one', 'steady', ready=up('one'))") as process:
        assert line(process) == "ready"
        pid = pid_in(tmp_path / "one")
        process.kill()
        eventually(lambda: not alive(pid))


def test_pauses_grow_up_to_a_limit_and_are_forgotten_after_a_long_life(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(supervisor.time, "monotonic", lambda: clock[0])
    said: list[str] = []
    group = Supervisor([], said.append)

    class Ended:
        returncode = 1

        def poll(self) -> int:
            return 1

    child = Child("short", ["none"])
    group.children.append(child)
    pauses = []
    for _ in range(9):
        child.process, child.started, child.restart_at = Ended(), clock[0], 0.0  # type: ignore[assignment]
        group._look_after()
        pauses.append(child.pause)
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0]
    child.process, child.started, child.restart_at = Ended(), clock[0] - 60, 0.0  # type: ignore[assignment]
    group._look_after()
    assert child.pause == 0.5
