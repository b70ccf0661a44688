"""What a launch of an agent has to agree with at this moment: its grants and the policy, as the database has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from governance import policies, standing
from governance.access import chain_of
from governance.errors import Refused
from governance.models import ADMIN, Agent, Delegation, PersonKey, Policy
from imprimatur.formats import sshsig
from imprimatur.rules.launches import SSH_NAMESPACE

Layer = tuple[bytes, str]
"""The exact bytes of one layer of configuration, and its signature."""


@dataclass(frozen=True)
class Terms:
    """``state`` is None for an agent that does not exist."""

    state: str | None
    delegations: frozenset[str]
    policy: str


def of(agent_id: str, at: datetime) -> Terms:
    """The terms for this agent. Raises Refused ``policy-error`` when no policy is active: then nothing starts."""
    agent = Agent.objects.filter(pk=agent_id).first()
    return Terms(agent.state if agent else None, granted(agent_id, at), policies.active().digest)


def granted(agent_id: str, at: datetime) -> frozenset[str]:
    """The ids of all delegations to this agent that count then: the whole chain stands, and is in its time."""
    held = Delegation.objects.filter(subject=agent_id, revoked_at=None, not_before__lte=at, not_after__gt=at)
    return frozenset(row.pk for row in held if _counts(row, at))


def _counts(row: Delegation, at: datetime) -> bool:
    try:
        chain = chain_of(row)
    except Refused:  # longer than a chain may be: such a one carries nothing
        return False
    return standing.fault(chain) is None and all(link.not_before <= at < link.not_after for link in chain)


def key_that_signed(layer: Layer) -> str:
    """The fingerprint of the SSH key that signed exactly these bytes for this purpose; empty when none did.

    Says nothing about whose key that is: `signer_of` asks the database, under the lock.
    """
    raw, signature = layer
    try:
        key = sshsig.parse(signature).key
        return key.fingerprint if sshsig.verify(signature, raw, SSH_NAMESPACE, key) else ""
    except ValueError:
        return ""


def signer_of(fingerprint: str) -> str | None:
    """The active admin whose SSH key in force this is, or None."""
    if not fingerprint:
        return None
    key = PersonKey.objects.select_related("person__user").filter(pk=fingerprint, kind=PersonKey.SSH).first()
    if key is None or not key.in_force or not key.person.user.is_active:
        return None
    return key.person_id if key.person.user.groups.filter(name=ADMIN).exists() else None


def owner_of(fingerprint: str) -> str:
    """The id of the person whose key this is, whether it counts now or not; empty for a key of nobody."""
    return PersonKey.objects.filter(pk=fingerprint).values_list("person_id", flat=True).first() or ""


def response(to: str) -> str:
    """What the active policy says to do about ``drift`` or a failed ``canary``. Without a word of it: ``alert``."""
    document: Mapping[str, Mapping[str, str]] | None = (
        Policy.objects.filter(active=True).values_list("document", flat=True).first()
    )
    return (document or {}).get("respond", {}).get(to, "alert")
