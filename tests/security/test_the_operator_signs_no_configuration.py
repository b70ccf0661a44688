"""Somebody with the server's keys and console makes an admin's key of his own, and signs layers with it: the launch
follows the rules, and its claim says on whose word it rests."""

from __future__ import annotations

from pathlib import Path

import pytest

from imprimatur.formats import canonical, trust
from imprimatur.formats.attestation import ROLES
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import CANNOT_TELL, INVALID, VALID, Report
from tests.verify import builder
from tests.verify.builder import ADA, Log
from tests.verify.test_escalation import pinned
from tests.verify.test_services import running


def verified(log: Log, path: Path, *, without: str = "") -> Report:
    """Verified with all services pinned, and all people's keys but this person's."""
    document = {**builder.trust_document(log), "services": [pinned(role) for role in ROLES]}
    document["people"] = [known for known in document["people"] if known["person"] != without]
    path.write_bytes(builder.zipped(builder.finished(builder.bundle_files(log), log)))
    return verify_bundle(path, trust.parse(canonical.dumps(document)))


def test_layers_by_a_key_that_nobody_pins_rest_on_the_operators_word(tmp_path: Path) -> None:
    log = running()
    log.launch()
    report = verified(log, tmp_path / "bundle.zip", without=ADA)
    claim = report.claim("launches")
    assert report.verdict == claim.verdict == CANNOT_TELL
    assert "signatures of layers that rest on the operator's word: 1" in claim.detail


def test_layers_by_a_key_that_is_pinned_count(tmp_path: Path) -> None:
    log = running()
    log.launch()
    assert verified(log, tmp_path / "bundle.zip").claim("launches").verdict == VALID


def test_layers_by_a_key_that_is_pinned_for_somebody_else_are_a_fault(tmp_path: Path) -> None:
    log = running()
    log.launch()
    document = {**builder.trust_document(log), "services": [pinned(role) for role in ROLES]}
    document["people"] = [
        {**known, "person": builder.RUI} if known["person"] == ADA else known
        for known in document["people"]
        if known["person"] != builder.RUI
    ]
    path = tmp_path / "bundle.zip"
    path.write_bytes(builder.zipped(builder.finished(builder.bundle_files(log), log)))
    report = verify_bundle(path, trust.parse(canonical.dumps(document)))
    assert report.claim("people").verdict == INVALID


@pytest.mark.parametrize("times", [1, 3])
def test_every_signature_of_a_layer_is_counted_among_those_of_people(tmp_path: Path, times: int) -> None:
    log = running()
    before = sum(verified(log, tmp_path / "before.zip").claim("people").evidence["signatures"].values())
    for _ in range(times):
        log.launch()
    after = sum(verified(log, tmp_path / "after.zip").claim("people").evidence["signatures"].values())
    assert after - before == times
