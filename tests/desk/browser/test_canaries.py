"""The page of the canaries in a real Chromium: on a phone as well, and readable without its colours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.desk.browser.conftest import Served, running, signed_in

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A desk of its own, on which canaries ran for twelve days."""
    with running(tmp_path_factory.mktemp("canaries"), "runs") as desk:
        yield desk


@pytest.fixture
def page(browser: Browser, run: Served) -> Iterator[Page]:
    """Audra's desk. Anything on the console that is an error fails the test."""
    wrong: list[str] = []
    with signed_in(browser, run, "audra") as page:
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        yield page
    assert not wrong, wrong


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_the_strip_of_days_fits_the_page_and_every_day_has_words(page: Page, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two words
    page.set_viewport_size({"width": width, "height": 844})
    page.goto("/canaries/")
    expect(page.get_by_role("heading", name="What agents try and must not get")).to_be_visible()
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    days = page.locator(".strip li")
    expect(days).to_have_count(30)
    assert all(text.partition(": ")[2].strip() for text in days.all_inner_texts())
    expect(page.get_by_text("An attack got through: out-of-scope.")).to_be_visible()
    expect(page.locator(".tried tbody tr")).to_have_count(17)
