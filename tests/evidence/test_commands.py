"""What a bundle tells auditors to run works in one of an installation in which something was launched."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from audit.evidence import bundle
from tests.docs.test_bundle_commands import BLOCK, PAGE, run, steps
from tests.evidence.attested import Story


@pytest.fixture
def folder(attested: Story, tmp_path: Path) -> Path:
    attested.world.publish()
    with zipfile.ZipFile(bundle.build(tmp_path / "b.zip").path) as archive:
        archive.extractall(tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.django_db
def test_the_commands_about_launches_work_as_they_stand(folder: Path) -> None:
    said = run(folder, steps(folder)["5"])
    digest, name = said.splitlines()[0].split("  ")
    assert name == f"launches/effective/{digest}.json"
    assert 'Good "imprimatur-config-v1" signature' in said
    blocks = [found["code"] for found in BLOCK.finditer(PAGE) if "launches/" in found["code"]]
    signed_layers, statements = blocks
    assert 'Good "imprimatur-config-v1" signature' in run(folder, signed_layers)
    services = [
        path for room in ("launches", "monitor", "canaries") for path in (folder / room / "statements").iterdir()
    ]
    assert run(folder, statements).count("Signature Verified Successfully") == len(services) == 3


@pytest.mark.django_db
def test_a_layer_that_was_changed_is_refused_by_openssh(folder: Path) -> None:
    (layer,) = (folder / "launches" / "layers").glob("*.toml")
    layer.write_bytes(layer.read_bytes().replace(b"memory_mb = 256", b"memory_mb = 999"))
    code = steps(folder)["5"]
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", code], cwd=folder, capture_output=True, check=False)
    assert done.returncode != 0 and b"Good" not in done.stdout


@pytest.mark.django_db
def test_keys_of_services_stand_beside_what_they_signed(folder: Path) -> None:
    keys = [json.loads(line) for line in (folder / "trust" / "keys.jsonl").read_text().splitlines()]
    known = {key["owner"] for key in keys}
    files = [path for room in ("launches", "monitor", "canaries") for path in (folder / room / "statements").iterdir()]
    assert len(files) == 3 and {path.stem for path in files} <= known


@pytest.mark.django_db
def test_the_report_and_the_readme_lead_to_the_claims_and_name_each_folder(folder: Path) -> None:
    report = (folder / "REPORT.html").read_text()
    readme = (folder / "README.txt").read_text()
    assert 'href="CLAIMS.html"' in report and "begin there" in readme
    for name in ("grants", "launches", "monitor", "canaries", "shipping", "build", "oscal"):
        assert f"<code>{name}/</code>" in report
        assert re.search(rf"^    {name}/ ", readme, re.M) and (folder / name).is_dir()
    listed = (folder / "MANIFEST.sha256").read_text()
    assert f"{hashlib.sha256((folder / 'CLAIMS.html').read_bytes()).hexdigest()}  CLAIMS.html" in listed
