"""The rates of the log: append, publish, fsck, export and verify, each beside its limit, all on one log in one run.

The log is made of real requests: an agent signs each, policy judges it, and it is decided and redeemed at once (the
commonest entry there is, with two Ed25519 signatures in it). They are appended, published, checked, bundled and
verified in turn, and every round measures the limit right beside the product, so that what else the machine does weighs
on both. Only the export of very large logs is measured on another one (`bench.export`), since size alone matters there.

``python -m bench.log`` with an installation's environment set is one database's share, and prints JSON; `make bench`
calls it.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import export, limits
from bench.limits import Took, took
from imprimatur.formats import canonical
from imprimatur.formats.encoding import b64u
from imprimatur.formats.timestamps import format_time
from tests.installation import ROOT
from tests.postgres import fresh_database, postgres_server

if TYPE_CHECKING:
    from tests.conftest import World

ENTRIES = 2_048
EXPORTS = (10_000, 30_000)
ROUNDS = 4
BATCH = 256  # the writer's own limit of commands in one transaction
SINGLES = 64  # of each round's entries, so many are committed one by one
MOST_IN_A_ROUND = 2_048  # more that is not published would be turned away
SIGNATURES = 2  # in each entry: the decision key's, and the agent's own
PURE = 512  # signatures that show what pure Python does

_VERIFYING = r"""
import json, pathlib, re, sys, time
if len(sys.argv) > 3:
    sys.path.insert(0, sys.argv[3])
from imprimatur.formats import ed25519, trust
from imprimatur.verify.bundle import verify_bundle

