"""How the agent comes to a key and to authority: it enrols with an invitation, and Ada delegates with her SSH key."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from imprimatur import APIError, Imprimatur, KeyPair
from imprimatur.formats import delegation as formats
from imprimatur.formats.timestamps import parse_time
from imprimatur.formats.trust import Trust, load

LIFE = "2h"
RENEW = timedelta(minutes=10)
SCOPE = [
    "file:read:/project",
    "file:write:/project/src",
    "file:write:/project/tests",
    "file:write:/project/package.json",
    "file:delete:/project/reports",
    "code:execute:/project",
    "email:send:example.org",
    "payment:send:vendor",
]


class DemoError(Exception):
    """The demo cannot run. One sentence with the next step."""


@dataclass(frozen=True)
class Identity:
    """Who the agent is and whom it believes."""

    url: str
    folder: Path
    key: KeyPair
    trust: Trust
    invitation: dict[str, Any]

    def gate(self) -> Imprimatur:
        """A client under this identity, without authority."""
        return Imprimatur(self.url, self.key, None, self.trust)


def enrol(url: str, folder: Path) -> Identity:
    """The identity in this folder, enrolled now if it was not yet. Raises DemoError."""
    file = folder / "invitation.json"
    if not file.exists():
        raise DemoError(f"{file} is missing. Start the demo with `make up`, which writes it.")
    invitation = json.loads(file.read_text(encoding="utf-8"))
    pin = folder / "trust.json"
    pin.write_text(json.dumps(invitation["trust"]) + "\n", encoding="utf-8")
    path = folder / "robo.key"
    if not path.exists():
        KeyPair.generate().save(path)
    identity = Identity(url, folder, KeyPair.load(path), load(pin), invitation)
    with identity.gate() as gate:
        try:
            if "token" in invitation:
                gate.enrol(invitation["token"])
            gate.me()
        except APIError as error:
            if error.status == 401:
                raise DemoError(
                    f"The server does not know the key in {path}. Delete the data folder to begin afresh."
                ) from None
            if not (error.status == 403 and error.code == "not-allowed"):
                raise
            # The token was used, by this key: a restart between enrolling and the next `begin`.
            gate.me()
    return identity


def standing(identity: Identity) -> str | None:
    """The id of a delegation this agent holds for long enough yet, or None. Raises APIError."""
    with identity.gate() as gate:
        held = gate.me()["delegations"]
    good = [one for one in held if _left(one["document"]) > RENEW and set(SCOPE) <= set(one["document"]["scope"])]
    return str(good[-1]["id"]) if good else None


def delegate(identity: Identity) -> str:
    """Ada signs a delegation on her machine and hands it in: the command line an admin uses. Raises DemoError."""
    out = identity.folder / "delegation.json"
    out.unlink(missing_ok=True)
    with identity.gate() as gate:
        agent = gate.agent
    command = [
        *(sys.executable, "-m", "imprimatur", "delegate", "--yes"),
        *("--issuer", identity.invitation["people"]["ada"], "--to", agent, "--realm", identity.trust.realm),
        *(word for scope in SCOPE for word in ("--scope", scope)),
        *("--spend", "150.00", "--unit", "USD", "--per-action", "60.00", "--expires", LIFE, "--max-depth", "0"),
        *("--purpose", "Look after the Lantern shop", "--key", identity.invitation["ssh_key"]),
        *("--out", str(out), "--submit", identity.url),
    ]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise DemoError(f"Ada could not delegate: {done.stderr.strip()}")
    return formats.delegation_id(json.loads(out.read_text(encoding="utf-8"))["document"])


def ends(identity: Identity, delegation: str) -> datetime:
    """When a delegation ends. Raises APIError."""
    with identity.gate() as gate:
        return parse_time(gate.delegations.get(delegation)["document"]["not_after"])


def _left(document: dict[str, Any]) -> timedelta:
    return parse_time(document["not_after"]) - datetime.now(UTC)
