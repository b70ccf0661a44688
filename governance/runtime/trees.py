"""The tree of all that one service signed for this log (RFC 6962): compared with what it says, then grown by one leaf.

Both happen under the head lock, on the row as the database has it then, so that two statements that race for the same
place are never both written.
"""

from __future__ import annotations

from governance.errors import Refused
from governance.runtime.models import Service
from imprimatur.formats import merkle


def own_of(service: Service) -> dict[str, object]:
    """``own`` as the next statement of this service has to say it."""
    tree = _tree(service)
    return {"size": tree.size, "root": f"sha256:{tree.root().hex()}"}


def must_follow(service: Service, own: object, had: dict[str, object] | None = None) -> None:
    """Raise Refused ``wrong-state`` unless a statement with this ``own`` is the next one.

    The refusal tells what we have: ``had``, where earlier statements of the same call will not be written either.
    """
    ours = own_of(service)
    if own != ours:
        ours = had or ours
        raise Refused(
            "wrong-state",
            f"This does not follow the {ours['size']} statements of this service that are in the log. Nothing was "
            "written. If the service did not sign all of them, stop and tell an admin.",
            extra={"own": ours},
        )


def grow(service: Service, statement: str, index: int) -> None:
    """Take a statement into the tree of the service: it stands in the entry with this index. Saves the row."""
    tree = _tree(service)
    tree.append(merkle.leaf_hash(statement.encode("utf-8")))
    service.size, service.hashes, service.newest = tree.size, [item.hex() for item in tree.hashes], index
    service.save(update_fields=["size", "hashes", "newest", "last_seen_at"])


def _tree(service: Service) -> merkle.CompactRange:
    return merkle.CompactRange.from_hashes(service.size, [bytes.fromhex(item) for item in service.hashes])
