"""Ask for an evidence bundle. It is built by a worker; asking changes nothing that is logged."""

from __future__ import annotations

from dataclasses import dataclass

from audit.log import Writer
from audit.models import Bundle
from imprimatur.formats.ids import new_id

TOPIC = "bundle.build"


@dataclass(frozen=True)
class Command:
    """``user_id`` is the login that asks, ``person`` the id under which the log will name them."""

    user_id: int
    person: str


def apply(writer: Writer, command: Command) -> Bundle:
    """Keep the wish and put the job into the outbox. A person who already waits for one gets that one."""
    waiting = Bundle.objects.filter(asked_by_id=command.user_id, state__in=[Bundle.WAITING, Bundle.BUILDING]).first()
    if waiting is not None:
        return waiting
    bundle = Bundle.objects.create(
        id=new_id("bdl", writer.now),
        asked_by_id=command.user_id,
        asked_as=command.person,
        asked_at=writer.now,
    )
    writer.publish(TOPIC, {"bundle": bundle.id})
    return bundle
