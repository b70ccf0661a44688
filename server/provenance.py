"""What this server is made of, measured: sources, packages, pinned dependencies, settings.

It is the server's own word about itself. It shows accidents and clumsy changes, and gives an auditor digests to compare
with a build of their own; whoever controls the process controls what it says (see THREAT_MODEL.md).
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackagePath, distributions
from pathlib import Path
from typing import Any

from django.conf import settings

from governance.begin import software
from imprimatur.formats import canonical
from imprimatur.formats.digests import sha256
from server import environment

SOURCES = (
    *("approvals", "audit", "client", "governance", "server", "static", "templates"),
    *("manage.py", "pyproject.toml", "requirements.lock"),
)
"""What belongs to the tree, below the folder of the code."""
LOCK = "requirements.lock"
COMMIT = "COMMIT"
"""A build without ``.git`` may leave the commit in this file, in hex."""
MOST_WRONG = 50
LONGEST = 300

# They are told apart from nothing but by whether they are set: their digest could be guessed at (invariant 11).
SECRETS = frozenset(
    f"{environment.PREFIX}{name}"
    for name in (
        *("SECRET_KEY", "DATABASE_URL", "REDIS_URL", "MIRROR_TOKEN", "SINKS", "SINK_TOKEN", "SIGNER"),
        *("OIDC_CLIENT_SECRET", "SMTP_USER", "SMTP_PASSWORD", "WEBHOOK_URL", "WEBHOOK_SECRET"),
    )
)
_HEX = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class CannotMeasure(Exception):
    """The tree holds something that has no digest: the message says what, and what to do."""


@dataclass(frozen=True)
class Packages:
    """How many installed distributions were held against their RECORD, and which files are not what it says."""

    checked: int
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """Everything of one measurement. Digests are ``sha256:<hex>``; ``commit`` is empty where nothing tells it."""

    software: str
    commit: str
    tree: str
    lock: str
    settings: str
    options: tuple[str, ...]
    packages: Packages

    def body(self, process: str) -> dict[str, Any]:
        """The body of ``server.started``."""
        found: dict[str, Any] = {
            "software": self.software,
            "process": process,
            "packages": {"checked": self.packages.checked, "wrong": list(self.packages.wrong)},
            "lock": self.lock,
            "settings": self.settings,
            "options": list(self.options),
            "tree": self.tree,
        }
        if self.commit:
            found["commit"] = self.commit
        return found


def measure(go_on: Callable[[], bool] = lambda: True) -> Measured:
    """Measure everything. Takes seconds. Raises CannotMeasure, also when ``go_on`` says no in between."""
    root = Path(settings.BASE_DIR)
    return Measured(
        software=software(),
        commit=commit_of(root),
        tree=tree_digest(root),
        lock=sha256((root / LOCK).read_bytes()),
        settings=settings_digest(),
        options=options(),
        packages=check_packages(go_on),
    )


# --- the sources -------------------------------------------------------------------------------------------------


def tree_digest(root: Path) -> str:
    """SHA-256 of the list that ``sha256sum`` prints for the sources, sorted by path (bytes).

    ``docs/provenance.md`` has the one line of shell that gives the same. Raises CannotMeasure.
    """
    lines = hashlib.sha256()
    for path in sorted(_sources(root), key=os.fsencode):
        if any(sign in path for sign in "\\\n\r"):
            raise CannotMeasure(f"{path!r} has a name that sha256sum would write differently. Rename it.")
        digest = hashlib.sha256((root / path).read_bytes()).hexdigest()
        lines.update(f"{digest}  {path}\n".encode())
    return f"sha256:{lines.hexdigest()}"


def _sources(root: Path) -> Iterator[str]:
    for name in SOURCES:
        if (root / name).is_file():
            yield name
            continue
        if not (root / name).is_dir():
            raise CannotMeasure(f"{name} is missing below {root}. Install this version again.")
        for folder, folders, files in os.walk(root / name):
            folders[:] = [each for each in folders if _counts(each)]
            here = Path(folder).relative_to(root).as_posix()
            for each in folders:
                if (Path(folder) / each).is_symlink():
                    raise CannotMeasure(f"{here}/{each} is a link to a folder, which has no digest.")
            yield from (f"{here}/{each}" for each in files if _counts(each) and not each.endswith(".pyc"))


def _counts(name: str) -> bool:
    """Left out is what tools leave behind: byte code, installation records, hidden files."""
    return not name.startswith(".") and name != "__pycache__" and not name.endswith(".egg-info")


def commit_of(root: Path) -> str:
    """The commit that is checked out, read from ``.git`` without git, or from the file COMMIT; else empty."""
    git = root / ".git"
    try:
        if git.is_file():  # a further work tree
            git = (root / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()).resolve()
        head = (git / "HEAD").read_text(encoding="ascii").strip()
        if not head.startswith("ref: "):
            return head if _HEX.fullmatch(head) else ""
        name = head.removeprefix("ref: ")
        common = git / "commondir"
        base = (git / common.read_text(encoding="utf-8").strip()).resolve() if common.exists() else git
        loose = base / name
        if loose.is_file():
            found = loose.read_text(encoding="ascii").strip()
            return found if _HEX.fullmatch(found) else ""
        for line in (base / "packed-refs").read_text(encoding="utf-8").splitlines():
            commit, _, ref = line.partition(" ")
            if ref == name and _HEX.fullmatch(commit):
                return commit
    except (OSError, ValueError):
        pass
    try:
        found = (root / COMMIT).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
    return found if _HEX.fullmatch(found) else ""


# --- settings ----------------------------------------------------------------------------------------------------


def settings_digest() -> str:
    """Digest of the settings in effect: RFC 8785 of names and values; of a secret only whether it is set."""
    told = {name: bool(value) if name in SECRETS else value for name, (value, _) in sorted(environment.read().items())}
    return sha256(canonical.dumps_json(told))


def options() -> tuple[str, ...]:
    """The names of the settings that differ from their defaults."""
    return tuple(sorted(name for name, (_, differs) in environment.read().items() if differs))


# --- packages ----------------------------------------------------------------------------------------------------


def check_packages(go_on: Callable[[], bool] = lambda: True) -> Packages:
    """Hold the files of every installed distribution against the hashes in its RECORD.

    Byte code has no hash there and is left out; a file that no package names is not looked at.
    Source: Core metadata, "Recording installed projects".
    """
    checked, wrong = 0, []
    for distribution in distributions():
        if not go_on():
            raise CannotMeasure("The server stopped before its packages were measured.")
        checked += 1
        wrong += [f"{_name(distribution)}: {what}"[:LONGEST] for what in _wrong(distribution)]
    return Packages(checked, tuple(sorted(wrong)[:MOST_WRONG]))


def _name(distribution: Distribution) -> str:
    return str(distribution.metadata["Name"] or "a distribution without a name")


def _wrong(distribution: Distribution) -> Iterator[str]:
    files = distribution.files
    if files is None:
        yield "has no record of its files"
        return
    for file in files:
        if file.hash is not None and (fault := _fault(file)):
            yield f"{file} {fault}"


def _fault(file: PackagePath) -> str:
    assert file.hash is not None
    try:
        raw = Path(str(file.locate())).read_bytes()
    except OSError:
        return "is missing or cannot be read"
    if file.hash.mode not in {"sha256", "sha384", "sha512"}:
        return f"is recorded with {file.hash.mode}, which proves nothing"
    found = base64.urlsafe_b64encode(hashlib.new(file.hash.mode, raw).digest()).rstrip(b"=").decode()
    return "" if found == file.hash.value else "differs from its record"
