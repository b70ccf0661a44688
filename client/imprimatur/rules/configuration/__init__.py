"""Configuration of an agent's sandbox: TOML layers, merged into one effective configuration with one digest.

`parse_layer` and `layer_problems` judge the form of a layer, `widenings` what a layer does to those before it, and
`problems` the effective configuration. Whoever launches demands that all three find nothing (`read` does).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from imprimatur.formats import canonical, digests
from imprimatur.rules.configuration.environment import holds_a_secret
from imprimatur.rules.configuration.flags import RULES, unsafe_flags
from imprimatur.rules.configuration.merging import merge, widenings
from imprimatur.rules.configuration.problem import ConfigurationError, Problem, quote
from imprimatur.rules.configuration.schema import layer_problems, parse_layer, problems

MERGE_PROGRAM = "imprimatur.rules.configuration"
"""The program that merges and judges; `merge_digest` is the digest of its source."""

_JUDGE_TOO = ("bubblewrap.py", "launches.py")  # what a launch becomes, and may be, by the same tables


@dataclass(frozen=True, slots=True)
class Reading:
    """What layers add up to. Use ``effective`` only when there are no ``problems``."""

    effective: dict[str, Any]
    problems: list[Problem]


def read(texts: Sequence[tuple[str, str]], realm: str) -> Reading:
    """Read layers (name and text, the organisation's first) into one configuration with every problem of it."""
    layers: list[dict[str, Any]] = []
    found: list[Problem] = []
    for name, text in texts:
        try:
            layers.append(parse_layer(text))
        except ConfigurationError as error:
            found += [Problem(each.code, f"{quote(name, 60)}: {each.message}"[:500]) for each in error.problems]
    if found:
        return Reading({}, found)
    if not layers:
        return Reading({}, [Problem("malformed-configuration", "There is no layer; give at least one file.")])
    effective = merge(layers)
    return Reading(effective, [*widenings(layers), *problems(effective, realm)])


def digest(effective: Mapping[str, Any]) -> str:
    """``sha256:`` over the canonical JSON (RFC 8785) of an effective configuration. CanonicalError if it has none."""
    return digests.sha256(canonical.dumps(dict(effective)))


@functools.cache
def merge_digest() -> str:
    """The digest of what ``sha256sum`` prints of the files of `MERGE_PROGRAM` and of those beside it that judge
    launches, sorted by name. The same from a folder and from inside a zip."""
    rules = resources.files("imprimatur.rules")
    files = {name: rules.joinpath(name).read_bytes() for name in _JUDGE_TOO}
    package = rules.joinpath("configuration")
    files |= {
        f"configuration/{file.name}": file.read_bytes() for file in package.iterdir() if file.name.endswith(".py")
    }
    listing = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    return digests.sha256(listing.encode("ascii"))


__all__ = [
    "MERGE_PROGRAM",
    "RULES",
    "ConfigurationError",
    "Problem",
    "Reading",
    "digest",
    "holds_a_secret",
    "layer_problems",
    "merge",
    "merge_digest",
    "parse_layer",
    "problems",
    "quote",
    "read",
    "unsafe_flags",
    "widenings",
]
