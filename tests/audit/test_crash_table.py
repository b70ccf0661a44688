"""The process is killed (SIGKILL) at each step of an entry's life, started again, and killed at the next one.

Nothing that was acknowledged may be missing, nothing may be signed twice with different roots, and everything that is
stored must still follow from the entries. Rows of the table that need no kill here: a restored backup is in
`test_recovery`, a full disk in `tests/faults/test_disk_full`.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from imprimatur.formats.checkpoint import Checkpoint as TreeHead
from tests.audit.test_durability import BEGIN, ROOT, run, script

WRITER = ("apply", "insert", "commit", "answer")
PUBLISHER = ("tiles", "bundle", "half a file", "file without rename", "tile", "mark", "sign", "row", "show")

# What every start does first: look whether all is there, publish it, and check everything.
START = """
import json, os, signal, stat, sys
from django.conf import settings
from django.db import connection
settings.REALM = "test.imprimatur"
from audit import fsck, log, mirrors
from audit.models import Checkpoint, Entry, LogHead
from audit.publisher import Publisher
from imprimatur import durable
from tests.audit.acts import AddPerson, add_person, append
mirrors._registered.clear()
given = json.loads(sys.stdin.readline())
for index, leaf in given["acknowledged"]:
    assert Entry.objects.get(index=index).leaf == leaf, f"entry {index} was acknowledged and is gone"
size = Publisher().publish_once()
assert size == LogHead.objects.get().size == Entry.objects.count()
found = fsck.run().findings
assert found == [], found
def tell(**what):
    os.write(1, (json.dumps(what) + "\\n").encode())
tell(size=size, signed={str(row.size): row.note for row in Checkpoint.objects.all()})
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
"""

DIE = (
    START
    + """
at, name = given["at"], f"pe_{size}"
def acknowledge(made):
    tell(acknowledged=[made.index, made.leaf])
if at == "apply":
    log.commit(lambda writer, command: (add_person(writer, command), die()), AddPerson(name))
elif at == "insert":
    # The entries are inserted, the head has not moved.
    LogHead.objects.filter = die
    log.commit(add_person, AddPerson(name))
elif at == "commit":
    connection.ensure_connection()
    connection._commit = die
    log.commit(add_person, AddPerson(name))
elif at == "answer":
    def apply(writer, command):
        writer.after_commit(die)
        return add_person(writer, command)
    log.commit(apply, AddPerson(name))
else:
    for made in append(2, name + "_"):
        acknowledge(made)
    if at == "half a file":
        def half(handle):
            if stat.S_ISREG(os.fstat(handle).st_mode):
                os.ftruncate(handle, 20)
                die()
        os.fsync = half
    elif at == "file without rename":
        durable.Path.replace = die
    Publisher(lambda step: die() if step == at else None).publish_once()
raise SystemExit("nobody died at " + at)
"""
)


def tree_head(note: str) -> TreeHead:
    return TreeHead.parse(note.partition("\n\n")[0] + "\n")


def die_at(step: str, data: Path, acknowledged: list[list[object]]) -> dict[str, str]:
    """Start, look, work, die at the step. Adds what was acknowledged on the way; returns the signed checkpoints."""
    command, environment = script(DIE, data)
    given = json.dumps({"at": step, "acknowledged": acknowledged}) + "\n"
    done = subprocess.run(
        command, cwd=ROOT, env=environment, input=given, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == -signal.SIGKILL, (step, done.stderr[-3000:])
    first, *told = [json.loads(line) for line in done.stdout.splitlines()]
    acknowledged += [line["acknowledged"] for line in told]
    return dict(first["signed"])


def test_invariant_6_a_process_killed_at_any_step_loses_nothing_and_signs_nothing_twice(tmp_path: Path) -> None:
    run(BEGIN, tmp_path)
    acknowledged: list[list[object]] = []
    signed: dict[str, str] = {}
    marked: dict[int, str] = {}
    for step in (*WRITER, *PUBLISHER):
        now = die_at(step, tmp_path, acknowledged)
        assert signed.items() <= now.items(), f"before {step}: a checkpoint changed or is gone"
        signed = now
        # The mark is on disk before anything is signed, so it is the first to know a root: nobody signs another.
        mark = json.loads((tmp_path / "high-water.json").read_text())
        assert marked.setdefault(mark["size"], mark["root"]) == mark["root"]
        shown = tree_head((tmp_path / "log" / "checkpoint").read_text())
        assert shown.size <= mark["size"]
    end = run(START, tmp_path, json.dumps({"acknowledged": acknowledged}) + "\n")
    told = json.loads(end)
    assert signed.items() <= told["signed"].items()
    for size, note in told["signed"].items():
        root = tree_head(note).root.hex()
        assert marked.get(int(size), root) == root
    # Genesis, the entry whose commit was durable though nobody heard of it, and two for each step of the publisher.
    assert told["size"] == 1 + 1 + 2 * len(PUBLISHER)
    assert len(acknowledged) == 2 * len(PUBLISHER)
