"""A newcomer tries the demo in one browser: by click first, then with a passkey for everybody they play."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import chromium, sign_in
from tests.desk.browser.authenticator import Authenticator
from tests.installation import Installation, eventually, installation

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

SIGN = "Sign with passkey"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    data = tmp_path_factory.mktemp("demo") / "data"
    with installation(data, environment={"IMPRIMATUR_DEMO_SCRIPT": "once"}) as running:
        yield running


@pytest.fixture
def newcomer(desk: Installation) -> Iterator[Page]:
    """Rui's page, in the only browser there is. Nothing in it may complain."""
    with chromium() as browser:
        page = sign_in(browser, desk, "rui", base_url=desk.url)
        yield page
        assert page.complaints == []  # type: ignore[attr-defined]


def test_a_newcomer_tries_everything_by_click_and_then_with_passkeys(desk: Installation, newcomer: Page) -> None:
    printed = desk.output.read_text(encoding="utf-8")
    assert desk.url in printed
    assert "127.0.0.1" not in printed  # passkeys know localhost, and no address
    page, banner = newcomer, newcomer.locator(".banner").first
    eventually(lambda: queued(page) >= 4, seconds=60, every=0.5)
    page.goto("/")

    # Without any authenticator: a click answers, and the banner says what that is worth.
    expect(banner).to_contain_text("answers are clicks (H0), which prove only what this server says")
    approve(page, "reports", "Approve")
    expect(page.get_by_label("Context")).to_contain_text("H0")
    assert delegated_by_ssh(desk)

    # Two clicks make a passkey. A reviewer's waits, and says as whom to go on.
    authenticator = Authenticator(page)
    two_clicks(page)
    expect(page.locator(".key.waits")).to_be_visible()
    expect(page.locator(".notice.waiting")).to_contain_text("sign in as ada, add a passkey there, and vouch")
    expect(banner).to_contain_text("waits for a voucher: sign in as ada to play one")

    # The admin's first counts at once, and vouches.
    change_to(page, desk, "ada")
    two_clicks(page)
    expect(page.get_by_text("vouched for by its owner, as the first key here")).to_be_visible()
    page.get_by_role("link", name="Vouch…").click()
    press(page, SIGN)
    expect(page.get_by_text("The key of Rui Falk is in force")).to_be_visible()

    # What Rui answers now carries a signature.
    change_to(page, desk, "rui")
    expect(banner).to_contain_text("you can sign yours")
    approve(page, "vendor/", SIGN)
    expect(page.get_by_label("Context")).to_contain_text("H2: with a device-bound passkey")

    # Nobody else stands before a closed door either.
    for who in ("rosa", "audra"):
        authenticator.empty()  # a virtual one holds three passkeys
        change_to(page, desk, who)
        two_clicks(page)
        expect(page.locator(".notice.waiting")).to_contain_text("Who can: Ada Brandt or Rui Falk")
        expect(page.locator(".notice.waiting")).to_contain_text("sign in as ada and open Your keys")


def two_clicks(page: Page) -> None:
    """What the banner offers: its link, then the button."""
    page.get_by_role("link", name="Enrol a passkey").first.click()
    press(page, "Add a passkey")
    page.locator(".key").first.wait_for()


def press(page: Page, name: str) -> None:
    """Press a button of a page that has loaded with its script."""
    button = page.get_by_role("button", name=name, exact=True)
    button.wait_for()
    page.wait_for_load_state()
    button.click()


def approve(page: Page, words: str, button: str) -> None:
    """From the queue to the sheet, and back on the card."""
    page.goto("/")
    page.locator("a.row", has_text=words).first.click()
    page.wait_for_url(re.compile(r"/requests/act_"))
    page.get_by_role("link", name=re.compile("^Approve…")).click()
    press(page, button)
    page.wait_for_url(re.compile(r"/requests/act_\w+/$"))


def change_to(page: Page, desk: Installation, who: str) -> None:
    """Sign out, and in again as somebody else."""
    page.goto("/accounts/logout/")
    page.get_by_role("main").get_by_role("button", name="Sign out").click()
    page.fill("[name=login]", who)
    page.fill("[name=password]", desk.people[who]["password"])
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.locator(".who")).to_be_visible()


def queued(page: Page) -> int:
    """How many requests wait, as the server says. The page itself is left alone: it follows by itself."""
    return page.request.get("/").text().count('<li id="row-')


def delegated_by_ssh(desk: Installation) -> bool:
    """Whether the demo's agent holds what Ada signed on her machine, with her key for delegations."""
    lines = Path(desk.data / "demo" / "agent.log").read_text(encoding="utf-8").splitlines()
    return any(json.loads(line).get("event") == "delegated" for line in lines)
