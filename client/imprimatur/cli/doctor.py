"""``imprimatur doctor``: what keeps this agent from asking, or this machine from launching and watching agents, checked
one by one, each with the next step."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from imprimatur.cli import enrol
from imprimatur.cli.say import DONE, REFUSED, say
from imprimatur.client import config
from imprimatur.client.sync import Imprimatur
from imprimatur.errors import ConfigError, ImprimaturError, ServerError
from imprimatur.formats.httpsig import SKEW
from imprimatur.formats.ids import agent_id

Check = tuple[str, Callable[[], str]]


def add(commands: Any) -> None:
    """Declare the command."""
    command = commands.add_parser("doctor", help="check address, key, clock, pin, delegation and tools")
    command.add_argument("--url")
    command.add_argument("--key")
    command.add_argument("--trust")
    command.add_argument("--delegation")
    command.add_argument(
        "--host", action="store_true", help="check this machine instead: can it launch and watch agents?"
    )
    command.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Run every check, even after one failed. Status 1 when any did."""
    failed = False
    for name, check in _host() if options.host else (*_checks(options), *map(_in_passing, _host())):
        try:
            say(f"ok       {name}", check(), width=28)
        except _OnlyHere as error:
            say(f"note     {name}", f"{error} (needed only to launch or watch agents here)", width=28)
        except ImprimaturError as error:
            failed = True
            say(f"problem  {name}", str(error), width=28)
    return REFUSED if failed else DONE


def _checks(options: argparse.Namespace) -> Iterator[Check]:
    def given(name: str, variable: str, what: str) -> str:
        value = getattr(options, name) or os.environ.get(variable)
        if not value:
            raise ConfigError(f"Set {variable} or pass --{name}: {what}.")
        return str(value)

    def origin() -> str:
        return config.check_origin(given("url", config.URL, "the address of the server"))

    def key() -> str:
        path = given("key", config.KEY, "the agent's key file (`imprimatur keygen`)")
        pair = config.load_key(path)
        if Path(path + ".new").exists():
            raise ConfigError(f"A rotation was interrupted: {path}.new is there. Run `imprimatur rotate` again.")
        return f"{path}, only yours to read; {pair.agent or agent_id(pair.public_key)}"

    def pin() -> str:
        pinned = config.load_trust(given("trust", config.TRUST, "the trust file that `imprimatur enroll` wrote"))
        if not pinned.decision:
            raise ConfigError("The trust file names no decision key. Enrol again with --trust.")
        return f"{pinned.realm}, {len(pinned.decision)} decision key(s)"

    def server() -> str:
        enrol.same_server(origin(), config.load_trust(given("trust", config.TRUST, "the trust file")))
        return "answers, and is the pinned one"

    def clock() -> str:
        _, date = enrol.well_known(origin())
        try:
            off = time.time() - parsedate_to_datetime(date).timestamp()
        except (TypeError, ValueError):
            raise ConfigError("The server sends no Date header, so the clock cannot be compared.") from None
        if abs(off) > SKEW:
            raise ConfigError(f"This clock is {off:+.0f} s off the server's. Set it (for example with NTP).")
        return f"within {SKEW} s of the server's"

    def identity() -> str:
        with _gate(options) as gate:
            me = gate.me()
        agent = me.get("agent")
        if not isinstance(agent, dict):
            raise ServerError("The server does not say who this agent is. Tell an admin.", code="unknown-answer")
        if agent.get("state", "active") != "active":
            raise ConfigError(f"The agent is {agent.get('state')}. Ask its owner, {agent.get('owner', 'an admin')}.")
        return f"known as {agent.get('name', agent.get('id', ''))}"

    def authority() -> str:
        wanted = config.delegation_id(given("delegation", config.DELEGATION, "the id a person delegated to you"))
        with _gate(options) as gate:
            listed = gate.me().get("delegations")
        held = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
        found = next((item for item in held if item.get("id") == wanted), None)
        if found is None:
            raise ConfigError(f"{wanted[:19]}… is not a standing delegation of this agent. Ask for a new one.")
        document = found.get("document")
        return f"{wanted[:19]}… until {document.get('not_after') if isinstance(document, dict) else 'its end'}"

    def ssh() -> str:
        found = shutil.which("ssh-keygen")
        if found is None:
            raise ConfigError("Not found; needed only to delegate. Install one package: openssh-client.")
        return found

    yield "address", origin
    yield "key", key
    yield "pin", pin
    yield "server", server
    yield "clock", clock
    yield "identity", identity
    yield "delegation", authority
    yield "ssh-keygen", ssh


class _OnlyHere(ImprimaturError):
    """A problem that is none for an agent."""


def _in_passing(item: Check) -> Check:
    """The same check, for whoever may never launch anything: what it finds is said, and is no failure."""
    name, check = item

    def mild() -> str:
        try:
            return check()
        except ImprimaturError as error:
            raise _OnlyHere(str(error)) from None

    return name, mild


def _host() -> Iterator[Check]:
    """What this machine needs to launch agents (`imprimatur launch`) and to watch them (`imprimatur monitor`).

    Both are for Linux; elsewhere there is nothing to check.
    """
    if sys.platform != "linux":
        return
    from imprimatur.launch import plan
    from imprimatur.sandbox import bwrap, seccomp

    def found() -> str:
        program = bwrap.find()
        return f"{program.path}, {program.version.split(' sha256:')[0]}"

    def namespaces() -> str:
        program, who = bwrap.find(), bwrap.user()
        bwrap.probe(program, who)
        return f"a sandbox can be built, as user {who.uid}"

    def filtered() -> str:
        try:
            return f"there is one for {plan.machine()}"
        except seccomp.UnsupportedMachine as error:
            raise ConfigError(f"{error}. Launch elsewhere, or with --runtime declared.") from None

    def watching() -> str:
        if os.geteuid() == 0:
            return "sees every process of this machine"
        raise ConfigError(
            f"Sees the processes of user {os.geteuid()} only. Run the monitor as root, or as the user that launches."
        )

    yield "bwrap", found
    yield "user namespaces", namespaces
    yield "system call filter", filtered
    yield "monitor", watching


def _gate(options: argparse.Namespace) -> Imprimatur:
    return Imprimatur(options.url, options.key, None, options.trust)
