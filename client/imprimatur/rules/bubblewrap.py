"""The command line of bubblewrap for an effective configuration: built in one place, used to launch and to check.

Pure: the same configuration gives the same list, so that a server that never saw the sandbox can demand exactly these
flags. What differs from launch to launch comes in by two open files with fixed numbers: the compiled seccomp filter
and the configuration itself. Nothing of the environment is here, because a value in a command line would be in the log.

Sources: bwrap(1) of 0.8.0; `--perms` and `--size` are as old as 0.7. The host has its programs in ``/usr``, with
``/bin``, ``/lib`` and the like as links into it; programs elsewhere need their folder in ``files.read``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imprimatur.rules.configuration.environment import LAUNCH

CONFIGURATION = "/run/imprimatur/config.json"
"""Where a process in the sandbox, and a monitor that looks into it, finds the effective configuration (JCS)."""

PROXY = "/run/imprimatur/proxy.sock"
"""The proxy's socket, the same inside and outside: the only way out when ``network.mode`` is ``proxy``."""

SECCOMP_FD, CONFIGURATION_FD = 10, 11
"""The numbers under which the launcher hands over the filter (cBPF) and the configuration (JCS bytes)."""

INFO_FD, BLOCK_FD = 12, 13
"""Where bwrap tells which process waits inside, and where that waits until the launcher has put its limits on it."""

_ISOLATION = (
    # Each by itself: --unshare-all only tries two of them, and goes on without.
    *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup"),
    "--die-with-parent",  # nothing outlives whoever answers for it
    "--new-session",  # no typing into the launcher's terminal (TIOCSTI)
    *("--cap-drop", "ALL"),
    *("--hostname", "sandbox"),
    # RLIMIT_NPROC counts per user namespace: set outside it would count all that the user runs on the machine.
    *("--info-fd", str(INFO_FD), "--block-fd", str(BLOCK_FD)),
)
_SYSTEM = (
    *("--ro-bind", "/usr", "/usr"),
    *("--symlink", "usr/bin", "/bin"),
    *("--symlink", "usr/sbin", "/sbin"),
    *("--symlink", "usr/lib", "/lib"),
    *("--symlink", "usr/lib64", "/lib64"),
    *("--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"),
    *("--ro-bind-try", "/etc/alternatives", "/etc/alternatives"),
    *("--ro-bind-try", "/etc/localtime", "/etc/localtime"),
    *("--ro-bind-try", "/etc/ssl/certs", "/etc/ssl/certs"),
    *("--proc", "/proc"),
    *("--dev", "/dev"),
)
_MIB = 1024 * 1024


def arguments(effective: Mapping[str, Any]) -> list[str]:
    """The arguments of bwrap, from behind its name to the ``--`` before the command.

    ``effective`` has no problems (`configuration.problems`) and is for bwrap. Raises ValueError for another runtime.
    """
    if effective["runtime"]["kind"] != "bwrap":
        raise ValueError("only configurations for bwrap have its command line")
    built = [*_ISOLATION, *_SYSTEM]
    # Files in memory are memory: none is larger than what may be used, and /dev is not one more place for them.
    memory = ["--size", str(effective["limits"]["memory_mb"] * _MIB), "--tmpfs"]
    built += [*memory, "/dev/shm", "--remount-ro", "/dev", *memory, "/tmp"]  # noqa: S108 - the sandbox's own
    files = effective.get("files", {})
    readable, writable = files.get("read", []), files.get("write", [])
    # What is mounted later covers what is below it, so parents come first; a path that is in both is writable.
    for path in sorted({*readable, *writable}, key=lambda text: text.split("/")):
        built += ["--bind" if path in writable else "--ro-bind", path, path]
    built += ["--perms", "0444", "--ro-bind-data", str(CONFIGURATION_FD), CONFIGURATION]
    if effective["network"]["mode"] == "proxy":
        built += ["--ro-bind", PROXY, PROXY]
    built += ["--remount-ro", "/"]  # so that nobody can move the configuration away and put another in its place
    built += ["--chdir", writable[0] if writable else "/tmp"]  # noqa: S108 - the sandbox's own
    return [*built, "--seccomp", str(SECCOMP_FD), "--"]


def limits(effective: Mapping[str, Any]) -> dict[str, int]:
    """The resource limits that the launcher puts (prlimit(2), soft and hard) on what waits inside the sandbox.

    By the names of `attestation.LIMITS`; sizes in bytes, times in seconds. How long it may run in all
    (``wall_seconds``) is the launcher's own to watch.
    """
    given = effective["limits"]
    return {
        "address_space": given["memory_mb"] * _MIB,
        "cpu_seconds": given["cpu_seconds"],
        "file_size": given["file_size_mb"] * _MIB,
        "open_files": given["open_files"],
        "processes": given["processes"],
    }


def environment(effective: Mapping[str, Any], launch: str, outside: Mapping[str, str]) -> dict[str, str]:
    """The whole environment that the launcher gives bwrap: names passed on from ``outside``, values that are set, and
    the launch's id, by which a monitor knows whose processes these are."""
    table = effective.get("env", {})
    passed = {name: outside[name] for name in table.get("pass", []) if name in outside}
    return {**passed, **table.get("set", {}), LAUNCH: launch}
