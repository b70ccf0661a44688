"""``make bench``: what a governed action costs beside a bare insert, how long people and agents wait, and how fast the
log is appended to, published, checked, exported and verified beside what limits each.

Everything is measured in one run on this machine, limit and product interleaved; only the ratios mean anything. The
report goes to standard output as Markdown and to ``bench/results/`` as JSON with machine, load and versions.
``make bench ARGS='--only log --entries 16384 --exports 10000 1000000'`` measures the log alone, and more of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx2

from bench import log
from imprimatur import AsyncImprimatur, Imprimatur
from tests.browser import chromium, sign_in
from tests.installation import ROOT, Installation, eventually, free_port, installation
from tests.postgres import fresh_database, postgres_server

SECONDS = 2.0
ROUNDS = 3
CLIENTS = (1, 16)


@contextmanager
def floor(data: Path, database: str) -> Iterator[str]:
    """The floor's server, on a database of its own of the same kind."""
    port = free_port()
    environment = {**os.environ, "IMPRIMATUR_DATA": str(data), "IMPRIMATUR_DATABASE_URL": database}
    environment["IMPRIMATUR_ORIGINS"] = f"http://localhost:{port}"
    data.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "uvicorn", "bench.floor:application", "--port", str(port), "--no-access-log"]
    process = subprocess.Popen([*command, "--log-level", "error", "--lifespan", "off"], cwd=ROOT, env=environment)
    url = f"http://localhost:{port}/insert"
    try:
        eventually(lambda: answers(url), seconds=30)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def answers(url: str) -> bool:
    """Whether the floor answers."""
    try:
        return httpx2.post(url, json={"a": 1}, timeout=2).status_code == 200
    except httpx2.HTTPError:
        return False


async def rate(act: Callable[[], Awaitable[Any]], clients: int) -> float:
    """Acts per second with this many clients."""
    done = 0
    end = time.perf_counter() + SECONDS

    async def one() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await act()
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(clients)))
    return done / (time.perf_counter() - started)


def credentials(desk: Installation) -> tuple[str, str, str, str]:
    """Address, key, delegation and pinned keys of the demo's agent."""
    journal = desk.data / "demo" / "agent.log"

    def delegated() -> str:
        lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return next((line["delegation"] for line in found if line.get("event") == "delegated"), "")

    delegation = eventually(delegated, seconds=60)
    return desk.url, str(desk.data / "demo" / "robo.key"), delegation, str(desk.data / "demo" / "trust.json")


async def throughput(desk: Installation, floor_url: str) -> list[dict[str, Any]]:
    """A governed LOW action (asked, decided, redeemed, receipt verified) against one bare insert."""
    rows = []
    body = {"tool": "read_file", "path": "/project/src/cart.js", "padding": "x" * 400}
    limits = httpx2.Limits(max_connections=64)
    async with httpx2.AsyncClient(limits=limits) as client, AsyncImprimatur(*credentials(desk)) as gate:

        async def bare() -> None:
            (await client.post(floor_url, json=body)).raise_for_status()

        async def governed() -> None:
            await gate.submit("read_file", {"path": "/project/src/cart.js"}, execute=True)

        for clients in CLIENTS:
            bare_rates, governed_rates = [], []
            for _ in range(ROUNDS):
                bare_rates.append(await rate(bare, clients))
                governed_rates.append(await rate(governed, clients))
            low, high = statistics.median(bare_rates), statistics.median(governed_rates)
            rows.append({"clients": clients, "floor": low, "governed": high, "ratio": high / low})
    return rows


def latencies(desk: Installation) -> dict[str, float]:
    """Submit to visible on the desk, and the reviewer's click to the waiting agent, in milliseconds (medians)."""
    seen, released = [], []
    with chromium() as browser, Imprimatur(*credentials(desk)) as gate:
        page = sign_in(browser, desk, "rui")
        for number in range(8):
            page.goto(desk.url + "/")
            page.wait_for_timeout(700)
            before = page.locator("a.row").count()
            started = time.perf_counter()
            asked = gate.submit("delete_file", {"path": f"/project/reports/bench-{number}.csv"})
            shown = page.locator("button.new:visible")
            while not shown.count() and page.locator("a.row").count() <= before:
                pass
            seen.append((time.perf_counter() - started) * 1000)
            page.goto(f"{desk.url}/requests/{asked.id}/approve/")
            released.append(released_after(desk, asked.id, page))
    return {"submit_to_screen_ms": statistics.median(seen), "approve_to_agent_ms": statistics.median(released)}


