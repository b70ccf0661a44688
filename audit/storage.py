"""Files that survive a crash: written whole or not at all, and never replaced by different bytes unless asked to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


class ContradictionError(Exception):
    """A file that must never change exists with different bytes."""


def write_file(path: Path, raw: bytes, mode: int = 0o600) -> None:
    """Write ``raw`` under ``path``, replacing what was there: temporary file, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".new")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(raw)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_once(path: Path, raw: bytes, mode: int = 0o644) -> None:
    """Write a file that never changes. Nothing happens when it is already there; ContradictionError if it differs."""
    try:
        found = path.read_bytes()
    except FileNotFoundError:
        write_file(path, raw, mode)
        return
    if found != raw:
        raise ContradictionError(f"{path.name} exists with different bytes")


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
