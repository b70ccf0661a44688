"""What services sign: in-toto Statements (v1) in DSSE envelopes, about launches, observations and canary runs.

Sources: in-toto Attestation Framework, Statement v1 and the predicate test-result v0.1; DSSE v1.0.2. The payload is
canonical JSON with a closed shape. Every predicate names the realm, the service, and the tree (RFC 6962) of all that
this service signed for the log before, so that a statement which is left out, moved or made up does not go unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imprimatur.formats import canonical, dsse, ids
from imprimatur.formats.binding import REALM
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.shapes import (
    Bool,
    Const,
    Digest,
    Document,
    Id,
    Int,
    ListOf,
    MapOf,
    Obj,
    OneOf,
    Shape,
    Text,
    Time,
    check,
)

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
LAUNCH = "urn:imprimatur:launch:v1"
OBSERVATION = "urn:imprimatur:observation:v1"
CANARY = "https://in-toto.io/attestation/test-result/v0.1"

ORCHESTRATOR, MONITOR, CANARIES = "orchestrator", "monitor", "canary"
ROLES = (ORCHESTRATOR, MONITOR, CANARIES)
SIGNS = {LAUNCH: ORCHESTRATOR, OBSERVATION: MONITOR, CANARY: CANARIES}
"""Which role signs which predicate. Nobody else does."""

MAX_PAYLOAD = 24_000
"""Bytes of a statement: with base64 twice over, its entry still fits into a tile."""

_HEX = Text(min=64, max=64, pattern=r"[0-9a-f]+")
_LABEL = Text(max=200)
_PATH = Text(max=4096)
_ARGUMENT = Text(max=4096, min=0)
_RESOURCE = Obj({"name": _PATH, "digest": Obj({"sha256": _HEX})})
HEAD = Obj({"size": Int(), "root": Digest()})
"""A tree: how many leaves, and its root."""

NODE = Obj({"name": _LABEL, "kernel": _LABEL}, {"boot": _LABEL})
EXECUTABLE = Obj({"path": _PATH}, {"digest": Digest()})
_SIGNED_BY: dict[str, Shape] = {"realm": REALM, "service": Id("sv"), "own": HEAD, "at": Time()}

RUNTIMES = ("bwrap", "docker", "gvisor", "wasmtime", "firecracker")
LAYER = Obj({"name": Text(max=255), "digest": Digest(), "text": Text(max=MAX_PAYLOAD)}, {"signature": Text(max=4096)})
"""One file of configuration as it was read, and the SSH signature (SSHSIG) over exactly its bytes."""

# What the limits of `MAX_PAYLOAD` leave room for is bounded there; here is only what keeps the form closed.
LAUNCH_SHAPE = Obj(
    {
        **_SIGNED_BY,
        "launch": Id("lau"),
        "agent": Id("ag"),
        "runtime": Obj({"kind": OneOf(*RUNTIMES), "version": _LABEL, "launched": Bool()}),
        "command": ListOf(_ARGUMENT, max=256, min=1),
        "flags": ListOf(_ARGUMENT, max=512),
        "executable": EXECUTABLE,
        "node": NODE,
        "layers": ListOf(LAYER, max=16, min=1),
        "merge": Obj({"program": _LABEL, "digest": Digest()}),
        "effective": Document(),
        "delegations": ListOf(Digest(), max=64, unique=True),
        "policy": Digest(),
    },
    {"image": Digest()},
)
"""``runtime.launched`` tells whether who signs really starts the sandbox (``bwrap``) or declares what another program
does. ``flags`` is the sandbox's exact command line, ``command`` what runs inside of it."""

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
CAPABILITY_SETS = ("inheritable", "permitted", "effective", "bounding", "ambient")
LIMITS = ("address_space", "cpu_seconds", "file_size", "open_files", "processes")
_INODES = MapOf(Int(), max=len(NAMESPACES), key=OneOf(*NAMESPACES))
PROCESS = Obj(
    {
        "pid": Int(1),
        "parent": Int(),
        "started": Int(),
        "uid": Int(),
        "command": ListOf(_ARGUMENT, max=256),
        "executable": EXECUTABLE,
        "seccomp": Int(0, 2),
        "no_new_privileges": Bool(),
        "capabilities": MapOf(Text(min=16, max=16, pattern=r"[0-9a-f]+"), max=5, key=OneOf(*CAPABILITY_SETS)),
        "namespaces": _INODES,
        "cgroup": Text(max=1024, min=0),
        "limits": MapOf(Int(), max=len(LIMITS), key=OneOf(*LIMITS)),
    },
    {"configuration": Digest()},
)
"""One live process as /proc tells of it. A limit that is not set is absent (unlimited). ``started`` is in clock ticks
after the boot (proc(5), field 22 of stat), so that a number used again is another process. ``configuration`` is the
digest of the effective configuration as that process sees it."""

