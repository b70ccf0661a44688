"""``imprimatur service keygen | resync``: the folder of an orchestrator, a monitor or a canary runner."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from imprimatur.cli.say import DONE, say
from imprimatur.client import config
from imprimatur.errors import ConfigError
from imprimatur.formats import attestation
from imprimatur.formats.digests import fingerprint, sha256
from imprimatur.formats.encoding import b64u
from imprimatur.formats.trust import Trust
from imprimatur.launch.launcher import Launcher
from imprimatur.service import folder
from imprimatur.service.folder import Folder
from imprimatur.service.machine import node
from imprimatur.service.service import Service


def add(commands: Any) -> None:
    """Declare the command."""
    command = commands.add_parser("service", help="the key and folder of an orchestrator, monitor or canary runner")
    parts = command.add_subparsers(dest="part", metavar="keygen|resync", required=True)
    keygen = parts.add_parser("keygen", help="make a service's folder with its keys")
    keygen.add_argument("folder", type=Path)
    keygen.add_argument("--role", required=True, choices=attestation.ROLES)
    keygen.set_defaults(handler=make)
    resync = parts.add_parser("resync", help="compare a folder with the server, and send what is missing there")
    resync.add_argument("folder", type=Path)
    connection(resync)
    resync.set_defaults(handler=catch_up)


def connection(command: argparse.ArgumentParser) -> None:
    """The options of every command that speaks for a service."""
    command.add_argument("--server", metavar="URL", help="the server; or IMPRIMATUR_URL")
    command.add_argument("--trust", metavar="FILE", help="the pinned trust.json; or IMPRIMATUR_TRUST")


def make(options: argparse.Namespace) -> int:
    """Write the folder and print what an admin registers."""
    made = folder.create(options.folder, options.role)
    say("folder", f"{options.folder} (keep it here; never copy it: two copies fork what it signs)")
    tell(made)
    too = ", vkey" if made.role == attestation.MONITOR else ""
    say("next", f"an admin registers role, public key{too} under Runtime, Services, and compares the fingerprint")
    return DONE


def tell(made: Folder) -> None:
    """Print what a person registers and compares."""
    say("service", made.service)
    say("role", made.role)
    say("public key", b64u(made.key.public_key))
    say("fingerprint", fingerprint(sha256(made.key.public_key)))
    if made.role == attestation.MONITOR:
        say("vkey", made.cosigner().vkey.format())


def catch_up(options: argparse.Namespace) -> int:
    """Send what the server misses; for an orchestrator, report launches whose launcher died."""
    with opened(options, options.folder) as service:
        if service.folder.role == attestation.ORCHESTRATOR:
            Launcher(service, node(), lambda text: say("launch", text)).recover()
        with service.speaking() as voice:
            say("statements", f"{voice.ledger.size}, and the server has the same")
            say("root", voice.ledger.head["root"])
    return DONE


def opened(options: argparse.Namespace, path: Path, role: str | None = None) -> Service:
    """The service of this folder at the server of the options. Raises ConfigError."""
    pinned = trusted(options)
    url = options.server or os.environ.get(config.URL)
    if not url:
        raise ConfigError(f"Set {config.URL} or pass --server: the address of the server.")
    return Service(folder.load(path, role, pinned.realm), url, pinned)


def trusted(options: argparse.Namespace) -> Trust:
    """The pin. Raises ConfigError."""
    path = options.trust or os.environ.get(config.TRUST)
    if not path:
        raise ConfigError(f"Set {config.TRUST} or pass --trust: the pinned server's trust file.")
    return config.load_trust(path)
