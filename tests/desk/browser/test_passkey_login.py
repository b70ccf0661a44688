"""Signing in with a passkey, in a real browser with a virtual authenticator; nothing inline runs, nothing is phished."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.desk.browser.conftest import Served
from tests.desk.browser.served import PASSWORD

pytestmark = pytest.mark.browser


class Desk:
    """One page with an authenticator plugged in: it belongs to the page, so one page does everything."""

    def __init__(self, page: Page, *, verifies: bool = True) -> None:
        self.page = page
        self.cdp = page.context.new_cdp_session(page)
        self.cdp.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": verifies,
            "automaticPresenceSimulation": True,
        }
        self.id = self.cdp.send("WebAuthn.addVirtualAuthenticator", {"options": options})["authenticatorId"]

    @property
    def credentials(self) -> list[dict[str, Any]]:
        return list(self.cdp.send("WebAuthn.getCredentials", {"authenticatorId": self.id})["credentials"])

    def verify(self, verified: bool) -> None:
        self.cdp.send("WebAuthn.setUserVerified", {"authenticatorId": self.id, "isUserVerified": verified})

    def sign_in(self, who: str) -> None:
        self.page.goto("/accounts/login/")
        self.page.fill("[name=login]", who)
        self.page.fill("[name=password]", PASSWORD)
        self.page.get_by_role("button", name="Sign in", exact=True).click()

    def sign_out(self) -> None:
        self.page.goto("/accounts/logout/")
        self.page.get_by_role("main").get_by_role("button", name="Sign out").click()
        self.page.wait_for_url("**/accounts/login/")

    def add_passkey(self, name: str, *, alone: bool = True) -> None:
        self.page.goto("/accounts/factors/passkeys/add/")
        self.page.fill("[name=name]", name)
        self.page.set_checked("[name=passwordless]", alone)
        self.page.get_by_role("button", name="Add it").click()

    def remove_passkeys(self) -> None:
        """Leave the person as they were, for the other tests."""
        self.page.goto("/accounts/factors/passkeys/")
        while self.page.get_by_role("link", name="Remove").count():
            self.page.get_by_role("link", name="Remove").first.click()
            self.page.get_by_role("button", name="Remove it").click()
            expect(self.page.get_by_text("The passkey is removed")).to_be_visible()


def at_home(page: Page) -> None:
    """Signed in, and led to the desk."""
    expect(page.locator(".who")).to_be_visible()
    assert page.evaluate("location.pathname") == "/"


@pytest.fixture
def desk(browser: Browser, served: Served) -> Iterator[Desk]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=served.url)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    yield Desk(page)
    context.close()
    assert not [text for text in wrong if "status of 403" not in text], wrong


def test_a_passkey_is_registered_and_signs_in_without_a_password(desk: Desk) -> None:
    page = desk.page
    desk.sign_in("rui")
    at_home(page)
    desk.add_passkey("phone")
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    [credential] = desk.credentials
    assert credential["isResidentCredential"]
    assert credential["rpId"] == "localhost"
    desk.sign_out()

    page.get_by_role("button", name="Sign in with a passkey").click()
    at_home(page)
    expect(page.locator(".who")).to_have_attribute("aria-label", "Signed in as Rui Falk")

    # It was a proof of who it is, so the page that asks for a recent one opens.
    desk.remove_passkeys()
    expect(page.get_by_text("None yet")).to_be_visible()
    desk.sign_out()
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_text("That did not match")).to_be_visible()


def test_the_passkey_says_that_it_is_for_the_login(desk: Desk) -> None:
    desk.sign_in("rui")
    at_home(desk.page)
    desk.page.goto("/accounts/factors/passkeys/add/")
    options = json.loads(desk.page.locator("#passkey-data").text_content() or "")["creation_options"]["publicKey"]
    assert (options["user"]["name"], options["user"]["displayName"]) == ("rui (login)", "Rui Falk (login)")
    assert options["authenticatorSelection"]["userVerification"] == "required"


def test_a_key_that_does_not_replace_the_password_is_asked_for_after_it(desk: Desk) -> None:
    page = desk.page
    desk.sign_in("rosa")
    at_home(page)
    desk.add_passkey("stick", alone=False)
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    desk.sign_out()
    desk.sign_in("rosa")
    expect(page.get_by_role("heading", name="Second step")).to_be_visible()
    page.wait_for_load_state()  # the button needs the script
    desk.verify(False)
    page.get_by_role("button", name="Use your passkey").click()
    expect(page.locator("#passkey-problem")).to_contain_text("Nothing was confirmed")
    desk.verify(True)
    page.get_by_role("button", name="Use your passkey").click()
    at_home(page)
    desk.remove_passkeys()


def test_somebody_is_asked_again_and_proves_it_with_the_passkey(desk: Desk) -> None:
    page = desk.page
    desk.sign_in("rui")
    at_home(page)
    desk.add_passkey("phone")
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.goto("/accounts/again/passkey/?next=/accounts/factors/")
    page.get_by_role("button", name="Use your passkey").click()
    expect(page.get_by_role("heading", name="How you sign in")).to_be_visible()
    desk.remove_passkeys()


def test_without_a_passkey_the_page_says_so_and_nothing_happens(desk: Desk) -> None:
    desk.page.goto("/accounts/login/")
    desk.page.get_by_role("button", name="Sign in with a passkey").click()
    expect(desk.page.locator("#passkey-problem")).to_contain_text("there is no passkey for this desk here")
    assert desk.page.url.endswith("/accounts/login/")


def switch(browser: Browser, served: Served, who: str, *, on: bool) -> None:
    context = browser.new_context(base_url=served.url)
    page = context.new_page()
    Desk(page).sign_in("ada")
    at_home(page)
    page.goto("/people/")
    page.get_by_role("link", name=who).click()
    page.wait_for_url("**/people/pe_*")
    page.goto(f"{page.url}/{'on' if on else 'off'}")
    page.locator("main form [name=reason]").fill("a test")
    page.get_by_role("button", name="Switch on" if on else "Switch off").click()
    page.wait_for_url(lambda url: "/people/pe_" in url and not url.endswith(("/on", "/off")))
    context.close()


def test_the_passkey_of_somebody_switched_off_opens_nothing(desk: Desk, browser: Browser, served: Served) -> None:
    page = desk.page
    desk.sign_in("audra")
    at_home(page)
    desk.add_passkey("phone")
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    desk.sign_out()
    switch(browser, served, "Audra Lind", on=False)
    try:
        page.get_by_role("button", name="Sign in with a passkey").click()
        expect(page.get_by_role("heading", name="Your account is switched off")).to_be_visible()
        page.goto("/accounts/factors/")
        assert "/accounts/login/" in page.url
    finally:
        switch(browser, served, "Audra Lind", on=True)
    page.goto("/accounts/login/")
    page.get_by_role("button", name="Sign in with a passkey").click()
    at_home(page)
    desk.remove_passkeys()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_of_the_login_are_readable_by_everybody(
    browser: Browser, served: Served, width: int, scheme: Any
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 860}, base_url=served.url, color_scheme=scheme)
    page = context.new_page()
    desk = Desk(page)
    page.goto("/accounts/login/")
    findings = {"/accounts/login/": Axe().run(page)}
    desk.sign_in("rosa")
    at_home(page)
    for address in (
        "/accounts/factors/",
        "/accounts/factors/app/",
        "/accounts/factors/passkeys/",
        "/accounts/factors/passkeys/add/",
        "/accounts/factors/codes/new/",
        "/accounts/again/",
        "/accounts/password/change/",
    ):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
        findings[address] = Axe().run(page)
    wrong = {address: found.generate_report() for address, found in findings.items() if found.violations_count}
    context.close()
    assert not wrong
