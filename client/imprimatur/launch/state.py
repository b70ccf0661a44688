"""What an orchestrator was doing, on its disk before it does it: so that a crash leaves no doubt about a launch.

    lau_….json   attesting | started (process, its start, the boot) | ended (how, code)
    lau_….lock   held for as long as the launcher lives

A file whose lock is free belongs to a launcher that died. Its launch is reported as lost, or as what it is known to
have come to, by the next launcher.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from imprimatur import durable
from imprimatur.formats import canonical, ids
from imprimatur.service import machine

ATTESTING, STARTED, ENDED = "attesting", "started", "ended"


class Record:
    """One launch of this orchestrator, on the disk."""

    def __init__(self, folder: Path, launch: str) -> None:
        self.launch = launch
        self._path = folder / f"{launch}.json"
        self._lock_path = folder / f"{launch}.lock"
        self._lock: int | None = None

    def begin(self) -> None:
        """Before it is attested. From here on this process answers for it."""
        durable.make_folder(self._path.parent)
        if not self._take():
            raise RuntimeError("a new launch's lock is taken")
        self.write({"state": ATTESTING})

    def write(self, document: dict[str, Any]) -> None:
        """What it has come to, durably."""
        durable.write_file(self._path, json.dumps({"launch": self.launch, **document}).encode("utf-8"))

    def started(self, pid: int) -> None:
        """Its process runs, or is about to."""
        self.write({"state": STARTED, "pid": pid, "since": _since(pid), "boot": _boot()})

    def ended(self, how: str, code: int | None) -> None:
        """Its process is over."""
        self.write({"state": ENDED, "how": how} if code is None else {"state": ENDED, "how": how, "code": code})

    def forget(self) -> None:
        """The log knows how it ended, or never knew it: nothing is left to say."""
        self._path.unlink(missing_ok=True)
        self._lock_path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let go of it: the next launcher may take care of it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _take(self) -> bool:
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._lock = descriptor
        return True

    def read(self) -> dict[str, Any]:
        """What is on the disk; ``attesting`` when it cannot be read, which is the least that happened."""
        try:
            found = canonical.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {"state": ATTESTING}
        return found if isinstance(found, dict) else {"state": ATTESTING}


@contextmanager
def abandoned(folder: Path) -> Iterator[list[tuple[Record, dict[str, Any]]]]:
    """The launches whose launcher died, with what is known of each. They are let go of at the end."""
    held = []
    for path in sorted(folder.glob("lau_*.json")) if folder.is_dir() else ():
        if not ids.is_id("lau", path.stem):
            continue
        record = Record(folder, path.stem)
        if record._take():
            held.append((record, record.read()))
    try:
        yield held
    finally:
        for record, _ in held:
            record.release()


def runs(document: dict[str, Any]) -> bool:
    """Whether the very process that was started still runs."""
    pid = document.get("pid")
    if document.get("state") != STARTED or not isinstance(pid, int):
        return False
    return document.get("boot") == _boot() and document.get("since") is not None and _since(pid) == document["since"]


def _since(pid: int) -> int | None:
    """When a process began, in ticks after the boot (proc(5)); None when it is gone, a zombie included."""
    with suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    return None


def _boot() -> str:
    with suppress(OSError):
        return machine.boot()
    return ""
