"""``imprimatur rotate``: a new key for the same agent, put in the place of the old one."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from imprimatur.cli.say import DONE, say
from imprimatur.client import config, rotation
from imprimatur.client.sync import Imprimatur
from imprimatur.errors import ConfigError
from imprimatur.formats.digests import fingerprint, sha256


def add(commands: Any) -> None:
    """Declare the command."""
    command = commands.add_parser(
        "rotate",
        help="replace this agent's key",
        description="Makes FILE.new, has the server take it, keeps the old key as FILE.old and moves the new one to "
        "FILE. If it is interrupted, run it again: it finishes what was begun.",
    )
    command.add_argument("--url", help="the server; or IMPRIMATUR_URL")
    command.add_argument("--key", help="key file; or IMPRIMATUR_KEY")
    command.add_argument("--trust", help="trust file; or IMPRIMATUR_TRUST")
    command.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Rotate, then swap the files. Until the last step the new key lies beside the old one, so neither is ever lost."""
    given = options.key or os.environ.get(config.KEY)
    if not given:
        raise ConfigError(f"Set {config.KEY} or pass --key: the agent's key file.")
    path = Path(given)
    new = path.with_name(path.name + ".new")
    with Imprimatur(options.url, path, None, options.trust) as gate:
        gate.rotate(new)
        key, agent = gate.config.key, gate.agent
    kept = rotation.put_in_place(new, path)
    say("agent", f"{agent}, as before")
    say("fingerprint", f"{fingerprint(sha256(key.public_key))}, of the new key")
    say("key", f"{path}")
    say("old key", f"{kept}; it signs nothing any more, delete it when nothing runs with it")
    return DONE
