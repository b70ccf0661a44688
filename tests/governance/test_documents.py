"""The examples in the documentation are run, so that they stay true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from imprimatur.formats import canonical, delegation
from imprimatur.rules import narrowing, policy

DOCS = Path(__file__).resolve().parents[2] / "docs"


def example(page: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_delegation_in_the_documentation_is_one():
    document = json.loads(example("delegations.md", "json"))
    delegation.validate(document)
    narrowing.read(document)


def test_the_command_in_the_documentation_writes_the_bytes_that_are_signed():
    program = re.search(r"python3 -c '(.*?)'", (DOCS / "delegations.md").read_text(encoding="utf-8"))
    assert program is not None
    draft = {**json.loads(example("delegations.md", "json")), "purpose": "Größe prüfen, “zuerst” 🗝"}
    wrote = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", program[1]],
        input=json.dumps(draft).encode(),
        capture_output=True,
        check=True,
    )
    assert wrote.stdout == canonical.dumps(draft)


def test_the_policy_in_the_documentation_can_be_activated():
    compiled = policy.validate(policy.from_toml(example("policy.md", "toml")))
    assert compiled.warnings == ()
