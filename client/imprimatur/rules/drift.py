"""Where what runs differs from what was launched: a launch and one observation of it, compared facet by facet.

With bubblewrap three processes show a launch: bwrap outside (in the host's namespaces), bwrap inside as process 1 that
only reaps, and the command. The two helpers have bwrap's whole command line and nobody else may look like them: one
outside, one inside as its child. Everything else in the launch is the agent's, and its first process is the command.

Of a runtime that is only declared, what the host's /proc shows is compared: command (as the end of what is seen),
seccomp, privileges, capabilities, namespaces, and the limits that are there.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from imprimatur.formats import canonical
from imprimatur.formats.attestation import CAPABILITY_SETS
from imprimatur.inert import CLOSE, OPEN, visible
from imprimatur.rules import bubblewrap, configuration

CODES: dict[str, str] = {
    "not-running": "The launch has not ended, and nothing of it runs.",
    "flag-changed": "Another command runs than was launched.",
    "file-changed": "The executable or the configuration is another than at the launch.",
    "seccomp-missing": "No filter of system calls is in force.",
    "privileges": "The process could gain privileges by what it executes.",
    "capability": "The process has capabilities, and must have none.",
    "namespace": "The process shares a namespace with the host, or has left those of the launch.",
    "limit": "A limit is not set, or is higher than the configuration says.",
    "unknown-process": "Something runs that the configuration does not allow.",
    "other-user": "The process runs as root, or as another user than the launch.",
}
"""Every code with what it means."""

MAX_FINDINGS, MAX_VALUE = 64, 400

MAX_BYTES = 10_000
"""Of all findings as canonical JSON: an entry has 45,000 bytes, and the largest statement takes 33,000 of them."""

_SHORT = 100  # characters of a value where even one finding of each code is too much: 10 codes stay below 10,000 bytes

_ALWAYS = ("ipc", "mnt", "net", "pid", "uts")
_NAMESPACES = {True: ("cgroup", *_ALWAYS[:-1], "user", "uts"), False: _ALWAYS}
_MOST_ARGUMENTS = 256  # of a process, in an observation
_SECCOMP_FILTER = 2  # proc(5), Seccomp

Process = Mapping[str, Any]


def findings(launch: Mapping[str, Any], observation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The differences as `attestation.FINDING`, in the order of process and code; empty when there is none.

    Both are predicates that have their shapes, and ``launch`` was not refused and has not ended. At most 64 are given,
    in at most 10,000 bytes, and of each code that was found at least one.
    """
    found = list(_launched(launch, observation) if launch["runtime"]["launched"] else _declared(launch, observation))
    found.sort(key=lambda each: (each.get("pid", 0), each["code"], each["expected"], each["found"]))
    return _fitting(found)


