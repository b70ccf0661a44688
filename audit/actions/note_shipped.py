"""Enter into the log that a copy on another system was read back, entry by entry, and is the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from audit.log import SYSTEM, Appended, Writer
from audit.models import Checkpoint, Entry
from imprimatur.formats import canonical, dsse

KIND = "log.shipped"
AT_MOST_EVERY = timedelta(hours=1)


@dataclass(frozen=True)
class Command:
    """The sink's name, how many entries it holds from 0 on, and their root in hex."""

    sink: str
    size: int
    root: str


def apply(writer: Writer, command: Command) -> Appended | None:
    """Write `log.shipped`. Returns None, and writes nothing, where that would say nothing new: less than an hour after
    the last one of this sink, or when only such entries came since; and for a tree that was never signed.
    """
    if not Checkpoint.objects.filter(size=command.size, root=command.root).exists():
        return None
    last = Entry.objects.filter(kind=KIND, subject=command.sink).order_by("-index").first()
    since = 0
    if last is not None:
        since = canonical.loads(dsse.open_envelope(bytes(last.envelope)).payload)["body"]["size"]
        if writer.now - last.time < AT_MOST_EVERY or command.size <= since:
            return None
    # The log must not grow for ever by saying that it was copied.
    if not Entry.objects.filter(index__gte=since, index__lt=command.size).exclude(kind=KIND).exists():
        return None
    return writer.append(
        KIND,
        subject=command.sink,
        actor=SYSTEM,
        body={"sink": command.sink, "size": command.size, "root": f"sha256:{command.root}"},
    )
