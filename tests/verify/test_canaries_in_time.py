"""Runs of the canaries that are entered when they were not made fill no gap."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from imprimatur.formats.timestamps import format_time
from imprimatur.verify.claims import CANNOT_TELL, VALID
from tests.security.test_the_operator_signs_no_configuration import verified
from tests.verify.test_services import running


@pytest.mark.parametrize(
    ("off", "verdict"),
    [(0, VALID), (-500, VALID), (-3600, CANNOT_TELL), (30, VALID), (3600, CANNOT_TELL)],
    ids=["now", "a little late", "much later", "a clock ahead", "ahead of its time"],
)
def test_a_run_covers_when_it_is_entered_in_its_time(tmp_path: Path, off: int, verdict: str) -> None:
    log = running()
    log.now += timedelta(hours=2)
    at = log.now + timedelta(seconds=60 + off)
    times: dict[str, Any] = {"at": format_time(at), "from": format_time(at - timedelta(seconds=5))}
    log.canaries(**times)
    claim = verified(log, tmp_path / "bundle.zip").claim("canaries")
    assert claim.verdict == verdict, claim.detail
    assert claim.evidence["out_of_time"] == (verdict != VALID)
