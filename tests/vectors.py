"""Where the third-party test vectors lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def vectors() -> Path:
    """Return the folder of third-party vectors: IMPRIMATUR_VECTORS, else ../shared/vectors beside the repository.

    When it is missing the calling test is skipped with the reason; in CI (env CI set) it fails instead, so that the
    vectors cannot quietly go unused.
    """
    folder = Path(os.environ.get("IMPRIMATUR_VECTORS") or REPOSITORY.parent / "shared" / "vectors")
    if not folder.is_absolute():
        folder = REPOSITORY / folder
    if (folder / "SOURCES.md").is_file():
        return folder
    reason = f"no test vectors at {folder}: set IMPRIMATUR_VECTORS to the folder that holds SOURCES.md"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
