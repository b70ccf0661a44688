"""``imprimatur request`` and ``imprimatur wait``: ask from a shell, and run a command only if the answer is yes."""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path
from typing import Any

from imprimatur.cli.say import DONE, PENDING, REFUSED, say
from imprimatur.client.sync import Imprimatur
from imprimatur.errors import ConfigError
from imprimatur.formats import canonical


def add(commands: Any) -> None:
    """Declare the commands."""
    request = commands.add_parser(
        "request",
        help="ask for an action; run a command if it is allowed",
        description="Everything after -- is run only when the action is allowed, and its exit status is reported.",
    )
    request.add_argument("tool")
    request.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=TEXT", help="repeat")
    request.add_argument("--json", metavar="FILE", help="parameters as a JSON object in a file; - for standard input")
    request.add_argument("--justification", default="", help="why, for the reviewer")
    request.add_argument("--risk", choices=("LOW", "MEDIUM", "HIGH", "CRITICAL"), help="raise the risk")
    request.add_argument("--call", help="an id of your own: the same one comes back to the same request")
    request.add_argument("--run", help="run id; or IMPRIMATUR_RUN")
    request.add_argument("--wait", type=float, metavar="SECONDS", help="how long to wait for people")
    request.add_argument("--no-wait", action="store_true", help="exit with status 3 when people have to answer")
    request.set_defaults(handler=run_request)
    wait = commands.add_parser("wait", help="wait until a request is answered")
    wait.add_argument("action", metavar="act_…")
    wait.add_argument("--seconds", type=int, default=300)
    wait.set_defaults(handler=run_wait)


def run_request(options: argparse.Namespace) -> int:
    """Ask; with a command run it, without one only tell the answer (and leave an approval for who will use it)."""
    parameters = parameters_of(options)
    command = options.after
    wait = 0.0 if options.no_wait else options.wait
    told: dict[str, Any] = {
        "justification": options.justification,
        "risk": options.risk,
        "call": options.call,
        "run": None,
    }
    with Imprimatur(run=options.run) as gate:
        if not command:
            decision = gate.submit(options.tool, parameters, wait=wait, **told)
            if decision.pending and not options.no_wait:
                say("waiting", f"{decision.id} {decision.url}")
                decision = gate.wait(decision, wait)
            say(decision.verdict, f"{decision.id} {decision.risk} {decision.rule}")
            return PENDING if decision.pending else DONE
        with gate.action(options.tool, parameters, wait=wait, **told) as act:
            done = subprocess.run(command, check=False)
            act.result = f"exit status {done.returncode}"
            if done.returncode:
                raise _Failed(done.returncode)
    return DONE


def run_wait(options: argparse.Namespace) -> int:
    """Hold until there is an answer."""
    left = options.seconds
    with Imprimatur() as gate:
        found = gate.look(options.action)
        while found["verdict"] == "pending" and left > 0:
            found = gate.look(options.action, hold=max(1, min(25, left)))
            left -= 25
    verdict = found["verdict"] if found["verdict"] in ("pending", "allow", "deny") else "unclear"
    say(verdict, f"{options.action} {found.get('state', '')} {found.get('code', '')}".rstrip())
    if found.get("note"):
        say("note", f"{found['note']}")
    return {"pending": PENDING, "allow": DONE}.get(verdict, REFUSED)


def parameters_of(options: argparse.Namespace) -> dict[str, Any]:
    """Parameters from --json and -p. Raises ConfigError."""
    found: Any = {}
    if options.json:
        try:
            raw = Path("/dev/stdin" if options.json == "-" else options.json).read_bytes()
            found = canonical.loads(raw)
        except ValueError as error:
            raise ConfigError(f"--json: {error}.") from None
        if not isinstance(found, dict):
            raise ConfigError("--json: parameters are one JSON object.")
    for pair in options.parameter:
        name, equals, value = pair.partition("=")
        if not equals or not name or name in found:
            raise ConfigError(f"-p {name!r}: write NAME=TEXT, each name once.")
        found[name] = value
    return dict(found)


class _Failed(SystemExit):
    """The command ran and failed; its status is ours."""
