"""The publisher as a notary: nothing is signed that breaks the rules an auditor would apply.

It feeds every entry, in order, to the verifier's own history. What that history knows is kept on disk between runs,
bound to the leaf it was taken at; when the file is missing, damaged or of another log, everything is read again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audit import signer
from imprimatur import durable
from imprimatur.formats import canonical

if TYPE_CHECKING:
    from imprimatur.verify.history import History

logger = logging.getLogger(__name__)

ENTRIES_BETWEEN_SNAPSHOTS = 2_000


class NotaryRefused(Exception):  # named for what happened
    """An entry breaks a rule; the history must not be signed."""


def _rules(realm: str, state: Any = None) -> History:
    """The verifier's history, trusting this installation's decision key. Imported late: only publishers need it."""
    from imprimatur.verify.history import History

    # The one of entry 0: each later one is signed in by the one before it.
    keys = [signer.public_key(signer.DECISION)]
    return History(realm, keys) if state is None else History.restore(state, realm, keys)


class Notary:
    """Holds the history up to ``size`` entries."""

    def __init__(self, realm: str, file: Path) -> None:
        self._realm = realm
        self._file = file
        self._rules = _rules(realm)
        self._saved = 0
        self.size = 0

    def resume(self, size: int, leaf_at: Callable[[int], str]) -> None:
        """Take up the snapshot if it is of this log and not ahead of ``size`` published entries. Else start at 0."""
        try:
            document = canonical.loads(self._file.read_bytes())
            at = document["size"]
            if document["realm"] != self._realm or not 0 < at <= size or leaf_at(at - 1) != document["leaf"]:
                return
            self._rules = _rules(self._realm, document["state"])
            self.size = self._saved = at
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError):
            logger.warning("the notary's snapshot cannot be used; every entry is read again", exc_info=True)
            self._rules, self.size = _rules(self._realm), 0

    @property
    def history(self) -> History:
        """What the rules know of the entries that were fed."""
        return self._rules

    def feed(self, index: int, envelope: bytes) -> None:
        """Judge one more entry. Raises NotaryRefused with the index, the rule and the reason."""
        from imprimatur.verify.rulebook import BrokenRule

        try:
            self._rules.feed(index, envelope)
        except BrokenRule as error:
            raise NotaryRefused(str(error)) from error
        self.size = index + 1

    def save(self, leaf: str) -> None:
        """Keep a snapshot now and then; ``leaf`` is the hash of the newest entry fed."""
        if self.size - self._saved < ENTRIES_BETWEEN_SNAPSHOTS:
            return
        document = {"realm": self._realm, "size": self.size, "leaf": leaf, "state": self._rules.snapshot()}
        durable.write_file(self._file, canonical.dumps(document))
        self._saved = self.size
