"""A whole installation ships to a file and to a collector that never answers."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.audit.sinking import entries_in
from tests.faults.group import log_size, rows
from tests.installation import eventually, installation

pytestmark = pytest.mark.e2e


def test_a_hung_sink_blocks_nobody_and_the_other_is_read_back(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    archive = tmp_path_factory.mktemp("elsewhere") / "archive.jsonl"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        sinks = f"hung@http://127.0.0.1:{silent.getsockname()[1]}/,copy@file://{archive}"
        with installation(tmp_path / "data", environment={"IMPRIMATUR_SINKS": sinks}) as desk:
            eventually(desk.ready, seconds=60)
            said = "select count(*) from audit_entry where kind = 'log.shipped' and subject = 'copy'"
            eventually(lambda: rows(desk, said) == [(1,)], seconds=60)
            size = log_size(desk)  # the log goes on growing, and a copy is always a moment behind
            eventually(lambda: len(entries_in(archive)) >= size, seconds=90)
            assert rows(desk, "select sent from audit_sinkstate where name = 'hung'") in ([], [(0,)])
            assert "imprimatur_sink_read_back_entries" in desk.get("/metrics")[1].decode()
        # Ctrl-C has ended it by now: nobody waited for the sink that hangs, and nobody had to be killed.
        assert desk.process.returncode not in (None, -signal.SIGKILL)
