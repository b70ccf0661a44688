"""``imprimatur launch``: attest how an agent is started, and only then start it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from imprimatur.cli.say import REFUSED, complain, note, say
from imprimatur.cli.service import connection, opened, trusted
from imprimatur.errors import APIError, ConfigError
from imprimatur.formats import attestation, digests
from imprimatur.formats.ids import is_id
from imprimatur.launch import layers, plan
from imprimatur.launch.launcher import Launcher, LaunchRefused
from imprimatur.launch.plan import Plan
from imprimatur.sandbox import bwrap, seccomp
from imprimatur.service.machine import node
from imprimatur.service.service import ForkError, StatementRefused

DECLARED = "declared"


def add(commands: Any) -> None:
    """Declare the command."""
    command = commands.add_parser("launch", help="attest how an agent is started, and only then start it")
    connection(command)
    command.add_argument("--service", type=Path, metavar="FOLDER", help="the orchestrator's folder")
    command.add_argument("--agent", required=True, metavar="AG", help="the agent that is started, ag_…")
    command.add_argument("--runtime", choices=("bwrap", DECLARED), default="bwrap", help="default: bwrap")
    command.add_argument(
        "--config", action="append", type=Path, metavar="TOML", required=True, help="a layer; the organisation's first"
    )
    command.add_argument("--user", metavar="NAME", help="as root: whom the agent runs as (default: nobody)")
    command.add_argument(
        "--node", metavar="NAME", help="this machine's name, as its monitor has it (default: host name)"
    )
    command.add_argument(
        "--dry-run", action="store_true", help="read, merge, check and show; nothing is sent or started"
    )
    declared = command.add_argument_group("--runtime declared")
    declared.add_argument("--kind", choices=attestation.RUNTIMES[1:], help="what starts the agent")
    declared.add_argument("--runtime-version", metavar="V", help="its version")
    declared.add_argument("--flag", action="append", default=[], metavar="FLAG", help="a flag it gets")
    declared.add_argument("--image", metavar="DIGEST", help="sha256:… of the image")
    command.set_defaults(handler=run)


def run(options: argparse.Namespace) -> int:
    """Attest, start, wait; returns the agent's own exit status, or 1 when nothing was executed."""
    if not is_id("ag", options.agent):
        raise ConfigError("--agent is the agent's id: ag_ and 32 characters.")
    realm = trusted(options).realm
    read = layers.read(options.config)
    program = None if options.runtime == DECLARED else _program(options)
    who = bwrap.user(options.user) if program else None
    made = _declared(options, realm, read) if program is None else _bwrap(options, realm, read, program)
    if options.dry_run:
        return _shown(made)
    if options.service is None:
        raise ConfigError(
            "Pass --service: the folder that `imprimatur service keygen FOLDER --role orchestrator` made."
        )
    try:
        with opened(options, options.service, attestation.ORCHESTRATOR) as service:
            launcher = Launcher(service, node(options.node), note)
            launcher.recover()
            attested = launcher.attest(made)
            how = (
                "launched in bwrap" if program else f"DECLARED: {made.runtime['kind']} starts it, which nobody checked"
            )
            note(f"{attested.launch} is attested by entry {attested.index} of {realm}; {how}")
            if program is None or who is None:
                return launcher.declared(made, attested, dict(os.environ))
            return launcher.in_bwrap(made, attested, program, who, dict(os.environ))
    except LaunchRefused as refused:
        entry = "; no entry of the log has it" if refused.index is None else f"; entry {refused.index} has the reasons"
        complain(f"Nothing was executed{entry}.")
        for code, sentence in refused.reasons:
            note(f"  {code}: {sentence}")
        return REFUSED
    except (APIError, ForkError, StatementRefused) as error:
        complain(f"Nothing was executed. {error}")
        return REFUSED


def _program(options: argparse.Namespace) -> bwrap.Program:
    if options.dry_run:
        return bwrap.Program("", "none")  # a configuration can be checked where nothing is ever launched
    try:
        plan.machine()
    except seccomp.UnsupportedMachine as error:
        raise ConfigError(f"{error}. Start the agent elsewhere, or with --runtime declared.") from None
    return bwrap.find()


def _bwrap(options: argparse.Namespace, realm: str, read: list[layers.Layer], program: bwrap.Program) -> Plan:
    for name in ("kind", "runtime_version", "flag", "image"):
        if getattr(options, name):
            raise ConfigError(f"--{name.replace('_', '-')} goes with --runtime declared: bwrap's own are known.")
    return plan.for_bwrap(options.agent, realm, read, options.after, program.version)


def _declared(options: argparse.Namespace, realm: str, read: list[layers.Layer]) -> Plan:
    if not options.kind or not options.runtime_version:
        raise ConfigError("--runtime declared needs --kind and --runtime-version: what starts the agent.")
    if options.user:
        raise ConfigError("--user goes with --runtime bwrap.")
    if options.image is not None and not digests.is_digest(options.image):
        raise ConfigError("--image is the digest of the image: sha256: and 64 hexadecimal digits.")
    return plan.declared(
        options.agent,
        realm,
        read,
        options.after,
        kind=options.kind,
        version=options.runtime_version,
        flags=options.flag,
        image=options.image,
    )


def _shown(made: Plan) -> int:
    """What would be attested, or what speaks against it."""
    for problem in made.problems:
        note(f"  {problem.code}: {problem.message}")
    if made.problems:
        complain("This would be refused. Nothing was sent.")
        return REFUSED
    say("agent", made.agent)
    say("config", made.digest)
    say("program", f"{made.executable['path']} {made.executable.get('digest', '')}")
    for flag in made.flags:
        say("flag", flag)
    for word in made.command:
        say("command", word)
    return 0
