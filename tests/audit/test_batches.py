"""How many commands share a transaction: as many as have queued, and few while another program makes the signatures."""

from __future__ import annotations

from typing import Any

import pytest

from audit import log, writer


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []

    def run_batch(commands: list[Any]) -> list[Any]:
        found.append(len(commands))
        return [None] * len(commands)

    monkeypatch.setattr(log, "run_batch", run_batch)
    return found


@pytest.mark.parametrize(("signer", "expected"), [("", [20]), ("/usr/bin/signer", [8, 8, 4])])
def test_a_batch_is_what_has_queued_and_small_while_a_command_signs(
    settings: Any, sizes: list[int], signer: str, expected: list[int]
) -> None:
    settings.SIGNER = signer
    thread = writer.WriterThread()
    for number in range(20):
        thread.submit(lambda writer, command: None, number)
    thread.start()
    thread.stop()
    assert sizes == expected
