"""How layers of configuration become one: the program whose digest a launch names.

Tables merge key by key; of scalars and lists the later layer's stands. No layer may loosen what an earlier one said
(`widenings`): the first layer is the organisation's, those behind it are the project's, and whoever writes the second
must not be able to undo the first. What no earlier layer speaks of, a later one may say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from imprimatur.rules.configuration.problem import Problem, quote
from imprimatur.rules.resources import ResourceError, read_host, read_path


def merge(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The effective configuration. The layers stay as they are; merging is associative, and a layer twice is once."""
    merged: dict[str, Any] = {}
    for layer in layers:
        _into(merged, layer)
    return merged


def widenings(layers: Sequence[Mapping[str, Any]]) -> list[Problem]:
    """Every place where a layer would loosen what the layers before it say, as problems ``widens``; layers of two
    realms are ``wrong-realm``.

    The layers have their shape (`schema.layer_problems`). Where one widens, its facet stays as it was for what follows.
    """
    found: list[Problem] = []
    base: dict[str, Any] = {}
    for number, layer in enumerate(layers, 1):
        for place, later, narrower in _stated(layer):
            before = _at(base, place)
            if before is not None and not narrower(later, before):
                code = "wrong-realm" if place == ("realm",) else "widens"
                found.append(Problem(code, f"Layer {number} changes or loosens {_name(place)}. {_ADVICE[place[0]]}"))
            else:
                _put(base, place, later)
    return found


def _into(target: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, Mapping):
            inner = target.get(key)
            target[key] = inner = dict(inner) if isinstance(inner, dict) else {}
            _into(inner, value)
        else:
            target[key] = list(value) if isinstance(value, list) else value


_Narrower = Callable[[Any, Any], bool]


def _same(later: Any, before: Any) -> bool:
    return bool(later == before)


def _subset(later: list[str], before: list[str]) -> bool:
    return set(later) <= set(before)


def _lower(later: int, before: int) -> bool:
    return later <= before


def _below_paths(later: list[str], before: list[str]) -> bool:
    try:
        wide = [read_path(path) for path in before]
        return all(any(path.includes(read_path(item)) for path in wide) for item in later)
    except ResourceError:
        return _subset(later, before)  # what cannot be read is a problem of its own


def _below_hosts(later: list[str], before: list[str]) -> bool:
    try:
        wide = [read_host(host) for host in before]
        return all(any(host.includes(read_host(item)) for host in wide) for item in later)
    except ResourceError:
        return _subset(later, before)


def _below_modules(later: list[str], before: list[str]) -> bool:
    return all(any(item == module or item.startswith(module + ".") for module in before) for item in later)


def _ordered(*loose_to_strict: str) -> _Narrower:
    def narrower(later: str, before: str) -> bool:
        if later not in loose_to_strict or before not in loose_to_strict:
            return later == before
        return loose_to_strict.index(later) >= loose_to_strict.index(before)

    return narrower


_FACETS: dict[str, dict[str, _Narrower]] = {
    "agent": {"id": _same},
    "runtime": {"kind": _same, "flags": _same, "image": _same},
    "command": {"allowed": _subset},
    "limits": dict.fromkeys(
        ("memory_mb", "cpu_seconds", "wall_seconds", "processes", "open_files", "file_size_mb"), _lower
    ),
    "files": {"read": _below_paths, "write": _below_paths},
    "network": {"mode": _ordered("proxy", "none"), "domains": _below_hosts},
    "env": {"pass": _subset},
    "imports": {"allow": _below_modules},
    "security": {
        "seccomp": _ordered("default", "strict"),
        "no_new_privileges": _same,
        "capabilities": _subset,
    },
}
"""For every facet, when a later value is no looser than an earlier one. ``env.set`` is here by its names: `_stated`."""

_ADVICE = {
    "realm": "All layers name the same realm.",
    "agent": "All layers are about the same agent; leave the id out of one.",
    "runtime": "What an earlier layer says about the runtime stays; leave it out here.",
    "command": "Allow only executables that the earlier layers allow.",
    "limits": "A later layer may only lower a limit.",
    "files": "Name only paths at or below those of the earlier layers.",
    "network": "Keep the mode and name only hosts that the earlier layers cover.",
    "env": "Pass only names that the earlier layers pass, and leave values that they set as they are.",
    "imports": "Allow only modules at or below those that the earlier layers allow.",
    "security": "A later layer may only be stricter.",
}


def _stated(layer: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any, _Narrower]]:
    if "realm" in layer:
        yield ("realm",), layer["realm"], _same
    for table, facets in _FACETS.items():
        inner = layer.get(table, {})
        for key, narrower in facets.items():
            if key in inner:
                yield (table, key), inner[key], narrower
    for name, value in layer.get("env", {}).get("set", {}).items():
        yield ("env", "set", name), value, _same


def _at(base: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    value: Any = base
    for key in place:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _put(base: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    for key in place[:-1]:
        base = base.setdefault(key, {})
    base[place[-1]] = value


def _name(place: tuple[str, ...]) -> str:
    return ".".join(place[:2]) + (f" {quote(place[2], 60)}" if len(place) > 2 else "")
