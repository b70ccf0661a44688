"""The doctor tells what keeps a machine from launching and watching agents, and what to do about it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imprimatur.cli import main
from imprimatur.errors import ConfigError
from imprimatur.sandbox import bwrap
from tests.runtime.served import needs_a_sandbox

SAYS = {
    "bwrap: setting up uid map: Permission denied": "AppArmor",
    "bwrap: loopback: Failed RTM_NEWADDR: Operation not permitted": "AppArmor",
    "bwrap: Creating new namespace failed: No space left on device": "max_user_namespaces",
    "bwrap: No permissions to create a new namespace": "unprivileged_userns_clone",
    "bwrap: something new": "docs/launch.md",
}


def test_a_machine_that_can_launch_is_said_to(capsys: pytest.CaptureFixture[str]) -> None:
    needs_a_sandbox()

    main(["doctor", "--host"])

    said = capsys.readouterr().out
    assert "ok       bwrap" in said
    assert "ok       user namespaces    a sandbox can be built, as user " in said
    assert "ok       system call filter" in said
    assert "as user 0" not in said


def test_a_machine_without_bubblewrap_is_told_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bwrap, "PLACES", ("/nowhere/bwrap",))

    assert main(["doctor", "--host"]) == 1

    said = capsys.readouterr().out
    assert "problem  bwrap" in said
    assert "Install one package: bubblewrap" in said


def test_an_agents_own_doctor_only_notes_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bwrap, "PLACES", ("/nowhere/bwrap",))

    main(["doctor"])

    said = capsys.readouterr().out
    assert "note     bwrap" in said
    assert "problem  bwrap" not in said


@pytest.mark.parametrize("says", SAYS)
def test_each_way_of_failing_has_its_remedy(tmp_path: Path, says: str) -> None:
    program = tmp_path / "bwrap"
    program.write_text(f"#!/bin/sh\necho '{says}' >&2\nexit 1\n")
    program.chmod(0o755)

    with pytest.raises(ConfigError) as found:
        bwrap.probe(bwrap.Program(str(program), "bubblewrap 0"), _me())

    assert SAYS[says] in str(found.value)


def _me() -> bwrap.User:
    return bwrap.User(os.geteuid(), os.getegid())
