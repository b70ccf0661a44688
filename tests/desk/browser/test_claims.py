"""Claims and controls in a real Chromium: readable by whoever decides, on a wide screen and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.desk.browser.conftest import Served, running, signed_in

pytestmark = pytest.mark.browser

PATIENCE = 60  # seconds until the publisher of a slow machine has assessed what there is


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A desk of its own, on which something runs."""
    with running(tmp_path_factory.mktemp("claims"), "runs") as desk:
        yield desk


@pytest.fixture
def page(browser: Browser, desk: Served) -> Iterator[Page]:
    """Audra's desk. Anything on the console that is an error fails the test."""
    wrong: list[str] = []
    with signed_in(browser, desk, "audra") as page:
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        yield page
    assert not wrong, wrong


def assessed(page: Page) -> None:
    """Open the claims, as soon as the publisher has assessed what there is."""
    for _ in range(PATIENCE):
        page.goto("/claims/")
        if page.locator(".claims").count():
            return
        page.wait_for_timeout(1000)
    raise AssertionError("nothing was assessed")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 1440), ("dark", 390), ("light", 390)])
def test_claims_and_controls_are_read_without_a_fault(page: Page, scheme: str, width: int, tmp_path: Path) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two words
    page.set_viewport_size({"width": width, "height": 900})
    assessed(page)
    expect(page.locator(".claims > li")).to_have_count(8)
    expect(page.locator(".claims > li.valid").first).to_contain_text("Shown")
    expect(page.get_by_text("Nobody can tell, because").first).to_be_visible()
    for path in ("/claims/", "/controls/", "/controls/AC-6(10)/", "/controls/AU-9(2)/"):
        page.goto(path)
        page.evaluate("for (const details of document.querySelectorAll('main details')) details.open = true")
        found = Axe().run(page)
        assert not found.response["violations"], (path, found.generate_report())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        page.screenshot(path=tmp_path / f"{path.strip('/').replace('/', '-')}-{scheme}-{width}.png", full_page=True)


def test_a_claim_leads_to_its_control_and_to_the_entries_that_it_counts(page: Page) -> None:
    assessed(page)
    item = page.locator("#launches")
    item.get_by_text("Controls that this serves").click()
    item.get_by_role("link", name="CM-2", exact=True).click()
    expect(page.get_by_role("heading", name="CM-2 Baseline Configuration")).to_be_visible()
    page.get_by_role("link", name="launch.attested").click()
    page.wait_for_url("**/log/?kind=launch.attested")
