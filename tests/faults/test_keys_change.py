"""The keys of the log change while agents ask: a running desk follows at once, on both databases, and loses nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from imprimatur.client.sync import Imprimatur
from imprimatur.errors import ReceiptError
from imprimatur.formats import canonical, dsse, trust
from imprimatur.formats.checkpoint import signed_by_all
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.verify.history import History
from tests.faults import group
from tests.installation import ROOT, Installation, eventually, installation
from tests.postgres import fresh_database, postgres_server

pytestmark = [pytest.mark.e2e, pytest.mark.postgres]

AGENTS = 4


class Desk:
    """A running installation, its operator and its agent."""

    def __init__(self, running: Installation, database: str) -> None:
        self.running, self.database = running, database
        self.folder = running.data / "demo"
        self.delegation = eventually(self._delegation, seconds=60)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        if not self.database:
            return group.rows(self.running, query)
        with psycopg.connect(self.database) as connection:
            return list(connection.execute(query).fetchall())

    def _delegation(self) -> str:
        found = self.rows(group.ROBOS_DELEGATIONS)
        return str(found[-1][0]) if found else ""

    def manage(self, *words: str) -> str:
        """What an operator types, in a process of its own."""
        url = {"IMPRIMATUR_DATABASE_URL": self.database} if self.database else {}
        environment = {**os.environ, **group.surroundings(self.running), **url}
        command = [sys.executable, "manage.py", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def new(self, role: str) -> str:
        return self.manage("log_keys", f"new-{role}").split(" ", 1)[0]

    def gate(self, anchors: dict[str, Any]) -> Imprimatur:
        key = KeyPair.load(self.folder / "robo.key")
        return Imprimatur(self.running.url, key, self.delegation, trust.parse(canonical.dumps(anchors)))

    def ask(self, gate: Imprimatur, name: str) -> dict[str, Any]:
        """Have something harmless allowed and claimed; the receipt, which the client has checked."""
        with gate.action("read_file", {"path": f"/project/src/{name}.js"}) as execution:
            return dict(execution.receipt)

    def checkpoint(self) -> str:
        return httpx2.get(f"{self.running.url}/api/v1/log/checkpoint").text

    def well_known(self) -> dict[str, Any]:
        return dict(httpx2.get(f"{self.running.url}/.well-known/imprimatur").json())


@pytest.fixture(params=["sqlite", "postgres"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    environment = {"IMPRIMATUR_DEMO_SCRIPT": "once"}
    if request.param == "sqlite":
        with installation(tmp_path / "data", environment=environment) as running:
            yield Desk(running, "")
        return
    with (
        postgres_server() as server,
        fresh_database(server, migrated=True) as url,
        installation(tmp_path / "data", environment={**environment, "IMPRIMATUR_DATABASE_URL": url}) as running,
    ):
        yield Desk(running, url)


def test_invariant_6_keys_change_while_agents_ask_and_nothing_is_lost(desk: Desk) -> None:
    pinned = json.loads((desk.folder / "trust.json").read_text())
    names = [desk.new("decision") for _ in range(2)]
    keys = [KeyPair.load(desk.running.data / "keys" / f"{name}.key") for name in names]
    told = {**pinned, "decision": [*pinned["decision"], *({"key": b64u(key.public_key), "from": 1} for key in keys)]}

    over = threading.Event()
    receipts: list[list[dict[str, Any]]] = [[] for _ in range(AGENTS)]
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            with desk.gate(told) as gate:
                while not over.is_set():
                    receipts[number].append(desk.ask(gate, f"n{number}-{len(receipts[number])}"))
        except BaseException as error:  # a thread's failure is the test's
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(AGENTS)]
    for thread in threads:
        thread.start()

    def until_all_asked_again() -> None:
        enough = sum(map(len, receipts)) + AGENTS
        eventually(lambda: failed or sum(map(len, receipts)) > enough, seconds=90)

    try:
        for name in names:
            until_all_asked_again()
            desk.manage("log_keys", "use-decision", name, "--reason", "yearly")
        desk.manage("log_keys", "use-log", desk.new("log"), "--reason", "yearly")
        until_all_asked_again()
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert not failed, failed

    # Every receipt is in the log, byte for byte, and the whole is a good history under the first key alone.
    entries = [bytes(raw) for (raw,) in desk.rows('select envelope from audit_entry order by "index"')]
    everything = [receipt for each in receipts for receipt in each]
    assert len({receipt["index"] for receipt in everything}) == len(everything)
    assert all(entries[receipt["index"]] == receipt["envelope"].encode() for receipt in everything)
    history = History(pinned["realm"], trust.parse(canonical.dumps(pinned)).decision_keys())
    for index, raw in enumerate(entries):
        history.feed(index, raw)
    assert history.decision_key == keys[-1].public_key
    signers = {dsse.open_envelope(receipt["envelope"].encode()).keyid for receipt in everything}
    assert {key.keyid for key in keys} <= signers

    # The desk says so, publishes with both log keys, and finds nothing wrong with itself.
    found = desk.well_known()
    assert [item["keyid"] for item in found["decision"]] == [keys[-1].keyid]
    assert len(found["log"]) == 2
    size = len(entries)
    eventually(lambda: int(desk.checkpoint().split("\n")[1]) >= size, seconds=90)
    signed_by_all(desk.checkpoint(), trust.parse(desk.manage("trust").encode()).log or ())
    assert desk.running.get("/readyz")[0] == 200
    desk.manage("audit_fsck")

    # Who was not told runs nothing, and hears what to do.
    with desk.gate(pinned) as gate, pytest.raises(ReceiptError, match=r"new trust\.json"):
        desk.ask(gate, "not-told")
