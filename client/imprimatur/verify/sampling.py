"""A random sample that two people draw alike: from a seed that they agreed on, by a rule that anybody can repeat.

    ticket(index) = SHA-256(seed in UTF-8 || 0x00 || the index in decimal)

The sample are the ``n`` entries with the smallest tickets, among those that were asked for below a given size, in the
order of their indexes. Nobody who does not choose the seed can steer it, and nobody can steer it after the entries.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imprimatur.formats import canonical, dsse, evidence_zip, tiles
from imprimatur.formats.encoding import un_b64

MOST = 1000
"""Entries in a sample: what a person can still look through, and what is held in memory."""

CHECKPOINT, SELECTED = "log/checkpoint", "log/selected.jsonl"
NAMES_ITS_AGENT = frozenset({"action.requested", "action.decided"})
"""Kinds whose entries name the agent themselves, so that a sample by agent can be drawn from the entries alone."""

_SMALL = 1_000_000


class SamplingError(ValueError):
    """No sample can be drawn. The message says why."""


@dataclass(frozen=True)
class Wanted:
    """Which entries to draw from; what is empty leaves nothing out. ``kind`` may be a family, such as ``delegation.``.

    ``since`` (included) and ``until`` (excluded) are canonical times.
    """

    kind: str = ""
    agent: str = ""
    actor: str = ""
    subject: str = ""
    verdict: str = ""
    risk: str = ""
    since: str = ""
    until: str = ""

    def __post_init__(self) -> None:
        if self.agent and self.kind not in NAMES_ITS_AGENT:
            raise SamplingError(
                "an agent can be asked for with one of the kinds " + " and ".join(sorted(NAMES_ITS_AGENT))
            )

    def takes(self, entry: Mapping[str, Any]) -> bool:
        """Whether this entry is one of them."""
        body = entry["body"]
        kind = entry["kind"]
        return (
            (not self.kind or (kind.startswith(self.kind) if self.kind.endswith(".") else kind == self.kind))
            and self.actor in ("", entry["actor"]["id"])
            and self.subject in ("", entry["subject"])
            and self.verdict in ("", body.get("verdict"))
            and self.risk in ("", body.get("risk"))
            and (not self.agent or body["binding"]["agent"] == self.agent)
            and self.since <= entry["time"]
            and (not self.until or entry["time"] < self.until)
        )


def ticket(seed: str, index: int) -> bytes:
    """The number that an entry draws: SHA-256 over the seed, a zero byte, and the index in decimal."""
    return hashlib.sha256(seed.encode("utf-8") + b"\x00" + b"%d" % index).digest()


def draw(seed: str, indexes: Iterable[int], count: int) -> list[int]:
    """The ``count`` indexes with the smallest tickets, in ascending order; all of them when there are no more.

    Holds ``count`` indexes in memory, however many come. Raises SamplingError for an empty seed or a count out of
    range.
    """
    if not seed:
        raise SamplingError("a sample needs a seed: agree on one before you look")
    if not 1 <= count <= MOST:
        raise SamplingError(f"a sample has 1 to {MOST} entries")
    return sorted(heapq.nsmallest(count, indexes, key=lambda index: ticket(seed, index)))


def entries_of(bundle: Path | str) -> Iterator[dict[str, Any]]:
    """The entries that an evidence bundle holds, parsed, in order. Nothing is verified: `imprimatur verify` does that.

    Raises SamplingError or OSError.
    """
    try:
        with evidence_zip.Reader(bundle) as reader:
            for raw in _envelopes(reader):
                payload: dict[str, Any] = canonical.loads_canonical(dsse.open_envelope(raw).payload)
                yield payload
    except (evidence_zip.EvidenceZipError, dsse.DsseError, canonical.CanonicalError, tiles.TileError) as error:
        raise SamplingError(str(error)) from error


def size_of(bundle: Path | str) -> int:
    """How many entries the log of a bundle has. Raises SamplingError or OSError."""
    try:
        with evidence_zip.Reader(bundle) as reader:
            return _size(reader)
    except evidence_zip.EvidenceZipError as error:
        raise SamplingError(str(error)) from error


def is_whole(bundle: Path | str) -> bool:
    """Whether a bundle holds every entry of its log: only from such a one a sample is that of the log."""
    try:
        with evidence_zip.Reader(bundle) as reader:
            return SELECTED not in reader
    except evidence_zip.EvidenceZipError as error:
        raise SamplingError(str(error)) from error


def sample_of(bundle: Path | str, seed: str, count: int, wanted: Wanted, size: int | None = None) -> list[int]:
    """Draw from the entries of a bundle, below ``size`` (all by default). Raises SamplingError or OSError."""
    end = size_of(bundle) if size is None else size
    if end > size_of(bundle):
        raise SamplingError(f"the bundle's log has {size_of(bundle)} entries, not {end}")
    found = (entry["index"] for entry in entries_of(bundle) if entry["index"] < end and wanted.takes(entry))
    try:
        return draw(seed, found, count)
    except (KeyError, TypeError, AttributeError) as error:
        raise SamplingError("an entry is not of its kind's shape; verify the bundle first") from error


def _size(reader: evidence_zip.Reader) -> int:
    lines = reader.read(CHECKPOINT, _SMALL).split(b"\n")
    if len(lines) < 3 or not lines[1].isdigit() or len(lines[1]) > 18:
        raise SamplingError("the bundle's checkpoint cannot be read")
    return int(lines[1])


def _envelopes(reader: evidence_zip.Reader) -> Iterator[bytes]:
    if SELECTED in reader:
        yield from _selected(reader)
        return
    for index, width in tiles.bundles_for(0, _size(reader)):
        yield from tiles.bundle_decode(reader.read(f"log/{tiles.entries_path(index, width)}"))


def _selected(reader: evidence_zip.Reader) -> Iterator[bytes]:
    rest = b""
    for chunk in reader.chunks(SELECTED):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield un_b64(canonical.loads(line)["envelope"])
    if rest:
        raise SamplingError(f"{SELECTED} does not end in a line")
