"""Two open pages: each hears that somebody came to what it shows, never who, and nothing about anything else."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async

from approvals import consumers, presence
from approvals.views.attention import readers
from tests.conftest import World
from tests.desk.requests import ask
from tests.desk.test_line import Line, signed_in, world_kept

__all__ = ["world_kept"]
pytestmark = pytest.mark.django_db(transaction=True)


async def opened(world: World, who: str, request: str) -> Line:
    line = Line(await signed_in(world, who))
    await line.connect()
    await line.hear()
    await line.say(f'{{"watching":"{request}"}}')
    return line


async def news(line: Line) -> list[dict[str, Any]]:
    """What the page hears next that is anything."""
    while not (changed := (await line.hear())["changed"]):
        pass
    return changed


async def test_invariant_10_a_page_hears_that_somebody_reads_it_too_and_not_who(world_kept: World) -> None:
    request = await sync_to_async(ask)(world_kept)
    rui = await opened(world_kept, "rui", request.id)
    rosa = await opened(world_kept, "rosa", request.id)
    told = [{"kind": "reading", "id": request.id, "version": 0}]
    assert await news(rui) == told
    assert await news(rosa) == told
    assert await sync_to_async(readers)(request, world_kept.rui) == ["Rosa Imhof"]
    await rosa.say('{"watching":""}')
    assert await news(rui) == told
    assert await sync_to_async(readers)(request, world_kept.rui) == []
    for line in (rui, rosa):
        await line.leave()
    assert presence.desk.readers(request.id) == frozenset()


async def test_a_closed_page_and_one_that_fell_silent_read_nothing_any_more(
    world_kept: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "BEAT", 0.05)
    request = await sync_to_async(ask)(world_kept)
    rui = await opened(world_kept, "rui", request.id)
    rosa = await opened(world_kept, "rosa", request.id)
    await news(rui)
    monkeypatch.setattr(presence, "LEASE", 0.0)
    await rosa.say(f'{{"watching":"{request.id}"}}')
    assert await news(rui) == [{"kind": "reading", "id": request.id, "version": 0}]
    for line in (rui, rosa):
        await line.leave()


async def test_nobody_appears_at_what_does_not_exist_and_others_hear_nothing_of_it(world_kept: World) -> None:
    first, second = await sync_to_async(ask)(world_kept), await sync_to_async(ask)(world_kept)
    rui = await opened(world_kept, "rui", first.id)
    rosa = await opened(world_kept, "rosa", second.id)
    await rosa.say('{"watching":"act_nothing"}')
    assert await rui.receive_nothing(0.3)
    assert presence.desk.readers("act_nothing") == frozenset()
    for line in (rui, rosa):
        await line.leave()


async def test_whoever_loses_their_role_is_not_shown_any_more(world_kept: World) -> None:
    request = await sync_to_async(ask)(world_kept)
    rosa = await opened(world_kept, "rosa", request.id)
    await rosa.say("anything")
    presence.desk.note(request.id, world_kept.rosa.pk)
    assert await sync_to_async(readers)(request, world_kept.rui) == ["Rosa Imhof"]
    await sync_to_async(world_kept.rosa.user.groups.clear)()
    assert await sync_to_async(readers)(request, world_kept.rui) == []
    await rosa.leave()
