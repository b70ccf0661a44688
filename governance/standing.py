"""Whether a chain of delegations still stands: asked at issue and again at every use, against the database as it is.

The documents decide what a chain allows (``imprimatur.rules.chain``). This module decides whether the documents count:
unaltered, signed by a key that was good when it signed, by somebody who still may, revoked by nobody.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from audit import published
from governance import signing_keys
from governance.errors import Refused
from governance.models import Agent, AgentKey, Delegation, PersonKey
from imprimatur.formats import delegation as formats
from imprimatur.formats.evidence import EvidenceError, KeyMaterial, check
from imprimatur.rules import chain as rules

NOT_YET = "The delegation is signed, but not yet published. Nothing was decided; try again in a second."


def document_of(row: Delegation) -> dict[str, Any]:
    """The signed document of a delegation. It is shared: do not change it."""
    return _parse(bytes(row.document))


@lru_cache(maxsize=4096)
def _parse(raw: bytes) -> dict[str, Any]:
    return formats.parse(raw)


def refusal(
    chain: Sequence[Delegation],
    *,
    effects: Sequence[dict[str, str]],
    cost_micro: int,
    unit: str,
    tool: str,
    size: int | None,
    at: datetime,
) -> Refused | None:
    """Why this chain, root first, does not allow the action now, or None. Spend in total is ``governance.spend``'s."""
    fallen = fault(chain)
    if fallen is not None:
        return fallen
    prepared = prepare(chain)
    if isinstance(prepared, Refused):
        return prepared
    found = prepared.refusal(effects=effects, cost_micro=cost_micro, unit=unit or None, tool=tool, size=size, at=at)
    return None if found is None else Refused(found.code, found.message)


def prepare(chain: Sequence[Delegation]) -> rules.Chain | Refused:
    """The chain, read and found narrowing at every link. Documents never change, so this is kept by their bytes."""
    prepared = _prepare(tuple(bytes(row.document) for row in chain))
    return prepared if isinstance(prepared, rules.Chain) else Refused(prepared.code, prepared.message)


@lru_cache(maxsize=4096)
def _prepare(documents: tuple[bytes, ...]) -> rules.Chain | rules.Refusal:
    return rules.prepare([_parse(raw) for raw in documents])


def fault(chain: Sequence[Delegation]) -> Refused | None:
    """Why this chain, root first, no longer stands, or None. Says nothing about time windows or what it allows."""
    people = _person_keys(chain)
    agents = _agent_keys(chain)
    parent: Delegation | None = None
    for row in chain:
        found = _link_fault(row, parent, people, agents)
        if found is not None:
            return found
        parent = row
    return None if chain else Refused("out-of-scope", "There is no delegation.")


def must_be_published(chain: Sequence[Delegation]) -> None:
    """Nobody acts under authority that the publisher, as a notary, could still refuse to publish.

    Every link counts. Raises Refused log-behind, which is no decision and passes within seconds, and LogFrozen.
    """
    if all(published.covers(link.issued_index) for link in chain):
        return
    published.check_open()
    raise Refused("log-behind", NOT_YET)


def _link_fault(
    row: Delegation, parent: Delegation | None, people: dict[str, PersonKey], agents: dict[str, AgentKey]
) -> Refused | None:
    if row.revoked_at is not None:
        return Refused("delegation-revoked", "The delegation was revoked, or one that it stands on.")
    if row.subject.state != Agent.ACTIVE:
        return Refused("suspended", f"The agent {row.subject.name} is suspended.")
    key = people.get(row.signature["key"]) if row.issuer_person_id else agents.get(row.signature["key"])
    if key is None:
        return _altered()
    if isinstance(key, PersonKey):
        assert row.issuer_person is not None
        if not row.issuer_person.user.is_active:
            return Refused("delegation-revoked", "The person who issued the delegation is no longer active.")
        holder, dead_since = key.person_id == row.issuer_person_id, key.revoked_at
        public: KeyMaterial | bytes = signing_keys.material(key)
        if key.purpose == PersonKey.SIGNING and (key.vouched_at is None or row.issued_at < key.vouched_at):
            return _altered()
    else:
        holder, dead_since = key.agent_id == row.issuer_agent_id, key.revoked_since
        public = bytes(key.public_key)
    if dead_since is not None and row.issued_at >= dead_since:
        return Refused("delegation-revoked", "The key that signed the delegation was revoked.")
    if not holder or row.parent_id != (parent.id if parent else None):
        return _altered()
    if not _intact(row, public):
        return _altered()
    return None


def _intact(row: Delegation, public: KeyMaterial | bytes) -> bool:
    """Whether the columns say what the signed document says, and the signature is good."""
    document = document_of(row)
    return (
        document["subject"] == row.subject_id
        and document["issuer"] == (row.issuer_person_id or row.issuer_agent_id)
        and document.get("parent") == row.parent_id
        and _signed(row.id, bytes(row.document), json.dumps(row.signature, sort_keys=True), public)
    )


@lru_cache(maxsize=4096)
def _signed(delegation_id: str, raw: bytes, signature: str, public: KeyMaterial | bytes) -> bool:
    document, claimed = _parse(raw), json.loads(signature)
    if formats.delegation_id(document) != delegation_id:
        return False
    if isinstance(public, bytes):
        return formats.verify_agent_signature(document, claimed, public)
    try:
        # The page's address was checked when it was signed; this installation may have moved since.
        check(claimed, typ=formats.TYP, raw=raw, namespace=formats.SSH_NAMESPACE, key=public)
    except EvidenceError:
        return False
    return True


def _altered() -> Refused:
    return Refused("delegation-revoked", "The delegation does not match its signature, so it carries nothing.")


def _person_keys(chain: Sequence[Delegation]) -> dict[str, PersonKey]:
    wanted = [row.signature["key"] for row in chain if row.issuer_person_id]
    return PersonKey.objects.in_bulk(wanted) if wanted else {}


def _agent_keys(chain: Sequence[Delegation]) -> dict[str, AgentKey]:
    wanted = [row.signature["key"] for row in chain if row.issuer_agent_id]
    return AgentKey.objects.in_bulk(wanted) if wanted else {}
