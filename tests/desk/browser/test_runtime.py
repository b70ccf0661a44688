"""What runs, in a real Chromium: readable at a glance on a wide screen and on a phone, in light and in dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from imprimatur.formats.digests import fingerprint, sha256
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from tests.desk.browser.conftest import Served, running, signed_in

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A desk of its own, on which something runs."""
    with running(tmp_path_factory.mktemp("runs"), "runs") as desk:
        yield desk


@pytest.fixture
def page(browser: Browser, desk: Served) -> Iterator[Page]:
    """Ada's desk. Anything on the console that is an error fails the test."""
    wrong: list[str] = []
    with signed_in(browser, desk, "ada") as page:
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        yield page
    assert not wrong, wrong


def look(page: Page, folder: Path, name: str, width: int) -> None:
    """The page has no fault of accessibility and is no wider than the screen; a picture of it is left in the folder."""
    found = Axe().run(page)
    assert not found.response["violations"], (name, found.generate_report())
    assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    page.screenshot(path=folder / f"{name}-{width}.png", full_page=True)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390), ("light", 390)])
def test_what_runs_is_read_at_a_glance_and_leads_to_each_launch(
    page: Page, scheme: str, width: int, tmp_path: Path
) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two words
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/runtime/")
    expect(page.locator(".state-good")).to_contain_text("runs as attested")
    expect(page.locator(".state-bad")).to_contain_text("drift: flag changed, seccomp missing")
    expect(page.locator(".state-unseen").first).to_contain_text("never seen, for")
    expect(page.get_by_text("1 launch that nobody saw")).to_be_visible()
    expect(page.get_by_text("1 observation of no launch")).to_be_visible()
    expect(page.get_by_text("unsafe-flag")).to_be_visible()
    look(page, tmp_path, f"runtime-{scheme}", width)
    page.get_by_role("link", name="twin").first.click()
    expect(page.get_by_text("signed by Ada Brandt")).to_be_visible()
    differs = page.get_by_role("region", name="What differs now")
    expect(differs.get_by_text("seccomp 2 (filter)")).to_be_visible()
    page.evaluate("for (const details of document.querySelectorAll('main details')) details.open = true")
    look(page, tmp_path, f"launch-{scheme}", width)
    page.goto("/runtime/services/")
    expect(page.get_by_text("monitor host-7")).to_be_visible()
    look(page, tmp_path, f"services-{scheme}", width)


@pytest.mark.parametrize("width", [1440, 390])
def test_a_service_is_registered_after_its_fingerprint_was_compared(page: Page, width: int, tmp_path: Path) -> None:
    key = KeyPair.generate().public_key
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/runtime/services/")
    page.get_by_role("link", name="Register a service").click()
    page.get_by_label("Name").fill(f"canaries {width}")
    page.get_by_label("a canary runner").check()
    page.get_by_label("Public key").fill(b64u(key))
    look(page, tmp_path, "register", width)
    page.get_by_role("button", name="Show its fingerprint").click()
    expect(page.get_by_text(fingerprint(sha256(key)))).to_be_visible()
    look(page, tmp_path, "compare", width)
    page.get_by_role("button", name="It is the same: register").click()
    expect(page.get_by_role("status")).to_contain_text("is registered")
    expect(page.get_by_text(f"canaries {width}", exact=True)).to_be_visible()
