"""The closed form of a layer and of the effective configuration. Every problem is listed, not only the first."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imprimatur.formats import canonical
from imprimatur.formats.attestation import RUNTIMES
from imprimatur.formats.binding import REALM
from imprimatur.formats.shapes import Const, Digest, Id, Int, ListOf, MapOf, OneOf, Shape, ShapeError, Text, check
from imprimatur.rules.configuration import environment
from imprimatur.rules.configuration.flags import unsafe_flags
from imprimatur.rules.configuration.problem import ConfigurationError, Problem, quote
from imprimatur.rules.resources import Pattern, ResourceError, read_host, read_path

MAX_LAYER = 24_000
MAX_PARTS = 16
"""Of a dotted key. Each part costs the parser of TOML as much as all before it, and no key here has more than three."""

_PART = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_\\-])(?:{_PART}[ \t]*+\.[ \t]*+){{{MAX_PARTS}}}")
MOST = {
    "memory_mb": 1_048_576,
    "cpu_seconds": 604_800,
    "wall_seconds": 604_800,
    "processes": 4_096,
    "open_files": 65_536,
    "file_size_mb": 1_048_576,
}
"""The highest value of each limit: MiB, seconds (a week), and numbers. What needs more is not limited."""

_LIST = ListOf(Text(max=4096), max=256, unique=True)
_NAME = Text(max=128, pattern=r"[A-Za-z_][A-Za-z0-9_]*")
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")

FIELDS: dict[str, dict[str, Shape]] = {
    "agent": {"id": Id("ag")},
    "runtime": {"kind": OneOf(*RUNTIMES), "flags": ListOf(Text(max=4096), max=256), "image": Digest()},
    "command": {"allowed": _LIST},
    "limits": {name: Int(1, most) for name, most in MOST.items()},
    "files": {"read": _LIST, "write": _LIST},
    "network": {"mode": OneOf("none", "proxy"), "domains": _LIST},
    "env": {"pass": ListOf(_NAME, max=256, unique=True), "set": MapOf(Text(max=4096, min=0), max=256, key=_NAME)},
    "imports": {"allow": _LIST},
    "security": {
        "seccomp": OneOf("strict", "default"),
        "no_new_privileges": Const(True),
        "capabilities": ListOf(Text(), max=0),
    },
}
"""Every table and key there is."""

REQUIRED = (
    ("agent", "id"),
    ("runtime", "kind"),
    ("command", "allowed"),
    *(("limits", name) for name in MOST),
    ("network", "mode"),
    ("security", "seccomp"),
    ("security", "no_new_privileges"),
    ("security", "capabilities"),
)
"""What the effective configuration must state. Nothing is read, written, passed or imported unless it is listed."""

SYSTEM = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/boot", "/efi", "/root"),
    # What stands there is run by others, or is what their containers and services are made of.
    *(
        "/var/spool/cron",
        "/var/spool/at",
        "/var/lib/systemd",
        "/var/lib/dpkg",
        "/var/lib/docker",
        "/var/lib/containerd",
    ),
)
KERNEL = ("/proc", "/sys", "/dev", "/run", "/var/run", "/var/lock")
SHARED = ("/home", "/tmp", "/var/tmp")  # noqa: S108 - what is refused
"""Writable in parts, not as a whole: others have their files there."""
MEMORY = ("/tmp", "/dev/shm")  # noqa: S108 - the sandbox's own
"""Where everything in a sandbox can write, whatever its configuration says."""


def parse_layer(text: str) -> dict[str, Any]:
    """A layer from its TOML. Raises ConfigurationError with every problem of its form."""
    if len(text.encode("utf-8", "replace")) > MAX_LAYER:
        raise ConfigurationError([_malformed(f"A layer has at most {MAX_LAYER:,} bytes; split or shorten it.")])
    if _LONG_KEY.search(text):
        raise ConfigurationError([_malformed(f"It has more than {MAX_PARTS} words with dots between; shorten that.")])
    try:
        layer = tomllib.loads(text, parse_float=_no_float)
        canonical.dumps(_without_dates(layer))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError([_malformed(f"This is not TOML: {quote(error, 200)}. Correct it there.")]) from None
    except RecursionError:
        raise ConfigurationError([_malformed("The layer is nested too deeply; it has tables and keys only.")]) from None
    except ValueError as error:
        raise ConfigurationError([_malformed(f"The layer cannot be used: {error}.")]) from None
    problems = layer_problems(layer)
    if problems:
        raise ConfigurationError(problems)
    return layer


def layer_problems(layer: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the form of one layer: keys that do not exist, values that are not theirs, no realm."""
    found = [] if "realm" in layer else [Problem("wrong-realm", 'The layer names no realm; begin it with realm = "…".')]
    for table, value in layer.items():
        if table == "realm":
            found += _shape(value, REALM, "realm")
        elif table not in FIELDS:
            found.append(Problem("unknown-key", f"There is no table {quote(table)}; take it out or correct its name."))
        elif not isinstance(value, dict):
            found.append(_malformed(f"{table} must be a table: write [{table}] and its keys below."))
        else:
            for key, item in value.items():
                shape = FIELDS[table].get(key)
                if shape is None:
                    known = ", ".join(FIELDS[table])
                    found.append(Problem("unknown-key", f"There is no {table}.{quote(key)}; [{table}] has {known}."))
                elif (table, key) == ("limits", "memory_mb") and not _fits(item, shape):
                    found.append(_memory())
                else:
                    found += _shape(item, shape, f"{table}.{key}")
    return found


