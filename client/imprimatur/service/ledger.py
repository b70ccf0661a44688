"""All that a service ever signed for the log, in order: a file that only grows, and the RFC 6962 tree over it.

Invariants: a statement is on the disk before anybody else can see it; each names the tree of all before it; what is
there is never changed. A line that a crash cut off was never sent, so it is cut away.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.errors import ConfigError
from imprimatur.formats import attestation, merkle
from imprimatur.service.folder import Folder

Make = Callable[[Mapping[str, Any]], bytes]
"""Signs a statement whose ``own`` is this head, and returns its envelope."""


class LedgerError(ConfigError):
    """The file of statements is not what this key signed. The message says what to do."""


class Ledger:
    """The file, opened. Whoever opens it holds the folder's lock for as long as it is used."""

    def __init__(self, folder: Folder) -> None:
        """Read it through. Raises LedgerError when a statement is not the next one, or not signed by this key."""
        self._path = folder.statements
        self._envelopes: list[bytes] = []
        self._tree = merkle.CompactRange()
        self._roots = [self._tree.root()]
        try:
            with self._path.open("rb") as stream:
                raw = stream.read()
        except FileNotFoundError:
            raise LedgerError(
                f"{self._path} is missing, and with it what this service signed. Bring this very file back, or make a "
                "new service: with the old key it would sign a second history."
            ) from None
        whole, _, torn = raw.rpartition(b"\n")
        if torn:
            os.truncate(self._path, len(raw) - len(torn))
        for number, envelope in enumerate(whole.split(b"\n") if whole else []):
            self._take(number, envelope, folder)

    def _take(self, number: int, envelope: bytes, folder: Folder) -> None:
        try:
            statement = attestation.open_statement(envelope)
        except attestation.AttestationError as error:
            raise LedgerError(f"line {number + 1} of {self._path} is no statement: {error}.") from None
        if statement.predicate["own"] != self.head or not statement.signed_by(folder.key.public_key):
            raise LedgerError(
                f"line {number + 1} of {self._path} does not follow what is before it: somebody changed the file. "
                "Bring back the file as it was, or retire this service and make a new one."
            )
        self._add(envelope)

    def _add(self, envelope: bytes) -> None:
        self._envelopes.append(envelope)
        self._tree.append(merkle.leaf_hash(envelope))
        self._roots.append(self._tree.root())

    @property
    def size(self) -> int:
        """How many statements."""
        return len(self._envelopes)

    @property
    def head(self) -> dict[str, Any]:
        """The tree of all of them, as the next one names it."""
        return self.head_at(self.size)

    def envelopes(self, start: int = 0, end: int | None = None) -> list[bytes]:
        """All of them, the oldest first, or those from ``start`` to before ``end``."""
        return self._envelopes[start:end]

    def head_at(self, size: int) -> dict[str, Any]:
        """The tree of the first ``size``."""
        return {"size": size, "root": f"sha256:{self._roots[size].hex()}"}

    def append(self, make: Make) -> bytes:
        """Sign the next statement and write it down for good. Only then may it be shown to anybody. Raises OSError."""
        envelope = make(self.head)
        if b"\n" in envelope or attestation.open_statement(envelope).predicate["own"] != self.head:
            raise ValueError("a statement is one line, and names the tree of all before it")
        with self._path.open("ab") as stream:
            start = stream.tell()
            try:
                stream.write(envelope + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            except OSError:
                # Nobody has seen it. What the disk could not take must not be half there for the next one.
                os.ftruncate(stream.fileno(), start)
                raise
        self._add(envelope)
        return envelope
