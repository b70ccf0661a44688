"""Layers of configuration as they are read: once, with the signature beside them. Nothing is ever read again, so what
was attested is what is started, whoever edits the files meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprimatur.errors import ConfigError
from imprimatur.formats import digests
from imprimatur.rules.configuration.schema import MAX_LAYER

SIGNATURE = ".sig"
"""What ``ssh-keygen -Y sign`` puts behind the name of the file it signs."""
_LARGEST_SIGNATURE = 4096


@dataclass(frozen=True, slots=True)
class Layer:
    """One file: its name without the folder, its text, and the SSHSIG over exactly these bytes, if there is one."""

    name: str
    text: str
    signature: str | None

    @property
    def document(self) -> dict[str, Any]:
        """The same in the shape of ``attestation.LAYER``."""
        row = {"name": self.name, "digest": digests.sha256(self.text.encode("utf-8")), "text": self.text}
        return row if self.signature is None else {**row, "signature": self.signature}


def read(paths: Sequence[Path]) -> list[Layer]:
    """The layers, the organisation's first. A missing signature is left to the server, which refuses and records it.

    Raises ConfigError for a file that cannot be read, is no text, or is too large.
    """
    return [_read(path) for path in paths]


def _read(path: Path) -> Layer:
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_LAYER + 1)
    except OSError as error:
        raise ConfigError(f"The layer {path} cannot be read: {error.strerror}.") from None
    if not raw or len(raw) > MAX_LAYER:
        raise ConfigError(f"The layer {path} has {'more than ' if raw else ''}{min(len(raw), MAX_LAYER):,} bytes.")
    try:
        return Layer(path.name, raw.decode("utf-8"), _signature(path))
    except UnicodeDecodeError:
        raise ConfigError(f"The layer {path} is not UTF-8 text.") from None


def _signature(path: Path) -> str | None:
    beside = path.with_name(path.name + SIGNATURE)
    try:
        with beside.open("rb") as stream:
            raw = stream.read(_LARGEST_SIGNATURE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"The signature {beside} cannot be read: {error.strerror}.") from None
    if not 0 < len(raw) <= _LARGEST_SIGNATURE or not raw.isascii():
        raise ConfigError(f"{beside} is no signature of ssh-keygen. Sign again: ssh-keygen -Y sign -f KEY {path}")
    return raw.decode("ascii")
