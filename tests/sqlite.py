"""A database with all tables and nothing in them: copying it into a folder is quicker than migrating another one."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "imprimatur.sqlite3"


def migrated(data: Path) -> None:
    """Put a migrated SQLite database into a data folder that has none."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (data / NAME).exists():
        shutil.copyfile(_template(), data / NAME)
        (data / NAME).chmod(0o600)


@cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="migrated-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("IMPRIMATUR_", "DJANGO_"))}
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=ROOT,
        env={**clean, "IMPRIMATUR_DATA": str(folder)},
        check=True,
    )
    return folder / NAME
