"""Read back from every sink at once, when somebody asks: everything, not only what came since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from audit.actions import note_shipped
from audit.log import commit, utc_now
from audit.models import Checkpoint
from audit.sinks import states
from audit.sinks.configuration import configured
from audit.sinks.reconcile import NotOffered, Reading
from audit.sinks.shipping import published
from audit.sinks.sink import DIFFERS, Differs, Sink, SinkError
from audit.sinks.tree import Published
from imprimatur.formats import tiles


@dataclass(frozen=True)
class Result:
    """What came of one sink. ``differs``: it holds something else. ``failed``: it could not be read back."""

    name: str
    words: str
    differs: bool = False
    failed: bool = False


def check_all() -> Iterator[Result]:
    """Read everything back from each sink, keep what was found, and enter agreement into the log.

    Changes nothing in any sink. Raises ImproperlyConfigured for bad settings.
    """
    sinks = configured()
    checkpoint = Checkpoint.objects.order_by("-size").first()
    for sink in sinks:
        if checkpoint is None:
            yield Result(sink.name, "nothing is published yet")
        else:
            yield _check(sink, published(checkpoint.size, bytes.fromhex(checkpoint.root), checkpoint.note))


def _check(sink: Sink, log: Published) -> Result:
    known = states.read(sink.name)
    try:
        log.check()
        agreed = Reading(sink, log, known.sent).finish()
    except NotOffered as error:
        return Result(sink.name, f"{error}: what it accepted is not confirmed")
    except (SinkError, OSError, tiles.TileError) as error:
        since = known.failing_since or utc_now()
        words = known.error if known.error.startswith(DIFFERS) and not isinstance(error, Differs) else str(error)
        states.keep(replace(known, error=words, failing_since=since, failures=known.failures + 1))
        return Result(sink.name, str(error), isinstance(error, Differs), not isinstance(error, Differs))
    root, now = agreed.root.hex(), utc_now()
    states.keep(
        replace(known, held=agreed.size, held_root=root, held_at=now, whole_at=now, error="", failing_since=None)
    )
    if agreed.seen and agreed.size:
        commit(note_shipped.apply, note_shipped.Command(sink.name, agreed.size, root))
    words = "entries read back, the same as here" if agreed.seen else "entries by its own word, with the root as here"
    return Result(sink.name, f"{agreed.size} {words}; {log.size} are published")