def problems(effective: Mapping[str, Any], realm: str) -> list[Problem]:
    """Everything that keeps this configuration from being used in ``realm``, in a fixed order; empty when nothing."""
    found = layer_problems(effective)
    if "realm" in effective and effective["realm"] != realm:
        found.append(
            Problem(
                "wrong-realm", f"The configuration is for the realm {quote(effective['realm'])}, not {quote(realm)}."
            )
        )
    for table, key in REQUIRED:
        if key in _table(effective, table):
            continue
        if (table, key) == ("limits", "memory_mb"):
            found.append(_memory())
        else:
            found.append(_malformed(f"{table}.{key} is missing; every effective configuration states it."))
    for judge in (_runtime, _command, _files, _network, _environment, _imports):
        found += judge(effective)
    return found


def _runtime(effective: Mapping[str, Any]) -> Iterator[Problem]:
    flags = _texts(effective, "runtime", "flags")
    for sentence in unsafe_flags(flags):
        yield Problem("unsafe-flag", f"runtime.flags has {sentence}")
    if any(environment.holds_a_secret(flag) for flag in flags):
        yield _secret("runtime.flags holds what looks like a secret")
    if flags and _table(effective, "runtime").get("kind") == "bwrap":
        yield Problem("unsafe-flag", "bwrap gets its flags from the configuration itself; leave runtime.flags out.")


def _command(effective: Mapping[str, Any]) -> Iterator[Problem]:
    allowed = _table(effective, "command").get("allowed")
    if allowed == []:
        yield _malformed("command.allowed is empty; name the executables that may run.")
    readable = [pattern for _, _, pattern in _paths(effective, "files", "read") if pattern]
    for path, fault, pattern in _paths(effective, "command", "allowed"):
        if fault or pattern is None:
            yield _malformed(f"command.allowed has {quote(path)}: {fault}")
        elif _in(KERNEL, pattern) and not _in(MEMORY, pattern):
            yield Problem("unsafe-path", f"command.allowed has {quote(path)}, which may be any program; name one.")
        elif _in(MEMORY, pattern) and not any(folder.includes(pattern) for folder in readable):
            yield Problem("unsafe-path", f"command.allowed has {quote(path)}, where whatever runs can write; move it.")


def _files(effective: Mapping[str, Any]) -> Iterator[Problem]:
    programs = [pattern for _, _, pattern in _paths(effective, "command", "allowed") if pattern]
    for key in ("read", "write"):
        refused = [read_path(path) for path in (KERNEL + SYSTEM if key == "write" else KERNEL)]
        for path, fault, pattern in _paths(effective, "files", key):
            if fault or pattern is None:
                yield _malformed(f"files.{key} has {quote(path)}: {fault}")
            elif any(area.includes(pattern) or pattern.includes(area) for area in refused):
                yield Problem("unsafe-path", f"files.{key} has {quote(path)}, which opens the system; name less.")
            elif key == "write" and any(pattern.includes(read_path(area)) for area in SHARED):
                yield Problem(
                    "unsafe-path", f"files.write has {quote(path)}, where others have their files; name less."
                )
            elif key == "write" and any(pattern.includes(program) for program in programs):
                yield Problem("unsafe-path", f"files.write has {quote(path)}, and so a program that may run; move it.")


