"""A monitor's statements as a log of its own (C2SP tlog-tiles, tlog-checkpoint), with a log key of its own.

Anybody who copies the folder ``log/`` can verify it with other people's tools, and later hold it against what the
server shows of this monitor. Nothing is in it that is not in the ledger.
"""

from __future__ import annotations

from imprimatur.errors import ConfigError
from imprimatur.formats import merkle, note, tiles
from imprimatur.formats.checkpoint import Checkpoint
from imprimatur.service.folder import LOG, Folder
from imprimatur.service.ledger import Ledger
from imprimatur.witness.mirror import Mirror, MirrorError
from imprimatur.witness.protocol import NotKept


def vkey(folder: Folder, realm: str) -> note.Vkey:
    """The verifier key of the log: its name is the log's origin, ``<realm>/monitor/<start of the service's id>``."""
    short = folder.service.removeprefix("sv_")[:8]
    return note.Vkey(f"{realm}/monitor/{short}", folder.log_key().public_key)


class OwnLog:
    """The folder ``log/``, brought up to the ledger whenever `publish` is called."""

    def __init__(self, folder: Folder, realm: str, ledger: Ledger) -> None:
        """Raises ConfigError when what is in the folder is damaged."""
        self._ledger = ledger
        self._key = folder.log_key()
        self.vkey = vkey(folder, realm)
        try:
            self._kept = Mirror(folder.path / LOG, self._bundle, [self.vkey])
        except MirrorError as error:
            raise ConfigError(
                f"{error}. Move {folder.path / LOG} away: it is made again from the statements."
            ) from None

    def publish(self) -> Checkpoint | None:
        """Write tiles for what is new, then sign the checkpoint. None while nothing is. Raises OSError, ConfigError."""
        size = self._ledger.size
        if size <= self._kept.size:
            return None
        root = merkle.root_of(merkle.leaf_hash(each) for each in self._ledger.envelopes())
        checkpoint = Checkpoint(self.vkey.name, size, root)
        try:
            self._kept.keep(checkpoint, checkpoint.sign(self._key.seed))
        except NotKept as error:
            raise ConfigError(f"The monitor's own log cannot be written: {error}.") from None
        return checkpoint

    def _bundle(self, path: str) -> bytes:
        """An entry bundle of the ledger, by its path."""
        for index, width in tiles.bundles_for(0, self._ledger.size):
            if path == tiles.entries_path(index, width):
                start = index * tiles.WIDTH
                return tiles.bundle_encode(self._ledger.envelopes(start, start + width))
        raise FileNotFoundError(path)
