"""A service's folder: its key, the log of all it signed, and a lock, so that one process at a time signs with it.

    service.json      role, id and public key
    service.key       the private half, never copied
    statements.jsonl  every envelope that was signed with it, one to a line, only ever longer
    lock              held while something is signed and sent

A monitor has in addition ``log.key`` and ``log/`` (its statements as a log of its own, C2SP tlog-tiles) and
``cosigner.key`` with ``cosigner.state`` (what it saw of the server's log). An orchestrator has ``launches/``.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from imprimatur import durable
from imprimatur.errors import ConfigError
from imprimatur.formats import attestation, canonical, ids, note
from imprimatur.formats.binding import REALM
from imprimatur.formats.cosignature import Cosigner
from imprimatur.formats.encoding import b64u
from imprimatur.formats.key_files import KeyFileError
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.shapes import Binary, Id, Obj, OneOf, ShapeError, check
from imprimatur.witness.state import State, StateError

ABOUT, KEY, STATEMENTS, LOCK = "service.json", "service.key", "statements.jsonl", "lock"
LOG_KEY, LOG, COSIGNER, COSIGNED = "log.key", "log", "cosigner.key", "cosigner.state"
LAUNCHES = "launches"
PATIENCE = 60.0
"""Seconds to wait for another process that signs with the same folder."""
_LARGEST = 4096

_SHAPE = Obj({"role": OneOf(*attestation.ROLES), "service": Id("sv"), "public_key": Binary(32, 32)}, {"realm": REALM})


class FolderBusy(ConfigError):
    """Another process holds the folder's lock."""


@dataclass(frozen=True)
class Folder:
    """An opened folder. Its repr shows no key."""

    path: Path
    role: str
    key: KeyPair = field(repr=False)
    realm: str | None = None

    @property
    def service(self) -> str:
        """The service's id."""
        return ids.service_id(self.key.public_key)

    @property
    def statements(self) -> Path:
        """The log of all it signed."""
        return self.path / STATEMENTS

    @property
    def launches(self) -> Path:
        """What an orchestrator started and has not seen the end of."""
        return self.path / LAUNCHES

    def cosigner(self) -> Cosigner:
        """A monitor's key for cosignatures. Raises ConfigError."""
        try:
            return Cosigner.load(self.path / COSIGNER)
        except KeyFileError as error:
            raise ConfigError(f"{error}. Only a monitor has one; `imprimatur service keygen` makes it.") from None

    def seen(self) -> State:
        """What a monitor remembers of the server's log. Raises ConfigError."""
        try:
            return State(self.path / COSIGNED, self.cosigner().vkey)
        except StateError as error:
            raise ConfigError(f"{error}.") from None

    def log_key(self) -> KeyPair:
        """The key that signs the checkpoints of a monitor's own log. Raises ConfigError."""
        return _key(self.path / LOG_KEY)

    @contextmanager
    def locked(self, patience: float = PATIENCE) -> Iterator[None]:
        """Hold the folder. Raises FolderBusy when another process does for that long (seconds)."""
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + patience
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= until:
                        raise FolderBusy(
                            f"Another process signs with {self.path}. Two at once would fork what this service says: "
                            "wait for the other one, or give each a folder and key of its own."
                        ) from None
                    time.sleep(0.05)
            yield
        finally:
            os.close(descriptor)


def create(path: Path, role: str) -> Folder:
    """A new folder with a new key, and for a monitor its two other keys. Raises ConfigError; overwrites nothing.

    ``service.json`` is written last: a folder without it was not finished.
    """
    if role not in attestation.ROLES:
        raise ConfigError(f"A service is one of {', '.join(attestation.ROLES)}.")
    if (path / ABOUT).exists() or (path / KEY).exists():
        raise ConfigError(f"{path} is a service's folder already. A key is never overwritten: choose another folder.")
    durable.make_folder(path)
    path.chmod(0o700)
    key = KeyPair.generate()
    folder = Folder(path, role, key)
    try:
        key.save(path / KEY)
        if role == attestation.MONITOR:
            KeyPair.generate().save(path / LOG_KEY)
            cosigner = Cosigner(f"{folder.service}/monitor", KeyPair.generate().seed)
            cosigner.save(path / COSIGNER)
            State.create(path / COSIGNED, cosigner.vkey)
    except (KeyFileError, StateError, note.NoteError) as error:
        raise ConfigError(f"{error}. Choose another folder.") from None
    durable.write_file(path / STATEMENTS, b"")
    durable.write_file(path / ABOUT, _about(folder))
    return folder


def load(path: Path, role: str | None = None, realm: str | None = None) -> Folder:
    """The folder that `create` made, for this role. A folder serves one realm: that of the first thing it signs.

    Raises ConfigError with what to do.
    """
    try:
        with (path / ABOUT).open("rb") as stream:
            document = canonical.loads(stream.read(_LARGEST))
        check(document, _SHAPE, ABOUT)
    except FileNotFoundError:
        raise ConfigError(
            f"{path} is no service's folder. Make one: imprimatur service keygen {path} --role {role or 'ROLE'}"
        ) from None
    except (ShapeError, ValueError) as error:
        raise ConfigError(f"{path / ABOUT} cannot be read ({error}). Bring back the file, or make a new key.") from None
    key = _key(path / KEY)
    if document["public_key"] != b64u(key.public_key) or document["service"] != ids.service_id(key.public_key):
        raise ConfigError(f"{path / KEY} is not the key that {path / ABOUT} names. Bring the folder's own key back.")
    if role is not None and document["role"] != role:
        raise ConfigError(f"{path} is the folder of a service with the role {document['role']}, and this takes {role}.")
    folder = Folder(path, document["role"], key, document.get("realm"))
    if realm is None or folder.realm == realm:
        return folder
    if folder.realm is not None and _signed(folder):
        raise ConfigError(
            f"{path} belongs to the realm {folder.realm}, not to {realm}. Each realm gets a service of its own."
        )
    pinned = Folder(path, folder.role, key, realm)
    durable.write_file(path / ABOUT, _about(pinned))
    return pinned


def _signed(folder: Folder) -> bool:
    """Whether it may have signed a statement: a wrong trust file alone must not cost a new folder its key."""
    try:
        return folder.statements.stat().st_size > 0
    except FileNotFoundError:
        return True


def _key(path: Path) -> KeyPair:
    try:
        return KeyPair.load(path)
    except KeyFileError as error:
        said = str(error)
        raise ConfigError(
            f"{said[:1].upper()}{said[1:]}. If the key is lost, make another service: `imprimatur service keygen`."
        ) from None


def _about(folder: Folder) -> bytes:
    document = {"role": folder.role, "service": folder.service, "public_key": b64u(folder.key.public_key)}
    if folder.realm is not None:
        document["realm"] = folder.realm
    return (json.dumps(document, indent=1) + "\n").encode("utf-8")