OBSERVATION_SHAPE = Obj(
    {
        **_SIGNED_BY,
        "node": NODE,
        "host": _INODES,
        "log": HEAD,
        "processes": ListOf(PROCESS, max=64),
    },
    {"launch": Text(max=64), "unread": Int(1)},
)
"""``host`` are the monitor's own namespaces. ``log`` is the newest checkpoint of ours that it found consistent with the
one before. ``launch`` is what the processes themselves say they belong to, and may be anything. ``unread`` counts
processes that it could not look into."""

ATTEMPT = Obj(
    {
        "name": Text(max=64, pattern=r"[a-z][a-z0-9-]*"),
        "status": Int(0, 599),
        "code": Text(max=64, min=0),
        "at": Time(),
    },
    {"request": Id("act"), "detail": Text(max=300)},
)
"""One canary and what the server answered; status 0 when there was no answer."""

CANARY_SHAPE = Obj(
    {
        "result": OneOf("PASSED", "WARNED", "FAILED"),
        "configuration": ListOf(_RESOURCE, max=16),
        "passedTests": ListOf(Text(max=64), max=64, unique=True),
        "warnedTests": ListOf(Text(max=64), max=64, unique=True),
        "failedTests": ListOf(Text(max=64), max=64, unique=True),
        **_SIGNED_BY,
        "from": Time(),
        "every": Int(10, 86_400),
        "attempts": ListOf(ATTEMPT, max=64),
    },
    {"url": Text(max=512)},
)
"""``from`` to ``at`` is when the run took place; ``every`` (seconds) is when the next one is due at the latest."""

PREDICATES = {LAUNCH: LAUNCH_SHAPE, OBSERVATION: OBSERVATION_SHAPE, CANARY: CANARY_SHAPE}

FINDING = Obj(
    {"code": Text(max=64, pattern=r"[a-z][a-z-]*"), "expected": Text(max=400), "found": Text(max=400)}, {"pid": Int(1)}
)
"""One difference between a launch and what was observed of it (``rules.drift``)."""

REASON = Obj({"code": Text(max=64, pattern=r"[a-z][a-z-]*"), "message": Text(max=500)})
"""Why a launch was refused (``rules.launches``)."""


class AttestationError(ValueError):
    """These bytes are no statement of that kind. The message says why."""


@dataclass(frozen=True, slots=True)
class Statement:
    """An opened statement. Opening checks the form only; call `signed_by` before believing any of it."""

    predicate_type: str
    subjects: Mapping[str, str]
    predicate: Mapping[str, Any]
    envelope: dsse.Envelope

    def signed_by(self, public_key: bytes) -> bool:
        """Whether the service whose key this is signed it, in its own name."""
        return self.predicate["service"] == ids.service_id(public_key) and dsse.verify(self.envelope, public_key)


def seal(predicate_type: str, subjects: Mapping[str, str], predicate: Mapping[str, Any], key: KeyPair) -> bytes:
    """Sign a statement and return the exact bytes of its envelope.

    ``subjects`` are SHA-256 digests in hex by name. Raises ShapeError, CanonicalError or AttestationError for what no
    statement can hold.
    """
    check(dict(predicate), PREDICATES[predicate_type], "predicate")
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in subjects.items()],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }
    _check_text(document)
    payload = canonical.dumps(document)
    _check_size(payload)
    return dsse.seal(payload, key.sign, key.keyid, PAYLOAD_TYPE)


def open_statement(raw: bytes, *predicate_types: str) -> Statement:
    """The statement in these bytes, of one of these types (any known one without). Raises AttestationError."""
    try:
        envelope = dsse.open_envelope(raw)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise AttestationError("the payload is not an in-toto Statement")
        _check_size(envelope.payload)
        document = canonical.loads_canonical(envelope.payload)
        _check_text(document)
        wanted = predicate_types or tuple(PREDICATES)
        check(
            document,
            Obj(
                {
                    "_type": Const(STATEMENT_TYPE),
                    "subject": ListOf(_RESOURCE, max=16, min=1),
                    "predicateType": OneOf(*wanted),
                    "predicate": Document(),
                }
            ),
            "statement",
        )
        check(document["predicate"], PREDICATES[document["predicateType"]], "predicate")
    except AttestationError:
        raise
    except ValueError as error:  # not an envelope, not canonical, not of that shape
        raise AttestationError(str(error)) from error
    subjects = {item["name"]: item["digest"]["sha256"] for item in document["subject"]}
    if len(subjects) != len(document["subject"]):
        raise AttestationError("two subjects have the same name")
    return Statement(document["predicateType"], subjects, document["predicate"], envelope)


def _check_text(value: Any) -> None:
    # No argument, path or file of configuration has one, and PostgreSQL keeps no text with it.
    if isinstance(value, str):
        if "\0" in value:
            raise AttestationError("a text holds a NUL")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_text(name)
            _check_text(item)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)


def _check_size(payload: bytes) -> None:
    if len(payload) > MAX_PAYLOAD:
        raise AttestationError(f"a statement has at most {MAX_PAYLOAD:,} bytes, and this has {len(payload):,}")
