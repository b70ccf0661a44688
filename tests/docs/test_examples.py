"""Commands and code in the documentation work as they stand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT, Example, examples

PAGES = sorted(page for page in DOCS.rglob("*.md") if examples(page))
TOOLS = ("ssh-keygen", "openssl", "sha256sum", "base64")
PREAMBLE = "set -euo pipefail\n"


def run(example: Example, folder: Path, page: Path) -> None:
    """Run one block where the blocks before it left their files."""
    place = f"{page.relative_to(ROOT)}:{example.line}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(folder), "LC_ALL": "C.UTF-8"}
    command = {
        "python": [sys.executable, "-c", example.code],
        "sh": ["bash", "-c", PREAMBLE + example.code],
    }[example.language]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=180
    )
    assert done.returncode == 0, f"{place}\n{done.stdout}\n{done.stderr}"


def test_there_are_examples_to_run() -> None:
    assert {page.name for page in PAGES} >= {"log.md", "auditor.md", "admin.md", "receipts.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_the_examples_of_a_page_work_in_order(page: Path, tmp_path: Path) -> None:
    for tool in TOOLS:
        if shutil.which(tool) is None:
            pytest.fail(f"{tool} is missing; see docs/operations.md for what the tests need")
    for example in examples(page):
        run(example, tmp_path, page)
