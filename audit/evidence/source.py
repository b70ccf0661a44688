"""The log as a bundle sees it: exactly up to one published checkpoint, read from the published files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from django.conf import settings

from audit import proofs
from audit.models import Checkpoint
from audit.publisher import read_tile
from imprimatur.formats import canonical, dsse, merkle, tiles

MOST_CHECKPOINTS = 1_000


@dataclass(frozen=True)
class LoggedEntry:
    """One entry: its index, the exact bytes, and the parsed payload."""

    index: int
    envelope: bytes
    payload: dict[str, Any]

    @property
    def leaf(self) -> str:
        """The leaf hash in hex."""
        return merkle.leaf_hash(self.envelope).hex()


class Source:
    """The published log up to ``checkpoint``; what was published later does not exist here."""

    def __init__(self, checkpoint: Checkpoint | None = None) -> None:
        """Take the newest checkpoint unless one is given. Raises NotPublished when there is none."""
        self.checkpoint = checkpoint or proofs.latest_checkpoint()
        self.size = self.checkpoint.size

    @cached_property
    def realm(self) -> str:
        """The realm, from the checkpoint's own text."""
        return self.checkpoint.note.partition("\n")[0]

    @cached_property
    def reader(self) -> tiles.HashReader:
        """Hashes and proofs of this tree."""
        return tiles.HashReader(self.tile, self.size)

    def tile(self, path: str) -> bytes:
        """The bytes of a hash tile or entry bundle of this tree, cut from a wider one when it was replaced since."""
        try:
            return read_tile(path)
        except FileNotFoundError:
            return self._from_a_wider_one(path)

    def bundles(self) -> Iterator[list[bytes]]:
        """The exact bytes of all entries, 256 at a time, oldest first."""
        for index, width in tiles.bundles_for(0, self.size):
            yield tiles.bundle_decode(self.tile(tiles.entries_path(index, width)))

    def entries(self, *kinds: str) -> Iterator[LoggedEntry]:
        """The entries of these kinds (all without any), oldest first."""
        index = 0
        for bundle in self.bundles():
            for raw in bundle:
                payload = canonical.loads(dsse.open_envelope(raw).payload)
                if not kinds or payload["kind"] in kinds:
                    yield LoggedEntry(index, raw, payload)
                index += 1

    def checkpoints(self) -> Iterator[Checkpoint]:
        """Earlier checkpoints, at most a thousand and spread evenly, oldest first."""
        earlier = Checkpoint.objects.filter(size__lt=self.size).order_by("size")
        step = -(-earlier.count() // MOST_CHECKPOINTS) or 1
        for place, row in enumerate(earlier.iterator()):
            if place % step == 0:
                yield row

    def _from_a_wider_one(self, path: str) -> bytes:
        matched = re.fullmatch(r"(.+)\.p/([0-9]+)", path)
        if matched is None:
            raise FileNotFoundError(path)
        whole, width = Path(settings.LOG_DIR) / matched[1], int(matched[2])
        folder = whole.with_name(f"{whole.name}.p")
        wider = sorted(int(item.name) for item in folder.glob("[0-9]*") if int(item.name) > width)
        raw = whole.read_bytes() if whole.is_file() else (folder / str(wider[0] if wider else width)).read_bytes()
        if "/entries/" in f"/{path}":
            return tiles.bundle_encode(tiles.bundle_decode(raw)[:width])
        return raw[: width * merkle.HASH_SIZE]
