"""What /proc tells of the processes that belong to launches (proc(5), namespaces(7), capabilities(7)).

A process belongs to a launch when it says so (``IMPRIMATUR_LAUNCH`` in its environment), or when it is in the pid
namespace of one that does: a child that clears its environment, or a program put into the sandbox from outside, cannot
hide. Where processes of one namespace say different things, the oldest of them decides, so what an agent claims to be
does not become another's drift.

Everything read here may vanish, change or be hostile at any moment: names that are no text, links instead of files,
pipes that never end. A process that cannot be read is counted, never skipped in silence.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imprimatur.formats import attestation
from imprimatur.rules import configuration
from imprimatur.rules.configuration.environment import LAUNCH

CONFIGURATION = ("run", "imprimatur", "config.json")
"""Where a sandbox shows its effective configuration, read-only."""

_CLAIM = re.compile(r"[\x21-\x7e]{1,64}")
_LARGEST = 1_000_000  # bytes of any file of /proc that is read
_CONFIGURATION_LARGEST = 1_000_000
_HASHED_EACH_TIME = 1_000_000  # bytes
_MOST_ARGUMENTS, _MOST_CHARACTERS, _MOST_PATH, _MOST_CGROUP = 256, 4096, 4096, 1024
_SAFE = 2**53 - 1
_LEFT_OUT = "secret://looks-like-one:left-out@here"  # looks like one itself, so that no launch is attested with it

_STATUS = {
    "inheritable": "CapInh",
    "permitted": "CapPrm",
    "effective": "CapEff",
    "bounding": "CapBnd",
    "ambient": "CapAmb",
}
_LIMITS = {
    "address_space": "Max address space",
    "cpu_seconds": "Max cpu time",
    "file_size": "Max file size",
    "open_files": "Max open files",
    "processes": "Max processes",
}
_GONE = (FileNotFoundError, ProcessLookupError)


class NotReadable(Exception):
    """This process may not be looked into."""


class Vanished(Exception):
    """This process is gone, or another one has its number by now."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at all processes: those that belong to launches, by what they say; and how many could not be read."""

    launches: dict[str, list[dict[str, Any]]]
    unread: int


@dataclass(frozen=True, slots=True)
class _Glance:
    """What decides whether a process belongs to a launch at all."""

    pid: int
    started: int
    claim: str | None
    namespace: int


