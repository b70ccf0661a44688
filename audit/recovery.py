"""After the log was frozen: bring back entries that a restored backup lacks, and open the log again.

Both are an operator's explicit acts. Recovering trusts the published files only as far as the high-water mark goes:
the recovered entries must continue what the database holds and give exactly the root that was signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import transaction

from audit import holds, keyring, log, publisher, retention
from audit.errors import LogNotBegun, PublishRefused
from audit.models import Entry, LogHead
from audit.publisher import HighWater
from imprimatur.formats import canonical, dsse, merkle, tiles
from imprimatur.formats.timestamps import parse_time


@dataclass(frozen=True)
class Recovered:
    """The entries that came back, ``first`` up to and without ``end``. Their effects on other tables did not."""

    first: int
    end: int


def recover() -> Recovered:
    """Insert the entries that were published but are missing from the database. The log stays frozen.

    Only the log comes back, with its keys and legal holds, and what was erased is erased again. What those entries did
    to agents, delegations and requests is not done again, so look at each of them (revocations first) before `reopen`.
    Raises PublishRefused when the database forked from what was published, or the files do not give the signed root.
    """
    with transaction.atomic(durable=True):
        head = _frozen_head()
        mark = HighWater.read(publisher.mark_path(), head.realm)
        if mark.size <= head.size:
            return Recovered(head.size, head.size)
        reader = tiles.HashReader(publisher.read_tile, mark.size)
        if head.size and reader.node(0, head.size - 1).hex() != head.last_leaf:
            raise PublishRefused(
                f"the database forked: its entry {head.size - 1} is not the one that was published. Restore an older "
                "backup, from before the fork, and recover again"
            )
        try:
            rows = [row_of(index, raw) for index, raw in _published(head.size, mark.size)]
        except (ValueError, OSError) as error:
            raise PublishRefused(f"the published files are damaged: take them from a mirror ({error})") from error
        tree = merkle.CompactRange()
        for index in range(head.size):
            tree.append(reader.node(0, index))
        for row in rows:
            tree.append(bytes.fromhex(row.leaf))
        if tree.root() != mark.root:
            raise PublishRefused("the published files do not give the root that was signed: take them from a mirror")
        Entry.objects.bulk_create(rows, batch_size=500)
        keyring.write_rows()  # or the next entry would be signed with a key that was replaced in what came back
        last = rows[-1]
        LogHead.objects.filter(pk=head.pk).update(size=mark.size, last_leaf=last.leaf, last_time=last.time)
        holds.write_rows()
        retention.repeat(log.Writer(_frozen_head()), rows)
        return Recovered(head.size, mark.size)


def reopen() -> None:
    """Open a frozen log again, if what is published, marked and stored fits together. Raises PublishRefused if not."""
    head = _frozen_head()
    LogHead.objects.filter(pk=head.pk).update(state=LogHead.OPEN, frozen_reason="")
    # A round of the publisher checks everything, and freezes the log again when something does not hold.
    publisher.Publisher().publish_once()


def _frozen_head() -> LogHead:
    head = LogHead.objects.first()
    if head is None:
        raise LogNotBegun
    if head.state != LogHead.FROZEN:
        raise PublishRefused("the log is open: there is nothing to recover")
    return head


def _published(start: int, size: int) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    for bundle, width in tiles.bundles_for(0, size):
        if (bundle + 1) * tiles.WIDTH <= start:
            continue
        raw = publisher.read_tile(tiles.entries_path(bundle, width))
        found += list(enumerate(tiles.bundle_decode(raw), start=bundle * tiles.WIDTH))
    return [(index, raw) for index, raw in found if index >= start]


def row_of(index: int, raw: bytes) -> Entry:
    """The row of an entry, from its bytes alone. Raises ValueError or KeyError when they are not an entry."""
    return row_with(index, raw, canonical.loads_canonical(dsse.open_envelope(raw).payload))


def row_with(index: int, raw: bytes, payload: dict[str, Any]) -> Entry:
    """The same for whoever has parsed the bytes already. Raises ValueError, KeyError or TypeError."""
    actor, body = payload["actor"], payload["body"]
    own = actor["id"] if actor["type"] == "agent" else ""
    binding = body.get("binding") or {}
    return Entry(
        index=index,
        leaf=merkle.leaf_hash(raw).hex(),
        envelope=raw,
        time=parse_time(payload["time"]),
        kind=payload["kind"],
        subject=payload["subject"],
        actor_type=actor["type"],
        actor_id=actor["id"],
        agent=binding.get("agent") or body.get("agent") or own,
        verdict=str(body.get("verdict", "")),
        risk=str(body.get("risk", "")),
    )
