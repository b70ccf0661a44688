"""Starting bubblewrap: descriptors with fixed numbers, limits on what waits inside, then the word to go.

The order is what makes it safe. The sandbox is built and waits; the launcher learns which process that is, puts the
limits on it, and writes the byte it waits for. Whatever goes wrong before, nothing of the agent has run. If the
launcher dies, the kernel kills what it started.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import pwd
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from imprimatur.errors import ConfigError
from imprimatur.rules import bubblewrap
from imprimatur.sandbox import limits as kernel

PLACES = ("/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap")
"""Where bubblewrap is looked for: no search path, which an environment could bend."""
WITHIN = 30.0
"""Seconds for a sandbox to be built."""
_PR_SET_PDEATHSIG = 1
_ABOVE = 64  # descriptors are moved above this before they get their numbers


class SandboxFailed(Exception):
    """No sandbox could be built, and nothing was started. The message says what to do."""


@dataclass(frozen=True, slots=True)
class User:
    """Whom a sandbox runs as on this machine. Never root."""

    uid: int
    gid: int

    @property
    def switched(self) -> bool:
        """Whether that is somebody else than who launches."""
        return self.uid != os.geteuid()


@dataclass(frozen=True, slots=True)
class Program:
    """The bubblewrap of this machine. ``version`` has the digest of the program in it."""

    path: str
    version: str


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox that waits to begin, or runs. ``pid`` is bwrap outside, ``inside`` its process in the sandbox."""

    pid: int
    inside: int
    release: int

    def begin(self) -> None:
        """Let it start its command."""
        os.write(self.release, b"\n")
        os.close(self.release)

    def command(self, within: float = 5.0) -> int | None:
        """The process of the command, once it is there; None when it was over before anybody could look."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            children = _children(self.inside)
            if children is None:
                return None
            if children:
                return children[0]
            time.sleep(0.002)
        return None

    def kill(self) -> None:
        """End all of it, at once."""
        for pid in (self.inside, self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def find() -> Program:
    """Raises ConfigError when bubblewrap is not installed or does not run."""
    path = next((place for place in PLACES if os.access(place, os.X_OK)), None)
    if path is None:
        raise ConfigError("bwrap is not installed. Install one package: bubblewrap (0.8 or later).")
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=10, env={})
    version = done.stdout.strip()
    if done.returncode != 0 or not version:
        raise ConfigError(f"{path} does not run ({done.stderr.strip()[:200]}). Install the package bubblewrap anew.")
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return Program(path, f"{version[:60]} sha256:{digest}")


def user(name: str | None = None) -> User:
    """Whom to run as: the caller, or for root the user with this name (default ``nobody``). Raises ConfigError.

    The kernel exempts root from the limit on processes, and a sandbox that breaks must not break as root.
    """
    if os.geteuid() != 0:
        if name is not None:
            raise ConfigError("Only root can launch as another user. Leave --user out: the agent runs as you.")
        return User(os.geteuid(), os.getegid())
    try:
        entry = pwd.getpwnam(name or "nobody")
    except KeyError:
        raise ConfigError(
            f"There is no user {name or 'nobody'}. Name one with --user: agents never run as root."
        ) from None
    if entry.pw_uid == 0:
        raise ConfigError("An agent is never run as root. Name another user with --user.")
    return User(entry.pw_uid, entry.pw_gid)


_REMEDIES = (
    (
        ("setting up uid map: Permission denied", "RTM_NEWADDR"),
        "AppArmor keeps it from user namespaces. As root, write /etc/apparmor.d/bwrap with `abi <abi/4.0>, include "
        "<tunables/global> profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }` and run "
        "`apparmor_parser -r /etc/apparmor.d/bwrap`.",
    ),
    (
        ("No space left on device", "ENOSPC"),
        "User namespaces are switched off. As root: sysctl user.max_user_namespaces=15000.",
    ),
    (
        ("Operation not permitted", "No permissions to create", "Can't mount proc"),
        "The kernel or the container around forbids user namespaces. As root: sysctl "
        "kernel.unprivileged_userns_clone=1; in a container, launch from the host or with --runtime declared.",
    ),
)


def probe(program: Program, who: User) -> None:
    """Build an empty sandbox as this user and end it. Raises ConfigError that says what to change."""
    isolation = ("user", "ipc", "pid", "net", "uts", "cgroup")
    words = [program.path, *(f"--unshare-{name}" for name in isolation), "--cap-drop", "ALL"]
    words += ["--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"]
    words += ["--proc", "/proc", "--dev", "/dev", "--", "/usr/bin/true"]
    identity: dict[str, Any] = {"user": who.uid, "group": who.gid, "extra_groups": []} if who.switched else {}
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=WITHIN, env={}, cwd="/", **identity
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(f"{program.path} does not run: {error}.") from None
    if done.returncode == 0:
        return
    said = done.stderr.strip()[:200]
    remedy = next((text for signs, text in _REMEDIES if any(sign in said for sign in signs)), "See docs/launch.md.")
    raise ConfigError(f"No sandbox can be built here ({said}). {remedy}")


def prepare(
    program: Program,
    flags: Sequence[str],
    command: Sequence[str],
    *,
    filter_: bytes,
    configuration: bytes,
    environment: Mapping[str, str],
    limits: Mapping[str, int],
    who: User,
) -> Running:
    """Build the sandbox, up to the point at which it waits for `Running.begin`, with its limits on it.

    Call it from the main thread: what is started dies with the thread that started it. Raises SandboxFailed.
    """
    told, tells = os.pipe()
    gate, other = os.pipe()
    # Opened for both ends, it never reads as ended: when the launcher dies, what waits goes on waiting to be killed.
    both = os.open(f"/proc/self/fd/{gate}", os.O_RDWR | os.O_CLOEXEC)
    os.close(gate)
    os.close(other)
    handed = {
        bubblewrap.SECCOMP_FD: _memory("seccomp", filter_),
        bubblewrap.CONFIGURATION_FD: _memory("configuration", configuration),
        bubblewrap.INFO_FD: tells,
        bubblewrap.BLOCK_FD: both,
    }
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(
            program.path,
            [*flags, *command],
            handed=handed,
            environment=dict(environment),
            who=who,
            libc=libc,
            parent=parent,
        )
    for number, descriptor in handed.items():
        if number != bubblewrap.BLOCK_FD:
            os.close(descriptor)
    try:
        inside = _told(told)
        _limit(inside, limits, who)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(both)
        if isinstance(error, (OSError, kernel.LimitError, ValueError)):
            raise SandboxFailed(
                f"The sandbox could not be built ({error}). Run `imprimatur doctor` on this machine."
            ) from None
        raise
    return Running(pid, inside, both)


def _memory(name: str, raw: bytes) -> int:
    descriptor = os.memfd_create(name)
    os.write(descriptor, raw)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _become(
    path: str,
    arguments: Sequence[str],
    *,
    handed: Mapping[int, int],
    environment: dict[str, str],
    who: User,
    libc: ctypes.CDLL,
    parent: int,
) -> NoReturn:
    """In the child: descriptors in their places and no others, another user where that is due, then bwrap."""
    try:
        os.setsid()  # the terminal's signals go to the launcher, which passes them on
        moved = {number: _above(descriptor) for number, descriptor in handed.items()}
        os.closerange(3, _ABOVE)
        for number, descriptor in moved.items():
            os.dup2(descriptor, number, inheritable=True)
        os.closerange(_ABOVE, 65_536)
        if who.switched:
            os.setgroups([])
            os.setresgid(who.gid, who.gid, who.gid)
            os.setresuid(who.uid, who.uid, who.uid)
        # After the change of user, which takes it away.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(127)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execve(path, [path, *arguments], environment)  # noqa: S606 - no shell is wanted
    finally:
        os._exit(127)


def _above(descriptor: int) -> int:
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, _ABOVE)


def _told(descriptor: int) -> int:
    """The process inside, from what bwrap tells. Raises ValueError when it ended instead, or takes too long."""
    raw, until = b"", time.monotonic() + WITHIN
    try:
        while True:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise ValueError("bwrap did not answer in time")
            part = os.read(descriptor, 4096)
            if not part:
                break
            raw += part
    finally:
        os.close(descriptor)
    if not raw:
        raise ValueError("bwrap ended at once; what it said is above")
    return int(json.loads(raw)["child-pid"])


def _limit(pid: int, limits: Mapping[str, int], who: User) -> None:
    """Put the limits on the process that waits. Only its own user may, where root was stripped of its powers."""
    if not who.switched:
        kernel.put(pid, limits)
        return
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(who.gid, who.gid, who.gid)
            os.setresuid(who.uid, who.uid, who.uid)
            kernel.put(pid, limits)
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise kernel.LimitError("the limits could not be set")


def _children(pid: int) -> list[int] | None:
    """The children of a process, the oldest first; None when it is gone."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except (FileNotFoundError, ProcessLookupError):
        return None
