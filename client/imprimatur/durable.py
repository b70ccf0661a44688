"""Files that survive a crash: written whole or not at all, and never replaced by different bytes unless asked to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


class ContradictionError(Exception):
    """A file that must never change exists with different bytes."""


def write_file(path: Path, raw: bytes, mode: int = 0o600) -> None:
    """Write `raw` under `path`, replacing what was there: temporary file, fsync, rename, fsync of the folder.

    Folders that are missing are made, and are as durable as the file when this returns. Raises OSError.
    """
    make_folder(path.parent)
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


def move(source: Path, target: Path) -> None:
    """Rename a file that is on the disk already, durably: the new name, and every folder that was made for it."""
    make_folder(target.parent)
    source.replace(target)
    sync_folder(target.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing. A crash afterwards leaves none of their names behind."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Make what was renamed or made in this folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_all_folders(folder: Path) -> None:
    """Make every name in a folder and below it durable: whoever made them may have died before they were.

    Bytes need no such care, since nothing gets its name before its bytes are on the disk. A missing folder is fine.
    """
    for each, _, _ in os.walk(folder):
        sync_folder(Path(each))
