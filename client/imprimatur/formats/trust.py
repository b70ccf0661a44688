"""``trust.json``: what a verifier or client believes from the start. It comes from outside, never from a bundle."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprimatur.formats import attestation, canonical, cose, ed25519, ids, note, sshsig, tlog_policy
from imprimatur.formats.binding import REALM
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.shapes import Binary, Digest, Id, Int, ListOf, Obj, OneOf, ShapeError, Text, Time, check

_VKEY = Text(max=512)
_MAX_FILE = 1_000_000

SHAPE = Obj(
    {"realm": REALM},
    {
        "log": ListOf(_VKEY, max=16, min=1),
        "decision": ListOf(Obj({"key": Binary(32, 32), "from": Int()}, {"to": Int()}), max=256, min=1),
        "people": ListOf(
            Obj(
                {"person": Text(max=128), "kind": OneOf("ssh", "webauthn"), "key": Text(max=4096)},
                {"from": Time(), "to": Time()},
            ),
            max=10_000,
        ),
        "policy": ListOf(Digest(), max=1000),
        "witness": Obj({"keys": ListOf(_VKEY, max=64, min=1), "quorum": Int(1, 64)}),
        "origins": ListOf(Text(max=512, pattern=r"https?://[a-z0-9.-]+(?::[0-9]+)?"), max=64, min=1, unique=True),
        "services": ListOf(
            Obj({"service": Id("sv"), "role": OneOf(*attestation.ROLES), "key": Binary(32, 32)}), max=1000
        ),
    },
)


class TrustError(Exception):
    """The trust file cannot be used. The message says where and why."""


@dataclass(frozen=True, slots=True)
class DecisionKey:
    """A key that signed entries from index ``first`` to ``last``, both included; ``last`` is ``None`` while in use."""

    public_key: bytes
    first: int
    last: int | None

    def covers(self, index: int) -> bool:
        """Whether the key may have signed the entry with this index."""
        return self.first <= index and (self.last is None or index <= self.last)


@dataclass(frozen=True, slots=True)
class PersonKey:
    """A person's key: an SSH public key line, or a COSE key in base64url for ``webauthn``. Times are canonical.

    ``fingerprint`` names it as statements do: ``SHA256:…`` for SSH, the RFC 7638 thumbprint for WebAuthn.
    """

    person: str
    kind: str
    key: str
    since: str | None
    until: str | None
    fingerprint: str

    def covers(self, time: str) -> bool:
        """Whether what the key signed at that time counts."""
        return (self.since is None or self.since <= time) and (self.until is None or time <= self.until)


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """An orchestrator's, a monitor's or a canary runner's one key. Its id follows from the key."""

    service: str
    role: str
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Witnesses:
    """Witness keys and how many of them must have cosigned."""

    keys: tuple[note.Vkey, ...]
    quorum: int

    def policy(self, logs: Sequence[note.Vkey] = ()) -> tlog_policy.Policy:
        """The same as a policy (C2SP tlog-policy) over these logs."""
        return tlog_policy.Policy.at_least(self.quorum, self.keys, logs)


@dataclass(frozen=True, slots=True)
class Trust:
    """Trust anchors; ``origins`` are the pages on which people sign.

    ``None`` means that the file is silent, so claims that rest on it are *cannot tell*; an empty tuple means that it
    names nobody, so such claims fail."""

    realm: str
    log: tuple[note.Vkey, ...] | None
    decision: tuple[DecisionKey, ...] | None
    people: tuple[PersonKey, ...] | None
    policy: tuple[str, ...] | None
    witness: Witnesses | None
    origins: tuple[str, ...] | None = None
    services: tuple[ServiceKey, ...] | None = None

    def decision_keys(self, index: int | None = None) -> tuple[bytes, ...]:
        """The pinned decision keys, for one entry index or all."""
        known = self.decision or ()
        return tuple(key.public_key for key in known if index is None or key.covers(index))


