"""An orchestrator's place: two signed layers, an agent that does as it is told, and the processes that come of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from audit.models import Entry
from governance.runtime.models import Launch
from imprimatur.formats import canonical, dsse
from imprimatur.rules import bubblewrap
from imprimatur.sandbox import bwrap
from imprimatur.sandbox import seccomp as seccomp_filters
from tests.runtime.served import PYTHON, Served, private_key, sign_layer

BASE = """realm = "{realm}"

[runtime]
kind = "bwrap"

[command]
allowed = ["{python}"]

[limits]
memory_mb = 512
cpu_seconds = 60
wall_seconds = 120
processes = 24
open_files = 64
file_size_mb = 10

[files]
read = ["{read}"]
write = ["{write}"]

[network]
mode = "none"

[env]
pass = ["LANG"]
set = {{ COLOUR = "green" }}

[imports]
allow = ["json", "os"]

[security]
seccomp = "strict"
no_new_privileges = true
capabilities = []
"""
OVERRIDE = """realm = "{realm}"

[agent]
id = "{agent}"

[limits]
memory_mb = 256
"""
AGENT = """
import os, sys, time
work = sys.argv[1]
with open(work + "/began", "w") as marker:
    marker.write("ran")
while not os.path.exists(work + "/stop"):
    time.sleep(0.02)
print("done", flush=True)
sys.exit(7)
"""


class Place:
    """Layers ``base`` and ``override`` that a person signed with ``key``, the agent's program, and its folder ``work``.

    ``folder`` is one that the agent's user may read.
    """

    def __init__(self, folder: Path, realm: str, agent: str, key: Path) -> None:
        self.agent, self.realm, self.key = agent, realm, key
        self.code, self.work = folder / "code", folder / "work"
        self.code.mkdir()
        self.work.mkdir()
        self.who = bwrap.user()
        self.work.chmod(0o777)
        self.program = self.code / "agent.py"
        self.program.write_text(AGENT)
        self.base, self.override = folder / "base.toml", folder / "override.toml"
        self.write_base()
        self.write_override()

    @property
    def command(self) -> list[str]:
        return [PYTHON, "-I", str(self.program), str(self.work)]

    @property
    def began(self) -> bool:
        """Whether the agent has run at all."""
        return (self.work / "began").exists()

    def write_base(self, change: tuple[str, str] = ("", ""), *, sign: bool = True, key: Path | None = None) -> None:
        text = BASE.format(realm=self.realm, python=PYTHON, read=self.code, write=self.work)
        assert change[0] in text
        self.base.write_text(text.replace(*change) if change[0] else text)
        self.base.with_name("base.toml.sig").unlink(missing_ok=True)
        if sign:
            sign_layer(self.base, key or self.key)

    def write_override(self, text: str = OVERRIDE) -> None:
        self.override.write_text(text.format(realm=self.realm, agent=self.agent))
        sign_layer(self.override, self.key)

    def launching(self, orchestrator: Path, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        """The command line of a launch."""
        layers = ["--config", str(self.base), "--config", str(self.override)]
        service = ["--service", str(orchestrator), "--agent", self.agent]
        return ["launch", *service, *layers, *options, "--", *(command or self.command)]


class Yard(Place):
    """A place at the served server: Ada's key, the agent robo, and the orchestrator's folder."""

    def __init__(self, served: Served) -> None:
        self.served = served
        key = private_key(served.world.ssh["ada"], served.folder / "ada")
        super().__init__(served.folder, served.world.realm, str(served.world.robo.pk), key)
        self.orchestrator = served.service("orchestrator")

    def words(self, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        """The command line of a launch."""
        return self.launching(self.orchestrator, *command, options=options)

    def launch(self) -> subprocess.Popen[str]:
        """Launch the agent, and return when it runs."""
        process = self.served.start(*self.words())

        def running() -> bool:
            if process.poll() is not None:
                raise AssertionError(process.communicate())
            return self.began

        self.served.until(running)
        return process

    def stop(self, process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
        """Have the agent end, and serve its launcher to the end."""
        (self.work / "stop").write_text("now")
        return self.served.finish(process)

    def rogue(self, launch: Launch, **changes: Any) -> subprocess.Popen[bytes]:
        """A second sandbox of the same launch, started by hand, with something changed."""
        return rogue(self, launch.pk, launch.document["effective"], **changes)


def claiming(launch: str) -> list[int]:
    """Processes whose environment names this launch."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                environ = (path / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"IMPRIMATUR_LAUNCH={launch}".encode() in environ:
                found.append(int(path.name))
    return sorted(found)


def rogue(
    place: Place,
    launch: str,
    effective: dict[str, Any],
    *,
    command: list[str] | None = None,
    seccomp: bool = True,
    configuration: bytes | None = None,
    limits: dict[str, int] | None = None,
    drop: tuple[str, ...] = (),
    add: tuple[str, ...] = (),
    user: bool = True,
) -> subprocess.Popen[bytes]:
    """bwrap by hand: the flags of the launch without ``drop`` and with ``add``, and other files handed over."""
    flags = [word for word in bubblewrap.arguments(effective) if word not in drop]
    for name, number in (("--info-fd", bubblewrap.INFO_FD), ("--block-fd", bubblewrap.BLOCK_FD)):
        start = flags.index(name)
        assert flags[start + 1] == str(number)
        del flags[start : start + 2]
    if not seccomp:
        start = flags.index("--seccomp")
        del flags[start : start + 2]
    handed = {bubblewrap.CONFIGURATION_FD: configuration or canonical.dumps(effective)}
    if seccomp:
        handed[bubblewrap.SECCOMP_FD] = seccomp_filters.program(os.uname().machine, "strict")
    opened = {}
    for number, raw in handed.items():
        descriptor = os.memfd_create("rogue")
        os.write(descriptor, raw)
        os.lseek(descriptor, 0, os.SEEK_SET)
        opened[number] = descriptor
    flags = [str(opened.get(int(word), word)) if word.isdecimal() and int(word) in opened else word for word in flags]
    prlimit = [f"--{name}={value}" for name, value in (limits or {}).items()]
    words = [*(["prlimit", *prlimit] if prlimit else []), "/usr/bin/bwrap", *flags[:-1], *add, "--"]
    identity: dict[str, Any] = {}
    if user and place.who.switched:
        identity = {"user": place.who.uid, "group": place.who.gid, "extra_groups": []}
    return subprocess.Popen(
        [*words, *(command or place.command)],
        env=bubblewrap.environment(effective, launch, {}),
        pass_fds=list(opened.values()),
        start_new_session=True,
        **identity,
    )


def shown_configuration(pid: int) -> bytes:
    """The configuration as a process in a sandbox sees it."""
    return Path("/proc", str(pid), "root", "run", "imprimatur", "config.json").read_bytes()


def entries(kind: str) -> list[dict[str, Any]]:
    """The bodies of all entries of a kind, the oldest first."""
    rows = Entry.objects.filter(kind=kind).order_by("index")
    payloads = [json.loads(dsse.open_envelope(bytes(row.envelope)).payload) for row in rows]
    return [payload["body"] for payload in payloads]


def gone(process: subprocess.Popen[Any]) -> None:
    """End a process of a test and all it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