def _fitting(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many as an entry holds beside the largest statement, the first of each code before all others.

    Whoever makes the processes must not be able to keep what is found of them out of the log.
    """
    first = {id(each) for each in {each["code"]: each for each in reversed(found)}.values()}
    rest = [each for each in found if id(each) not in first][: MAX_FINDINGS - len(first)]
    while True:
        shown = first | {id(each) for each in rest}
        kept = [each for each in found if id(each) in shown]
        if len(canonical.dumps(kept)) <= MAX_BYTES:
            return kept
        if not rest:
            break
        rest = rest[: len(rest) // 2]
    return [{**each, "expected": cut(each["expected"], _SHORT), "found": cut(each["found"], _SHORT)} for each in kept]


@dataclass(frozen=True, slots=True)
class _Sorted:
    """The processes of a launch by what they are for."""

    outside: Process | None
    inside: Process | None
    agents: list[Process] = field(default_factory=list)  # the first is the command


def _launched(launch: Mapping[str, Any], observation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    sorted_ = _sort(launch, observation)
    if not sorted_.agents:
        yield _finding("not-running", None, shlex.join(launch["command"]), "no process")
        return
    main, effective = sorted_.agents[0], launch["effective"]
    yield from _same_command(main, launch["command"])
    yield from _same_executable(main, launch["executable"])
    for process in sorted_.agents[1:]:
        path = process["executable"]["path"]
        if path == launch["executable"]["path"]:
            yield from _same_executable(process, launch["executable"])
        elif path not in effective["command"]["allowed"]:
            allowed = ", ".join(effective["command"]["allowed"])
            yield _finding("unknown-process", process, allowed, f"{path}: {shlex.join(process['command'])}")
    digest = configuration.digest(effective)
    for process in sorted_.agents:
        yield from _same_configuration(process, digest, process.get("configuration", "no configuration"))
    contained = [*sorted_.agents, *([sorted_.inside] if sorted_.inside else [])]
    if sorted_.inside:
        yield from _same_configuration(sorted_.inside, digest, sorted_.inside.get("configuration", digest))
    for process in contained:
        yield from _contained(process, observation["host"], built=True)
        yield from _limited(process, bubblewrap.limits(effective), all_set=True)
        if process is not main:
            yield from _with(process, main, observation["host"])
    for process in [*contained, *([sorted_.outside] if sorted_.outside else [])]:
        if process["uid"] == 0 or process["uid"] != main["uid"]:
            expected = "one user for all, and not 0" if main["uid"] == 0 else f"user {main['uid']}"
            yield _finding("other-user", process, expected, f"user {process['uid']}")


def _declared(launch: Mapping[str, Any], observation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    processes = sorted(observation["processes"], key=lambda each: (each["started"], each["pid"]))
    if not processes:
        yield _finding("not-running", None, shlex.join(launch["command"]), "no process")
        return
    command = launch["command"][:_MOST_ARGUMENTS]
    if not any(process["command"][-len(command) :] == command for process in processes):
        yield from _same_command(processes[0], command)
    for process in processes:
        yield from _contained(process, observation["host"], built=False)
        yield from _limited(process, bubblewrap.limits(launch["effective"]), all_set=False)


def _sort(launch: Mapping[str, Any], observation: Mapping[str, Any]) -> _Sorted:
    processes: list[Process] = sorted(observation["processes"], key=lambda each: (each["started"], each["pid"]))
    helper = [*launch["flags"], *launch["command"]][: _MOST_ARGUMENTS - 1]
    helpers = [
        process
        for process in processes
        if process["executable"]["path"].rsplit("/", 1)[-1] == "bwrap" and process["command"][1:] == helper
    ]
    host = observation["host"]
    outside = next((each for each in helpers if each["namespaces"].get("pid") == host.get("pid")), None)
    inside = next(
        (
            each
            for each in helpers
            if each is not outside and (each["parent"] == outside["pid"] if outside else each is helpers[0])
        ),
        None,
    )
    rest = [process for process in processes if process is not outside and process is not inside]
    numbers = {process["pid"] for process in rest}
    # The command is the reaper's first child. Orphans come to stand beside it, and were not there first.
    under = inside["pid"] if inside else None
    rest.sort(
        key=lambda each: (
            under is not None and each["parent"] != under,
            each["parent"] in numbers,
            each["started"],
            each["pid"],
        )
    )
    return _Sorted(outside, inside, rest)


def _same_command(process: Process, command: Sequence[str]) -> Iterator[dict[str, Any]]:
    if process["command"] != list(command[:_MOST_ARGUMENTS]):
        yield _finding("flag-changed", process, shlex.join(command), shlex.join(process["command"]))


def _same_executable(process: Process, launched: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    seen = process["executable"]
    if seen["path"] != launched["path"] or ("digest" in launched and seen.get("digest") != launched["digest"]):
        yield _finding("file-changed", process, _file(launched), _file(seen))


def _same_configuration(process: Process, expected: str, seen: str) -> Iterator[dict[str, Any]]:
    if seen != expected:
        yield _finding("file-changed", process, f"configuration {expected}", f"configuration {seen}")


def _contained(process: Process, host: Mapping[str, int], *, built: bool) -> Iterator[dict[str, Any]]:
    if process["seccomp"] != _SECCOMP_FILTER:
        yield _finding("seccomp-missing", process, "seccomp 2 (filter)", f"seccomp {process['seccomp']}")
    if not process["no_new_privileges"]:
        yield _finding("privileges", process, "no_new_privileges 1", "no_new_privileges 0")
    sets = process["capabilities"]
    held = [f"{name} {sets.get(name, 'unknown')}" for name in CAPABILITY_SETS if int(sets.get(name, "1"), 16) != 0]
    if held:
        yield _finding("capability", process, "none", ", ".join(held))
    own = process["namespaces"]
    shared = [name for name in _NAMESPACES[built] if name not in own or name not in host or own[name] == host[name]]
    if shared:
        yield _finding("namespace", process, "namespaces other than the host's", f"the host's {', '.join(shared)}")


def _with(process: Process, main: Process, host: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    own, first = process["namespaces"], main["namespaces"]
    # One that is missing, or is the host's, is told by itself.
    left = [
        name
        for name in _NAMESPACES[True]
        if name in own and name in first and own[name] != first[name] and host.get(name) not in (own[name], first[name])
    ]
    if left:
        yield _finding("namespace", process, f"those of process {main['pid']}", f"other {', '.join(left)}")


def _limited(process: Process, limits: Mapping[str, int], *, all_set: bool) -> Iterator[dict[str, Any]]:
    own = process["limits"]
    loose = [name for name in sorted(limits) if (own[name] > limits[name] if name in own else all_set)]
    if loose:
        expected = ", ".join(f"{name} {limits[name]}" for name in loose)
        yield _finding("limit", process, expected, ", ".join(f"{name} {own.get(name, 'unlimited')}" for name in loose))


def _file(executable: Mapping[str, Any]) -> str:
    return f"{executable['path']} {executable.get('digest', 'of unknown digest')}"


def _finding(code: str, process: Process | None, expected: str, found: str) -> dict[str, Any]:
    row: dict[str, Any] = {"code": code, "expected": cut(expected), "found": cut(found)}
    return row if process is None else {**row, "pid": process["pid"]}


def cut(text: str, most: int = MAX_VALUE) -> str:
    """Text of a stranger with everything hidden made visible, on one line, in at most ``most`` characters.

    Never empty, never ends within an escape, and ends with ``…`` where something was left out.
    """
    shown = visible(text[:most]) or "(nothing)"
    if len(shown) <= most and len(text) <= most:
        return shown
    shown = shown[: most - 1]
    if shown.rfind(OPEN) > shown.rfind(CLOSE):
        shown = shown[: shown.rfind(OPEN)]
    return shown + "…"
