from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from audit import genesis, signer
from audit.log import Appended
from imprimatur.formats import digests

REALM = "test.imprimatur"


@pytest.fixture
def begun(db: None, folders: Path, settings: Any) -> Appended:
    """A log that has begun, and nothing else in it."""
    signer.make_keys(settings.KEYS_DIR)
    return genesis.begin(
        realm=REALM,
        roster=[{"person": "pe_ada", "name": "Ada", "roles": ["admin"]}],
        policy_digest=digests.sha256(b"policy"),
        software="imprimatur 0.1.0",
    )
