"""Who built the sources from what: a SLSA provenance statement about the tree, signed by its builder.

Sources: SLSA v1.0 (predicate https://slsa.dev/provenance/v1), in-toto Statement v1, DSSE v1.0.2, with Ed25519.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprimatur.formats import canonical, dsse, pem
from imprimatur.formats.attestation import PAYLOAD_TYPE, STATEMENT_TYPE
from imprimatur.formats.digests import sha256
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.shapes import Any_, Const, ListOf, MapOf, Obj, ShapeError, Text, check

PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:imprimatur:build:source-tree:v1"
NAME = "imprimatur"
LARGEST = 16 * 1024 * 1024  # bytes

_DIGEST = MapOf(Text(max=256), max=16)
_MORE = ("uri", "name", "content", "downloadLocation", "mediaType", "annotations")
_RESOURCE = Obj({"digest": _DIGEST}, {name: Any_() for name in _MORE})
_STATEMENT = Obj(
    {
        "_type": Const(STATEMENT_TYPE),
        "subject": ListOf(_RESOURCE, max=1000, min=1),
        "predicateType": Const(PREDICATE),
        "predicate": Obj(
            {
                "buildDefinition": Obj(
                    {"buildType": Text(max=1000), "externalParameters": Any_()},
                    {"internalParameters": Any_(), "resolvedDependencies": ListOf(_RESOURCE, max=100_000)},
                ),
                "runDetails": Obj(
                    {"builder": Obj({"id": Text(max=1000)}, {"version": Any_(), "builderDependencies": Any_()})},
                    {"metadata": Any_(), "byproducts": Any_()},
                ),
            }
        ),
    }
)
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


class DoesNotHold(Exception):
    """The statement is not of this builder, or not about this tree and these dependencies."""


class CannotTell(Exception):
    """The statement or the key cannot be read, so nothing is known."""


@dataclass(frozen=True)
class Provenance:
    """A statement that holds: its digest, and the builder it names."""

    statement: str
    builder: str

    def body(self) -> dict[str, str]:
        """How ``server.started`` names it."""
        return {"statement": self.statement, "builder": self.builder[:200]}


def dependencies(lock: str) -> list[dict[str, Any]]:
    """Every file that the list of pinned dependencies allows, as resource descriptors: package URL and SHA-256."""
    found: list[dict[str, Any]] = []
    uri = ""
    for line in lock.splitlines():
        if pinned := _PINNED.match(line):
            uri = f"pkg:pypi/{pinned[1].lower()}@{pinned[2]}"
        found += [{"uri": uri, "digest": {"sha256": digest}} for digest in _HASH.findall(line)]
    return found


def sign(key: KeyPair, *, builder: str, tree: str, commit: str, lock: str) -> bytes:
    """The builder's statement about a tree (``sha256:…``), as the exact bytes of its envelope."""
    parameters = {"lock": sha256(lock.encode())} | ({"commit": commit} if commit else {})
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": NAME, "digest": {"sha256": tree.removeprefix("sha256:")}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": parameters,
                "resolvedDependencies": dependencies(lock),
            },
            "runDetails": {"builder": {"id": builder}},
        },
    }
    check(document, _STATEMENT, "statement")
    return dsse.seal(canonical.dumps_json(document), key.sign, key.keyid, PAYLOAD_TYPE)


def public_key(path: Path) -> bytes:
    """The builder's public key (PEM). Raises CannotTell."""
    try:
        return pem.parse_public_pem(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise CannotTell(f"{path} holds no Ed25519 public key (PEM) that can be read: {error}") from None


def read(path: Path) -> bytes:
    """The bytes of a statement's file. Raises CannotTell."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CannotTell(f"{path} cannot be read: {error.strerror}") from None
    if len(raw) > LARGEST:
        raise CannotTell(f"{path} is larger than {LARGEST} bytes.")
    return raw.rstrip(b"\n")


def verify(raw: bytes, builder_key: bytes, *, tree: str, lock: str) -> Provenance:
    """Hold a statement against the tree and the lock that are here. Raises CannotTell or DoesNotHold.

    The signature comes first: nothing of the statement is believed, or repeated, before it.
    """
    try:
        envelope = dsse.open_envelope(raw)
    except dsse.DsseError as error:
        raise CannotTell(f"This is no DSSE envelope in its exact form: {error}") from None
    if envelope.payload_type != PAYLOAD_TYPE:
        raise CannotTell("The envelope holds no in-toto Statement.")
    if not dsse.verify(envelope, builder_key):
        raise DoesNotHold("The pinned builder's key did not sign this statement.")
    try:
        document = canonical.loads(envelope.payload)
        check(document, _STATEMENT, "statement")
    except (canonical.CanonicalError, ShapeError) as error:
        raise CannotTell(f"The signed statement is no SLSA provenance v1: {error}") from None
    definition = document["predicate"]["buildDefinition"]
    if definition["buildType"] != BUILD_TYPE:
        raise DoesNotHold(f"The statement is about another kind of build, not {BUILD_TYPE}.")
    if not any(subject["digest"].get("sha256") == tree.removeprefix("sha256:") for subject in document["subject"]):
        raise DoesNotHold(f"The statement is about another tree. The one here is {tree}.")
    stated = {each["digest"].get("sha256", "") for each in definition.get("resolvedDependencies", [])}
    if stated != {each["digest"]["sha256"] for each in dependencies(lock)}:
        raise DoesNotHold("The statement names other dependencies than requirements.lock does.")
    return Provenance(sha256(raw), document["predicate"]["runDetails"]["builder"]["id"])
