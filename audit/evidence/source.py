"""The log as a bundle sees it: exactly up to one published checkpoint, read from the published files.

A selective bundle sees less of it: the entries that its filters keep, at their own indexes.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings

from audit import proofs, witnesses
from audit.evidence import selecting
from audit.models import Checkpoint
from audit.publisher import read_tile
from imprimatur.formats import canonical, dsse, merkle, selection, tiles

MOST_CHECKPOINTS = 1_000
_BUNDLES_KEPT = 8
_BEGIN = b'{"payload":"'


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
    """The published log up to ``checkpoint``; what was published later does not exist here.

    ``filters`` (`imprimatur.formats.selection`) choose requests; entries about others are passed by. ``at_entry`` is
    called now and then with how many entries of the present pass were read, for whoever shows the progress.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | None = None,
        filters: Mapping[str, Any] | None = None,
        at_entry: Callable[[int], object] = lambda index: None,
    ) -> None:
        """Take the newest checkpoint unless one is given. Raises NotPublished when there is none, ShapeError for
        filters that choose nothing sensible."""
        self.checkpoint = checkpoint or proofs.latest_checkpoint()
        self.size = self.checkpoint.size
        self.filters = dict(filters or {})
        selection.validate(self.filters)
        selecting.check_controls(self.filters)
        self.whole = selection.is_whole(self.filters)
        self._at_entry = at_entry
        self._decoded = lru_cache(maxsize=_BUNDLES_KEPT)(self._decode)

    @cached_property
    def realm(self) -> str:
        """The realm, from the checkpoint's own text."""
        return self.checkpoint.note.partition("\n")[0]

    @cached_property
    def note(self) -> str:
        """The signed checkpoint with the cosignatures it had when this was first asked: one text for all files."""
        return witnesses.cosigned(self.checkpoint)

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

    def file(self, path: str) -> Path | None:
        """The file of a full hash tile or entry bundle, which never changes; None for one that is not full."""
        whole = Path(settings.LOG_DIR) / path
        return whole if ".p/" not in path and whole.is_file() else None

    def bundles(self) -> Iterator[list[bytes]]:
        """The exact bytes of all entries, 256 at a time, oldest first."""
        for index, width in tiles.bundles_for(0, self.size):
            yield tiles.bundle_decode(self.tile(tiles.entries_path(index, width)))

    def entries(self, *kinds: str) -> Iterator[LoggedEntry]:
        """The entries of these kinds (all without any) that this bundle keeps, oldest first."""
        for index, raw, payload in self._payloads(set(kinds)):
            if self._keeps(payload):
                yield LoggedEntry(index, raw, canonical.loads_canonical(payload))

    def steps(self, first: int = 0) -> Iterator[tuple[int, bytes, bool]]:
        """Every entry from ``first`` on: its index, its exact bytes, and whether this bundle keeps it."""
        for number, width in tiles.bundles_for(first - first % tiles.WIDTH, self.size):
            start = number * tiles.WIDTH
            for index, raw in enumerate(tiles.bundle_decode(self.tile(tiles.entries_path(number, width))), start):
                if index >= first:
                    yield index, raw, self._keeps(_payload(raw))

    @cached_property
    def chosen(self) -> frozenset[str]:
        """The ids of the requests that are kept, when this is not the whole log."""
        return selecting.choose(self.filters, self._read, self._at)

    @cached_property
    def shown(self) -> int:
        """How many entries are kept."""
        return self.size if self.whole else sum(self._keeps(payload) for _, _, payload in self._payloads(set()))

    def _keeps(self, payload: bytes) -> bool:
        return self.whole or _kind(payload) not in selection.REQUEST_KINDS or _subject(payload) in self.chosen

    def _read(self, wanted: Callable[[str, str], bool]) -> Iterator[dict[str, Any]]:
        for _, _, payload in self._payloads(set()):
            if wanted(_kind(payload), _subject(payload)):
                yield canonical.loads_canonical(payload)

    def _at(self, index: int) -> dict[str, Any]:
        """The payload of one entry."""
        number, place = divmod(index, tiles.WIDTH)
        payload: dict[str, Any] = canonical.loads_canonical(_payload(self._decoded(number)[place]))
        return payload

    def _decode(self, number: int) -> list[bytes]:
        width = min(tiles.WIDTH, self.size - number * tiles.WIDTH)
        return tiles.bundle_decode(self.tile(tiles.entries_path(number, width)))

    def _payloads(self, kinds: set[str]) -> Iterator[tuple[int, bytes, bytes]]:
        index = 0
        for bundle in self.bundles():
            self._at_entry(index)
            for raw in bundle:
                payload = _payload(raw)
                if not kinds or _kind(payload) in kinds:
                    yield index, raw, payload
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


def _payload(envelope: bytes) -> bytes:
    """The signed bytes in an envelope. They are cut out of its exact form, which begins with them; reading them
    through `dsse` as well would take most of the time that a large log takes, and what reads a bundle does that."""
    if envelope.startswith(_BEGIN):
        return base64.b64decode(envelope[len(_BEGIN) : envelope.index(b'"', len(_BEGIN))])
    return dsse.open_envelope(envelope).payload


def _kind(payload: bytes) -> str:
    """The kind of an entry, without parsing it: the last member of that name in its canonical form, since none that
    comes after it (prev, realm, refs, subject, time, v) can hold these bytes."""
    return _last(payload, b'"kind":"')


def _subject(payload: bytes) -> str:
    """The subject of an entry whose subject is an id, without parsing it, for the same reason."""
    return _last(payload, b'"subject":"')


def _last(payload: bytes, member: bytes) -> str:
    start = payload.rfind(member) + len(member)
    return payload[start : payload.index(b'"', start)].decode("utf-8")
