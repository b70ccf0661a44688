"""Two people at the desk at once, each in a browser of their own: they see each other come, go and take things on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.desk.browser.conftest import Served, context_of

pytestmark = pytest.mark.browser
SignIn = Callable[[str], Page]


@pytest.fixture
def sign_in(browser: Browser, served: Served) -> Iterator[SignIn]:
    """The desk of somebody in a browser of their own. Anything on a console that is an error fails the test."""
    contexts, wrong = [], []

    def open_(who: str) -> Page:
        context = context_of(browser, served, who)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto("/")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not wrong, wrong


def test_a_colleague_is_seen_reading_and_gone_when_they_turn_away(served: Served, sign_in: SignIn) -> None:
    request, other = served.ask("/project/src/read.py"), served.ask("/project/src/other.py")
    rui, rosa = sign_in("rui"), sign_in("rosa")
    rui.goto(f"/requests/{request}/")
    expect(rui.locator(".attention")).to_contain_text("Nobody is on this yet.")
    rosa.goto(f"/requests/{request}/")
    expect(rui.locator(".attention")).to_contain_text("Rosa Imhof is reading this.")
    expect(rosa.locator(".attention")).to_contain_text("Rui Falk is reading this.")
    expect(rui.locator(".changed")).to_be_hidden()
    rosa.locator(f"#row-{other} .row").click()
    expect(rosa.locator(f"[data-request='{other}']")).to_be_visible()
    expect(rui.locator(".attention")).to_contain_text("Nobody is on this yet.")
    rosa.goto(f"/requests/{request}/deny/")
    expect(rui.locator(".attention")).to_contain_text("Rosa Imhof is reading this.")
    rosa.context.close()
    expect(rui.locator(".attention")).to_contain_text("Nobody is on this yet.")


def test_a_claim_is_seen_at_once_in_the_list_on_the_card_and_on_an_open_sheet(served: Served, sign_in: SignIn) -> None:
    request = served.ask("/project/src/claimed.py")
    rui, rosa = sign_in("rui"), sign_in("rosa")
    rosa.goto(f"/requests/{request}/")
    sheet = rosa.context.new_page()
    sheet.goto(f"/requests/{request}/deny/")
    expect(sheet.locator(".claimed")).to_be_hidden()
    rosa.bring_to_front()
    rui.goto(f"/requests/{request}/")
    rui.get_by_role("button", name="I am on it").click()
    expect(rui.locator(".attention")).to_contain_text("You are on this until")
    expect(rosa.locator(".attention")).to_contain_text("Rui Falk is on this since")
    expect(rosa.locator(f"#row-{request} .meta")).to_contain_text("Rui Falk is on it")
    expect(rosa.get_by_role("button", name="I am on it")).to_have_count(0)
    expect(rosa.locator(".changed")).to_be_hidden()
    expect(sheet.locator(".claimed")).to_contain_text("Rui Falk is on this since")
    sheet.get_by_label("Why").fill("Not without a backup.")
    sheet.get_by_role("button", name="Deny").click()
    expect(rui.locator(".changed")).to_be_visible()
    expect(rui.locator(".attention")).to_have_count(0)


def test_leaving_it_to_others_is_seen_too(served: Served, sign_in: SignIn) -> None:
    request = served.ask("/project/src/left.py")
    rui, rosa = sign_in("rui"), sign_in("rosa")
    rosa.goto(f"/requests/{request}/")
    rui.goto(f"/requests/{request}/")
    rui.get_by_role("button", name="I am on it").click()
    expect(rosa.locator(".attention")).to_contain_text("Rui Falk is on this since")
    rui.get_by_role("button", name="Leave it to others").click()
    expect(rosa.get_by_role("button", name="I am on it")).to_be_visible()
