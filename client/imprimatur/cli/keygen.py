"""``imprimatur keygen``: a key pair that never leaves this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from imprimatur.cli.say import DONE, say
from imprimatur.errors import ConfigError
from imprimatur.formats.digests import fingerprint, sha256
from imprimatur.formats.ids import agent_id
from imprimatur.formats.key_files import KeyFileError
from imprimatur.formats.keys import KeyPair


def add(commands: Any) -> None:
    """Declare the command."""
    command = commands.add_parser("keygen", help="make an agent's key")
    command.add_argument("path", nargs="?", type=Path, default=Path("agent.key"), help="default: agent.key")
    command.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Write a new key file, readable by its owner only."""
    key = make(options.path)
    say("key", f"{options.path} (keep it here; never copy or commit it)")
    tell(key)
    say("next", "imprimatur enroll, with the command that an admin gives you")
    return DONE


def make(path: Path) -> KeyPair:
    """A new key in a new file. Raises ConfigError."""
    key = KeyPair.generate()
    try:
        key.save(path)
    except KeyFileError as error:
        raise ConfigError(f"{error}. Choose another path.") from None
    return key


def tell(key: KeyPair) -> None:
    """Print what a person compares."""
    say("agent", f"{agent_id(key.public_key)}")
    say("fingerprint", f"{fingerprint(sha256(key.public_key))}")
