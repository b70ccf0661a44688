"""Which agents are canaries. For lists and notifications alone: whoever decides about a request may not import this.

A test scans the sources for it, so that no check can ever be weaker, or stronger, for a canary than for any agent.
"""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from governance.runtime.models import CanaryAgent


def known() -> QuerySet[CanaryAgent, Any]:
    """The ids of the agents of canary runners that are in use, as a subquery."""
    return CanaryAgent.objects.filter(service__retired_at=None).values_list("agent", flat=True)


def includes(agent: str) -> bool:
    """Whether this agent is a canary."""
    return CanaryAgent.objects.filter(agent=agent, service__retired_at=None).exists()


def listed() -> list[str]:
    """The same, read now."""
    return list(known())
