"""A log under load: many writers in several processes, two publishers that compete, and readers that trust nothing.

``python -m tests.races.load CLIENTS PROCESSES EACH`` with the installation's environment set. Every client appends EACH
entries, one in a hundred of its commands fails after it appended, and readers verify successive checkpoints in the
published files meanwhile, as Tessera's hammer does. Prints one JSON document of what was counted; anything that does
not hold is an exception, and exit status 1.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "server.settings")
django.setup(set_prefix=False)

from django.conf import settings
from django.core.management import call_command
from django.db import connection, connections

from audit import fsck, genesis, log, mirrors, publisher, signer, writer
from audit.models import Entry, LogHead
from audit.publisher import Publisher
from imprimatur.formats import merkle, note, tiles
from imprimatur.formats.checkpoint import Checkpoint as TreeHead
from imprimatur.formats.checkpoint import open_checkpoint
from tests.audit.acts import AddPerson, add_person

PUBLISHERS, READERS, ONE_IN = 2, 2, 100
SAMPLE = 8  # entries that a reader proves to be in each checkpoint it sees

context = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Acknowledged:
    """One entry as its client saw it; times are of the clock that all processes share."""

    asked: float
    answered: float
    index: int
    leaf: str


class Rolledback(Exception):
    """A command that fails after it appended."""


def failing(writer: log.Writer, command: AddPerson) -> None:
    add_person(writer, command)
    raise Rolledback


def client(name: str, each: int, kept: list[Acknowledged]) -> None:
    """Append, one after the other; what failed must have been said to fail."""
    dice = random.Random(name)
    for number in range(each):
        if dice.randrange(ONE_IN) == 0:
            try:
                log.commit(failing, AddPerson(f"pe_failed_{name}_{number}"))
            except Rolledback:
                pass
            else:
                raise AssertionError("a command that failed was acknowledged")
        asked = time.monotonic()
        made = log.commit(add_person, AddPerson(f"pe_{name}_{number}"))
        kept.append(Acknowledged(asked, time.monotonic(), made.index, made.leaf))


def write(process: int, clients: int, each: int, results: Any) -> None:
    """One web process: clients in threads, one writer that commits what they ask for together."""
    writer.start()
    kept: list[list[Acknowledged]] = [[] for _ in range(clients)]
    threads = [
        threading.Thread(target=client, args=(f"{process}_{number}", each, kept[number])) for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.stop()
    assert all(len(one) == each for one in kept), "a client failed"
    assert all([made.index for made in one] == sorted(made.index for made in one) for one in kept)
    results.put(("written", [made for one in kept for made in one]))


def publish(ending: Event, results: Any) -> None:
    """One of the publishers. The lock lets one of them work at a time."""
    publisher.PAUSE = publisher.LEAST_PAUSE = 0.02
    rounds = Publisher()
    while not ending.is_set():
        publisher._kicked.clear()
        rounds.publish_once()
        publisher._kicked.wait(0.02)
    connection.close()
    results.put(("rounds", 1))


def read(ending: Event, results: Any, vkey: note.Vkey) -> None:
    """Follow the published files, and hold each checkpoint against the one before and against the entries."""
    dice, folder = random.Random(os.getpid()), Path(settings.LOG_DIR)
    seen: TreeHead | None = None
    counted = {"checkpoints": 0, "consistency": 0, "inclusion": 0, "prefixes": 0}
    while not ending.wait(0.005):
        # Whatever one statement sees is a beginning of the log: nobody commits before somebody with a lower index.
        with connection.cursor() as cursor:
            cursor.execute('SELECT count(*), coalesce(max("index") + 1, 0) FROM audit_entry')
            count, end = cursor.fetchone()
        assert count == end, f"{count} entries are visible, and the last has the index {end - 1}"
        counted["prefixes"] += 1
        try:
            shown, _ = open_checkpoint((folder / publisher.CHECKPOINT).read_bytes(), [vkey])
        except FileNotFoundError:
            continue
        if seen is not None and (shown.size, shown.root) == (seen.size, seen.root):
            continue
        assert seen is None or shown.size > seen.size, "the published log shrank, or has two roots of one size"
        try:
            one = {"checkpoints": 1, **follow(folder, seen, shown, dice)}
        except (FileNotFoundError, tiles.TileError):
            # Partial tiles are kept for some rounds; who was overtaken looks at the newest checkpoint instead.
            newest, _ = open_checkpoint((folder / publisher.CHECKPOINT).read_bytes(), [vkey])
            assert newest.size > shown.size, "a tile of the newest checkpoint is missing"
            continue
        counted = {name: value + one.get(name, 0) for name, value in counted.items()}
        seen = shown
    connection.close()
    results.put(("read", counted))


def follow(folder: Path, seen: TreeHead | None, shown: TreeHead, dice: random.Random) -> dict[str, int]:
    """Verify one checkpoint from its files alone."""

    def fetch(path: str) -> bytes:
        return (folder / path).read_bytes()

    reader, size = tiles.HashReader(fetch, shown.size), shown.size
    assert reader.root() == shown.root
    if seen is not None:
        proof = reader.consistency_proof(seen.size)
        assert merkle.verify_consistency(seen.size, size, seen.root, shown.root, proof), "the log forked"
    wanted = {size - 1, *(dice.randrange(size) for _ in range(SAMPLE - 1))}
    for index in wanted:
        at, place = divmod(index, tiles.WIDTH)
        entries = tiles.bundle_decode(fetch(tiles.entries_path(at, min(size - at * tiles.WIDTH, tiles.WIDTH))))
        leaf, proof = merkle.leaf_hash(entries[place]), reader.inclusion_proof(index)
        assert merkle.verify_inclusion(leaf, index, size, proof, shown.root), f"entry {index} is not in the tree"
    return {"consistency": int(seen is not None), "inclusion": len(wanted)}


def assert_in_order(made: list[Acknowledged]) -> None:
    """Who had been answered before somebody else asked has the lower index."""
    earliest = float("inf")
    for one in sorted(made, key=lambda one: -one.index):
        assert earliest >= one.asked, f"entry {one.index} was asked for after a later one was answered"
        earliest = min(earliest, one.answered)


def started(work: Callable[..., None], *arguments: Any) -> multiprocessing.process.BaseProcess:
    child = context.Process(target=work, args=arguments, daemon=True)
    child.start()
    return child


def main(clients: int, processes: int, each: int) -> None:
    """Begin a log, let all loose on it, and look at what is there."""
    call_command("migrate", verbosity=0)
    mirrors._registered.clear()
    signer.make_keys(Path(settings.KEYS_DIR))
    genesis.begin(realm=settings.REALM, roster=[], policy_digest="sha256:" + "0" * 64, software="imprimatur")
    vkey = note.Vkey(settings.REALM, signer.log_key().public_key)
    connections.close_all()
    results, ending = context.Queue(), context.Event()
    others = [started(publish, ending, results) for _ in range(PUBLISHERS)]
    others += [started(read, ending, results, vkey) for _ in range(READERS)]
    began = time.monotonic()
    writers = [started(write, number, clients // processes, each, results) for number in range(processes)]
    told = [results.get(timeout=3600) for _ in writers]
    seconds = time.monotonic() - began
    ending.set()
    told += [results.get(timeout=600) for _ in others]
    for child in (*writers, *others):
        child.join(60)
        assert child.exitcode == 0
    made = [one for kind, found in told if kind == "written" for one in found]
    reads = [found for kind, found in told if kind == "read"]

    size = Publisher().publish_once()
    leaves = dict(Entry.objects.values_list("index", "leaf"))
    assert size == LogHead.objects.get().size == len(leaves) == clients * each + 1
    assert sorted(leaves) == list(range(size)), "the log has a gap"
    assert len({one.index for one in made}) == len(made) == clients * each
    assert all(leaves[one.index] == one.leaf for one in made), "an acknowledged entry is missing"
    assert not Entry.objects.filter(subject__startswith="pe_failed").exists(), "an entry that was rolled back is there"
    assert_in_order(made)
    findings = fsck.run().findings
    assert findings == [], findings
    waits = sorted(one.answered - one.asked for one in made)
    counted = {name: sum(one[name] for one in reads) for name in reads[0]}
    rates = {"seconds": round(seconds, 2), "per_second": round(len(made) / seconds)}
    rates["p99_ms"] = round(1000 * waits[len(waits) * 99 // 100])
    sys.stdout.write(json.dumps({"entries": len(made), **counted, **rates}) + "\n")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:4]))
