"""The grant history in a real Chromium: chains are drawn as chains, on a phone as well."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.desk.browser.conftest import Served, running, signed_in
from tests.desk.browser.served import LONGEST

pytestmark = pytest.mark.browser

LEAF = f"link {LONGEST}"
"""The agent at the end of the longest chain there is."""


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A desk of its own, with that chain."""
    with running(tmp_path_factory.mktemp("chained"), "chain") as desk:
        yield desk


@pytest.fixture
def page(browser: Browser, chained: Served) -> Iterator[Page]:
    """Audra's desk. Anything on the console that is an error fails the test."""
    wrong: list[str] = []
    with signed_in(browser, chained, "audra") as page:
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        yield page
    assert not wrong, wrong


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_the_longest_chain_is_drawn_link_below_link_and_never_wider_than_the_page(
    page: Page, scheme: str, width: int
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two words
    page.set_viewport_size({"width": width, "height": 844})
    for path in ("/grant-history/", "/grant-history/?show=changes"):
        page.goto(path)
        page.evaluate("for (const details of document.querySelectorAll('main details')) details.open = true")
        found = Axe().run(page)
        assert not found.response["violations"], (path, found.generate_report())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    page.goto("/grant-history/")
    names = page.locator(".grants.top > .grant").filter(has_text=LEAF).locator(".grant-who b")
    expect(names).to_have_count(LONGEST + 1)
    boxes = [names.nth(place).bounding_box() for place in range(LONGEST + 1)]
    for above, below in pairwise(boxes):
        assert above is not None and below is not None
        assert below["x"] > above["x"] and below["y"] > above["y"] + above["height"] / 2
    # However deep, there is room left for the words.
    assert boxes[-1] is not None and boxes[-1]["x"] < width * 0.6


def test_a_grant_leads_to_its_entry_and_its_delegation_and_filters_stand_in_the_address(page: Page) -> None:
    page.goto("/grant-history/")
    page.get_by_label("Agent").select_option(label=LEAF)
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile(r"holder=ag_"))
    expect(page.locator(".grant:not(.above)")).to_have_count(1)
    expect(page.locator(".grant.above")).to_have_count(LONGEST)
    page.get_by_text("How these are counted").click()
    expect(page.get_by_text("was verified again for this page")).to_be_visible()
    row = page.locator(".grant:not(.above)")
    row.get_by_text("Narrower in").click()
    expect(row.locator(".grant-less li").first).to_be_visible()
    row.locator(".grant-links a").nth(1).click()
    page.wait_for_url("**/delegations/sha256:*")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.go_back()
    page.locator(".grant:not(.above) .grant-links a").first.click()
    page.wait_for_url("**/log/*")
