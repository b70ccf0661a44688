"""What surrounds one entry: its path to the published root, who signed what in it, and what rests on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit import proofs, publisher, selectors
from audit.errors import NotPublished
from audit.models import Entry
from imprimatur.formats import canonical, dsse, merkle, receipt_signatures, tiles
from imprimatur.formats.encoding import un_b64u
from imprimatur.verify.signatures import signed_part

LOOKED_AT = 256
"""Entries after this one that are looked at for references to it, besides those about the same subject."""
_MOST = 100

GOOD, BAD, UNCHECKED = "good", "bad", "unchecked"


@dataclass(frozen=True)
class Step:
    """One step of an inclusion path: the sibling, on which side it stands, and what both hash to."""

    side: str
    sibling: str
    result: str


@dataclass(frozen=True)
class Path:
    """How a leaf leads to the root that the newest checkpoint signs. ``holds`` tells whether it arrives there."""

    size: int
    root: str
    steps: list[Step]
    holds: bool


@dataclass(frozen=True)
class Signature:
    """Somebody's signature inside an entry, or over it: ``state`` is good, bad or unchecked, and ``why`` says more."""

    who: str
    kind: str
    key: str
    strength: str
    state: str
    why: str
    statement: str = ""


@dataclass(frozen=True)
class Reference:
    """Another entry and what it has to do with this one."""

    row: Entry
    rel: str


def path_of(row: Entry) -> Path:
    """The inclusion path under the newest checkpoint, each step computed here.

    Raises NotPublished before a checkpoint covers the entry, TileError or OSError when the log's files are damaged.
    """
    newest = proofs.latest_checkpoint()
    if row.index >= newest.size:
        raise NotPublished(f"no published checkpoint covers entry {row.index} yet")
    siblings = tiles.HashReader(publisher.read_tile, newest.size).inclusion_proof(row.index)
    computed = merkle.leaf_hash(bytes(row.envelope))
    steps, position, last = [], row.index, newest.size - 1
    for sibling in siblings:
        if position & 1 or position == last:
            side, computed = "left", merkle.node_hash(sibling, computed)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            side, computed = "right", merkle.node_hash(computed, sibling)
        position, last = position >> 1, last >> 1
        steps.append(Step(side, sibling.hex(), computed.hex()))
    return Path(newest.size, newest.root, steps, computed.hex() == newest.root)


def signatures_of(envelope: dsse.Envelope, payload: Mapping[str, Any]) -> list[Signature]:
    """The decision key's signature over the entry, and the person's inside it if there is one, each verified here."""
    return [_of_the_log(envelope), *_of_people(payload)]


def rests_on(payload: Mapping[str, Any]) -> list[Reference]:
    """The entries that this one names: its references, the votes it counts, and its cause."""
    body = payload["body"]
    named = {ref["index"]: ref["rel"] for ref in payload["refs"]}
    for index in body.get("votes", ()):
        if isinstance(index, int):
            named.setdefault(index, "vote")
    for field in ("cause", "vote"):
        if isinstance(body.get(field), int):
            named.setdefault(body[field], field)
    rows = Entry.objects.filter(index__in=list(named)[:_MOST]).order_by("index")
    return [Reference(row, named[row.index]) for row in rows]


def resting_on(row: Entry) -> list[Reference]:
    """The later entries that name this one, among those about the same subject and the next `LOOKED_AT`."""
    later = Entry.objects.filter(index__gt=row.index).order_by("index")
    near = later.filter(index__lte=row.index + LOOKED_AT)
    same = later.filter(subject=row.subject)[:_MOST]
    candidates = {each.index: each for each in [*near, *same]}
    found = []
    for index in sorted(candidates):
        rel = _names(selectors.payload_of(candidates[index]), row.index)
        if rel:
            found.append(Reference(candidates[index], rel))
    return found[:_MOST]


def _names(payload: Mapping[str, Any], index: int) -> str:
    body = payload["body"]
    found = next((str(ref["rel"]) for ref in payload["refs"] if ref["index"] == index), "")
    votes = body.get("votes", ())
    if not found and isinstance(votes, list) and index in votes:
        return "vote"
    if not found:
        found = next((name for name in ("cause", "vote") if body.get(name) == index), "")
    return found


def _of_the_log(envelope: dsse.Envelope) -> Signature:
    known = _decision_keys()
    public = known.get(envelope.keyid)
    if public is None:
        state, why = BAD, "No decision key of this log has this id."
    elif dsse.verify(envelope, public):
        state, why = GOOD, "Verified here over the exact bytes."
    else:
        state, why = BAD, "The signature does not belong to these bytes."
    return Signature("The log’s decision key", "Ed25519, DSSE", envelope.keyid, "", state, why)


def _decision_keys() -> dict[str, bytes]:
    """Every decision key that the log names, by its id: that of entry 0, and each that followed it."""
    found = {}
    for row in Entry.objects.filter(kind__in=("log.genesis", "log.decision_key_changed")).order_by("index"):
        named = selectors.payload_of(row)["body"]["decision_key"]
        found[named["keyid"]] = un_b64u(named["public"])
    return found


def _of_people(payload: Mapping[str, Any]) -> list[Signature]:
    who = payload["actor"]
    part = signed_part(payload["body"])
    if part is None:
        given = payload["body"].get("signature")
        if payload["kind"] != "delegation.issued" or not isinstance(given, dict):
            return []
        why = "Over the delegation’s own bytes; its page has them, and the verifier checks it."
        return [Signature(who["id"], given["kind"], given["key"], who.get("assurance", ""), UNCHECKED, why)]
    evidence = part["evidence"]
    said = canonical.loads(part["statement"].encode("utf-8"))
    strength = who.get("assurance", "")
    if evidence["kind"] == "session":
        why = "A click in a session: it proves only what this server says."
        return [Signature(who["id"], "session", "", strength, UNCHECKED, why, part["statement"])]
    key = str(evidence.get("key") or said.get("credential") or who.get("key", ""))
    try:
        given = receipt_signatures.check({"body": part, "actor": who}, said["typ"], None)
    except ValueError as error:
        return [Signature(who["id"], evidence["kind"], key, strength, BAD, f"{error}", part["statement"])]
    why = "Verified here with the key that the entry carries. Whose key it is, the enrolment and its voucher say."
    return [
        Signature(who["id"], evidence["kind"], given.key, strength or given.assurance, GOOD, why, part["statement"])
    ]
