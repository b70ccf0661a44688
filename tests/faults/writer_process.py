"""The log's writer and publisher as a process that can be hurt. Starts once; every job runs in a fork of its own.

``python -m tests.faults.writer_process FOLDER`` makes an installation in FOLDER (SQLite) whose next publication
crosses the end of a tile, warms up on a copy, and says ``{"ready": true}``. Then each line on standard input is a job,
``{"do": "publish", "data": "<a copy of FOLDER>", "wait": true}``. A job that waits tells its process id and begins at
SIGUSR1, so that a tracer can attach first. What it tells, and at the end its exit status, are lines of JSON.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "server.settings")
django.setup(set_prefix=False)

from django.conf import settings
from django.core.management import call_command
from django.db import close_old_connections, connection

from audit import fsck, genesis, guards, log, mirrors, notary, published, signer
from audit.models import Checkpoint, Entry, LogHead
from audit.publisher import Publisher
from audit.writer import WriterThread
from tests.audit.acts import AddPerson, add_person, append_together

REALM = "test.imprimatur"
BEFORE, AFTER = 249, 12  # entries published before the faults, and committed but not yet published


def tell(**said: Any) -> None:
    """One line, in one write."""
    os.write(1, (json.dumps(said) + "\n").encode())


def live_in(data: Path) -> None:
    """Make this process one of the installation in this folder."""
    connection.close()
    settings.REALM, settings.DATA_DIR = REALM, data
    settings.LOG_DIR, settings.KEYS_DIR = data / "log", data / "keys"
    connection.settings_dict["NAME"] = str(data / "imprimatur.sqlite3")
    signer.forget()
    published.forget()


def begin(data: Path) -> None:
    """A log with published entries and some that wait. No other room's rows are compared: there are none."""
    live_in(data)
    call_command("migrate", verbosity=0)
    guards.check_installed()
    signer.make_keys(data / "keys")
    genesis.begin(realm=REALM, roster=[], policy_digest="sha256:" + "0" * 64, software="imprimatur")
    append_together(BEFORE - 1, "before_")
    Publisher().publish_once()
    append_together(AFTER, "after_")
    connection.close()


def publish() -> None:
    """Two rounds, as the publisher's thread does them: a failing one is followed by another."""
    publisher = Publisher()
    for _ in range(2):
        close_old_connections()
        publisher._round()
    try:
        size = publisher.publish_once()
    except Exception:  # the fault came this late
        connection.close()
        size = publisher.publish_once()
    tell(published=size)


def append() -> None:
    """Commit two entries as the writer's thread does, and acknowledge each if it was committed."""
    thread = WriterThread()
    for name in ("pe_first", "pe_second"):
        future = thread.submit(add_person, AddPerson(name))
        thread._one_batch(thread._queue.get())
        try:
            made = future.result()
            tell(acknowledged=[made.index, made.leaf])
        except Exception as error:
            tell(error=repr(error))


def check(quick: bool = False) -> None:
    """A new start: publish what is there, derive everything again, and tell what the disk holds.

    ``quick`` leaves signatures and rules out, for jobs that make no entries.
    """
    size = Publisher().publish_once()
    result = fsck.run(quick=quick)
    files = [path for path in (settings.LOG_DIR).rglob("*") if path.is_file() and not path.name.startswith(".")]
    tell(
        size=size,
        entries=Entry.objects.count(),
        findings=[f"{finding.where}: {finding.what}" for finding in result.findings],
        state=LogHead.objects.get().state,
        checkpoints={str(row.size): row.note for row in Checkpoint.objects.all()},
        mark=(settings.DATA_DIR / "high-water.json").read_text(encoding="utf-8"),
        leaves=list(Entry.objects.order_by("index").values_list("leaf", flat=True)),
        files={
            str(path.relative_to(settings.LOG_DIR)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
        },
    )


JOBS: dict[str, Callable[[], None]] = {
    "publish": publish,
    "append": append,
    "check": check,
    "quick check": partial(check, quick=True),
}


def run(job: dict[str, Any]) -> int:
    """Do one job in a fork and return its status."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            live_in(Path(job["data"]))
            if job.get("wait"):
                tell(pid=os.getpid())
                signal.sigwait([signal.SIGUSR1])
            JOBS[job["do"]]()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(data: Path) -> None:
    """Prepare, warm up, then take jobs until standard input ends."""
    mirrors._registered.clear()
    notary.ENTRIES_BETWEEN_SNAPSHOTS = 1  # so that its file is written each time, and may fail
    begin(data)
    warm = data.with_name("warm")
    shutil.copytree(data, warm)
    # Done here once, so that no fork imports anything and all make the same calls.
    live_in(warm)
    Publisher().publish_once()
    log.commit(add_person, AddPerson("pe_warm"))
    Publisher().publish_once()
    fsck.run()
    connection.close()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    tell(ready=True)
    for line in sys.stdin:
        tell(status=run(json.loads(line)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
