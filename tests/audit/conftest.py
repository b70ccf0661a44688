from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from audit import genesis, signer
from audit.log import Appended
from imprimatur.formats import digests

REALM = "test.imprimatur"


@pytest.fixture
def folders(tmp_path: Path, settings) -> Iterator[Path]:
    settings.DATA_DIR = tmp_path
    settings.LOG_DIR = tmp_path / "log"
    settings.KEYS_DIR = tmp_path / "keys"
    settings.INBOX_DIR = tmp_path / "inbox"
    settings.BUNDLES_DIR = tmp_path / "bundles"
    signer.forget()
    signer.make_keys(settings.KEYS_DIR)
    yield tmp_path
    signer.forget()


@pytest.fixture
def begun(db, folders: Path) -> Appended:
    """A log that has begun, and nothing else in it."""
    return genesis.begin(
        realm=REALM,
        roster=[{"person": "pe_ada", "name": "Ada", "roles": ["admin"]}],
        policy_digest=digests.sha256(b"policy"),
        software="imprimatur 0.1.0",
    )
