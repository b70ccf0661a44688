"""``imprimatur canary init | run``: two agents that try what must be refused, and a signed record of what they got."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from imprimatur.canary import folder as folders
from imprimatur.canary import runner
from imprimatur.canary.attempts import LIMIT, SCOPE
from imprimatur.canary.folder import Folder
from imprimatur.cli import service as services
from imprimatur.cli.enrol import parse, read_trust, same_server
from imprimatur.cli.say import DONE, NO_ANSWER, REFUSED, complain, note, say
from imprimatur.client import config
from imprimatur.client.sync import Imprimatur
from imprimatur.errors import APIError, AuthenticationError, ConfigError, InvalidRequestError, NotAllowedError
from imprimatur.formats.digests import fingerprint, sha256
from imprimatur.formats.ids import agent_id
from imprimatur.formats.keys import KeyPair
from imprimatur.rules import canaries
from imprimatur.service.service import ForkError, StatementRefused

SHORTEST, LONGEST = 10, 86_400


def add(commands: Any) -> None:
    """Declare the command."""
    command = commands.add_parser("canary", help="try what must be refused, and sign what came of it")
    parts = command.add_subparsers(dest="part", metavar="init|run", required=True)
    init = parts.add_parser("init", help="make the folder, enrol the two agents, say what an admin does next")
    init.add_argument("folder", type=Path)
    init.add_argument("--server", metavar="URL", help="the server; or IMPRIMATUR_URL")
    init.add_argument("--trust", metavar="FILE", required=True, help="what to pin: a trust file, or its text")
    init.add_argument("--invitation", action="append", default=[], metavar="TOKEN", help="of an agent; give two")
    init.set_defaults(handler=begin)
    run = parts.add_parser("run", help="make every attempt, again and again")
    run.add_argument("folder", type=Path)
    run.add_argument(
        "--every", type=_seconds, default=runner.EVERY, metavar="S", help="between two runs (default: 300)"
    )
    run.add_argument("--once", action="store_true", help="one run, then stop")
    run.set_defaults(handler=go)


def begin(options: argparse.Namespace) -> int:
    """Make the folder and enrol. Safe to call again: what is there stays, and who is enrolled needs nothing."""
    url = options.server or os.environ.get(config.URL)
    if not url:
        raise ConfigError(f"Set {config.URL} or pass --server: the address of the server.")
    if len(options.invitation) not in (0, 2):
        raise ConfigError("Give two invitations, one for each agent; or none, when both are enrolled already.")
    raw = read_trust(options.trust)
    pinned = parse(raw)
    origin = config.check_origin(url)
    same_server(origin, pinned)
    made = folders.make(options.folder, origin, raw)
    if made.trust != pinned or made.server != origin:
        raise ConfigError(f"{options.folder} belongs to another server. Choose another folder.")
    enrol(made, options.invitation)
    _tell(made)
    return DONE


def enrol(made: Folder, invitations: list[str]) -> None:
    """Enrol the two agents, each with the invitation in its place, unless the server knows it.

    Raises ConfigError for one that is not enrolled and has no invitation that can be used, APIError.
    """
    for place, (name, key) in enumerate((("first", made.one), ("second", made.two))):
        with Imprimatur(made.server, key, None, made.trust) as gate:
            refused: APIError | None = None
            if invitations:
                try:
                    gate.enrol(invitations[place])
                    continue
                except (NotAllowedError, InvalidRequestError) as error:
                    refused = error
            try:
                gate.me()  # enrolled before, perhaps by this very invitation
            except AuthenticationError:
                why = f"its invitation was refused: {refused}" if refused else "there is no invitation for it."
                raise ConfigError(
                    f"The {name} agent is not enrolled, and {why} Invite an agent for it, and call this again with "
                    "--invitation twice, in the same order; one that is enrolled keeps its place."
                ) from None


def _tell(made: Folder) -> None:
    for name, key in (("first agent", made.one), ("second agent", made.two)):
        _agent(name, key)
    for service in (made.results, made.launches):
        services.tell(service)
    say("next", "an admin registers both services, and names the two agents at the one with the role canary;")
    say("", "then signs this delegation for the first agent, and signs it again before it ends:")
    words = " ".join(f"--scope {each}" for each in SCOPE)
    say(
        "",
        f"imprimatur delegate --issuer pe_… --to {agent_id(made.one.public_key)} --realm {made.trust.realm} {words} \\",
    )
    say(
        "",
        f"  --spend {LIMIT} --unit USD --max-depth 1 --expires 30d --purpose Canaries --key KEY --submit {made.server}",
    )
    say("then", f"imprimatur canary run {made.path}")


def _agent(name: str, key: KeyPair) -> None:
    say(name, agent_id(key.public_key))
    say("fingerprint", fingerprint(sha256(key.public_key)))


def go(options: argparse.Namespace) -> int:
    """Run by the clock. Status 1 when a run failed (with --once, or when nothing can be reported any more)."""
    while True:
        started = time.monotonic()
        try:
            done = runner.run(options.folder, every=options.every, tell=complain)
        except (ForkError, StatementRefused) as error:
            complain(str(error))
            return REFUSED
        tell(done)
        if options.once:
            return _status(done)
        time.sleep(max(1.0, started + options.every - time.monotonic()))


def tell(done: runner.Run) -> None:
    """Print a run: each attempt that did not get what it must, and the result."""
    answers: dict[str, list[str]] = {}  # what keeps one attempt from being made often keeps all of them
    for each in done.attempts:
        if not canaries.as_expected(each):
            answer = f"got {each['status']} {each['code']} {each.get('detail', '')}".rstrip()
            answers.setdefault(answer, []).append(str(each["name"]))
    for answer, names in answers.items():
        say(", ".join(names) + " ", answer, width=20)
    say("result", done.result)
    if done.index is None:
        note(f"The server does not have this run yet ({done.unsent}). It is kept, and sent with the next one.")
    else:
        say("entry", str(done.index))


def _status(done: runner.Run) -> int:
    if done.result != canaries.PASSED:
        return REFUSED
    return DONE if done.index is not None else NO_ANSWER


def _seconds(text: str) -> int:
    try:
        found = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds") from None
    if not SHORTEST <= found <= LONGEST:
        raise argparse.ArgumentTypeError(f"that is between {SHORTEST} and {LONGEST:,} seconds")
    return found
