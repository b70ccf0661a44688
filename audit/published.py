"""Which entries a published checkpoint covers: what gives authority counts only from then on.

The publisher is a notary and may refuse to sign. So nobody acts under a delegation, or a vote in advance, that the
world could still never hear of. What was published stays published, so the largest size seen is kept in the process
and the database is asked only about what lies beyond it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit import publisher
from audit.errors import LogFrozen
from audit.models import Entry, LogHead
from imprimatur.formats import canonical, dsse

_known = 0


def covers(index: int) -> bool:
    """Whether a published checkpoint covers the entry with this index."""
    global _known
    if index >= _known:
        _known = max(_known, publisher.published_size())
    return index < _known


def size() -> int:
    """How many entries are published, as the database says now."""
    global _known
    _known = max(_known, publisher.published_size())
    return _known


def check_open() -> None:
    """Raise LogFrozen while the log is frozen: then nothing will be published soon, and whoever waits should know."""
    head = LogHead.objects.only("state", "frozen_reason").first()
    if head is not None and head.state != LogHead.OPEN:
        raise LogFrozen(head.frozen_reason)


def forget() -> None:
    """Begin again, in a test with another database."""
    global _known
    _known = 0


@dataclass(frozen=True)
class Told:
    """Where something that was done stands in the log, and whether a published checkpoint covers it."""

    index: int
    published: bool

    def __str__(self) -> str:
        if self.published:
            return f"In the log as entry {self.index}; published."
        return f"In the log as entry {self.index}; it will be published within seconds."


def told(kind: str, subject: str, about: Mapping[str, Any] | None = None) -> Told | None:
    """The newest entry of this kind about the subject whose body says all of ``about``; None when there is none."""
    for row in Entry.objects.filter(kind=kind, subject=subject).order_by("-index").iterator():
        body = canonical.loads_canonical(dsse.open_envelope(bytes(row.envelope)).payload)["body"]
        if all(body.get(name) == value for name, value in (about or {}).items()):
            return Told(row.index, covers(row.index))
    return None
