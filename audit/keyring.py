"""Which key signs now, and which signed when: the private halves that belong to what the entries say.

`LogKey` has a row for every key that came or went after entry 0, written in the transaction of its entry. Whoever signs
asks here each time, so a change counts in every process at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from audit import signer
from audit.errors import KeyRefused, SignerUnavailable
from audit.models import Entry, LogKey
from imprimatur.formats import canonical, dsse, note
from imprimatur.formats.keyring import KINDS, Keyring
from imprimatur.formats.keys import dsse_keyid


def in_force() -> signer.Signer:
    """The decision key that signs the next entry. Ask while the head is locked. Raises SignerUnavailable."""
    row = LogKey.objects.filter(role=LogKey.DECISION, until=None).first()
    return signer.decision_key() if row is None else signer.holding(signer.DECISION, row.key)


def decision_signer(size: int) -> signer.Signer:
    """The decision key that signs what is said of the first ``size`` entries: the one after them.

    Raises SignerUnavailable, also when it was retired and destroyed since.
    """
    rows = LogKey.objects.filter(role=LogKey.DECISION).order_by("since")
    signing = [row for row in rows if row.since < size and (row.until is None or size <= row.until)]
    return signer.holding(signer.DECISION, signing[-1].key) if signing else signer.decision_key()


def log_signers(size: int) -> list[signer.Signer]:
    """Every log key that must sign the checkpoint of this many entries, oldest first. Raises SignerUnavailable."""
    rows = list(LogKey.objects.filter(role=LogKey.LOG).order_by("since"))
    found: list[signer.Signer] = [] if any(row.since == 0 for row in rows) else [signer.log_key()]
    signing = [row for row in rows if row.since < size and (row.until is None or size <= row.until)]
    found += [signer.holding(signer.LOG, dsse_keyid(note.Vkey.parse(row.key).public_key)) for row in signing]
    if not found:
        # The rows are only what the entries say in short, and whoever decides may write them: a checkpoint that nobody
        # signed would stay in the way of every later one.
        raise SignerUnavailable(
            "The rows of log keys name none that signs now, and the entries do. Run `manage.py audit_fsck`."
        )
    return found


def ring(payloads: Iterable[dict[str, Any]] | None = None) -> Keyring:
    """All keys there ever were, as the entries say; from the database unless the entries are given."""
    found = Keyring()
    if payloads is None:
        rows = Entry.objects.filter(kind__in=KINDS).order_by("index")
        payloads = (canonical.loads(dsse.open_envelope(bytes(row.envelope)).payload) for row in rows)
    for payload in payloads:
        found.see(payload)
    return found


def in_use() -> dict[str, int]:
    """The verifier keys that sign the next checkpoint, each with the entry that named it, oldest first."""
    rows = list(LogKey.objects.filter(role=LogKey.LOG).order_by("since"))
    found = {} if any(row.since == 0 for row in rows) else {ring().log[0].vkey.format(): 0}
    return found | {row.key: row.since for row in rows if row.until is None}


def must_be_unused(public_key: bytes) -> None:
    """Raises KeyRefused for a key that this log ever had: a key serves one purpose, once."""
    found = ring()
    known = {key.public_key for key in found.decision} | {key.vkey.public_key for key in found.log}
    if public_key in known:
        raise KeyRefused("This log has or had this key already. Make a new one.")


def rows_of(found: Keyring) -> list[LogKey]:
    """The rows that belong to these keys."""
    rows = [
        LogKey(
            key=dsse_keyid(key.public_key),
            role=LogKey.DECISION,
            since=max(key.first - 1, 0),
            until=key.last,
        )
        for key in found.decision
        if key.first or key.last is not None
    ]
    return rows + [
        LogKey(key=key.vkey.format(), role=LogKey.LOG, since=key.since, until=key.until)
        for key in found.log
        if key.since or key.until is not None
    ]


def write_rows() -> None:
    """Bring the rows to what the entries say. Called in the transaction that changed or brought back an entry."""
    LogKey.objects.all().delete()
    LogKey.objects.bulk_create(rows_of(ring()))
