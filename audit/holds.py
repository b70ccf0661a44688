"""Legal holds: what they cover, and the list of them with who placed and who lifted each.

Placing, lifting and erasing all happen under the head lock, so that of a hold and an erasure one comes first: nothing
is ever erased after the entry of a hold that covers it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from audit import kinds, mirrors
from audit.models import Entry, Hold
from audit.selectors import payload_of

if TYPE_CHECKING:
    from imprimatur.verify.facts import Facts

PLACED, LIFTED = "hold.placed", "hold.lifted"


@dataclass(frozen=True)
class Standing:
    """The holds that stand at one moment."""

    holds: tuple[Hold, ...]

    def over(self, subject: str, agent: str) -> Hold | None:
        """A hold that covers this request of this agent, or None."""
        targets = {Hold.REQUEST: subject, Hold.AGENT: agent, Hold.EVERYTHING: ""}
        return next((hold for hold in self.holds if targets[hold.scope] == hold.target), None)


@dataclass(frozen=True)
class Line:
    """One hold for people to read: what it covers, by whom and why, and how it ended."""

    hold: Hold
    what: str
    by: str
    placed_index: int
    lifted_by: str = ""
    lifted_because: str = ""
    lifted_index: int | None = None


def standing() -> Standing:
    """What stands now. Decide by it only under the head lock."""
    return Standing(tuple(Hold.objects.filter(lifted_at=None).order_by("placed_index")))


def what(hold: Hold) -> str:
    """What a hold covers, in words, by name."""
    if hold.scope == Hold.EVERYTHING:
        return "everything"
    name = kinds.name(hold.scope, hold.target)
    return f"the {hold.scope} {name}" if name == hold.target or hold.scope == Hold.AGENT else f"the request “{name}”"


def lines(holds: Iterable[Hold]) -> list[Line]:
    """The holds with what their entries say, in the order given."""
    rows = list(holds)
    found: dict[str, dict[str, Mapping[str, Any]]] = {row.id: {} for row in rows}
    for entry in Entry.objects.filter(subject__in=found, kind__in=(PLACED, LIFTED)).order_by("index"):
        found[entry.subject][entry.kind] = payload_of(entry)
    return [_line(row, found[row.id]) for row in rows]


def _line(hold: Hold, said: Mapping[str, Mapping[str, Any]]) -> Line:
    placed, lifted = said.get(PLACED), said.get(LIFTED)
    return Line(
        hold=hold,
        what=what(hold),
        by=kinds.actor(placed) if placed else "",
        placed_index=hold.placed_index,
        lifted_by=kinds.actor(lifted) if lifted else "",
        lifted_because=str(lifted["body"]["reason"]) if lifted else "",
        lifted_index=lifted["index"] if lifted else None,
    )


def lifted_since(moment: datetime) -> list[Hold]:
    """The holds that were lifted since then, newest first."""
    return list(Hold.objects.filter(lifted_at__gte=moment).order_by("-lifted_at"))


def write_rows() -> None:
    """Bring the table to what the entries say. Called in the transaction that brought entries back: what is held then
    must not be erased for want of a row, nor a hold be lifted a second time."""
    for entry in Entry.objects.filter(kind__in=(PLACED, LIFTED)).order_by("index").iterator():
        body = payload_of(entry)["body"]
        if entry.kind == LIFTED:
            Hold.objects.filter(pk=body["hold"]).update(lifted_at=entry.time)
            continue
        said = {name: body[name] for name in ("scope", "target", "reason")}
        Hold.objects.update_or_create(
            pk=body["hold"],
            defaults={**said, "placed_index": entry.index, "placed_at": entry.time, "lifted_at": None},
        )


class Rows:
    """The table of holds, held against the log by `audit_fsck`: a row taken away would let something be erased."""

    def see(self, entries: Sequence[dict[str, Any]]) -> Iterable[str]:
        return ()

    def end(self, facts: Facts) -> Iterable[str]:
        rows = {hold.id: [hold.scope, hold.target] for hold in standing().holds}
        for name in sorted(rows.keys() | facts.legal_holds.keys()):
            table, told = rows.get(name), facts.legal_holds.get(name)
            if table != told:
                yield f"hold {name}: the table says {table or 'nothing stands'}, the log {told or 'nothing stands'}"


def hook() -> None:
    """Called once, when the application starts."""
    mirrors.register("holds", Rows)
