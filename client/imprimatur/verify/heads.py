"""Heads of the log, size and root, which people and monitors named in what they signed: each was one of this very log.

Whoever has all of the server's keys can write every entry anew, and sign and publish that. Not these: what they named
stays as they signed it, and none of it fits any more to a log of which an entry before it was left out, moved or made
up. So such a log is told from the real one as far as the newest head goes that somebody else signed, and no further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imprimatur.formats import attestation, canonical
from imprimatur.verify import signatures

IsOurs = Callable[[int, str], bool]
"""Whether this was the root (as entries write it) of the log at this size."""


@dataclass(frozen=True, slots=True)
class Head:
    """What one statement, in the entry with this index, named as the log before it. ``signed``: not by a click in a
    session, of which the server writes down itself what it was about."""

    size: int
    root: str
    index: int
    kind: str
    signed: bool = True


class Heads:
    """Give it every entry that keeps the rules, in order."""

    def __init__(self) -> None:
        self.people: list[Head] = []
        self.monitors: list[Head] = []

    def entry(self, entry: Mapping[str, Any]) -> None:
        """Remember what is named in this entry, if anything is."""
        body, index, kind = entry["body"], entry["index"], entry["kind"]
        if kind == "observation.recorded":
            head = attestation.open_statement(body["statement"].encode("utf-8")).predicate["log"]
            self.monitors.append(Head(head["size"], head["root"], index, kind))
        part = signatures.signed_part(body)
        if part is not None:
            said = canonical.loads(part["statement"].encode("utf-8"))
            signed = part["evidence"]["kind"] != "session"
            self.people.append(Head(said["log_size"], said["log_root"], index, kind, signed))

    @property
    def newest(self) -> int:
        """How many entries the longest log had that anybody named and signed."""
        return max((head.size for head in self._signed()), default=0)

    def agreed(self, is_ours: IsOurs) -> int:
        """For how many entries from the first on this log is surely as it was seen. Not below what anybody saw."""
        judged = [(head.size, is_ours(head.size, head.root)) for head in self._signed()]
        broken = min((size for size, ours in judged if not ours), default=None)
        return max((size for size, ours in judged if ours and (broken is None or size < broken)), default=0)

    def how_far(self, is_ours: IsOurs) -> str:
        """For what breaks a rule: where the reason may lie, if it is an entry before it. A sentence that goes on."""
        seen = self.agreed(is_ours)
        return f". Its first {seen} entries are as people or monitors saw them" if seen else ""

    def limit(self, size: int) -> str:
        """What a log of this size does not show by itself of whoever has all of the server's keys."""
        newest = min(self.newest, size)
        behind = (
            f"{size - newest} of the {size} entries, from entry {newest} on, came" if newest < size else "nothing came"
        )
        return (
            "That nobody who has all of the server's keys left something out at the end: people and monitors name the "
            f"log that they saw in what they sign, and {behind} after the newest that anybody named. What others hold "
            "shows it: a cosigned checkpoint, a receipt, another bundle."
        )

    def of_people(self, is_ours: IsOurs) -> Iterator[tuple[int, str]]:
        """Each entry whose statement names a head that this log never had, and that in words."""
        said = "the statement names a log that is not this one; an entry before it was left out, moved or made up"
        return self._others(self.people, said, is_ours)

    def of_monitors(self, is_ours: IsOurs) -> Iterator[tuple[int, str]]:
        """The same of observations."""
        said = "its monitor was shown a log that is not this one; an entry before it was left out, moved or made up"
        return self._others(self.monitors, said, is_ours)

    def _others(self, named: list[Head], said: str, is_ours: IsOurs) -> Iterator[tuple[int, str]]:
        strange = [head for head in named if not is_ours(head.size, head.root)]
        where = self._where(is_ours) if strange else ""
        for head in strange:
            yield head.index, f"entry {head.index} ({head.kind}): {said}{where}"

    def _signed(self) -> list[Head]:
        return [head for head in (*self.people, *self.monitors) if head.signed]

    def _where(self, is_ours: IsOurs) -> str:
        """Between which entries the log begins to differ from what was seen of it."""
        strange = [head.size for head in self._signed() if not is_ours(head.size, head.root)]
        if not strange:
            return ""
        seen = self.agreed(is_ours)
        return f". Its first {seen} entries are as people or monitors saw them, its first {min(strange)} are not"
