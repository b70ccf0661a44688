"""``imprimatur enroll``: register this agent's key against an invitation, and pin the server it belongs to."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from shlex import quote
from typing import Any

import httpx2

from imprimatur.cli import keygen
from imprimatur.cli.say import DONE, say
from imprimatur.client import config
from imprimatur.client.base import may_leave
from imprimatur.client.sync import Imprimatur
from imprimatur.errors import ConfigError, ServerError
from imprimatur.formats import canonical, trust
from imprimatur.formats.encoding import b64u, un_b64u


def add(commands: Any) -> None:
    """Declare the command."""
    command = commands.add_parser("enroll", help="register this agent's key with a server")
    command.add_argument("--url", help="the server; or IMPRIMATUR_URL")
    command.add_argument("--token", required=True, help="the one-time invitation from an admin")
    command.add_argument(
        "--trust", required=True, help="what to pin: a trust file, or its text as the admin's command holds it"
    )
    command.add_argument("--key", type=Path, default=None, help="key file, made if missing; or IMPRIMATUR_KEY")
    command.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Make the key if there is none, check that the server is the pinned one, enrol, keep the pin."""
    path = options.key or Path(os.environ.get(config.KEY) or "agent.key")
    raw = read_trust(options.trust)
    pinned = parse(raw)
    key = config.load_key(path) if path.exists() else keygen.make(path)
    with Imprimatur(options.url, key, None, pinned) as gate:
        same_server(gate.config.origin, pinned)
        answer = gate.enrol(options.token)
        if answer.get("agent") != gate.agent or answer.get("realm") != pinned.realm:
            raise ServerError("The server answered about another agent or realm. Tell an admin.", code="unknown-answer")
        origin = gate.config.origin
    kept = path.with_name(path.name + ".trust.json")
    pin(kept, raw)
    say("enrolled", f"{answer.get('name', '')} in {pinned.realm}; no authority yet")
    keygen.tell(key)
    say("compare", "an admin compares this fingerprint before signing a delegation")
    say("pinned", f"{kept}")
    say("next", f"export IMPRIMATUR_URL={origin} IMPRIMATUR_KEY={quote(str(path))} IMPRIMATUR_TRUST={quote(str(kept))}")
    return DONE


def pin(path: Path, raw: bytes) -> None:
    """Write the pin as a new file in the place of what was there: nothing is followed, others may only read it."""
    half = path.with_name(path.name + ".part")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    half.replace(path)


def read_trust(given: str) -> bytes:
    """The bytes of a trust document: from a file, or from its own text (JSON, or that in base64url)."""
    if given.lstrip().startswith("{"):
        return given.encode("utf-8")
    path = Path(given)
    try:
        if path.is_file():
            return path.read_bytes()
    except OSError:
        pass  # too long for a file name: it is the text itself
    try:
        return un_b64u(given)
    except ValueError:
        raise ConfigError(f"There is no trust file {given[:80]!r}. Copy the whole command from the admin.") from None


def parse(raw: bytes) -> trust.Trust:
    """The pinned server. Raises ConfigError."""
    try:
        found = trust.parse(raw)
    except trust.TrustError as error:
        raise ConfigError(f"The pin cannot be read: {error}. Copy the whole command from the admin.") from None
    if not found.decision:
        raise ConfigError("The pin names no decision key. Copy the whole command from the admin.")
    return found


def well_known(origin: str) -> tuple[dict[str, Any], str]:
    """What the server says of itself, and its Date header. Raises ServerError."""
    try:
        url, proxied = f"{origin}/.well-known/imprimatur", may_leave(origin)
        reply = httpx2.get(url, timeout=10.0, follow_redirects=False, trust_env=proxied)
        found = canonical.loads(reply.content) if reply.status_code == 200 else None
    except (httpx2.RequestError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise ServerError(f"{origin} does not answer as an Imprimatur server. Check the address.", code="unavailable")
    return found, reply.headers.get("date", "")


def same_server(origin: str, pinned: trust.Trust) -> None:
    """Compare what the server says with the pin, before a token is shown to it. Raises ConfigError, ServerError."""
    found, _ = well_known(origin)
    listed = found.get("decision", [])
    offered = {item.get("key") for item in listed if isinstance(item, dict)} if isinstance(listed, list) else set()
    if found.get("realm") != pinned.realm or not offered & {b64u(key) for key in pinned.decision_keys()}:
        raise ConfigError(
            f"{origin} is not the server of the pin ({pinned.realm}). Stop, and ask the admin which is right."
        )
