"""The kill switch on the pages: an agent, a tool, everything; open pages hear of it, and of its end."""

from __future__ import annotations

import pytest
from django.urls import reverse


@pytest.mark.parametrize("who", ["ada", "rui", "audra"])
@pytest.mark.parametrize(
    ("what", "says"),
    [("everything:", "Everything is stopped"), ("tool:read_file", "the tool read_file"), ("agent", "robo")],
)
def test_what_is_stopped_stands_on_every_page_and_open_pages_ask_for_it_again(desk, world, who, what, says):
    target = f"agent:{world.robo.id}" if what == "agent" else what
    page = desk.get(who, "policy").content.decode()
    assert f'hx-get="{reverse("pauses_standing")}?seen="' in page and says not in page
    assert desk.get(who, "pauses_standing", query={"seen": ""}).status_code == 204
    assert desk.post("ada", "pauses", data={"what": target, "reason": "looking"}).status_code == 302
    for name in ("policy", "pauses_standing"):
        banner = desk.get(who, name).content.decode().partition('id="stops"')[2].partition("</div>")[0]
        assert says in banner
    seen = banner.partition("?seen=")[2].partition('"')[0]
    assert desk.get(who, "pauses_standing", query={"seen": seen}).status_code == 204
    scope, _, of = target.partition(":")
    desk.post("ada", "pause_lift", data={"scope": scope, "target": of, "reason": "done"})
    gone = desk.get(who, "pauses_standing", query={"seen": seen})
    assert gone.status_code == 200 and "Stopped" not in gone.content.decode()
