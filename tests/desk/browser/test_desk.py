"""The desk in a real Chromium, against a running server."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.desk.browser.conftest import Served

pytestmark = pytest.mark.browser


def row(page: Page, request: str):
    return page.locator(f"#row-{request}")


def calm(page: Page) -> None:
    """Wait out the half second in which keys are ignored after something changed: loading is such a change."""
    page.wait_for_load_state()
    page.wait_for_function(
        """() => new Promise(done => { const start = performance.now(); const look = () =>
        performance.now() - start > 600 ? done(true) : requestAnimationFrame(look); look(); })"""
    )


def test_a_request_arrives_without_a_reload_and_moves_nothing(page: Page, served: Served) -> None:
    first = served.ask("/project/src/first.py")
    page.goto("/")
    expect(row(page, first)).to_be_visible()
    row(page, first).hover()
    before = row(page, first).bounding_box()
    second = served.ask("/project/src/second.py")
    pill = page.get_by_role("button", name="new request")
    expect(pill).to_be_visible()
    expect(row(page, second)).to_have_count(0)
    assert row(page, first).bounding_box() == before
    expect(page.locator("#arrivals")).to_contain_text("1 new request")
    pill.click()
    expect(row(page, second)).to_be_visible()
    expect(row(page, second).locator(".row")).to_be_focused()
    page.wait_for_function("document.title === `(${document.querySelectorAll('.rows > li').length}) Desk · Imprimatur`")


def test_what_others_answer_stays_greyed_under_the_pointer_and_goes_afterwards(page: Page, served: Served) -> None:
    mine, theirs = served.ask("/project/src/mine.py"), served.ask("/project/src/theirs.py")
    page.goto("/")
    row(page, theirs).hover()
    before = row(page, theirs).bounding_box()
    served.vote("rosa", theirs, "deny")
    expect(row(page, theirs)).to_have_class("gone")
    assert row(page, theirs).bounding_box() == before
    page.mouse.move(1000, 500)
    expect(row(page, theirs)).to_have_count(0)
    expect(row(page, mine)).to_be_visible()


def test_an_open_card_says_that_it_changed_and_takes_no_answer(page: Page, served: Served) -> None:
    request = served.ask("/project/src/race.py")
    page.goto(f"/requests/{request}/")
    expect(page.locator(".decide .approve")).to_be_visible()
    served.vote("rosa", request, "deny", "I was here first")
    expect(page.get_by_text("This request changed while you read it.")).to_be_visible()
    expect(page.locator(".decide .approve")).to_have_attribute("aria-disabled", "true")
    expect(page.locator("#thread")).to_contain_text("I was here first")
    page.get_by_role("link", name="Show how it stands now").click()
    expect(page.get_by_text("Denied. It does not run.").first).to_be_visible()


def test_a_decided_card_follows_by_itself(page: Page, served: Served) -> None:
    request = served.ask("/project/src/follow.py")
    page.goto(f"/requests/{request}/approve/")
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_text("The agent has not used it yet.")).to_be_visible()
    served.recall("rui", request)
    expect(page.locator(".state")).to_contain_text("taken back before it was used")
    expect(page.locator(".card header .left")).to_have_count(0)
    expect(page.get_by_role("link", name="Take your answer back…")).to_have_count(0)
    expect(page.get_by_text("This request changed while you read it.")).to_be_hidden()


def test_an_open_sheet_stops_taking_answers_when_its_request_changes(page: Page, served: Served) -> None:
    request = served.ask("/project/src/sheet.py")
    page.goto(f"/requests/{request}/approve/")
    button = page.get_by_role("button", name="Approve", exact=True)
    expect(button).to_be_enabled()
    served.vote("rosa", request, "deny")
    expect(page.get_by_text("This request has just changed")).to_be_visible()
    expect(button).to_be_disabled()


def test_keys_move_and_open_and_never_send(page: Page, served: Served) -> None:
    request = served.ask("/project/src/keys.py")
    page.goto("/")
    calm(page)
    page.keyboard.press("j")
    expect(page.locator(".row").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".card")).to_be_visible()
    page.goto(f"/requests/{request}/")
    calm(page)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    page.wait_for_url("**/approve/")
    calm(page)
    for key in ("a", "d", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(":focus")).to_have_count(0)
    page.get_by_role("link", name="Not now").click()
    expect(page.locator(".decide .approve")).to_be_visible()
    page.locator("body").press("d")
    calm(page)
    page.locator("body").press("d")
    page.wait_for_url("**/deny/")


def test_a_confirmation_is_typed_by_hand(page: Page, served: Served) -> None:
    request = served.pay()
    served.vote("rosa", request, "approve", "matches the order")
    page.goto(f"/requests/{request}/confirm/")
    expect(page.get_by_text("matches the order")).to_be_visible()
    button = page.get_by_role("button", name="Confirm", exact=True)
    typed = page.locator("input[name=typed]")
    expect(button).to_be_disabled()
    typed.press_sequentially("vendor/nordha")
    expect(button).to_be_disabled()
    typed.press_sequentially("v")
    expect(button).to_be_enabled()
    button.click()
    expect(page.get_by_text("You confirmed it.")).to_be_visible()
    expect(page.get_by_text("Approved. The agent has not used it yet.")).to_be_visible()


def test_the_clock_counts_down_every_second(page: Page, served: Served) -> None:
    request = served.ask("/project/src/clock.py")
    page.goto(f"/requests/{request}/")
    left = page.locator(".card header time")
    first = left.inner_text()
    expect(left).not_to_have_text(first)
    expect(page.locator(".card header")).to_contain_text("then denied")


def test_without_a_socket_the_page_asks_every_few_seconds(page: Page, served: Served) -> None:
    page.route_web_socket("**/ws/live/", lambda socket: socket.close(code=1001))
    served.ask("/project/src/before.py")
    page.goto("/")
    page.locator(".rows > li").first.hover()
    served.ask("/project/src/polled.py")
    expect(page.get_by_role("button", name="new request")).to_be_visible(timeout=15_000)


def test_offline_the_page_says_so_and_recovers_by_itself(page: Page, served: Served) -> None:
    served.ask("/project/src/before.py")
    page.goto("/")
    # What a page asks again every few seconds complains on the console, where nobody has to come by just now.
    page.evaluate("for (const each of document.querySelectorAll('[hx-trigger]')) each.remove()")
    page.context.set_offline(True)
    expect(page.locator("#line")).to_contain_text("Silence still denies")
    missed = served.ask("/project/src/missed.py")
    page.context.set_offline(False)
    expect(page.locator("#line")).to_be_hidden(timeout=15_000)
    expect(row(page, missed).or_(page.get_by_role("button", name="new request"))).to_be_visible()


def test_it_works_at_360_pixels(page: Page, served: Served) -> None:
    request = served.ask("/project/src/" + "a-very-long-name-" * 12 + ".py")
    page.set_viewport_size({"width": 360, "height": 780})
    for path in ("/", f"/requests/{request}/", f"/requests/{request}/approve/", "/?list=decided"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
    page.goto("/log/")
    expect(page.locator(".bar nav [aria-current]")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, served: Served, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    high, critical = served.ask("/project/src/axe.py"), served.pay()
    served.vote("rosa", critical, "approve", "matches the order")
    paths = ["/", "/?list=decided", f"/requests/{high}/", f"/requests/{critical}/", "/accounts/password/change/"]
    paths += [f"/requests/{high}/{act}/" for act in ("approve", "deny", "ask", "recall")]
    for path in [*paths, f"/requests/{critical}/confirm/"]:
        page.goto(path)
        found = Axe().run(page)
        assert found.violations_count == 0, f"{path}: {found.generate_report()}"