@dataclass
class Proc:
    """A /proc. ``root`` may be another folder in tests. Remembers digests of large programs that have not changed."""

    root: Path = Path("/proc")
    _digests: dict[tuple[int, int, int, int], str] = field(default_factory=dict)

    def host(self) -> dict[str, int]:
        """The monitor's own namespaces."""
        return self._namespaces("self")

    def look(self) -> Seen:
        """All processes that belong to a launch, the lowest number first."""
        own = self.host().get("pid")
        glances, unread = [], 0
        for pid in self._pids():
            try:
                glances.append(self._glance(pid))
            except Vanished:
                continue
            except NotReadable:
                unread += 1
        owners: dict[int, _Glance] = {}
        for each in glances:
            if each.claim is None or each.namespace == own:
                continue
            first = owners.get(each.namespace)
            if first is None or (each.started, each.pid) < (first.started, first.pid):
                owners[each.namespace] = each
        launches: dict[str, list[dict[str, Any]]] = {}
        for each in glances:
            owner = owners.get(each.namespace)
            claim = owner.claim if owner is not None else each.claim
            if claim is None:
                continue
            try:
                process = self.read(each.pid)
            except Vanished:
                continue
            except NotReadable:
                unread += 1
                continue
            if process["started"] == each.started:
                launches.setdefault(claim, []).append(process)
        return Seen(launches, unread)

    def read(self, pid: int) -> dict[str, Any]:
        """One process in the shape of ``attestation.PROCESS``. Raises Vanished, NotReadable."""
        with _told():
            started = self._started(pid)
            status = self._status(pid)
            found: dict[str, Any] = {
                "pid": pid,
                "parent": int(status["PPid"]),
                "started": started,
                "uid": int(status["Uid"].split()[1]),
                "command": _arguments(self._bytes(pid, "cmdline")),
                "executable": self._executable(pid),
                "seccomp": int(status.get("Seccomp", "0")),
                "no_new_privileges": status.get("NoNewPrivs") == "1",
                "capabilities": {name: status[field].lower() for name, field in _STATUS.items() if field in status},
                "namespaces": self._namespaces(str(pid)),
                "cgroup": _text(self._bytes(pid, "cgroup").strip().replace(b"\n", b"; "), _MOST_CGROUP),
                "limits": self._limits(pid),
            }
            configuration = self._configuration(pid)
            if configuration is not None:
                found["configuration"] = configuration
            if self._started(pid) != started:
                raise Vanished
            return found

    def _pids(self) -> Iterator[int]:
        yield from sorted(int(each.name) for each in self.root.iterdir() if each.name.isdecimal())

    def _glance(self, pid: int) -> _Glance:
        with _told():
            started = self._started(pid)
            claim = _claim(self._bytes(pid, "environ"))
            namespace = self._inode(f"{pid}/ns/pid")
            return _Glance(pid, started, claim, namespace)

    def _bytes(self, pid: int, name: str) -> bytes:
        with (self.root / str(pid) / name).open("rb", buffering=0) as stream:
            parts, size = [], 0
            while size <= _LARGEST and (part := stream.read(65_536)):
                parts.append(part)
                size += len(part)
        return b"".join(parts)

    def _started(self, pid: int) -> int:
        # The name in brackets may hold brackets and spaces itself.
        fields = self._bytes(pid, "stat").rpartition(b")")[2].split()
        if not fields or fields[0] in (b"Z", b"X", b"x"):
            raise Vanished  # dead, and only waits to be buried
        return int(fields[19])

    def _status(self, pid: int) -> dict[str, str]:
        lines = self._bytes(pid, "status").decode("ascii", "replace").splitlines()
        pairs = (line.partition(":") for line in lines)
        found: dict[str, str] = {}
        for name, _, value in pairs:
            found.setdefault(name, value.strip())  # Name: comes first and may hold anything but a line break
        return found

    def _limits(self, pid: int) -> dict[str, int]:
        """Hard limits: what the process cannot raise. Those that are not set are left out."""
        lines = self._bytes(pid, "limits").decode("ascii", "replace").splitlines()
        found = {}
        for name, label in _LIMITS.items():
            line = next((line for line in lines if line.startswith(label)), None)
            if line is None:
                continue
            hard = line[len(label) :].split()[1]
            if hard != "unlimited" and int(hard) <= _SAFE:
                found[name] = int(hard)
        return found

    def _inode(self, path: str) -> int:
        target = str((self.root / path).readlink())
        return int(target.rpartition("[")[2].rstrip("]"))

    def _namespaces(self, pid: str) -> dict[str, int]:
        found = {}
        for name in attestation.NAMESPACES:
            with contextlib.suppress(FileNotFoundError):  # an older kernel has no time namespaces
                found[name] = self._inode(f"{pid}/ns/{name}")
        return found

    def _executable(self, pid: int) -> dict[str, str]:
        link = self.root / str(pid) / "exe"
        try:
            path = _text(os.fsencode(link.readlink()), _MOST_PATH) or "?"
        except FileNotFoundError:
            return {"path": "none"}  # a process of the kernel, or one that is ending
        digest = None
        with contextlib.suppress(*_GONE):
            digest = self._digest(link)
        return {"path": path} if digest is None else {"path": path, "digest": digest}

    def _digest(self, link: Path) -> str:
        """SHA-256 of the program. A large one is not read again while the kernel says that nothing in it changed:
        nobody sets a file's ctime but by changing the clock."""
        with link.open("rb") as stream:
            info = os.fstat(stream.fileno())
            key = (info.st_dev, info.st_ino, info.st_ctime_ns, info.st_size)
            known = self._digests.get(key)
            if known is not None:
                return known
            digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        if info.st_size > _HASHED_EACH_TIME:
            if len(self._digests) >= 1000:
                self._digests.clear()
            self._digests[key] = digest
        return digest

    def _configuration(self, pid: int) -> str | None:
        """SHA-256 of the configuration as this process sees it; None when it sees none.

        No link is followed, since a sandbox's link would lead into the monitor's own files.
        """
        opened: list[int] = []
        try:
            opened.append(os.open(self.root / str(pid) / "root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
            for folder in CONFIGURATION[:-1]:
                flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                opened.append(os.open(folder, flags, dir_fd=opened[-1]))
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            opened.append(os.open(CONFIGURATION[-1], flags, dir_fd=opened[-1]))
            info = os.fstat(opened[-1])
            if not stat.S_ISREG(info.st_mode) or info.st_size > _CONFIGURATION_LARGEST:
                return None
            raw = os.read(opened[-1], _CONFIGURATION_LARGEST + 1)
            return f"sha256:{hashlib.sha256(raw).hexdigest()}"
        except ProcessLookupError:
            raise
        except PermissionError as error:
            if len(opened) == 0:
                raise NotReadable from error
            return None
        except OSError:
            return None
        finally:
            for descriptor in opened:
                os.close(descriptor)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Say of every failure to read /proc which of the two it is."""
    try:
        yield
    except _GONE as error:
        raise Vanished from error
    except PermissionError as error:
        raise NotReadable from error
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise NotReadable from error


def _claim(environ: bytes) -> str | None:
    """What the process says that it belongs to. Something unreadable is a claim too, of nothing that exists."""
    prefix = f"{LAUNCH}=".encode()
    for each in environ.split(b"\0"):
        if each.startswith(prefix):
            text = _text(each[len(prefix) :], 64)
            return text if _CLAIM.fullmatch(text) else "unreadable"
    return None


def _arguments(raw: bytes) -> list[str]:
    """The command line, where that fits. What does not is replaced by its digest, so that it equals nothing; what looks
    like a secret by words, since the log would keep it. No launch that was attested has such an argument."""
    parts = raw.removesuffix(b"\0").split(b"\0") if raw else []
    if len(parts) > _MOST_ARGUMENTS:
        rest = b"\0".join(parts[_MOST_ARGUMENTS - 1 :])
        parts = [*parts[: _MOST_ARGUMENTS - 1], _digest_of(rest)]
    found = (_text(part, _MOST_CHARACTERS) for part in parts)
    return [_LEFT_OUT if configuration.holds_a_secret(each) else each for each in found]


def _text(raw: bytes, most: int) -> str:
    """Bytes as text: what is no UTF-8 is written as an escape, what is too long ends in a digest of all of it."""
    text = raw.decode("utf-8", "backslashreplace")
    if len(text) <= most:
        return text
    tail = _digest_of(raw).decode("ascii")
    return text[: max(0, most - len(tail))] + tail if most > len(tail) else text[:most]


def _digest_of(raw: bytes) -> bytes:
    return f"[... {len(raw)} bytes, sha256:{hashlib.sha256(raw).hexdigest()}]".encode()


def shorten(processes: list[dict[str, Any]]) -> bool:
    """Replace the longest command line by its digest. False when there is nothing left to shorten."""
    longest = max(processes, key=lambda each: sum(map(len, each["command"])), default=None)
    if longest is None or sum(map(len, longest["command"])) <= 300:
        return False
    whole = "\0".join(longest["command"]).encode("utf-8")
    longest["command"] = [longest["command"][0][:100], _digest_of(whole).decode("ascii")]
    return True
