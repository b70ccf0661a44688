"""A new key for the same agent: what the old key signs, and files that survive a crash between any two steps.

The new key stands beside the old one before the server hears of it, and the old one is kept until the new one is in
its place. Whatever was interrupted, the same call again finishes it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from imprimatur.client.config import Config, load_key
from imprimatur.errors import ConfigError
from imprimatur.formats.encoding import b64u
from imprimatur.formats.key_files import KeyFileError
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.rotation import rotation_preimage


def body(config: Config, new: KeyPair) -> dict[str, Any]:
    """The body of ``POST /keys/rotate``: the new public key, and the old key's signature over the succession."""
    public_key = b64u(new.public_key)
    signed = rotation_preimage(
        realm=config.realm, agent=config.agent, old=config.key.thumbprint, new=new.thumbprint, public_key=public_key
    )
    return {"public_key": public_key, "signature": b64u(config.key.sign(signed))}


def successor(path: str | os.PathLike[str], config: Config) -> KeyPair:
    """The new key in the file ``path``: made there (mode 0600), or the one an interrupted rotation left.

    Raises ConfigError when the file holds another agent's key or the present one.
    """
    path = Path(path)
    if path.exists():
        found = load_key(path)
        if found.agent != config.agent or found.public_key == config.key.public_key:
            raise ConfigError(f"{path} is no key of a rotation of {config.agent}. Give the path of a new file.")
        return found
    made = KeyPair.generate(config.agent)
    _save(made, path)
    _sync_folder(path)
    return made


def put_in_place(new: Path, path: Path) -> Path:
    """Move the new key to ``path``; what was there is kept as ``.old``, mode 0600. Each step is atomic; returns where
    the old key is. Raises ConfigError."""
    kept = path.with_name(path.name + ".old")
    half = path.with_name(path.name + ".old.part")
    half.unlink(missing_ok=True)
    _save(load_key(path), half)
    half.replace(kept)
    new.replace(path)
    _sync_folder(path)
    return kept


def _save(key: KeyPair, path: Path) -> None:
    try:
        key.save(path)
    except KeyFileError as error:
        raise ConfigError(f"{error}. Choose another path.") from None


def _sync_folder(path: Path) -> None:
    """Have the names in the folder reach the disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
