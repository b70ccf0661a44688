"""The beginning of the log: its head, and entry 0 that names the realm, the keys, the first people and the policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction

from audit import log, signer
from audit.errors import LogAlreadyBegun
from audit.models import LogHead
from imprimatur.formats import canonical, digests, note
from imprimatur.formats.encoding import b64u

ROSTER_TAG = "imprimatur/roster/v1"


def roster_digest(roster: list[dict[str, Any]]) -> str:
    """The digest of the first people: tagged, over the canonical list of `{person, name, roles}`."""
    return digests.tagged(ROSTER_TAG, canonical.dumps(roster))


def log_vkey(realm: str) -> str:
    """The verifier key of this log, for `trust.json` and witnesses: the key's name is the realm, the log's origin."""
    return note.Vkey(realm, signer.log_key().public_key).format()


def begin(
    *,
    realm: str,
    roster: list[dict[str, Any]],
    policy_digest: str,
    software: str,
    founding: Callable[[log.Writer], object] | None = None,
    continues: Mapping[str, str] | None = None,
) -> log.Appended:
    """Create the head and write entry 0, in one transaction. The keys must exist (`signer.make_keys`).

    ``continues`` names the end of another realm's log (its `log_vkey`, last `checkpoint` and the reason), for entry 0.
    ``founding`` writes what belongs to the beginning (people, tools, policy) in that same transaction: all or nothing.

    Invariant: a realm begins once. Raises LogAlreadyBegun the second time, NoteError for a realm that cannot be the
    name of a key (empty, with spaces or with a plus sign).
    """
    vkey = log_vkey(realm)
    key = signer.decision_key()
    with transaction.atomic(durable=True):
        if LogHead.objects.exists():
            raise LogAlreadyBegun
        head = LogHead.objects.create(realm=realm)
        writer = log.Writer(head)
        entry = writer.append(
            "log.genesis",
            subject=realm,
            actor=log.SYSTEM,
            body={
                "decision_key": {"keyid": key.keyid, "public": b64u(key.public_key)},
                "log_vkey": vkey,
                "roster": roster_digest(roster),
                "policy": policy_digest,
                "software": software,
                **({"continues": dict(continues)} if continues is not None else {}),
            },
        )
        if founding is not None:
            founding(writer)
        writer.finish(head)
    return entry
