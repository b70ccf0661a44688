"""The demo's people and the invitation of its agent. The agent itself is an ordinary client; see ``examples/demo``."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import make_password

from audit import trust as anchors
from audit.log import commit
from governance.actions import add_person, add_person_key, invite_agent
from governance.begin import Newcomer, begin_installation
from governance.models import Agent, Person, PersonKey
from imprimatur.rules.policy import DEMO_POLICY
from imprimatur.rules.tools import DEFAULT_TOOLS
from server.canary import demo as canaries

AGENT = "robo"
PEOPLE = [
    Newcomer("ada", ("admin",), "Ada Brandt", "ada@example.org"),
    Newcomer("rui", ("reviewer",), "Rui Falk", "rui@example.org"),
    Newcomer("rosa", ("reviewer",), "Rosa Imhof", "rosa@example.org"),
    Newcomer("audra", ("auditor",), "Audra Lind", "audra@example.org"),
]


def _write_private(file: Path, document: dict[str, Any]) -> None:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(document, stream, indent=2)
        stream.write("\n")


def trust() -> dict[str, Any]:
    """What the demo's agent pins: the keys of this log, handed over outside the API."""
    return anchors.server()


def prepare(url: str) -> None:
    """Begin the installation with the demo's people, give Ada an SSH key, invite the agent, write what scripts need.

    Safe to run again: people and passwords stay as they are; an agent that has not enrolled gets a fresh invitation.
    """
    data = Path(settings.DATA_DIR)
    folder = data / "demo"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    begun = begin_installation(PEOPLE, settings.REALM, DEMO_POLICY, list(DEFAULT_TOOLS.values()))
    logins = data / "demo.json"
    if begun.fresh:
        # The demo's passwords are printed each time and meant for trying things, so nobody is made to change them.
        Person.objects.update(must_change_password=False)
        people = [
            {"login": newcomer.username, "password": begun.passwords[newcomer.username], "roles": list(newcomer.roles)}
            for newcomer in PEOPLE
        ]
        _write_private(logins, {"url": url, "realm": settings.REALM, "people": people})
    elif not logins.exists():
        _write_private(logins, {"url": url, "realm": settings.REALM, "people": _new_passwords()})
    else:
        _write_private(logins, {**json.loads(logins.read_text(encoding="utf-8")), "url": url})
    ada = Person.objects.get(user__username="ada")
    key = _ssh_key(folder, ada)
    invitation: dict[str, Any] = {
        "realm": settings.REALM,
        "agent": AGENT,
        "trust": trust(),
        "people": {person.user.username: person.id for person in Person.objects.select_related("user")},
        "ssh_key": str(key),
    }
    if not Agent.objects.filter(name=AGENT).exists():
        command, token = invite_agent.new(AGENT, ada, ada)
        commit(invite_agent.apply, command)
        invitation["token"] = token
    _write_private(folder / "invitation.json", invitation)
    canaries.prepare(url, settings.REALM, ada, key)


def _new_passwords() -> list[dict[str, Any]]:
    # demo.json was deleted: passwords are stored as hashes only, so the demo's people get new ones.
    people = []
    for newcomer in PEOPLE:
        password = add_person.one_time_password()
        user = Person.objects.select_related("user").get(user__username=newcomer.username).user
        user.password = make_password(password)
        user.save(update_fields=["password"])
        people.append({"login": newcomer.username, "password": password, "roles": list(newcomer.roles)})
    return people


def _ssh_key(folder: Path, ada: Person) -> Path:
    """Ada's key for delegations. It lies on this machine because the demo plays her part too."""
    key = folder / "ada_ed25519"
    if not key.exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada (demo)", "-f", str(key)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
    line = " ".join(key.with_suffix(".pub").read_text(encoding="utf-8").split()[:2])
    if not PersonKey.objects.filter(person=ada, line=line).exists():
        commit(add_person_key.apply, add_person_key.Command(ada, line, ada))
    return key