def released_after(desk: Installation, request: str, page: Any) -> float:
    """Milliseconds from the reviewer's click to the answer in the hands of an agent that waits for it."""
    ended: list[float] = []

    def wait() -> None:
        with Imprimatur(*credentials(desk)) as gate:
            decided = gate.look(request, 25)["state"] == "APPROVED"
        if decided:
            ended.append(time.perf_counter())

    waiter = threading.Thread(target=wait)
    waiter.start()
    page.wait_for_timeout(500)
    started = time.perf_counter()
    # Past the script that would ask for a key: under the demo's policy a click is enough.
    page.evaluate("HTMLFormElement.prototype.submit.call(document.querySelector('form.signing'))")
    waiter.join(30)
    if not ended:
        raise AssertionError("the reviewer's answer did not reach the agent")
    return (ended[0] - started) * 1000


def main() -> None:
    """Run all of it and say what was measured."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--no-postgres", action="store_true", help="SQLite only")
    parser.add_argument("--only", choices=("actions", "log"), help="one part of it")
    parser.add_argument("--entries", type=int, default=log.ENTRIES, help="of the log whose rates are measured")
    parser.add_argument(
        "--exports", type=int, nargs="*", default=log.EXPORTS, help="entries of the logs whose export is measured"
    )
    options = parser.parse_args()
    report: dict[str, Any] = {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": versions(),
        "load_before": os.getloadavg(),
        "databases": {},
    }
    if options.only != "log":
        report["databases"] = actions(postgres=not options.no_postgres)
    if options.only != "actions":
        report["log"] = log.measure(options.entries, options.exports, postgres=not options.no_postgres)
    report["load_after"] = os.getloadavg()
    results = ROOT / "bench" / "results"
    results.mkdir(exist_ok=True)
    file = results / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(as_markdown(report))


def versions() -> dict[str, str]:
    """What computes here, besides Python."""
    packages = ("django", "pynacl", "cryptography", "orjson", "psycopg")
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    return {**{name: metadata.version(name) for name in packages}, "commit": commit.stdout.strip()}


def actions(*, postgres: bool) -> dict[str, Any]:
    """What agents and people experience, on each database."""
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        kinds = {"sqlite": ("", "")}
        if postgres:
            server = stack.enter_context(postgres_server())
            kinds["postgresql"] = (
                stack.enter_context(fresh_database(server)),
                stack.enter_context(fresh_database(server)),
            )
        for name, (own, bare) in kinds.items():
            environment = {"IMPRIMATUR_DEMO_SCRIPT": "once", **({"IMPRIMATUR_DATABASE_URL": own} if own else {})}
            with (
                installation(folder / name, environment=environment) as desk,
                floor(folder / f"{name}-floor", bare) as url,
            ):
                rows = asyncio.run(throughput(desk, url))
                found[name] = {"throughput": rows, **latencies(desk)}
    return found


def as_markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"# Bench, {report['when']}",
        "",
        f"{report['machine']['cores']} cores, Python {report['machine']['python']}, "
        f"load {report['load_before'][0]:.1f} before and {report['load_after'][0]:.1f} after",
    ]
    if report["databases"]:
        lines += of_actions(report["databases"])
    if "log" in report:
        lines += log.as_markdown(report["log"])
    return "\n".join(lines)


def of_actions(databases: dict[str, Any]) -> list[str]:
    """What agents and people experience, for people."""
    lines = ["", "| database | clients | bare insert/s | governed action/s | ratio |", "|---|---|---|---|---|"]
    for name, found in databases.items():
        lines += [
            f"| {name} | {row['clients']} | {row['floor']:.0f} | {row['governed']:.0f} | {row['ratio']:.2f} |"
            for row in found["throughput"]
        ]
    lines += ["", "| database | submit to screen | approve to agent |", "|---|---|---|"]
    lines += [
        f"| {name} | {found['submit_to_screen_ms']:.0f} ms | {found['approve_to_agent_ms']:.0f} ms |"
        for name, found in databases.items()
    ]
    return lines


if __name__ == "__main__":
    main()
