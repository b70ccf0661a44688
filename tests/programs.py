"""Programs of the system that tests need, and what to install when one is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

PACKAGES = {"go": "golang-go golang-golang-x-mod-dev", "strace": "strace", "openssl": "openssl"}
PACKAGES |= {"ssh-keygen": "openssh-client", "sha256sum": "coreutils"}
GO_SOURCES = Path("/usr/share/gocode")  # where Debian keeps the sources of Go's packages


def program(name: str) -> str:
    """The path of a program. Without it the calling test is skipped with the reason; in CI it fails instead."""
    found = shutil.which(name)
    if found is None or (name == "go" and not (GO_SOURCES / "src/golang.org/x/mod/sumdb").is_dir()):
        missing(f"needs {name}: apt-get install {PACKAGES.get(name, name)}")
    assert found
    return found


def missing(reason: str) -> None:
    """Skip the calling test for this reason; in CI fail it, so that what it tests cannot quietly go untested."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