def _in(areas: tuple[str, ...], pattern: Pattern) -> bool:
    return any(read_path(area).includes(pattern) for area in areas)


def _network(effective: Mapping[str, Any]) -> Iterator[Problem]:
    domains = _texts(effective, "network", "domains")
    if domains and _table(effective, "network").get("mode") == "none":
        yield _malformed('network.domains is for the mode "proxy"; leave it out, or change the mode.')
    for domain in domains:
        try:
            read_host(domain)
        except ResourceError as error:
            yield _malformed(f"network.domains has {quote(domain)}: {quote(error, 200)}")


def _environment(effective: Mapping[str, Any]) -> Iterator[Problem]:
    given = _table(effective, "env").get("set")
    given = given if isinstance(given, dict) else {}
    passed = _texts(effective, "env", "pass")
    for name, value in given.items():
        if environment.names_a_secret(name):
            yield _secret(f"env.set has {quote(name)}, the name of a secret")
        elif isinstance(value, str) and environment.holds_a_secret(value):
            yield _secret(f"env.set {quote(name)} holds what looks like a secret")
    for key, names in (("set", list(given)), ("pass", passed)):
        for name in names:
            if environment.loads_code(name, passed=key == "pass"):
                yield Problem("unsafe-environment", f"env.{key} has {quote(name)}, which loads code; take it out.")
            if name == environment.LAUNCH:
                yield Problem("unsafe-environment", f"env.{key} has {name}, which only the launcher sets; take it out.")
    for name in passed:
        if name in given:
            yield _malformed(f"{quote(name)} is both in env.pass and in env.set; decide for one.")


def _imports(effective: Mapping[str, Any]) -> Iterator[Problem]:
    for module in _texts(effective, "imports", "allow"):
        if any(character in module for character in "*?[]%") or module in (".", "all", "any"):
            yield Problem("wildcard-import", f"imports.allow has {quote(module)}; name each module by itself.")
        elif not _MODULE.fullmatch(module):
            yield _malformed(
                f"imports.allow has {quote(module)}, which is no name of a module, such as json or os.path."
            )


def _paths(effective: Mapping[str, Any], table: str, key: str) -> Iterator[tuple[str, str, Pattern | None]]:
    for text in _texts(effective, table, key):
        try:
            pattern = read_path(text)
        except ResourceError as error:
            yield text, str(error), None
            continue
        spelt = pattern.text() == text
        yield text, "" if spelt else f"write it as {quote(pattern.text())}.", pattern if spelt else None


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, Mapping) else {}


def _texts(document: Mapping[str, Any], table: str, key: str) -> list[str]:
    # What is not a list of strings was told by its shape; the other judges still look at the rest.
    value = _table(document, table).get(key)
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _shape(value: Any, shape: Shape, where: str) -> list[Problem]:
    try:
        check(value, shape, where)
    except ShapeError as error:
        return [_malformed(f"{error}. Correct it.")]
    return []


def _fits(value: Any, shape: Shape) -> bool:
    return not _shape(value, shape, "")


def _malformed(message: str) -> Problem:
    return Problem("malformed-configuration", message[:500])


def _memory() -> Problem:
    most = MOST["memory_mb"]
    return Problem("unlimited-memory", f"limits.memory_mb must be a number of MiB from 1 to {most:,}; set one.")


def _secret(what: str) -> Problem:
    return Problem("secret-in-configuration", f"{what}; the log would keep it. Name it in env.pass instead.")


def _no_float(text: str) -> Any:
    raise ValueError(f"it has a number with a point or exponent ({text[:20]}); write whole numbers only")


def _without_dates(value: Any) -> Any:
    judge: Callable[[Any], Any] = _without_dates
    if isinstance(value, dict):
        return {key: judge(item) for key, item in value.items()}
    if isinstance(value, list):
        return [judge(item) for item in value]
    if isinstance(value, (str, int)):
        return value
    raise ValueError("it has a date or time; nothing here is one, so write a string or take it out")