def parse(raw: bytes) -> Trust:
    """Read a trust document; closed schema, every key checked. Raises :class:`TrustError`."""
    try:
        document = canonical.loads(raw)
        check(document, SHAPE)
        return _trust(document)
    except ValueError as error:
        raise TrustError(f"not a trust file: {error}") from None


def load(path: str | os.PathLike[str], *, own: bool = False) -> Trust:
    """Read a trust file; with ``own``, only one that nobody but its owner can change. Raises :class:`TrustError`."""
    try:
        with Path(path).open("rb") as file:
            if own and os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o022:
                raise TrustError(f"others may change the trust file {path}; run: chmod go-w {path}")
            raw = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise TrustError(f"cannot read the trust file {path}: {error.strerror}") from None
    if len(raw) > _MAX_FILE:
        raise TrustError(f"the trust file {path} is larger than {_MAX_FILE} bytes")
    return parse(raw)


def _trust(document: dict[str, Any]) -> Trust:
    decision = tuple(_decision(item) for item in document["decision"]) if "decision" in document else None
    people = tuple(_person(item) for item in document["people"]) if "people" in document else None
    witness = None
    if "witness" in document:
        witness = Witnesses(_vkeys(document["witness"]["keys"]), document["witness"]["quorum"])
        if witness.quorum > len(witness.keys):
            raise ShapeError("witness.quorum", "asks for more witnesses than are listed")
    log = _vkeys(document["log"]) if "log" in document else None
    services = _services(document["services"]) if "services" in document else None
    roles = [
        {key.public_key for key in log or ()},
        {key.public_key for key in decision or ()},
        {key.public_key for key in witness.keys} if witness else set(),
        {key.public_key for key in services or ()},
    ]
    if sum(map(len, roles)) != len(set().union(*roles)):
        # A log that is its own witness, or whose writer signs its checkpoints, would vouch for itself.
        raise ShapeError("trust", "gives one key two purposes: log, decision, witness and service keys differ")
    if witness is not None and any(key.algorithm != note.COSIGNATURE for key in witness.keys):
        # What a plain key signed could have been meant as something else than a cosignature.
        raise ShapeError("witness.keys", "are cosignature keys (type 0x04), as `imprimatur witness keygen` prints them")
    return Trust(
        realm=document["realm"],
        log=log,
        decision=decision,
        people=people,
        policy=tuple(document["policy"]) if "policy" in document else None,
        witness=witness,
        origins=tuple(document["origins"]) if "origins" in document else None,
        services=services,
    )


def _vkeys(lines: Sequence[str]) -> tuple[note.Vkey, ...]:
    keys = tuple(note.Vkey.parse(line) for line in lines)
    if len({key.public_key for key in keys}) != len(keys):
        # One witness listed twice under two names would satisfy a quorum of two.
        raise ShapeError("trust", "lists the same log or witness key twice")
    return keys


def _services(items: Sequence[dict[str, Any]]) -> tuple[ServiceKey, ...]:
    services = tuple(ServiceKey(item["service"], item["role"], un_b64u(item["key"])) for item in items)
    for known in services:
        ed25519.check_public_key(known.public_key)
        if ids.service_id(known.public_key) != known.service:
            raise ShapeError("services", f"gives {known.service} the key of another service")
    if len({known.service for known in services}) != len(services):
        # One service in two roles could observe what it launched.
        raise ShapeError("services", "lists the same service twice")
    return services


def _decision(item: dict[str, Any]) -> DecisionKey:
    public_key = un_b64u(item["key"])
    ed25519.check_public_key(public_key)
    if "to" in item and item["to"] < item["from"]:
        raise ShapeError("decision.to", "lies before from")
    return DecisionKey(public_key, item["from"], item.get("to"))


def _person(item: dict[str, Any]) -> PersonKey:
    if item["kind"] == "ssh":
        fingerprint = sshsig.parse_public_key(item["key"]).fingerprint
    else:
        fingerprint = cose.CoseKey.parse(un_b64u(item["key"])).thumbprint
    return PersonKey(item["person"], item["kind"], item["key"], item.get("from"), item.get("to"), fingerprint)
