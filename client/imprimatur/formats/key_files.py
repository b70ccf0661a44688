"""Files that hold a private key: read only when nobody but the owner can, written once and never over another."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 4096


class KeyFileError(Exception):
    """A key file cannot be used. The message says which and why, and never quotes what is in it."""


def read(path: Path) -> bytes:
    """The bytes of a key file, at most MAX_BYTES of them.

    Refuses links, whatever is no regular file, and files that group or others may read or write. Raises KeyFileError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise KeyFileError(f"cannot open the key file {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise KeyFileError(f"{path} is not a regular file")
        if os.name == "posix" and info.st_mode & 0o077:
            raise KeyFileError(f"others may read or change the key file {path}; run: chmod 600 {path}")
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise KeyFileError(f"{path} is too large for a key file")
    return raw


def create(path: Path, text: str) -> None:
    """Write a new file that only its owner can read, durably. Never overwrites. Raises KeyFileError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        raise KeyFileError(f"{path} exists already; a key file is never overwritten") from None
    except OSError as error:
        raise KeyFileError(f"cannot write the key file {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if os.name == "posix":
        # A power cut must not take the name of a key that is used from now on.
        with suppress(PermissionError):
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
