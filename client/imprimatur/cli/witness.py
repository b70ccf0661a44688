"""``imprimatur witness``: cosign another's log, and ``imprimatur witness keygen``: the key for that."""

from __future__ import annotations

import argparse
import secrets
import signal
import threading
from pathlib import Path
from typing import Any

from imprimatur.cli.say import DONE, say
from imprimatur.errors import ConfigError
from imprimatur.formats.cosignature import Cosigner
from imprimatur.formats.key_files import KeyFileError
from imprimatur.formats.note import NoteError, Vkey
from imprimatur.witness import mirror, server
from imprimatur.witness.protocol import Witness
from imprimatur.witness.state import State, StateError

_WRONG = (KeyFileError, StateError, NoteError, mirror.MirrorError)


def add(commands: Any) -> None:
    """Declare the command and its subcommand."""
    command = commands.add_parser("witness", help="cosign another's log (C2SP tlog-witness)")
    command.set_defaults(handler=run)
    command.add_argument("--listen", metavar="HOST:PORT", help="where the log finds this witness")
    command.add_argument("--prefix", default="", help="path above /add-checkpoint (default: none)")
    command.add_argument("--key", type=Path, help="the key file that keygen made")
    command.add_argument("--state", type=Path, help="the file that keygen made with it")
    command.add_argument("--log", action="append", metavar="VKEY", help="a log's verifier key; more than one is fine")
    command.add_argument("--mirror", type=Path, metavar="DIR", help="keep the entries here before cosigning")
    command.add_argument("--from", dest="source", metavar="URL|DIR", help="with --mirror: where the log's files are")
    command.add_argument("--token", type=Path, metavar="FILE", help="with --from URL: the mirror's token")
    parts = command.add_subparsers(dest="part", metavar="keygen")
    keygen = parts.add_parser("keygen", help="make a key, and the file in which its witness remembers")
    keygen.add_argument("--name", required=True, help="the witness's name, such as witness.example.org/desk")
    keygen.add_argument("--key", type=Path, required=True)
    keygen.add_argument("--state", type=Path, required=True)
    keygen.set_defaults(handler=make)


def make(options: argparse.Namespace) -> int:
    """Write a new key and an empty memory that belongs to it."""
    try:
        cosigner = Cosigner(options.name, secrets.token_bytes(32))
        if options.state.exists():
            raise StateError(f"{options.state} exists already; what a witness remembers is never overwritten")
        cosigner.save(options.key)
        State.create(options.state, cosigner.vkey)
    except _WRONG as error:
        raise ConfigError(f"{error}. Nothing that was there has changed.") from None
    say("key", f"{options.key} (keep it here; never copy it to a second witness)")
    say("state", f"{options.state} (never restore an older copy: this witness would sign backwards)")
    say("vkey", cosigner.vkey.format())
    say("next", "give the vkey to the log and to whoever verifies it")
    return DONE


def run(options: argparse.Namespace) -> int:
    """Answer until stopped."""
    for name in ("listen", "key", "state", "log"):
        if not getattr(options, name):
            raise ConfigError(f"--{name} is missing. See `imprimatur witness --help`.")
    if bool(options.mirror) != bool(options.source):
        raise ConfigError("--mirror and --from go together: where to keep the entries, and where they come from.")
    host, port = address(options.listen)
    try:
        cosigner = Cosigner.load(options.key)
        state = State(options.state, cosigner.vkey)
        logs = [Vkey.parse(text) for text in options.log]
        keep = _mirror(options, logs).keep if options.mirror else None
        listening = server.Server((host, port), Witness(cosigner, state, logs, keep=keep), options.prefix)
    except _WRONG as error:
        raise ConfigError(f"{error}.") from None
    say("vkey", cosigner.vkey.format())
    say("listening", f"http://{options.listen}{listening.path}")
    _serve(listening)
    return DONE


def _serve(listening: server.Server) -> None:
    """Serve until SIGINT or SIGTERM; whatever was answered is on the disk, so nothing has to be finished."""

    def stop(*_: object) -> None:
        threading.Thread(target=listening.shutdown, daemon=True).start()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with listening:
        listening.serve_forever(poll_interval=0.2)


def _mirror(options: argparse.Namespace, logs: list[Vkey]) -> mirror.Mirror:
    if len({log.name for log in logs}) != 1:
        raise mirror.MirrorError("a mirror keeps one log: run one witness for each")
    if "://" not in options.source:
        return mirror.Mirror(options.mirror, mirror.from_folder(Path(options.source)), logs)
    token = options.token.read_text(encoding="ascii").strip() if options.token else ""
    return mirror.Mirror(options.mirror, mirror.from_url(options.source, token), logs)


def address(text: str) -> tuple[str, int]:
    """Host and port to listen on. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise ConfigError(f"{text} is no address to listen on: it looks like 127.0.0.1:7000.")
    return host.removeprefix("[").removesuffix("]"), int(port)
