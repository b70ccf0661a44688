"""The command line of bubblewrap: what is always in it, what a configuration adds, and that bubblewrap takes it."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.rules import bubblewrap
from tests.alone import alone
from tests.rules import sandboxes


def binds(arguments: list[str], flag: str) -> list[str]:
    return [arguments[place + 1] for place, word in enumerate(arguments) if word == flag]


def test_every_sandbox_is_cut_off_in_all_ways() -> None:
    built = bubblewrap.arguments(sandboxes.effective())
    for name in ("user", "ipc", "pid", "net", "uts", "cgroup"):
        assert f"--unshare-{name}" in built
    assert {"--die-with-parent", "--new-session", "--seccomp", "--remount-ro"} <= set(built)
    assert built[built.index("--cap-drop") + 1] == "ALL"
    assert built[-1] == "--"
    assert built[built.index("--ro-bind-data") : built.index("--ro-bind-data") + 3] == [
        "--ro-bind-data",
        str(bubblewrap.CONFIGURATION_FD),
        bubblewrap.CONFIGURATION,
    ]


PATHS = st.lists(st.sampled_from(["/srv", "/srv/a", "/srv/a/b", "/opt", "/opt/x", "/data-1"]), max_size=4, unique=True)


@given(PATHS, PATHS, st.sampled_from(["none", "proxy"]))
def test_only_what_the_configuration_names_is_bound_and_parents_come_first(
    read: list[str], write: list[str], mode: str
) -> None:
    built = bubblewrap.arguments(sandboxes.effective(files={"read": read, "write": write}, network={"mode": mode}))
    assert "--share-net" not in built and "--dev-bind" not in built
    assert set(binds(built, "--bind")) == set(write)
    own = {"/usr"} | ({bubblewrap.PROXY} if mode == "proxy" else set())
    assert set(binds(built, "--ro-bind")) == (set(read) - set(write)) | own
    order = [built[place + 1] for place, word in enumerate(built) if word in ("--bind", "--ro-bind")]
    for place, path in enumerate(order):
        assert not any(path.startswith(later + "/") for later in order[place + 1 :])


def test_nothing_of_the_environment_enters_the_command_line() -> None:
    effective = sandboxes.effective(env={"pass": ["LANG", "SECRET_TOKEN"]})
    outside = {"LANG": "C.UTF-8", "SECRET_TOKEN": "hush", "LD_PRELOAD": "/x.so"}
    given_ = bubblewrap.environment(effective, "lau_1", outside)
    assert given_ == {"LANG": "C.UTF-8", "SECRET_TOKEN": "hush", "MODE": "batch", "IMPRIMATUR_LAUNCH": "lau_1"}
    assert not any("batch" in word or "hush" in word for word in bubblewrap.arguments(effective))


def test_limits_are_in_bytes_and_seconds() -> None:
    assert bubblewrap.limits(sandboxes.effective()) == {
        "address_space": 256 * 1024 * 1024,
        "cpu_seconds": 60,
        "file_size": 64 * 1024 * 1024,
        "open_files": 128,
        "processes": 32,
    }


def test_another_runtime_has_no_such_command_line() -> None:
    with pytest.raises(ValueError, match="for bwrap"):
        bubblewrap.arguments(sandboxes.effective(runtime={"kind": "docker"}))


LOOK = """
import json, os, socket
def can(act):
    try:
        act()
    except OSError:
        return False
    return True
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "configuration": open("/run/imprimatur/config.json").read(),
    "moves": can(lambda: os.rename("/run/imprimatur", "/run/other")),
    "writes": [path for path in ("/", "/usr", "READ", "WRITE", "/dev", "/run/imprimatur/config.json")
               if can(lambda: os.open(path if path.endswith("json") else path + "/new", os.O_WRONLY | os.O_CREAT))],
    "etc": os.path.exists("/etc/passwd"),
    "capabilities": status["CapEff"].strip(),
    "bounding": status["CapBnd"].strip(),
    "seccomp": status["Seccomp"].strip(),
    "privileges": status["NoNewPrivs"].strip(),
    "network": [name for _, name in socket.if_nameindex()],
    "here": os.getcwd(),
}))
"""


def _runs() -> bool:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return False
    tried = [bwrap, "--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--", "true"]
    return subprocess.run(tried, capture_output=True, check=False, timeout=60).returncode == 0


@pytest.fixture
def turn() -> Iterator[None]:
    with alone():
        yield


@pytest.mark.skipif(not _runs(), reason="needs bubblewrap, and a kernel that lets it make namespaces")
def test_bubblewrap_itself_does_what_these_arguments_say(tmp_path: Path, turn: None) -> None:
    read, write = tmp_path / "read", tmp_path / "write"
    read.mkdir()
    write.mkdir()
    effective: dict[str, Any] = sandboxes.effective(
        command={"allowed": ["/usr/bin/python3"]},
        files={"read": [str(read)], "write": [str(write)]},
        network={"mode": "none", "domains": None},
    )
    filter_, document = tmp_path / "filter", tmp_path / "config"
    filter_.write_bytes(struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000))  # one instruction: allow; the real one is stricter
    document.write_bytes(json.dumps(effective).encode())
    program = LOOK.replace("READ", str(read)).replace("WRITE", str(write))
    argv = ["bwrap", *bubblewrap.arguments(effective), "/usr/bin/python3", "-I", "-c", program]
    # Where the launcher would listen nobody does, and what it would say when the limits are set is there already.
    opened = [os.open(filter_, os.O_RDONLY), os.open(document, os.O_RDONLY)]
    opened += [os.open(os.devnull, os.O_WRONLY), os.open(document, os.O_RDONLY)]
    out, into = os.pipe()
    numbers = (bubblewrap.SECCOMP_FD, bubblewrap.CONFIGURATION_FD, bubblewrap.INFO_FD, bubblewrap.BLOCK_FD)
    # First to numbers that nobody has, so that none is written over before it is handed on.
    handed: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, own, 100 + place) for place, own in enumerate(opened)]
    handed += [(os.POSIX_SPAWN_DUP2, into, 1)]
    handed += [(os.POSIX_SPAWN_DUP2, 100 + place, number) for place, number in enumerate(numbers)]
    handed += [(os.POSIX_SPAWN_CLOSE, 100 + place) for place in range(len(opened))]
    pid = os.posix_spawnp("bwrap", argv, bubblewrap.environment(effective, "lau_1", {}), file_actions=handed)
    os.close(into)
    with os.fdopen(out) as stream:
        told = stream.read()
    for each in opened:
        os.close(each)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert json.loads(told) == {
        "configuration": document.read_text(),
        "moves": False,
        "writes": [str(write)],
        "etc": False,
        "capabilities": "0" * 16,
        "bounding": "0" * 16,
        "seccomp": "2",
        "privileges": "1",
        "network": ["lo"],
        "here": str(write),
    }
