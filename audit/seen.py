"""What others hold of this log, held against it: an entry it gave out and no longer has proves that it was replaced.

The high-water mark and the published files notice a database from an older backup. When all of them were restored
together, nothing here knows better, and the receipt that an agent was handed is what tells. Only an entry that one of
this log's own decision keys signed counts, so nobody can stop the log by inventing one.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from audit import log, published, signer
from audit.errors import LogFrozen, SignerUnavailable
from audit.models import Entry
from imprimatur.formats import canonical, dsse, keys, merkle
from imprimatur.formats.encoding import un_b64u

logger = logging.getLogger(__name__)


class NotOurs(Exception):  # it is an answer, not a fault
    """This is no entry of this log: no decision key of it signed these bytes. They prove nothing."""


@dataclass(frozen=True)
class Seen:
    """The entry is in the log, with exactly these bytes."""

    index: int
    published: bool


def compare(envelope: bytes, holder: str) -> Seen:
    """Hold the exact bytes of an entry, which ``holder`` presents, against the log.

    Raises NotOurs, and LogFrozen when the log has no entry at that index or another one: then it is frozen, since
    either it was restored from a backup or there are two histories, both signed with its key.
    """
    index = _index(envelope)
    leaf = Entry.objects.filter(pk=index).values_list("leaf", flat=True).first()
    if leaf == merkle.leaf_hash(envelope).hex():
        return Seen(index, published.covers(index))
    here = "has no such entry" if leaf is None else "has another one there"
    reason = (
        f"{holder} holds entry {index}, signed with a key of this log, and the log {here}: it was restored from a "
        "backup, or there are two histories"
    )
    logger.critical("the log is frozen: %s", reason)
    log.freeze(reason)
    raise LogFrozen(reason)


def _index(envelope: bytes) -> int:
    """The place that a signed entry of this realm claims. Raises NotOurs."""
    try:
        opened = dsse.open_envelope(envelope)
        payload: Any = canonical.loads_canonical(opened.payload)
        realm, index = payload["realm"], payload["index"]
    except (ValueError, KeyError, TypeError) as error:
        raise NotOurs("it is not the exact text of an entry") from error
    if opened.payload_type != dsse.PAYLOAD_TYPE or type(index) is not int or index < 0:
        raise NotOurs("it is not an entry")
    if realm != settings.REALM:
        raise NotOurs("it is of another realm")
    if not any(dsse.verify(opened, key) for key in _decision_keys() if keys.dsse_keyid(key) == opened.keyid):
        raise NotOurs("no decision key of this log signed it")
    return index


def _decision_keys() -> set[bytes]:
    """Every one that the log names or that is here: a log that was put back does not name the keys that came since.

    Public halves are enough, so the private half of a retired key may be gone, and no signer is asked.
    """
    found: set[bytes] = set()
    for name in signer.names(signer.DECISION):
        with suppress(SignerUnavailable):  # one file that cannot be read makes the others no less ours
            found.add(signer.public_key(name))
    introducing = Entry.objects.filter(pk=0) | Entry.objects.filter(kind="log.decision_key_changed")
    for raw in introducing.values_list("envelope", flat=True):
        entry = canonical.loads_canonical(dsse.open_envelope(bytes(raw)).payload)
        found.add(un_b64u(entry["body"]["decision_key"]["public"]))
    return found
