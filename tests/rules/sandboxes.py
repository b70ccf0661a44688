"""A lawful configuration, its launch, and an observation of it: what tests of launches and drift begin with."""

from __future__ import annotations

import copy
from typing import Any

from imprimatur.formats import attestation, digests, shapes
from imprimatur.formats.keys import KeyPair
from imprimatur.rules import bubblewrap, configuration

REALM = "rules.test"
AGENT = "ag_" + "a" * 32
POLICY = digests.sha256(b"policy")
GRANTS = [digests.sha256(b"one"), digests.sha256(b"two")]
SERVICE = "sv_" + "b" * 32
AT = "2026-10-01T12:00:00.000Z"
HEAD = {"size": 0, "root": digests.sha256(b"")}

BASE = f"""\
realm = "{REALM}"

[runtime]
kind = "bwrap"

[command]
allowed = ["/usr/bin/python3.11", "/usr/bin/git"]

[limits]
memory_mb = 512
cpu_seconds = 60
wall_seconds = 600
processes = 32
open_files = 128
file_size_mb = 64

[files]
read = ["/srv"]
write = ["/srv/work"]

[network]
mode = "proxy"
domains = ["*.example.com", "example.org"]

[env]
pass = ["LANG", "TZ"]
set = {{ MODE = "batch" }}

[imports]
allow = ["json", "google"]

[security]
seccomp = "default"
no_new_privileges = true
capabilities = []
"""

PROJECT = f"""\
realm = "{REALM}"

[agent]
id = "{AGENT}"

[limits]
memory_mb = 256

[files]
read = ["/srv/data"]

[network]
domains = ["api.example.com"]

[imports]
allow = ["google.cloud"]

[security]
seccomp = "strict"
"""

ADMIN_KEY = KeyPair.from_seed(b"\7" * 32)


def effective(**tables: dict[str, Any]) -> dict[str, Any]:
    """The two layers merged, with other values in some tables; None takes a key out."""
    merged = configuration.merge([configuration.parse_layer(BASE), configuration.parse_layer(PROJECT)])
    for table, changes in tables.items():
        inner = {**merged.get(table, {}), **changes}
        merged[table] = {key: value for key, value in inner.items() if value is not None}
    return merged


def sign(text: str) -> str:
    """What stands for an admin's signature over a layer."""
    return "signed " + digests.sha256(text.encode())


def signer_of(raw: bytes, signature: str) -> str | None:
    """Only `sign` over exactly these bytes counts."""
    return "pe_ada" if signature == sign(raw.decode()) else None


def layer(name: str, text: str) -> dict[str, Any]:
    return {"name": name, "digest": digests.sha256(text.encode()), "text": text, "signature": sign(text)}


def launch(*texts: str) -> dict[str, Any]:
    """The predicate of a launch that nothing is wrong with, from these layers (`BASE` and `PROJECT` without)."""
    layers = [layer(f"{number}.toml", text) for number, text in enumerate(texts or (BASE, PROJECT))]
    merged = configuration.merge([configuration.parse_layer(each["text"]) for each in layers])
    document = {
        "realm": REALM,
        "service": SERVICE,
        "own": dict(HEAD),
        "at": AT,
        "launch": "lau_" + "0" * 26,
        "agent": AGENT,
        "runtime": {"kind": "bwrap", "version": "bubblewrap 0.8.0", "launched": True},
        "command": ["/usr/bin/python3.11", "-m", "agent"],
        "flags": bubblewrap.arguments(merged),
        "executable": {"path": "/usr/bin/python3.11", "digest": digests.sha256(b"python")},
        "node": {"name": "node", "kernel": "6.1"},
        "layers": layers,
        "merge": {"program": configuration.MERGE_PROGRAM, "digest": configuration.merge_digest()},
        "effective": merged,
        "delegations": list(GRANTS),
        "policy": POLICY,
    }
    shapes.check(document, attestation.LAUNCH_SHAPE)
    return document


def declared() -> dict[str, Any]:
    """The same in a container that another program starts."""
    base = BASE.replace(
        'kind = "bwrap"', 'kind = "docker"\nflags = ["--cap-drop=ALL", "--security-opt=no-new-privileges"]'
    )
    merged = configuration.merge([configuration.parse_layer(base), configuration.parse_layer(PROJECT)])
    layers = [layer("0.toml", base), layer("1.toml", PROJECT)]
    document = {**launch(), "layers": layers, "effective": merged}
    document["runtime"] = {"kind": "docker", "version": "26", "launched": False}
    document["flags"] = ["docker", "run", "--cap-drop=ALL", "--security-opt=no-new-privileges", "image"]
    shapes.check(document, attestation.LAUNCH_SHAPE)
    return document


HOST = {name: 100 + place for place, name in enumerate(attestation.NAMESPACES)}
INSIDE = {name: inode + (0 if name == "time" else 1000) for name, inode in HOST.items()}
NONE = "0" * 16


def process(given: dict[str, Any], pid: int, parent: int, **changes: Any) -> dict[str, Any]:
    """A process of the agent, as it should be."""
    return {
        "pid": pid,
        "parent": parent,
        "started": 1000 + pid,
        "uid": 1000,
        "command": list(given["command"]),
        "executable": dict(given["executable"]),
        "seccomp": 2,
        "no_new_privileges": True,
        "capabilities": dict.fromkeys(attestation.CAPABILITY_SETS, NONE),
        "namespaces": dict(INSIDE),
        "cgroup": "/agents",
        "limits": bubblewrap.limits(given["effective"]),
        "configuration": configuration.digest(given["effective"]),
        **changes,
    }


def observation(given: dict[str, Any]) -> dict[str, Any]:
    """What a monitor sees of an untouched launch in bubblewrap: bwrap twice, the command, and a child of it."""
    argv = ["/usr/bin/bwrap", *given["flags"], *given["command"]][:256]
    bwrap = {"path": "/usr/bin/bwrap", "digest": digests.sha256(b"bwrap")}
    # As bwrap 0.8.0 is: outside without a filter, and with a bounding set that no longer matters.
    outside = process(
        given,
        10,
        1,
        command=argv,
        executable=bwrap,
        seccomp=0,
        namespaces=dict(HOST),
        limits=bubblewrap.limits(given["effective"]),
    )
    outside["capabilities"] = {**outside["capabilities"], "bounding": "000001ffffffffff"}
    del outside["configuration"]
    inside = process(given, 11, 10, command=argv, executable=bwrap)
    child = process(given, 13, 12, command=["git", "status"], executable={"path": "/usr/bin/git"})
    document = {
        "realm": REALM,
        "service": SERVICE,
        "own": dict(HEAD),
        "at": AT,
        "node": {"name": "node", "kernel": "6.1"},
        "host": dict(HOST),
        "log": dict(HEAD),
        "processes": [outside, inside, process(given, 12, 11), child],
        "launch": given["launch"],
    }
    shapes.check(document, attestation.OBSERVATION_SHAPE)
    return copy.deepcopy(document)
