"""A bundle of what services told this log, under the trust.json that the server offers."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from audit import trust as anchors
from audit.evidence import anchors as printed
from audit.evidence import bundle
from imprimatur.formats import canonical, merkle, trust
from imprimatur.formats.attestation import ROLES
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import CANNOT_TELL, VALID
from imprimatur.verify.report import human
from tests.attesting.service import ServiceUnderTest, predicate_of
from tests.conftest import World
from tests.docs.pages import DOCS
from tests.docs.test_bundle_commands import BLOCK

EMPTY = {"size": 0, "root": f"sha256:{merkle.EMPTY_ROOT.hex()}"}
"""The head of a log that a monitor has not read yet."""

NAMES = ("launches", "observations", "canaries")


@pytest.fixture
def told(world: World, orchestrator: ServiceUnderTest, monitor: ServiceUnderTest, canary: ServiceUnderTest) -> World:
    """A launch that a monitor saw, one that was refused, and a run of the canaries; all of it published."""
    assert orchestrator.attest(delegations=[]).status == 403
    live = orchestrator.launch()
    assert orchestrator.post("/launches", {"statement": live}).status == 201
    assert monitor.see(predicate_of(live), log=EMPTY).status == 201
    assert canary.report().status == 201
    world.publish()
    return world


def test_a_bundle_shows_what_services_told_under_the_trust_json_of_the_server(told: World, tmp_path: Path) -> None:
    built, document = bundle.build(tmp_path / "b.zip"), anchors.document()
    assert sorted(known["role"] for known in document["services"]) == sorted(ROLES)
    assert printed.document() == {**document, "policy": sorted(document["policy"])}, "`manage.py trust` names them too"

    report = verify_bundle(built.path, trust.parse(canonical.dumps(document)))
    assert {name: report.claim(name).verdict for name in NAMES} == dict.fromkeys(NAMES, VALID), human(report)
    assert (report.claim("launches").evidence["refused"], report.claim("canaries").evidence["passed"]) == (1, 1)

    del document["services"]
    report = verify_bundle(built.path, trust.parse(canonical.dumps(document)))
    assert {name: report.claim(name).verdict for name in NAMES} == dict.fromkeys(NAMES, CANNOT_TELL)


def test_openssl_alone_verifies_what_each_service_signed_as_the_page_says(told: World, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle.build(tmp_path / "b.zip").path) as archive:
        archive.extractall(tmp_path / "b")
    page = (DOCS / "evidence.md").read_text(encoding="utf-8")
    (code,) = (found["code"] for found in BLOCK.finditer(page) if "statements/*.jsonl" in found["code"])
    command = ["bash", "-euo", "pipefail", "-c", code]

    done = subprocess.run(command, cwd=tmp_path / "b", capture_output=True, text=True, check=False, timeout=180)
    assert (done.returncode, done.stdout.count("Verified Successfully")) == (0, 3), done.stdout + done.stderr
    (file,) = (tmp_path / "b/canaries/statements").glob("*.jsonl")
    file.write_bytes(file.read_bytes().replace(b'"sig":"', b'"sig":"AAAA', 1))
    again = subprocess.run(command, cwd=tmp_path / "b", capture_output=True, text=True, check=False, timeout=180)
    assert again.returncode != 0


def test_a_log_without_services_has_a_trust_json_without_them(world: World) -> None:
    world.publish()
    assert "services" not in anchors.document()
