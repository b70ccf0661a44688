"""Browsers that lose the network, cannot have a socket, or belong to two people who click at the same moment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser import chromium, sign_in
from tests.faults.group import Robo, payloads
from tests.installation import Installation, eventually

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route, WebSocketRoute

    from imprimatur.client.answers import Decision

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


def ask(robo: Robo, name: str) -> Decision:
    """A request that a person has to answer."""
    with robo.gate() as gate:
        return gate.submit("delete_file", {"path": f"/project/reports/{name}.csv"}, ttl=600)


def comes_to_light(page: Page, request: str) -> None:
    """The page shows the request: in its list, or behind the pill that says that something is new."""
    row, pill = page.locator(f"a.row[href*='{request}']"), page.locator("#queue .new")

    def shown() -> bool:
        if row.count() == 0 and pill.is_visible():
            pill.click()
        return row.count() > 0

    eventually(shown, seconds=60)


def test_a_page_without_network_says_so_and_catches_up(desk: Installation, robo: Robo, browser: Browser) -> None:
    page = sign_in(browser, desk, "rui")
    line = page.locator("#line")
    assert line.is_hidden()
    page.context.set_offline(True)
    line.wait_for(state="visible")
    assert "Offline since" in line.inner_text()
    assert "nothing can be sent" in line.inner_text()
    missed = [ask(robo, "offline-1"), ask(robo, "offline-2")]
    page.context.set_offline(False)
    line.wait_for(state="hidden")
    for decision in missed:
        comes_to_light(page, decision.id)
    with robo.gate() as gate:
        for decision in missed:
            gate.cancel(decision)
    page.context.close()


def test_a_page_that_gets_no_socket_asks_instead(desk: Installation, robo: Robo, browser: Browser) -> None:
    page = sign_in(browser, desk, "rui")
    refused: list[str] = []

    def refuse(route: WebSocketRoute) -> None:
        refused.append(route.url)
        route.close(code=1011)

    page.route_web_socket(re.compile("/ws/live/"), refuse)
    page.reload()
    eventually(lambda: page.evaluate("1") and refused)
    asked = ask(robo, "no-socket")
    comes_to_light(page, asked.id)
    with robo.gate() as gate:
        gate.cancel(asked)
    page.context.close()


def posts(route: Route) -> bool:
    """Whether somebody's answer is on its way."""
    return route.request.method == "POST"


@pytest.mark.parametrize("acts", [("approve", "deny"), ("approve", "approve")], ids="-".join)
def test_of_two_people_who_click_at_once_one_wins_and_the_other_is_told(
    desk: Installation, robo: Robo, browser: Browser, acts: tuple[str, str]
) -> None:
    asked = ask(robo, "-".join(("at-once", *acts)))
    people = {"rui": "Rui Falk", "rosa": "Rosa Imhof"}
    pages = [sign_in(browser, desk, who) for who in people]
    for page, act in zip(pages, acts, strict=True):
        page.goto(f"{desk.url}/requests/{asked.id}/{act}/")
        if act == "deny":
            page.locator("textarea[name=reason]").fill("Not this one.")
    # Both are on their way before either is answered.
    held: list[Route] = []
    for page in pages:
        page.route(lambda url: asked.id in url, lambda route: held.append(route) if posts(route) else route.continue_())
        page.evaluate("document.querySelector('form[method=post] .acts button').click()")
    eventually(lambda: [page.title() for page in pages] and len(held) == len(pages))
    for route in held:
        route.continue_()

    def over(page: Page) -> bool:
        return page.url.rstrip("/").endswith(asked.id) or page.locator(".problem[role=alert]:visible").count() > 0

    for page in pages:
        eventually(lambda page=page: over(page))  # type: ignore[misc]
        page.wait_for_load_state()
    winners = [page for page in pages if page.url.rstrip("/").endswith(asked.id)]
    assert len(winners) == 1
    winner = list(people.values())[pages.index(winners[0])]
    loser = next(page for page in pages if page not in winners)
    told = loser.locator("main").inner_text()
    assert winner in told
    assert re.search(r"\d\d:\d\d", told)

    votes = [one for one in payloads(desk, 0) if one["kind"] == "vote.cast" and one["body"]["request"] == asked.id]
    assert len(votes) == 1
    decided = [one for one in payloads(desk, 0) if one["kind"] == "action.decided" and one["subject"] == asked.id]
    assert len(decided) == 1
    for page in pages:
        page.context.close()