def peak():
    return int(re.search(r"VmHWM:\s*(\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

anchors = trust.load(sys.argv[2])
before = peak()
wall, cpu = time.perf_counter(), time.process_time()
report = verify_bundle(sys.argv[1], anchors)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
bad = [f"{claim.name}: {claim.detail}" for claim in report.claims if claim.verdict == "invalid"]
print(json.dumps({"wall": wall, "cpu": cpu, "peak_kb": peak(), "start_kb": before, "bad": bad}))
"""


def measure(entries: int, exports: Sequence[int], *, postgres: bool) -> dict[str, Any]:
    """Everything about the log, on SQLite and, if wanted, PostgreSQL; then what exports of these sizes take."""
    found: dict[str, Any] = {"entries": entries, "databases": {}, "exports": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-log-")))
        kinds = {"sqlite": ("", "")}
        if postgres:
            server = stack.enter_context(postgres_server())
            own, bare = (stack.enter_context(fresh_database(server)) for _ in range(2))
            kinds["postgresql"] = (own, bare)
        for name, (own, bare) in kinds.items():
            clean = {key: value for key, value in os.environ.items() if not key.startswith(("IMPRIMATUR_", "DJANGO_"))}
            clean |= {"IMPRIMATUR_DATA": str(folder / name), "IMPRIMATUR_REALM": "test.imprimatur"}
            clean |= {"IMPRIMATUR_DATABASE_URL": own} if own else {}
            clean |= {"DJANGO_SETTINGS_MODULE": "server.settings", "PYTHONPATH": os.pathsep.join(sys.path)}
            (folder / name).mkdir()
            command = [sys.executable, "-m", "bench.log", "--entries", str(entries), "--bare", bare]
            command += ["--verify"] if name == "sqlite" else []  # a bundle is the same whatever database it came from
            done = subprocess.run(command, cwd=ROOT, env=clean, stdout=subprocess.PIPE, text=True, check=True)
            found["databases"][name] = json.loads(done.stdout.splitlines()[-1])
    for size in exports:
        found["exports"] += export.measure(size, selective=True)
    return found


class Rates:
    """What was measured, round by round, under the name of each thing."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Any]] = {}

    def add(self, name: str, limit: str, count: int, own: Took, floor: Took, *, of: int | None = None) -> None:
        """One round: so many entries took so long, and the limit for ``of`` of them (as many, by default) so long."""
        row = self._found.setdefault(name, {"limit": limit, "rounds": []})
        most = of or count
        row["rounds"].append((count / own.wall, most / floor.wall, count / own.cpu, most / floor.cpu))

    def rows(self) -> dict[str, dict[str, Any]]:
        """The medians of the rounds. ``ratio`` compares clocks; ``cpu_ratio`` the processor time of this process, which
        says more on a busy machine about what only computes."""
        rows = {}
        for name, row in self._found.items():
            wall, most, cpu, most_cpu = (statistics.median(each) for each in zip(*row["rounds"], strict=True))
            rows[name] = {
                "entries_per_second": round(wall),
                "limit": row["limit"],
                "limit_per_second": round(most),
                "ratio": round(statistics.median(each[0] / each[1] for each in row["rounds"]), 4),
                "entries_per_cpu_second": round(cpu),
                "limit_per_cpu_second": round(most_cpu),
                "cpu_ratio": round(statistics.median(each[2] / each[3] for each in row["rounds"]), 4),
                "rounds": len(row["rounds"]),
            }
        return rows


def one_database(entries: int, bare_place: str, *, verify: bool) -> dict[str, Any]:
    """Measure on the database of this process's environment."""
    import django

    django.setup(set_prefix=False)
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    from audit.models import Entry
    from audit.publisher import Publisher
    from tests.conftest import build_world

    call_command("migrate", verbosity=0)
    world = build_world()
    rates, scratch = Rates(), Path(settings.DATA_DIR) / "bench"
    scratch.mkdir()
    bare = limits.Bare(bare_place or str(scratch / "bare.sqlite3"))
    files: list[str] = []
    publisher = Publisher(lambda step: files.append(step) if step in _FILES else None)
    publisher.publish_once()
    share = max(SINGLES + BATCH, min(entries // ROUNDS, MOST_IN_A_ROUND))
    for number in range(max(ROUNDS, -(-entries // share))):
        begun = Entry.objects.count()
        _append(rates, world, bare, share)
        files.clear()
        own = took(publisher.publish_once)
        raws = [bytes(raw) for raw in _envelopes(begun)]
        floor = took(lambda: limits.hash_and_write(scratch / str(number), raws, len(files)))  # noqa: B023  # called at once
        rates.add("publish", "leaf hashes, as many synced files", len(raws), own, floor)
        rates.add("publish, as the notary", f"libsodium, {SIGNATURES} signatures", len(raws), own, _libsodium(raws))
    raws = [bytes(raw) for raw in _envelopes(0)]
    path = scratch / "bundle.zip"
    for _ in range(ROUNDS - 1):
        _check(rates, raws)
        _export(rates, path, len(raws))
    found: dict[str, Any] = {"log_entries": len(raws), "mean_entry_bytes": sum(map(len, raws)) // len(raws)}
    found |= {"bundle_mb": round(path.stat().st_size / 1e6, 1), "version": _version(connection)}
    if verify:
        found |= _verify(rates, path, raws)
    for _ in range(ROUNDS):
        _append_alone(rates, bare, raws[-BATCH:])
    bare.close()
    return {**found, "rates": rates.rows()}


_FILES = ("bundle", "tile", "mark", "show")
"""The publisher's steps that each write one file."""


def _append(rates: Rates, world: World, bare: limits.Bare, count: int) -> None:
    """Append so many requests: the first few one by one, the rest 256 to a commit."""
    from approvals import submission
    from approvals.actions import submit_request, use_nonce
    from audit import log
    from tests.races import scenario

    def wish() -> submission.Wish:
        made = scenario.wish(world, "read_file", {"path": "/project/src/cart.js"})
        nonce = use_nonce.Nonce(made.key, secrets.token_urlsafe(24), log.utc_now() + timedelta(minutes=5))
        return replace(made, attempt=b64u(secrets.token_bytes(16)), nonce=nonce)

    wishes = [wish() for _ in range(count)]
    commands: list[tuple[Callable[..., Any], Any]] = []
    preparing = took(lambda: commands.extend((submit_request.apply, submission.prepare(each)) for each in wishes))
    message = bytes(2_000)
    signatures = took(lambda: limits.verify_signatures(message, count))
    rates.add("judge (before the lock)", "libsodium, one signature", count, preparing, signatures)
    results: list[Any] = []
    for name, part, each in (
        ("append, one a commit", commands[:SINGLES], 1),
        (f"append, {BATCH} a commit", commands[SINGLES:], BATCH),
    ):
        own = took(lambda: _run(part, each, results))  # noqa: B023  # called at once
        if failed := [result for result in results if isinstance(result, BaseException)]:
            raise failed[0]
        raws = [result.decided.envelope for result in results[-len(part) :]]
        floor = took(lambda: bare.insert(raws, each))  # noqa: B023  # called at once
        rates.add(name, "bare insert" if each == 1 else f"bare insert of {each} rows", len(part), own, floor)


def _append_alone(rates: Rates, bare: limits.Bare, raws: list[bytes]) -> None:
    """What the log itself takes of that: entries of the system, which no other table knows of."""
    from audit import log

    def reject(writer: log.Writer, number: int) -> None:
        body = {"key": "bench", "minute": moment, "codes": {"replayed": number}}
        writer.append("door.rejected", subject="key:bench", actor=log.SYSTEM, body=body)

    moment = format_time(log.utc_now())
    own = took(lambda: _run([(reject, number) for number in range(1, BATCH + 1)], BATCH, []))
    name = f"append of the log alone, {BATCH} a commit"
    rates.add(name, f"bare insert of {BATCH} rows", BATCH, own, took(lambda: bare.insert(raws, BATCH)))


def _run(commands: Sequence[tuple[Callable[..., Any], Any]], each: int, results: list[Any]) -> None:
    from audit import log

    for start in range(0, len(commands), each):
        results.extend(log.run_batch(commands[start : start + each]))


def _envelopes(since: int) -> list[Any]:
    from audit.models import Entry

    return list(Entry.objects.filter(index__gte=since).order_by("index").values_list("envelope", flat=True))


def _check(rates: Rates, raws: list[bytes]) -> None:
    """The self-check, beside the signatures it must verify, and beside reading and hashing the rows alone."""
    from audit import fsck
    from imprimatur.formats import merkle

    def run(*, quick: bool) -> None:
        result = fsck.run(quick=quick)
        if not result.good:
            raise AssertionError(f"the log of this bench is damaged: {result.findings[:3]}")

    def read_and_hash() -> None:
        tree = merkle.CompactRange()
        for raw in _envelopes(0):
            tree.append(merkle.leaf_hash(bytes(raw)))
        tree.root()

    own = took(lambda: run(quick=False))
    rates.add("fsck", f"libsodium, {SIGNATURES} signatures", len(raws), own, _libsodium(raws))
    own = took(lambda: run(quick=True))
    rates.add("fsck --quick", "rows read, leaves hashed", len(raws), own, took(read_and_hash))


def _libsodium(raws: list[bytes]) -> Took:
    """What it takes libsodium to verify the signatures of so many entries."""
    message = bytes(sum(map(len, raws)) // len(raws) * 3 // 4)  # an envelope is its payload in base64
    return took(lambda: limits.verify_signatures(message, len(raws) * SIGNATURES))


def _export(rates: Rates, path: Path, count: int) -> None:
    from audit.evidence import bundle

    own = took(lambda: bundle.build(path))
    floor = took(lambda: limits.copy_and_hash(path, path.with_suffix(".copy")))
    rates.add("export", "the same bytes copied and hashed", count, own, floor)


def _verify(rates: Rates, path: Path, raws: list[bytes]) -> dict[str, Any]:
    """The offline verifier in a process of its own: with the libraries, and alone as it lies in the bundle."""
    from django.conf import settings

    from audit import trust

    count, anchors = len(raws), path.with_name("trust.json")
    anchors.write_bytes(canonical.dumps(trust.document()))
    with zipfile.ZipFile(path) as bundle:
        alone = Path(bundle.extract("verify.pyz", Path(settings.DATA_DIR) / "bench"))
    peaks = []
    for _ in range(ROUNDS - 1):
        found = _verified([sys.executable, "-c", _VERIFYING, str(path), str(anchors)])
        peaks.append((found["peak_kb"], found["start_kb"]))
        own = Took(found["wall"], found["cpu"])
        rates.add("verify", f"libsodium, {SIGNATURES} signatures", count, own, _libsodium(raws))
    found = _verified([sys.executable, "-I", "-S", "-c", _VERIFYING, str(path), str(anchors), str(alone)])
    floor = took(lambda: limits.verify_signatures(bytes(2_000), PURE, pure=True))
    own = Took(found["wall"], found["cpu"])
    name = f"pure Python, {SIGNATURES} signatures"
    rates.add("verify, standard library alone", name, count, own, floor, of=PURE // SIGNATURES)
    peak, start = max(peaks)
    return {"verify_peak_mb": round(peak * 1024 / 1e6, 1), "verify_peak_before_mb": round(start * 1024 / 1e6, 1)}


def _verified(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    if found["bad"]:
        raise AssertionError(f"the bundle of this bench does not verify: {found['bad'][:3]}")
    return found


def _version(connection: Any) -> str:
    if connection.vendor == "sqlite":
        import sqlite3

        return f"SQLite {sqlite3.sqlite_version}"
    return f"PostgreSQL {connection.pg_version // 10_000}.{connection.pg_version % 10_000}"


def as_markdown(found: dict[str, Any]) -> list[str]:
    """The report for people."""
    lines = [
        "",
        "| database | what | entries/s | limit | limit/s | ratio | ratio by processor time |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, database in found["databases"].items():
        lines += [
            f"| {name} | {what} | {row['entries_per_second']:,} | {row['limit']} | {row['limit_per_second']:,} "
            f"| {row['ratio']:.3f} | {row['cpu_ratio']:.3f} |"
            for what, row in database["rates"].items()
        ]
    lines += ["", "| exported | of entries | bundle | seconds | entries/s | MB/s | peak memory | before |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    lines += [
        f"| {row['what']} | {row['shown']:,} of {row['entries']:,} | {row['mb']:,} MB | {row['seconds']} "
        f"| {row['entries_per_second']:,} | {row['mb'] / row['seconds']:.1f} | {row['peak_mb']} MB "
        f"| {row['peak_before_mb']} MB |"
        for row in found["exports"]
    ]
    return lines


def main() -> None:
    """Measure one database, and print JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.log")
    parser.add_argument("--entries", type=int, default=ENTRIES)
    parser.add_argument("--bare", default="", help="address of an empty database for the limit (PostgreSQL)")
    parser.add_argument("--verify", action="store_true", help="verify the bundle as well")
    given = parser.parse_args()
    print(json.dumps(one_database(given.entries, given.bare, verify=given.verify)))


if __name__ == "__main__":
    main()
