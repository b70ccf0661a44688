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

from audit import inbox, log, trust
from audit.actions import ask_bundle
from audit.evidence import bundle, jobs
from audit.models import Entry
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
    assert len(blocks) == 5

    for code in blocks:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", code],
            cwd=unzipped,
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def steps(folder: Path) -> dict[str, str]:
    """The commands of each numbered step of a bundle's README.txt, as they stand."""
    text = (folder / "README.txt").read_text(encoding="utf-8").partition("\n\n\nWhat is in here")[0]
    found = re.split(r"\n\n\n(?=[0-9]\. )", text)[1:]
    return {step[0]: "\n".join(line[4:] for line in step.splitlines() if line.startswith("    ")) for step in found}


@pytest.mark.parametrize("filters", [{}, {"verdicts": ["open"], "openings": False}], ids=["whole", "selected"])
def test_the_commands_in_the_readme_work_as_they_stand(world: Any, tmp_path: Path, filters: dict[str, Any]) -> None:
    Publisher().publish_once()
    audra, folder = world.people["audra"], tmp_path / "bundle"
    row = log.commit(ask_bundle.apply, ask_bundle.Command(audra.user_id, audra.id, filters))
    jobs.build_bundle(row.pk)
    inbox.drain()
    row.refresh_from_db()
    assert row.issued_index is not None
    with zipfile.ZipFile(jobs.path_of(row.id)) as archive:
        archive.extractall(folder)
    (folder / "bundle-x.entry.json").write_bytes(bytes(Entry.objects.get(index=row.issued_index).envelope))
    commands = steps(folder)
    assert list(commands) == ["1", "2", "3", "4", "5", "6", "7"]
    said = {number: run(folder, commands[number]) for number in "123457" if commands[number]}
    assert "Verified Successfully" in said["2"]
    named, listed = said["7"].splitlines()
    assert named == f'"manifest":"sha256:{listed.partition(" ")[0]}"'
    if filters:
        leaf, tile = said["3"].splitlines()
        assert leaf == tile
        assert run(folder, f"{commands['3']}\n".replace("head -n 1 log", "sed -n 2p log")).split()[0] != tile


def run(folder: Path, code: str) -> str:
    """What these commands print; they must succeed."""
    shell = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(shell, cwd=folder, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


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


def test_the_verifier_gives_the_documented_exit_statuses(unzipped: Path) -> None:
    folder = unzipped.parent
    (folder / "trust.json").write_text(json.dumps(trust.document()), encoding="utf-8")
    raw = bytearray((folder / "bundle.zip").read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / "damaged.zip").write_bytes(raw)

    for program in (
        [sys.executable, "-I", str(unzipped / "verify.pyz")],
        [str(Path(sys.executable).parent / "imprimatur"), "verify"],
    ):
        assert status(folder, *program, "bundle.zip", "--trust", "trust.json") == 0
        assert status(folder, *program, "damaged.zip", "--trust", "trust.json") == 1
        assert status(folder, *program, "bundle.zip") == 2


def status(folder: Path, *command: str) -> int:
    """The exit status of a command; what it said is shown when the test fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=180)
    sys.stderr.write(done.stdout + done.stderr)
    return done.returncode
