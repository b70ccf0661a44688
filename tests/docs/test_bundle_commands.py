"""The commands of docs/evidence.md, run in a real bundle."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from audit import trust
from audit.evidence import bundle
from audit.publisher import Publisher
from imprimatur.formats import trust as trusts
from tests.docs.pages import DOCS

BLOCK = re.compile(r"^<!-- run in a bundle -->\n+```sh\n(?P<code>.*?)^```$", re.M | re.S)
PAGE = (DOCS / "evidence.md").read_text(encoding="utf-8")


@pytest.fixture
def unzipped(world: Any, tmp_path: Path) -> Path:
    """The bundle of a small installation, in a folder."""
    Publisher().publish_once()
    built = bundle.build(tmp_path / "bundle.zip")
    with zipfile.ZipFile(built.path) as archive:
        archive.extractall(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_the_commands_for_other_tools_work_in_a_bundle(unzipped: Path) -> None:
    blocks = [found["code"] for found in BLOCK.finditer(PAGE)]
    assert len(blocks) == 3

    for code in blocks:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code],
            cwd=unzipped,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def test_the_documented_layout_is_the_real_one(unzipped: Path) -> None:
    table = PAGE.partition("## What is inside")[2].partition("\n## ")[0]
    documented = {found.partition("/")[0] for found in re.findall(r"`([\w./<>…-]+)`", table.replace("{", ""))}
    real = {path.name for path in unzipped.iterdir()}

    assert real <= documented
    kept = {path.name for path in (unzipped / "trust").iterdir()}
    assert kept == {name for name in kept if f"`{name}`" in PAGE}


def test_the_documented_keys_of_trust_json_are_the_real_ones() -> None:
    table = PAGE.partition("## trust.json")[2].partition("\n## ")[0]
    documented = {found.group(1) for line in table.splitlines() if (found := re.match(r"\| `(\w+)` \|", line))}

    assert documented == {*trusts.SHAPE.required, *trusts.SHAPE.optional}


@pytest.mark.parametrize("program", ["verify.pyz", "imprimatur verify"])
def test_the_verifier_gives_the_documented_exit_statuses(unzipped: Path, program: str) -> None:
    anchors = unzipped.parent / "trust.json"
    anchors.write_text(json.dumps(trust.document()), encoding="utf-8")
    damaged = unzipped.parent / "damaged.zip"
    raw = bytearray((unzipped.parent / "bundle.zip").read_bytes())
    raw[len(raw) // 2] ^= 1
    damaged.write_bytes(raw)
    package = [str(Path(sys.executable).parent / "imprimatur"), "verify"]
    command = package if program != "verify.pyz" else [sys.executable, "-I", str(unzipped / "verify.pyz")]

    def status(*words: str) -> tuple[int, str]:
        done = subprocess.run(
            [*command, *words], cwd=unzipped.parent, capture_output=True, text=True, check=False, timeout=60
        )
        return done.returncode, done.stdout + done.stderr

    valid = status("bundle.zip", "--trust", "trust.json")
    assert valid[0] == 0, valid[1]
    invalid = status("damaged.zip", "--trust", "trust.json")
    assert invalid[0] == 1, invalid[1]
    untold = status("bundle.zip")
    assert untold[0] == 2, untold[1]
