"""A turn on this machine: a monitor looks at every process there is, so sandboxes of two tests would see each other."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alone() -> Iterator[None]:
    """Hold the one turn, in whatever process of the test run this is."""
    with (Path(tempfile.gettempdir()) / "imprimatur-sandboxes.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield
