"""The active policy, compiled once per content address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from governance.errors import Refused
from governance.models import Policy
from imprimatur.formats import canonical
from imprimatur.rules import policy as rules


@dataclass(frozen=True)
class ActivePolicy:
    """The row of the active policy and its compiled form."""

    row: Policy
    compiled: rules.Policy

    @property
    def digest(self) -> str:
        """The content address, as it stands in every decision."""
        return self.row.digest


def active() -> ActivePolicy:
    """The policy in force. Raises Refused(policy-error) when there is none: then nothing can be decided."""
    row = Policy.objects.filter(active=True).first()
    if row is None:
        raise Refused("policy-error", "No policy is active, so nothing can be decided. Activate one.")
    compiled = compile_document(row.document)
    if compiled.digest != row.digest:
        raise Refused("policy-error", "The active policy does not match its digest: somebody changed the database.")
    return ActivePolicy(row, compiled)


def compile_document(document: Mapping[str, Any]) -> rules.Policy:
    """Validate and compile, once per content. Raises PolicyError with everything that is wrong."""
    try:
        raw = canonical.dumps(dict(document))
    except canonical.CanonicalError as error:
        raise rules.PolicyError([rules.Problem("policy", str(error))]) from None
    return _compile(raw)


@lru_cache(maxsize=32)
def _compile(raw: bytes) -> rules.Policy:
    # From the bytes: nobody who holds the dict they were made of can change the compiled policy's document.
    return rules.validate(canonical.loads_canonical(raw))
