"""What is going to be started, worked out from the layers alone, and everything that speaks against it on this side.

The server works it out again and decides. Both are asked: what this side refuses is sent all the same, so that the log
holds the refusal, and is never started.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprimatur.errors import ConfigError
from imprimatur.launch.layers import Layer
from imprimatur.rules import bubblewrap, configuration, launches
from imprimatur.rules.configuration import Problem, quote
from imprimatur.sandbox import seccomp

NO_POLICY = "sha256:" + "0" * 64
_PLACEHOLDER = "{launch}"


@dataclass(frozen=True)
class Plan:
    """A launch before it is attested. ``runtime`` is ``{kind, version, launched}``; ``outer`` is a declared runtime's
    own command line, which is executed with the command behind it."""

    agent: str
    realm: str
    layers: tuple[Layer, ...]
    effective: dict[str, Any]
    runtime: dict[str, Any]
    flags: tuple[str, ...]
    command: tuple[str, ...]
    executable: dict[str, str]
    image: str | None
    problems: tuple[Problem, ...]
    outer: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the effective configuration."""
        return configuration.digest(self.effective)

    @property
    def wants_id(self) -> bool:
        """Whether the declared command line has a place for the launch's id."""
        return any(_PLACEHOLDER in word for word in (*self.flags, *self.command))

    def named(self, words: Sequence[str], launch: str) -> list[str]:
        """The words with the launch's id in the places for it."""
        if self.runtime["launched"]:
            return list(words)
        return [word.replace(_PLACEHOLDER, launch) for word in words]

    def predicate(self, launch: str, node: Mapping[str, str], terms: Mapping[str, Any]) -> dict[str, Any]:
        """The statement about it, without who signs and when."""
        found: dict[str, Any] = {
            "launch": launch,
            "agent": self.agent,
            "runtime": self.runtime,
            "command": self.named(self.command, launch),
            "flags": self.named(self.flags, launch),
            "executable": self.executable,
            "node": dict(node),
            "layers": [layer.document for layer in self.layers],
            "merge": {"program": configuration.MERGE_PROGRAM, "digest": configuration.merge_digest()},
            "effective": self.effective,
            "delegations": list(terms["delegations"]),
            "policy": terms["policy"],
        }
        return found if self.image is None else {**found, "image": self.image}

    def subjects(self) -> dict[str, str]:
        """What the statement is about."""
        return {launches.SUBJECT: self.digest.removeprefix("sha256:")}


def for_bwrap(agent: str, realm: str, layers: Sequence[Layer], command: Sequence[str], version: str) -> Plan:
    """A launch in bubblewrap. Raises ConfigError when there is no command, or its program cannot be read."""
    effective, problems = _configured(agent, realm, layers, command)
    flags: list[str] = []
    if not problems and effective["runtime"]["kind"] == "bwrap":
        flags = bubblewrap.arguments(effective)
        problems += led_away(effective)
    elif not problems:
        problems.append(
            Problem("flags-mismatch", "The configuration is not for bwrap; start it with --runtime declared.")
        )
    if not problems and effective["network"]["mode"] == "proxy":
        raise ConfigError(
            'network.mode = "proxy" is not something this launcher can give yet: there is no proxy. Use "none", or '
            "start the agent in another runtime with --runtime declared."
        )
    executable, script = _executable(command[0])
    if script and not problems:
        problems.append(
            Problem(
                "command-not-allowed", f"{command[0]} is a script; name its interpreter first, since that is what runs."
            )
        )
    runtime = {"kind": "bwrap", "version": version, "launched": True}
    return Plan(
        agent, realm, tuple(layers), effective, runtime, tuple(flags), tuple(command), executable, None, tuple(problems)
    )


def declared(
    agent: str,
    realm: str,
    layers: Sequence[Layer],
    words: Sequence[str],
    *,
    kind: str,
    version: str,
    flags: Sequence[str] = (),
    image: str | None = None,
) -> Plan:
    """A launch that another runtime carries out. ``words`` are its command line, ``--``, and what runs inside.

    Without that ``--`` all of it is what runs inside, and ``flags`` are what the runtime is said to get.
    """
    outer, inner = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else ([], words)
    effective, problems = _configured(agent, realm, layers, inner)
    runtime = {"kind": kind, "version": version, "launched": False}
    made = (*flags, *outer)
    executable = {"path": inner[0]}
    return Plan(
        agent,
        realm,
        tuple(layers),
        effective,
        runtime,
        made,
        tuple(inner),
        executable,
        image,
        tuple(problems),
        tuple(outer),
    )


def machine() -> str:
    """The name of this machine's architecture, if there is a filter for it. Raises UnsupportedMachine."""
    name = platform.machine()
    seccomp.program(name, seccomp.DEFAULT)
    return name


def _configured(
    agent: str, realm: str, layers: Sequence[Layer], command: Sequence[str]
) -> tuple[dict[str, Any], list[Problem]]:
    if not command:
        raise ConfigError("There is no command to start. Put it after --.")
    reading = configuration.read([(layer.name, layer.text) for layer in layers], realm)
    problems = list(reading.problems)
    problems += [
        Problem("unsafe-flag", f"The command has {sentence}") for sentence in configuration.unsafe_flags(command[1:])
    ]
    for layer in layers:
        if layer.signature is None:
            sign = f"ssh-keygen -Y sign -n {launches.SSH_NAMESPACE} -f KEY {layer.name}"
            problems.append(Problem("unsigned-layer", f"{layer.name} is not signed: {sign}"))
    if not reading.problems:
        if reading.effective["agent"]["id"] != agent:
            problems.append(Problem("agent-unknown", f"The configuration is for another agent than {agent}."))
        if command[0] not in reading.effective["command"]["allowed"]:
            problems.append(Problem("command-not-allowed", f"{command[0]} is not in command.allowed."))
    return reading.effective, problems


def _executable(path: str) -> tuple[dict[str, str], bool]:
    """The program behind a path, by its real name, with its digest; and whether it is a script."""
    try:
        real = Path(path).resolve(strict=True)
        raw = real.read_bytes()
    except (OSError, RuntimeError) as error:
        said = error.strerror if isinstance(error, OSError) else "a circle of links"
        raise ConfigError(f"The program {path} cannot be read: {said}.") from None
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    return {"path": str(real), "digest": digest}, not raw.startswith(b"\x7fELF")


def led_away(effective: Mapping[str, Any]) -> list[Problem]:
    """Folders of the configuration that are links on this machine, or lie behind one. bwrap follows links.

    An agent that could write to the folder above made the link, perhaps: what was signed is the place, not the link.
    """
    files = effective.get("files", {})
    leads = {path: os.path.realpath(path) for path in (*files.get("read", []), *files.get("write", []))}
    return [
        Problem("unsafe-path", f"{quote(path)} leads to {quote(real)} on this machine; name that, if it is meant.")
        for path, real in leads.items()
        if real != path
    ]


def unchanged(executable: Mapping[str, str]) -> bool:
    """Whether the program is still the one that was attested."""
    try:
        with Path(executable["path"]).open("rb") as stream:
            return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}" == executable["digest"]
    except OSError:
        return False
