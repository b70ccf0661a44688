"""The kill switch, as it stands."""

from __future__ import annotations

from django.db.models import Q

from audit import kinds
from governance.models import Pause


def standing(agent_id: str, tool: str) -> Pause | None:
    """The pause that covers this agent or this tool now, the widest first, or None."""
    covers = Q(scope=Pause.EVERYTHING) | Q(scope=Pause.AGENT, target=agent_id) | Q(scope=Pause.TOOL, target=tool)
    found = list(Pause.objects.filter(covers, lifted_at__isnull=True))
    widest = {Pause.EVERYTHING: 0, Pause.AGENT: 1, Pause.TOOL: 2}
    return min(found, key=lambda pause: widest[pause.scope], default=None)


def what(pause: Pause) -> str:
    """What it stops, in words."""
    if pause.scope == Pause.EVERYTHING:
        return "everything"
    return kinds.name("agent", pause.target) if pause.scope == Pause.AGENT else f"the tool {pause.target}"


def mark() -> str:
    """Names everything that stands now, so that an open page can ask whether that is still all."""
    return ".".join(str(pause.pk) for pause in all_standing())


def all_standing() -> list[Pause]:
    """Every pause that stands, the oldest first."""
    return list(Pause.objects.filter(lifted_at__isnull=True).order_by("set_at"))
