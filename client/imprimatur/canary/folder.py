"""The folder of a canary runner: two agents' keys, two services' folders, the pin, and what is kept between runs.

    canary.json     the server, written last: a folder without it was not finished
    trust.json      the pinned server
    one.key two.key the two agents
    results/        the service that signs what the runs gave (role canary)
    launches/       the service that attests what must not start (role orchestrator)
    between.json    the delegation that the next run finds expired
    lock            held during a run

Nothing in it is worth more than what an admin gave the two agents.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imprimatur import durable
from imprimatur.client.config import check_origin, load_key, load_trust
from imprimatur.errors import ConfigError
from imprimatur.formats import attestation, canonical
from imprimatur.formats.digests import is_digest
from imprimatur.formats.key_files import KeyFileError
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.shapes import Obj, ShapeError, Text, check
from imprimatur.formats.trust import Trust
from imprimatur.service import folder as services

ABOUT, PIN, BETWEEN, LOCK = "canary.json", "trust.json", "between.json", "lock"
ONE, TWO, RESULTS, LAUNCHES = "one.key", "two.key", "results", "launches"
_SHAPE = Obj({"server": Text(max=512)})
_LARGEST = 4096


class RunUnderway(ConfigError):
    """Another process is running these canaries."""


@dataclass(frozen=True)
class Folder:
    """An opened folder. Its repr shows no key."""

    path: Path
    server: str
    trust: Trust = field(repr=False)
    one: KeyPair = field(repr=False)
    two: KeyPair = field(repr=False)
    results: services.Folder
    launches: services.Folder

    @property
    def between(self) -> str | None:
        """The id of the delegation that was left to expire, if any."""
        try:
            kept = canonical.loads((self.path / BETWEEN).read_bytes())
        except (OSError, ValueError):
            return None
        ended = kept.get("ended") if isinstance(kept, dict) else None
        return ended if isinstance(ended, str) and is_digest(ended) else None

    def keep(self, ended: str) -> None:
        """Leave this delegation to expire until the next run."""
        durable.write_file(self.path / BETWEEN, canonical.dumps({"ended": ended}))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder for one run. Raises RunUnderway at once when another process does."""
        descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunUnderway(f"The canaries in {self.path} are running already. Wait for that run.") from None
            yield
        finally:
            os.close(descriptor)


def make(path: Path, server: str, pin: bytes) -> Folder:
    """Make what is not there yet: keys, services' folders, pin. What is there stays, so that it can be called again.

    Raises ConfigError.
    """
    origin = check_origin(server)
    durable.make_folder(path)
    path.chmod(0o700)
    if not (path / PIN).exists():
        durable.write_file(path / PIN, pin)
    try:
        for name in (ONE, TWO):
            if not (path / name).exists():
                KeyPair.generate().save(path / name)
    except KeyFileError as error:
        raise ConfigError(f"{error}. Choose another folder.") from None
    for name, role in ((RESULTS, attestation.CANARIES), (LAUNCHES, attestation.ORCHESTRATOR)):
        if not (path / name / services.ABOUT).exists():
            services.create(path / name, role)
    durable.write_file(path / ABOUT, (json.dumps({"server": origin}) + "\n").encode("utf-8"))
    return load(path)


def exists(path: Path) -> bool:
    """Whether there is a finished folder."""
    return (path / ABOUT).exists()


def load(path: Path) -> Folder:
    """The folder that `make` made. Raises ConfigError with what to do."""
    try:
        with (path / ABOUT).open("rb") as stream:
            document: Any = canonical.loads(stream.read(_LARGEST))
        check(document, _SHAPE, ABOUT)
    except FileNotFoundError:
        raise ConfigError(f"{path} is no folder of canaries. Make one: imprimatur canary init {path}") from None
    except (ShapeError, ValueError) as error:
        raise ConfigError(f"{path / ABOUT} cannot be read ({error}). Run `imprimatur canary init` again.") from None
    trust = load_trust(path / PIN)
    return Folder(
        path,
        check_origin(document["server"]),
        trust,
        load_key(path / ONE),
        load_key(path / TWO),
        services.load(path / RESULTS, attestation.CANARIES, trust.realm),
        services.load(path / LAUNCHES, attestation.ORCHESTRATOR, trust.realm),
    )
