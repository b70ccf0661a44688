"""What every kind of sink can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from audit.sinks.tree import Published

DIFFERS = "does not hold what was published: "


class SinkError(Exception):
    """The sink did not do what it was asked. The message goes on after its name: "archive cannot be written"."""


class Differs(SinkError):
    """What the sink holds contradicts the published tree. Somebody must look; nothing is overwritten."""

    def __str__(self) -> str:
        return f"{DIFFERS}{self.args[0]}"


@dataclass(frozen=True)
class Piece:
    """A part of what a sink shows: entries that follow the piece before, then a checkpoint over all so far, if any."""

    entries: list[bytes]
    checkpoint: str = ""


class Sink(ABC):
    """One sink. Used by one thread at a time; every call ends within its time-outs, or raises SinkError."""

    every = 0.0  # seconds between two shipments, at least

    def __init__(self, name: str, place: str) -> None:
        self.name = name
        self.place = place  # for people: where it is, without secrets

    @abstractmethod
    def where(self, log: Published, known: int) -> int:
        """How many entries it holds, from 0 on: asked of the sink itself. ``known`` is what it has accepted before, as
        far as we know. Raises Differs when the last of them is not the published one."""

    @abstractmethod
    def take(self, log: Published, start: int, end: int) -> int:
        """Give it the entries from ``start`` on, up to ``end`` at most, all of one tile. Returns how many entries it
        holds then, durably. May be repeated."""

    @abstractmethod
    def seal(self, log: Published) -> None:
        """It holds the whole tree: give it the signed checkpoint. May be repeated."""


class Shown(Sink):
    """A sink whose entries can be read back."""

    @abstractmethod
    def read(self, log: Published, start: int) -> Iterator[Piece]:
        """What it holds from entry ``start`` on, as far as the tree goes, in pieces that fit into memory."""


class Stated(Sink):
    """A sink that only says what it holds: a claim of its own."""

    @abstractmethod
    def stated(self, log: Published) -> tuple[int, bytes] | None:
        """Size and root as it states them; None when it does not."""
