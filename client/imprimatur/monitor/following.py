"""Following the server's log: each checkpoint must continue the one before, and is cosigned once that is on the disk.

The memory is that of a witness (`imprimatur.witness`), so the same monitor may be one for the server too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from imprimatur import durable
from imprimatur.errors import ConfigError, ImprimaturError
from imprimatur.formats import merkle, note, tiles
from imprimatur.formats.checkpoint import Checkpoint, CheckpointError, open_checkpoint
from imprimatur.formats.trust import Trust
from imprimatur.service.folder import Folder
from imprimatur.witness.mirror import Source
from imprimatur.witness.protocol import Request, Witness

COSIGNED_CHECKPOINT = "cosigned"
AGAIN = 60
"""Seconds after which the same checkpoint is cosigned again, so that a log that stands still is seen to."""


class LogProblem(ImprimaturError):
    """The log does not continue what was seen of it, or cannot be read. The message says which."""


class Follower:
    """One log, as far as it was seen."""

    def __init__(self, folder: Folder, trust: Trust, source: Source, *, clock: Callable[[], float] = time.time) -> None:
        """``source`` reads the log's files. Raises ConfigError."""
        if not trust.log:
            raise ConfigError("The trust file names no log key, so the log cannot be followed. Get a new one.")
        self._keys = list(trust.log)
        self._origin = trust.log[0].name
        self._source = source
        self._state = folder.seen()
        self._clock = clock
        self._kept = folder.path / COSIGNED_CHECKPOINT
        try:
            self.witness = Witness(folder.cosigner(), self._state, self._keys, clock=clock)
        except note.NoteError as error:
            raise ConfigError(f"The log's key in the trust file cannot be used: {error}.") from None

    @property
    def head(self) -> dict[str, Any]:
        """The newest checkpoint that was found consistent, as observations name it."""
        seen = self._state.seen(self._origin)
        size, root = (seen.size, seen.root) if seen else (0, merkle.EMPTY_ROOT)
        return {"size": size, "root": f"sha256:{root.hex()}"}

    def follow(self) -> dict[str, Any]:
        """Fetch the newest checkpoint, hold it against the last, remember and cosign it; returns `head`.

        Raises LogProblem; what was seen before stays then.
        """
        try:
            raw = self._source("checkpoint").decode("utf-8")
            checkpoint, _ = open_checkpoint(raw, self._keys, origin=self._origin)
        except (OSError, UnicodeDecodeError) as error:
            raise LogProblem(f"The log's checkpoint cannot be read ({error}).") from None
        except (note.NoteError, CheckpointError) as error:
            raise LogProblem(f"THE LOG SHOWS A CHECKPOINT THAT DOES NOT COUNT: {error}. Tell an admin.") from None
        for _ in range(2):  # the server may have had another one cosigned between two of these lines
            seen = self._state.seen(self._origin)
            if seen is not None and checkpoint.size < seen.size:
                raise LogProblem(
                    f"THE LOG SHOWS AN OLDER STATE: {checkpoint.size} entries, and {seen.size} were seen before. "
                    "Tell an admin, and keep this folder: it proves what was there."
                )
            same = seen is not None and (seen.size, seen.root) == (checkpoint.size, checkpoint.root)
            if same and seen is not None and self._clock() - seen.time < AGAIN and self._kept.exists():
                return self.head
            old = seen.size if seen else 0
            answer = self.witness.add_checkpoint(Request(old, self._proof(old, checkpoint), raw).encode())
            if answer.status == 200:
                durable.write_file(self._kept, (raw + answer.body).encode("utf-8"), 0o644)
                return self.head
            if answer.status != 409:
                break
        raise LogProblem(
            f"THE LOG DOES NOT CONTINUE WHAT WAS SEEN OF IT ({answer.body.strip()}): {checkpoint.size} entries with "
            f"another history than the {old} before. Tell an admin, and keep this folder: it proves what was there."
        )

    def _proof(self, old: int, checkpoint: Checkpoint) -> tuple[bytes, ...]:
        if not 0 < old < checkpoint.size:
            return ()
        try:
            return tuple(tiles.HashReader(self._source, checkpoint.size).consistency_proof(old))
        except (OSError, tiles.TileError, merkle.MerkleError) as error:
            raise LogProblem(f"The log's tiles cannot be read ({error}).") from None
