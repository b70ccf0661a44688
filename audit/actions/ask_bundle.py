"""Ask for an evidence bundle. It is built by a worker; asking changes nothing that is logged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from audit.evidence import selecting
from audit.log import Writer
from audit.models import Bundle
from imprimatur.formats import selection
from imprimatur.formats.ids import new_id

TOPIC = "bundle.build"


@dataclass(frozen=True)
class Command:
    """``user_id`` is the login that asks, ``person`` the id under which the log will name them. ``filters`` say what
    is to be shown (`imprimatur.formats.selection`): without any, everything."""

    user_id: int
    person: str
    filters: Mapping[str, Any] = field(default_factory=dict)


def apply(writer: Writer, command: Command) -> Bundle:
    """Keep the wish and put the job into the outbox. A person who already waits for one gets that one, whatever it
    is to show. Raises ShapeError for filters that are none."""
    selection.validate(command.filters)
    selecting.check_controls(command.filters)
    waiting = Bundle.objects.filter(asked_by_id=command.user_id, state__in=[Bundle.WAITING, Bundle.BUILDING]).first()
    if waiting is not None:
        return waiting
    bundle = Bundle.objects.create(
        id=new_id("bdl", writer.now),
        asked_by_id=command.user_id,
        asked_as=command.person,
        asked_at=writer.now,
        filters=dict(command.filters),
    )
    writer.publish(TOPIC, {"bundle": bundle.id})
    return bundle
