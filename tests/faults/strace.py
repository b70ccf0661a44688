"""Looking at, and failing, single system calls of a process with strace.

A fault is named by the call and by its place among all calls of that name that the process makes: the job is the same
each time, so its calls are, too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.installation import ROOT
from tests.programs import missing, program

# Everything that changes files, or that reads what was written before.
CALLS = (
    *("openat", "read", "pread64", "write", "pwrite64", "fsync", "fdatasync", "close", "fchmod", "ftruncate"),
    *("rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
    *("flock", "getdents64", "newfstatat"),
)
LINE = re.compile(r"^(?:\d+ +)?(?P<name>[a-z0-9]+)\((?P<rest>.*)$")


@dataclass(frozen=True)
class Call:
    """One system call. ``when`` counts the calls of its name from 1. ``path`` begins in the data folder, "/" is that
    folder itself; it is empty when the call is about something else."""

    name: str
    when: int
    path: str
    text: str

    @property
    def kind(self) -> tuple[str, str]:
        """The call and the class of file it is about: numbers and random names say nothing."""
        return self.name, re.sub(r"/\.[^/]+\.new$", "/.new", re.sub(r"\d+", "N", self.path))


@dataclass
class Ended:
    """What a job told, how it ended (minus the signal, if by one), and its calls when it was traced."""

    told: list[dict[str, Any]]
    status: int
    calls: list[Call] = field(default_factory=list)
    injected: list[str] = field(default_factory=list)

    def all(self, name: str) -> list[Any]:
        """Everything it told under this name."""
        return [said[name] for said in self.told if name in said]


class Patient:
    """The process of `writer_process`, and the folders its jobs work in."""

    def __init__(self, process: subprocess.Popen[str], prepared: Path) -> None:
        self._process = process
        self._prepared = prepared
        self._work = prepared.parent

    def fresh(self) -> Path:
        """A copy of the prepared installation, in place of the last one."""
        data = self._work / "data"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(self._prepared, data)
        return data

    def do(self, job: str, data: Path, *inject: str) -> Ended:
        """Run a job; with ``inject`` (expressions of strace's --inject) under these faults."""
        return self._run(job, data, [f"--inject={expression}" for expression in inject] if inject else None)

    def trace(self, job: str, data: Path) -> Ended:
        """Run a job without faults and list its calls."""
        return self._run(job, data, [])

    def _run(self, job: str, data: Path, options: list[str] | None) -> Ended:
        assert self._process.stdin
        wait = options is not None
        self._process.stdin.write(json.dumps({"do": job, "data": str(data), "wait": wait}) + "\n")
        self._process.stdin.flush()
        if not wait:
            return self._end(Ended([], 0))
        pid, output = int(self._told()["pid"]), self._work / "trace"
        command = [program("strace"), "-p", str(pid), "-y", "-s", "0", "-o", str(output)]
        command += [f"--trace={','.join(CALLS)}", *(options or [])]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr
            said = tracer.stderr.readline()
            try:
                if "attached" not in said:
                    tracer.kill()
                    missing(f"strace may not trace processes here: {said.strip()}")
            finally:
                os.kill(pid, signal.SIGUSR1)
            ended = self._end(Ended([], 0))
            tracer.communicate(timeout=60)
        ended.calls = list(parsed(output.read_text(encoding="utf-8", errors="replace"), str(data)))
        ended.injected = [call.path for call in ended.calls if "(INJECTED)" in call.text]
        return ended

    def _end(self, ended: Ended) -> Ended:
        while "status" not in (said := self._told()):
            ended.told.append(said)
        ended.status = int(said["status"])
        return ended

    def _told(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the process ended"
        said: dict[str, Any] = json.loads(line)
        return said


def parsed(text: str, data: str) -> Iterator[Call]:
    """The calls of a trace, in order."""
    counted: Counter[str] = Counter()
    inside = re.compile(re.escape(data) + r'(|/[^">]*)[">]')
    for line in text.splitlines():
        found = LINE.match(line)
        if found is None:
            continue
        counted[found["name"]] += 1
        paths = inside.findall(found["rest"])
        yield Call(found["name"], counted[found["name"]], (paths[-1] or "/") if paths else "", line)


@contextmanager
def patient(work: Path) -> Iterator[Patient]:
    """Start the process that will be hurt; ``work`` holds its folders."""
    program("strace")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("IMPRIMATUR_")}
    environment |= {"IMPRIMATUR_DATA": str(work / "prepared"), "DJANGO_SETTINGS_MODULE": "server.settings"}
    (work / "prepared").mkdir()
    with (work / "errors").open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.writer_process", str(work / "prepared")],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            assert process.stdout
            assert process.stdout.readline().strip() == '{"ready": true}', (work / "errors").read_text()[-3000:]
            yield Patient(process, work / "prepared")
        finally:
            assert process.stdin
            process.stdin.close()
            process.wait(30)
