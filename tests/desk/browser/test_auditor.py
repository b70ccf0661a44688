"""The auditor's pages in a real Chromium: by keyboard, in both schemes, on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.desk.browser.conftest import Served, signed_in

pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    """Audra's desk. Anything on the console that is an error fails the test."""
    wrong: list[str] = []
    with signed_in(browser, served, "audra") as page:
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        yield page
    assert not wrong, wrong


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.getAttribute('href') ?? document.activeElement.name"))


def test_the_log_is_read_by_keyboard(page: Page) -> None:
    page.goto("/log/")
    first, second = (page.locator(".entries .at").nth(at).get_attribute("href") for at in (0, 1))
    page.keyboard.press("j")
    assert focused(page) == first
    page.keyboard.press("j")
    assert focused(page) == second
    page.keyboard.press("k")
    assert focused(page) == first
    page.keyboard.press("/")
    assert focused(page) == "text"
    page.keyboard.type("jk")
    expect(page.get_by_label("Search")).to_have_value("jk")
    page.goto("/log/")
    first = page.locator(".entries .at").first.get_attribute("href")  # the log may have grown meanwhile
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{first}")


def test_a_view_is_saved_renamed_and_deleted(page: Page) -> None:
    page.goto("/log/?kind=tool.")
    page.get_by_text("Save this view…").click()
    expect(page.locator(".views details[open] input[name=name]")).to_be_focused()
    page.keyboard.type("Tools")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Tools", exact=True).last).to_have_attribute("aria-current", "true")
    expect(page.get_by_text("Save this view…")).to_have_count(0)
    page.goto("/log/")
    page.locator(".views").get_by_role("link", name="Tools").click()
    page.wait_for_url("**/log/?kind=tool.")
    page.get_by_label("Change the view Tools").click()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Rename")).to_be_hidden()
    page.get_by_label("Change the view Tools").click()
    page.locator(".chip-sheet input[name=name]").first.fill("Our tools")
    page.get_by_role("button", name="Rename").click()
    expect(page.locator(".views")).to_contain_text("Our tools")
    page.get_by_label("Change the view Our tools").click()
    page.get_by_role("button", name="Delete this view").click()
    expect(page.locator(".chip:not(.save)")).to_have_count(0)


def test_what_is_open_in_the_panel_stays_open_when_it_is_fetched_anew(page: Page, served: Served) -> None:
    page.goto("/log/")
    # What runs is measured a moment after the start, and then stands in the panel too.
    expect(page.locator("#integrity summary")).to_have_count(2)
    opened = [
        page.locator("#integrity details").filter(has_text=name) for name in ("Checkpoint and checks", "What runs")
    ]
    for details in opened:
        details.locator("summary").click()
    before = page.locator("#integrity .facts dd").first.inner_text()
    with page.expect_response("**/log/integrity"):
        served.ask("/project/src/panel.py")
    expect(page.locator("#integrity .facts dd").first).not_to_have_text(before)
    for details in opened:
        expect(details).to_have_attribute("open", "")


def test_an_export_is_a_click_and_an_entry_in_the_log(page: Page) -> None:
    page.goto("/log/?kind=tool.")
    with page.expect_download() as taken:
        page.get_by_role("button", name="Export CSV").click()
    assert taken.value.suggested_filename == "imprimatur-log.csv"
    page.goto("/log/?kind=export.taken")
    expect(page.locator(".entries .says").first).to_contain_text("Audra Lind took away")


PAGES = (
    *("/log/", "/log/?verdict=deny", "/log/0", "/log/20", "/log/charts", "/log/sample"),
    *("/log/sample?seed=dice&n=5&kind=", "/evidence/compare", "/check/"),
)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_page(page: Page, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two words
    page.set_viewport_size({"width": width, "height": 844})
    for path in PAGES:
        page.goto(path)
        page.evaluate("for (const details of document.querySelectorAll('main details')) details.open = true")
        found = Axe().run(page)
        assert not found.response["violations"], (path, found.generate_report())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
