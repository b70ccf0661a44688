"""What it takes to export a large log: seconds, size and peak memory of building its evidence bundle.

``python -m bench.export --entries 100000 1000000`` prints one JSON line for each. The log is made up: a few real
entries, repeated under other indexes, ids and commitments, are put straight into the entry table and the tiles. Three
processes take part, one after the other, so that what the making needed is not counted: this one stays small, the
second makes the log, the third exports it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BATCH = 4_000
LOW_PER_HIGH = 16  # a rule allows so many for each that a person answers


def main() -> None:
    """Measure each size that was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--entries", type=int, nargs="+", default=[100_000], help="entries of the log, one run for each"
    )
    parser.add_argument("--selective", action="store_true", help="also export one agent's refused requests only")
    parser.add_argument("--step", choices=("make", "export", "select"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        os.environ["DJANGO_SETTINGS_MODULE"] = "server.settings"
        if given.step == "make":
            make(given.entries[0])
        else:
            export(selective=given.step == "select")
        return
    for entries in given.entries:
        for line in measure(entries, selective=given.selective):
            print(json.dumps(line), flush=True)


def measure(entries: int, *, selective: bool = False) -> Iterator[dict[str, Any]]:
    """Make a log of so many entries, export it, and tell what that took; ``peak_mb`` is of the exporting process."""
    with tempfile.TemporaryDirectory(prefix="bench-export-") as folder:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("IMPRIMATUR_")}
        environment |= {
            "IMPRIMATUR_DATA": folder,
            "IMPRIMATUR_REALM": "test.imprimatur",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        for step in ("make", "export", *(("select",) if selective else ())):
            command = [sys.executable, "-m", "bench.export", "--entries", str(entries), "--step", step]
            done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            if step != "make":
                yield json.loads(done.stdout.splitlines()[-1])


def export(*, selective: bool = False) -> None:
    """Build the bundle in this process, and print what it took."""
    import django

    django.setup(set_prefix=False)
    from django.conf import settings

    from audit.evidence import bundle

    before = _peak()
    started, worked = time.perf_counter(), time.process_time()
    filters = {"verdicts": ["deny"]} if selective else {}
    built = bundle.build(Path(settings.BUNDLES_DIR) / "bench.zip", filters=filters)
    seconds, busy = time.perf_counter() - started, time.process_time() - worked
    found = {
        "what": "selected" if selective else "whole",
        "entries": built.size,
        "shown": built.shown,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(busy, 2),
        "entries_per_second": round(built.size / seconds),
        "mb": round(built.bytes / 1e6, 1),
        "peak_mb": round(_peak(), 1),
        "peak_before_mb": round(before, 1),
    }
    print(json.dumps(found))


def _peak() -> float:
    """The most memory this program has held, in MB. What `getrusage` says begins with what its parent held."""
    found = re.search(r"VmHWM:\s*([0-9]+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024 / 1e6


def make(entries: int) -> None:
    """Begin an installation, and write a log of so many entries into its database and its tiles."""
    import django

    django.setup(set_prefix=False)
    from django.core.management import call_command

    from approvals.actions import cast_vote
    from audit.models import Entry
    from audit.publisher import Publisher
    from tests.conftest import build_world
    from tests.desk.requests import ask

    call_command("migrate", verbosity=0)
    world = build_world()
    Publisher().publish_once()
    begun = Entry.objects.count()
    ask(world, "read_file", {"path": "/project/src/cart.js"})
    low = list(Entry.objects.filter(index__gte=begun).order_by("index"))
    request = ask(world)
    cast_vote.answer(world.rui, request.id, version=request.version, decision="approve")
    high = list(Entry.objects.filter(index__gte=begun + len(low)).order_by("index"))
    Publisher().publish_once()
    _multiply(low * LOW_PER_HIGH + high, entries)


def _multiply(pattern: list[Any], entries: int) -> None:
    """Repeat this run of entries until there are so many, each at its own place and about a request of its own."""
    from django.db import transaction

    from audit import signer
    from audit.models import Entry, LogHead, Opening
    from imprimatur.formats import canonical, dsse, merkle

    key, head = signer.decision_key(), LogHead.objects.get()
    payloads = [canonical.loads(dsse.open_envelope(bytes(row.envelope)).payload) for row in pattern]
    leaves = [bytes.fromhex(leaf) for leaf in Entry.objects.order_by("index").values_list("leaf", flat=True)]
    size, last, at = len(leaves), head.last_leaf, 0
    renamed: dict[str, str] = {}
    moved: dict[int, int] = {}
    while size < entries:
        rows, openings = [], []
        for _ in range(min(BATCH, entries - size)):
            if at % len(pattern) == 0:
                renamed, moved = {}, {}
            source, row = payloads[at % len(pattern)], pattern[at % len(pattern)]
            if source["kind"] in ("action.requested", "action.decided") and not _has_request(source):
                renamed = {
                    source[
                        "subject"
                    ]: f"act_{base64.b32encode(hashlib.sha256(b'%d' % at).digest())[:26].decode().lower()}"
                }
            moved[source["index"]] = size
            payload = _another(source, renamed, at)
            payload |= {"index": size, "prev": last}
            payload["refs"] = [{**ref, "index": moved[ref["index"]]} for ref in source["refs"]]
            raw = dsse.seal(canonical.dumps(payload), key.sign, key.keyid)
            leaf = merkle.leaf_hash(raw)
            fields = {
                name: getattr(row, name)
                for name in ("time", "kind", "actor_type", "actor_id", "agent", "verdict", "risk")
            }
            rows.append(Entry(index=size, leaf=leaf.hex(), envelope=raw, subject=payload["subject"], **fields))
            for name, commitment in payload["body"].get("binding", {}).get("parameters", {}).items():
                openings.append(
                    Opening(
                        commitment=commitment,
                        subject=payload["subject"],
                        name=name,
                        key=bytes(32),
                        value=b'"/project/src/cart.js"',
                    )
                )
            leaves.append(leaf)
            last, size, at = leaf.hex(), size + 1, at + 1
        with transaction.atomic():
            Entry.objects.bulk_create(rows)
            Opening.objects.bulk_create(openings, ignore_conflicts=True)
    LogHead.objects.update(size=size, last_leaf=last)
    _publish(leaves)


def _has_request(payload: dict[str, Any]) -> bool:
    return any(ref["rel"] == "request" for ref in payload["refs"])


def _another(value: Any, renamed: dict[str, str], number: int) -> Any:
    """The same value about another request: its ids and commitments changed, each commitment the same way each time."""
    if isinstance(value, dict):
        return {name: _another(item, renamed, number) for name, item in value.items()}
    if isinstance(value, list):
        return [_another(item, renamed, number) for item in value]
    if isinstance(value, str) and value.startswith("c:") and len(value) == 45:
        about = next(iter(renamed.values()), "")
        digest = hashlib.sha256(f"{about}{value}".encode()).digest()
        return "c:" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return renamed.get(value, value) if isinstance(value, str) else value


def _publish(leaves: list[bytes]) -> None:
    """Write the tiles of this log and a checkpoint over them, as its publisher would have."""
    from django.conf import settings

    from audit import keyring, log
    from audit.models import Checkpoint, Entry, LogHead
    from imprimatur.formats import checkpoint, merkle, tiles

    folder, size = Path(settings.LOG_DIR), len(leaves)
    rows = [leaves]
    while len(rows[-1]) >= tiles.WIDTH:
        row = rows[-1]
        rows.append([merkle.root_of(row[start : start + 256]) for start in range(0, len(row) - 255, 256)])
    for level, index, width in tiles.tiles_for(0, size):
        _file(folder / tiles.tile_path(level, index, width), b"".join(rows[level][index * 256 : index * 256 + width]))
    for index, width in tiles.bundles_for(0, size):
        found = Entry.objects.filter(index__gte=index * 256, index__lt=index * 256 + width).order_by("index")
        raw = tiles.bundle_encode(bytes(envelope) for envelope in found.values_list("envelope", flat=True))
        _file(folder / tiles.entries_path(index, width), raw)
    root = merkle.root_of(leaves)
    origin = LogHead.objects.get().realm
    note = checkpoint.Checkpoint(origin, size, root).sign_with(keyring.log_signers(size))
    Checkpoint.objects.create(size=size, root=root.hex(), note=note, published_at=log.utc_now())


def _file(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)


if __name__ == "__main__":
    main()
