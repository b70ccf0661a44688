"""Whom a person answers to, and as whom: the desk's address, the pinned realm, their id and their SSH key.

Each comes from an option, else from the environment, else from what ``imprimatur key enrol`` noted down. The note holds
no secret; it pins the realm, so only one that nobody else can change is read.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from imprimatur.cli import ssh
from imprimatur.client import answers, config
from imprimatur.client.base import Body, may_leave
from imprimatur.client.wire import Answer
from imprimatur.errors import ConfigError, ServerError
from imprimatur.formats import canonical
from imprimatur.formats.shapes import Obj, Text, check
from imprimatur.formats.sshsig import SshKey

SERVER, PERSON = "IMPRIMATUR_SERVER", "IMPRIMATUR_PERSON"
DEFAULT_KEY = "~/.ssh/id_ed25519"
SECONDS = 30.0

_NOTE = Obj({"server": Text(max=1000), "realm": Text(max=255), "person": Text(max=128), "key": Text(max=4096)})


@dataclass(frozen=True)
class Reviewer:
    """Somebody at their own terminal: which desk, which realm, who, and with which key."""

    server: str
    realm: str
    person: str
    path: Path
    key: SshKey


def add_options(command: argparse.ArgumentParser) -> None:
    """Where the desk is and who answers; the same for every command of a reviewer."""
    command.add_argument("--server", metavar="URL", help=f"the desk; or {SERVER}, or as `imprimatur key enrol` noted")
    command.add_argument("--realm", help="the installation's name; or --trust")
    command.add_argument("--trust", metavar="FILE", help=f"trust file that pins the realm; or {config.TRUST}")
    command.add_argument("--person", metavar="pe_…", help=f"you; or {PERSON}, or as noted")
    command.add_argument(
        "--key", type=Path, help=f"your SSH key, or its .pub with the key in ssh-agent ({DEFAULT_KEY})"
    )


def reviewer(options: argparse.Namespace) -> Reviewer:
    """Who answers where. Raises ConfigError that names what is missing."""
    noted = read_note()
    server = options.server or os.environ.get(SERVER) or noted.get("server")
    person = options.person or os.environ.get(PERSON) or noted.get("person")
    if not server:
        raise ConfigError(f"Say where the desk is: --server https://…, or {SERVER}. `imprimatur key enrol` notes it.")
    if not person:
        raise ConfigError(f"Say who you are: --person pe_…, or {PERSON}. Your id stands under Your keys at the desk.")
    realm = pinned_realm(options) or noted.get("realm")
    if not realm:
        raise ConfigError(
            f"Say which installation this is: --realm, or --trust (or {config.TRUST}) with a trust file. What is "
            "signed counts there and nowhere else."
        )
    path = (options.key or Path(noted.get("key") or DEFAULT_KEY)).expanduser()
    return Reviewer(config.check_origin(server), realm, person, path, ssh.public_key(path))


def pinned_realm(options: argparse.Namespace) -> str | None:
    """The realm that the person named, or that their trust file pins. Raises ConfigError when the two differ."""
    path = options.trust or os.environ.get(config.TRUST)
    pinned = config.load_trust(path).realm if path else None
    if options.realm and pinned and options.realm != pinned:
        raise ConfigError(f"--realm says {options.realm}, and the trust file {path} pins {pinned}. Which is it?")
    return options.realm or pinned


def note_path() -> Path:
    """Where a reviewer's settings are noted."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "imprimatur" / "reviewer.json"


def read_note() -> dict[str, str]:
    """What was noted, or nothing. Raises ConfigError for a note that others may change, or that cannot be read."""
    path = note_path()
    try:
        with path.open("rb") as file:
            loose = os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o022
            found = canonical.loads(file.read(20_000))
        check(found, _NOTE)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise ConfigError(f"{path} cannot be read. Remove it, and give --server, --realm and --person.") from None
    if loose:
        raise ConfigError(f"Others may change {path}, which pins the installation. Run: chmod go-w {path}")
    return dict(found)


def write_note(me: Reviewer) -> Path | None:
    """Note down who answers where. A note about another installation stays; then nothing is written."""
    noted = read_note()
    if noted and noted["realm"] != me.realm:
        return None
    path = note_path()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    half = path.with_name(path.name + ".part")
    half.unlink(missing_ok=True)
    note = {"server": me.server, "realm": me.realm, "person": me.person, "key": str(me.path.absolute())}
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(note, file, indent=2)
        file.write("\n")
    half.replace(path)
    return path


def post(server: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send JSON to the desk, without a session and without following anybody elsewhere.

    Raises the APIError that a problem document (RFC 9457) amounts to; ServerError when there is no usable answer.
    """
    try:
        with httpx2.stream(
            "POST",
            server + path,
            content=canonical.dumps_json(body),
            headers={"content-type": "application/json", "accept": "application/json", "accept-encoding": "identity"},
            timeout=SECONDS,
            follow_redirects=False,
            trust_env=may_leave(server),
        ) as response:
            read = Body(response, SECONDS, time.monotonic)
            for piece in response.iter_raw():
                read.add(piece)
            reply = read.answer()
    except (httpx2.RequestError, httpx2.StreamError):
        raise ServerError(f"There was no answer from {server}. Is the address right, and the desk up?") from None
    if reply.status != 200:
        raise _problem(server, reply)
    found = reply.document()
    if not found:
        raise ServerError(f"{server} did not answer as a desk does. Check the address.", code="unknown-answer")
    return found


def _problem(server: str, reply: Answer) -> Exception:
    if not reply.code:
        words = f"{server} answered {reply.status}, and not as a desk does. Is this the desk's address?"
        return ServerError(words, code="unknown-answer", status=reply.status)
    return answers.failure(reply)
