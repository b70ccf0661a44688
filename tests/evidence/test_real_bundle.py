"""A bundle of a real installation in which much happened: what is taken out of it, moved or forged is named."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from audit import trust as anchors
from audit.evidence import bundle
from imprimatur.formats import canonical, evidence_zip, trust
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import INVALID, VALID, Claim
from imprimatur.verify.derived import FOLDERS
from imprimatur.verify.report import human
from tests.evidence.attested import Story

pytestmark = pytest.mark.django_db

Files = dict[str, bytes]


@pytest.fixture
def files(attested: Story, tmp_path: Path) -> Files:
    """The real build over grants, launches, drift, attacks that were refused and one that was not."""
    launch = attested.launch()
    attested.look(launch, drifting=True)
    attested.look(launch)
    refused = attested.orchestrator.attest(delegations=[])
    assert refused.code == "launch-refused"
    attested.attack()
    attested.attack(succeeds=True)
    attested.world.publish()
    built = bundle.build(tmp_path / "b.zip")
    report = verify_bundle(built.path, trust.parse(canonical.dumps(anchors.document())))
    assert report.claim("sections").verdict == VALID, human(report)
    assert report.claim("history").verdict == VALID and report.claim("canaries").verdict == INVALID
    with zipfile.ZipFile(built.path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sections(files: Files, folder: Path) -> Claim:
    """What is said of these files, whose list was made anew."""
    listed = {name: raw for name, raw in files.items() if not name.startswith("MANIFEST.")}
    lines = (f"{hashlib.sha256(listed[name]).hexdigest()}  {name}\n" for name in sorted(listed))
    files = {**files, "MANIFEST.sha256": "".join(lines).encode()}
    with (folder / "changed.zip").open("wb") as stream:
        evidence_zip.write(stream, dict(files))
    return verify_bundle(folder / "changed.zip").claim("sections")


def test_whatever_is_taken_out_moved_or_forged_is_named(files: Files, tmp_path: Path) -> None:
    own = [name for name in files if name.partition("/")[0] in FOLDERS or name in ("claims.json", "CLAIMS.html")]
    assert {name.partition("/")[0] for name in own} == FOLDERS | {"claims.json", "CLAIMS.html"}
    tried = 0
    for name in own:
        raw = files[name]
        lines = raw.splitlines(keepends=True)
        wrong: list[Files] = [{each: content for each, content in files.items() if each != name}]
        if name != "CLAIMS.html":  # words for reading, of which the verifier says that it did not check them
            wrong.append({**files, name: b"".join([*lines, b"{}\n"])})
            if name.endswith(".jsonl") and len(lines) > 1:
                wrong.append({**files, name: b"".join(reversed(lines))})
                wrong.append({**files, name: b"".join(lines[:-1])})
        for changed in wrong:
            claim = sections(changed, tmp_path)
            assert claim.verdict == INVALID and name in claim.detail, (name, claim.detail)
            tried += 1
    assert tried > 40


def test_the_statements_say_what_happened(files: Files) -> None:
    said = {each["name"]: each for each in json.loads(files["claims.json"])["statements"]}
    assert said["canaries"]["verdict"] == said["observations"]["verdict"] == "not shown"
    assert said["grants"]["verdict"] == said["launches"]["verdict"] == said["record"]["verdict"] == "shown"
    counted = {each["words"]: each["count"] for each in said["launches"]["evidence"]}
    assert counted["starts recorded, with the settings that people signed"] == 2
    assert counted["start refused, because something was unsafe or not signed"] == 1
    (red,) = said["canaries"]["see"]
    entries = [json.loads(line) for line in files["views/entries.jsonl"].splitlines()]
    assert entries[red]["kind"] == "canary.reported"
