"""Signing in a real Chromium with a virtual authenticator: what works, and how each ceremony ends in words."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from tests.desk.browser.authenticator import Authenticator
from tests.desk.browser.conftest import Served, signed_in

pytestmark = pytest.mark.browser

SIGN = "Sign with passkey"


def enrol(page: Page, name: str = "A phone") -> None:
    """Add a passkey on the page for it, up to where it waits for a voucher."""
    page.goto("/keys/")
    page.get_by_label("Name it after").fill(name)
    page.get_by_role("button", name="Add a passkey").click()
    page.locator(".key.waits").filter(has_text=name).wait_for()


@pytest.fixture(scope="module")
def keys(browser: Browser, strict: Served) -> list[dict[str, Any]]:
    """Rui's signing key, enrolled on the page and put in force; loaded into the authenticators of other pages."""
    with signed_in(browser, strict, "rui") as page:
        authenticator = Authenticator(page)
        enrol(page)
        strict.vouch("rui")
        return authenticator.credentials


@pytest.fixture
def rui(browser: Browser, strict: Served, keys: list[dict[str, Any]]) -> Iterator[Page]:
    """Rui's page, without an authenticator."""
    with signed_in(browser, strict, "rui") as page:
        yield page


@pytest.fixture
def authenticator(rui: Page, keys: list[dict[str, Any]]) -> Authenticator:
    """An authenticator on Rui's page, with Rui's key on it."""
    plugged = Authenticator(rui)
    plugged.load(keys)
    return plugged


@pytest.fixture
def sheet(rui: Page, strict: Served) -> str:
    """The sheet to approve a request; its id."""
    request = strict.ask("/project/src/signed.py")
    rui.goto(f"/requests/{request}/approve/")
    return request


def sign(page: Page) -> None:
    """Press the button under a sheet to which something else led: it needs the script, which loads with the page."""
    button = page.get_by_role("button", name=SIGN)
    button.wait_for()
    page.wait_for_load_state()
    button.click()


def problem(page: Page) -> Any:
    return page.locator("[data-sign-problem]")


def meddle(page: Page, change: Callable[[dict[str, Any]], None]) -> None:
    """Change what the server sends to be signed, on the way to the page."""

    def on_the_way(route: Route) -> None:
        answer = route.fetch()
        said = answer.json()
        change(said)
        route.fulfill(response=answer, body=json.dumps(said))

    page.route("**/sign/", on_the_way)


def challenge(said: dict[str, Any]) -> str:
    raw = hashlib.sha256(f"{said['typ']}\0{said['statement']}".encode()).digest()
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_a_passkey_approves(rui: Page, authenticator: Authenticator, sheet: str) -> None:
    rui.fill("textarea[name=reason]", "Matches the plan.")
    rui.get_by_role("button", name=SIGN).click()
    rui.wait_for_url(f"**/requests/{sheet}/")
    expect(rui.get_by_text("Approved. The agent has not used it yet.")).to_be_visible()
    expect(rui.locator("aside")).to_contain_text("H2: with a device-bound passkey: “Matches the plan.”")


def test_a_double_click_signs_once(rui: Page, authenticator: Authenticator, sheet: str) -> None:
    asked: list[str] = []
    rui.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    rui.get_by_role("button", name=SIGN).dblclick()
    rui.wait_for_url(f"**/requests/{sheet}/")
    expect(rui.get_by_text("You approved it.")).to_be_visible()
    assert len([url for url in asked if url.endswith("/sign/")]) == 1
    assert len([url for url in asked if url.endswith("/approve/")]) == 1


def test_a_second_press_cancels_and_a_third_signs(rui: Page, authenticator: Authenticator, sheet: str) -> None:
    authenticator.touch(False)
    rui.get_by_role("button", name=SIGN).click()
    cancel = rui.get_by_role("button", name="Cancel")
    expect(cancel).to_be_visible()
    expect(rui.locator("[data-sign-status]")).to_contain_text("Waiting for your passkey")
    later(rui)
    cancel.click()
    expect(problem(rui)).to_have_text("Cancelled. Nothing was signed.")
    expect(rui.get_by_role("button", name=SIGN)).to_be_enabled()
    expect(rui.get_by_role("button", name=SIGN)).to_be_focused()
    authenticator.touch(True)
    later(rui)
    rui.get_by_role("button", name=SIGN).click()
    rui.wait_for_url(f"**/requests/{sheet}/")


def test_a_prompt_that_nobody_answers_ends_after_a_minute(
    rui: Page, authenticator: Authenticator, strict: Served
) -> None:
    rui.clock.install()
    rui.goto(f"/requests/{strict.ask('/project/src/late.py')}/approve/")
    authenticator.touch(False)
    rui.get_by_role("button", name=SIGN).click()
    expect(rui.get_by_role("button", name="Cancel")).to_be_visible()
    rui.clock.fast_forward(61_000)
    expect(problem(rui)).to_contain_text("Nobody answered the passkey prompt within a minute")
    expect(problem(rui).get_by_role("link", name="deny, which needs no key")).to_be_visible()


def test_a_device_without_the_key_says_how_to_go_on(rui: Page, strict: Served, sheet: str) -> None:
    Authenticator(rui)  # an empty one
    rui.get_by_role("button", name=SIGN).click()
    expect(problem(rui)).to_contain_text("the key is not on this device")
    expect(problem(rui)).to_contain_text(f"imprimatur approve {sheet}")
    expect(problem(rui).get_by_role("link", name="deny, which needs no key")).to_be_visible()


def test_a_page_without_any_authenticator_can_still_cancel(rui: Page, sheet: str) -> None:
    rui.get_by_role("button", name=SIGN).click()
    later(rui)
    # The browser's own dialog stands over the page and takes the mouse.
    rui.get_by_role("button", name="Cancel").dispatch_event("click")
    expect(problem(rui)).to_have_text("Cancelled. Nothing was signed.")


@pytest.mark.parametrize("part", ["decision", "request", "action_digest", "display_digest", "version", "reviewer"])
def test_a_statement_that_says_something_else_is_refused(
    rui: Page, authenticator: Authenticator, sheet: str, part: str
) -> None:
    def change(said: dict[str, Any]) -> None:
        document = json.loads(said["statement"])
        document[part] = 7 if part == "version" else "sha256:" + "0" * 64
        said["statement"] = json.dumps(document, separators=(",", ":"), sort_keys=True)
        said["options"]["challenge"] = challenge(said)  # consistent in itself

    before = authenticator.credentials[0]["signCount"]
    meddle(rui, change)
    rui.get_by_role("button", name=SIGN).click()
    expect(problem(rui)).to_contain_text(f"The page and the statement differ in “{part}”")
    expect(problem(rui)).to_contain_text("Nothing was signed")
    assert authenticator.credentials[0]["signCount"] == before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda said: said["options"].update(challenge="A" * 43), "The challenge does not belong to the statement"),
        (lambda said: said.update(statement=said["statement"] + " "), "The challenge does not belong"),
        (lambda said: said.update(statement="not JSON"), "What came is no statement"),
        (lambda said: said.update(typ="imprimatur/grant/v1"), "a statement of another kind"),
        (lambda said: said["options"].update(userVerification="discouraged"), "without asking who holds it"),
        (lambda said: said["options"].update(rpId="example.org"), "Passkeys do not work at this address"),
    ],
)
def test_options_that_were_tampered_with_are_refused(
    rui: Page, authenticator: Authenticator, sheet: str, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    meddle(rui, change)
    rui.get_by_role("button", name=SIGN).click()
    expect(problem(rui)).to_contain_text(told)
    expect(problem(rui)).to_contain_text("Nothing was signed")


def test_a_request_that_changes_closes_the_prompt(
    rui: Page, authenticator: Authenticator, strict: Served, sheet: str
) -> None:
    authenticator.touch(False)
    rui.get_by_role("button", name=SIGN).click()
    expect(rui.get_by_role("button", name="Cancel")).to_be_visible()
    strict.vote("rosa", sheet, "deny", "I was here first")
    expect(problem(rui)).to_contain_text("changed while you were signing")
    expect(rui.get_by_role("button", name=SIGN)).to_be_disabled()


def test_a_session_that_ended_leads_to_signing_in(rui: Page, authenticator: Authenticator, sheet: str) -> None:
    rui.context.clear_cookies()
    rui.get_by_role("button", name=SIGN).click()
    expect(problem(rui)).to_contain_text("nothing was signed", ignore_case=True)
    expect(problem(rui).get_by_role("link")).to_be_visible()


def test_offline_nothing_is_signed(rui: Page, authenticator: Authenticator, sheet: str) -> None:
    rui.context.set_offline(True)
    rui.get_by_role("button", name=SIGN).click()
    expect(problem(rui)).to_contain_text("You are offline, so nothing was signed")
    rui.context.set_offline(False)
    rui.wait_for_function("navigator.onLine")
    later(rui)
    rui.get_by_role("button", name=SIGN).click()
    rui.wait_for_url(f"**/requests/{sheet}/")


def test_a_browser_without_webauthn_is_told_so(rui: Page, sheet: str) -> None:
    rui.add_init_script("delete window.PublicKeyCredential")
    rui.reload()
    rui.get_by_role("button", name=SIGN).click()
    expect(problem(rui)).to_contain_text("This browser cannot sign with a passkey")
    expect(problem(rui)).to_contain_text(f"imprimatur approve {sheet}")


def test_of_several_keys_one_is_chosen_and_remembered(
    browser: Browser, strict: Served, keys: list[dict[str, Any]]
) -> None:
    with signed_in(browser, strict, "rosa") as page:
        Authenticator(page)
        enrol(page, "Phone")
        strict.vouch("rosa")
        Authenticator(page, synced=True, transport="usb")
        enrol(page, "Laptop")
        second = strict.vouch("rosa")
        page.goto(f"/requests/{strict.ask('/project/src/one.py')}/approve/")
        page.get_by_label("Sign with").select_option(second)
        page.get_by_role("button", name=SIGN).click()
        expect(page.get_by_text("You approved it.")).to_be_visible()
        page.goto(f"/requests/{strict.ask('/project/src/two.py')}/approve/")
        expect(page.get_by_label("Sign with")).to_have_value(second)


def test_a_colleague_vouches_with_a_key_of_their_own(
    browser: Browser, strict: Served, rui: Page, authenticator: Authenticator
) -> None:
    with signed_in(browser, strict, "audra") as page:
        Authenticator(page)
        enrol(page, "Audra’s phone")
        expect(page.locator(".notice.waiting")).to_contain_text("Rui Falk")
        rui.goto("/keys/")
        asked = rui.locator(".key.waits").filter(has_text="Audra’s phone")
        asked.get_by_role("link", name="Vouch…").click()
        expect(rui.get_by_role("heading", level=1)).to_have_text("You say that this key belongs to Audra Lind.")
        clean(rui, "the vouching sheet")
        sign(rui)
        expect(rui.get_by_text("The key of Audra Lind is in force")).to_be_visible()
        page.goto("/keys/")
        expect(page.locator(".key").filter(has_text="Audra’s phone")).to_contain_text("vouched for by Rui Falk")


def test_a_passkey_signs_a_delegation(browser: Browser, strict: Served) -> None:
    with signed_in(browser, strict, "ada") as page:
        Authenticator(page)
        enrol(page, "Ada’s phone")
        strict.vouch("ada")
        page.goto("/delegations/new")
        page.get_by_label("Agent").select_option(label="twin")
        page.get_by_label("May", exact=True).fill("file:read:/project")
        page.get_by_role("button", name="Show the bytes to sign").click()
        page.get_by_role("button", name=SIGN).wait_for()
        clean(page, "the delegation to sign")
        sign(page)
        expect(page.get_by_text("twin holds this delegation now.")).to_be_visible()


def test_enrolment_that_stops_half_way_enrols_nothing_and_goes_on(browser: Browser, strict: Served) -> None:
    with signed_in(browser, strict, "audra") as page:
        Authenticator(page)
        page.goto("/keys/")
        page.evaluate(
            """() => { const real = navigator.credentials.get.bind(navigator.credentials); let first = true;
            navigator.credentials.get = (...all) => first ? (first = false, Promise.reject(new DOMException("", "NotAllowedError")))
            : real(...all); }"""
        )
        page.get_by_role("button", name="Add a passkey").click()
        expect(problem(page)).to_contain_text("made and not enrolled: it signs nothing yet")
        later(page)
        page.get_by_role("button", name="Sign with the new key").click()
        page.locator(".key.waits").wait_for()


def test_cancelled_before_a_key_is_made_nothing_is_left(browser: Browser, strict: Served) -> None:
    with signed_in(browser, strict, "ada") as page:
        plugged = Authenticator(page)
        plugged.touch(False)
        page.goto("/keys/")
        page.get_by_role("button", name="Add a passkey").click()
        cancel = page.get_by_role("button", name="Cancel")
        expect(cancel).to_be_visible()
        later(page)
        cancel.click()
        expect(problem(page)).to_have_text("Cancelled. No key was made.")
        assert plugged.credentials == []


def test_in_the_demo_a_click_is_enough_and_says_what_it_proves(page: Page, served: Served) -> None:
    page.goto(f"/requests/{served.ask('/project/src/click.py')}/approve/")
    expect(page.get_by_text("it proves only what this server says")).to_be_visible()
    page.locator(".sheet").get_by_role("link", name="Enrol a passkey").click()
    page.wait_for_url("**/keys/?next=**")
    Authenticator(page)
    page.get_by_role("button", name="Add a passkey").click()
    page.wait_for_url("**/approve/")  # two clicks, and back where they came from
    expect(page.locator(".click-words")).to_contain_text("waits for a voucher")
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_text("You approved it.")).to_be_visible()


def test_with_the_keyboard_the_order_is_that_of_the_page(rui: Page, authenticator: Authenticator, sheet: str) -> None:
    rui.locator("textarea[name=reason]").focus()
    order = []
    for _ in range(3):
        rui.keyboard.press("Tab")
        order.append(rui.evaluate("document.activeElement.textContent.trim()"))
    assert order == ["Not now", "Deny…", SIGN]
    rui.keyboard.press("Enter")
    rui.wait_for_url(f"**/requests/{sheet}/")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_where_people_sign(
    rui: Page, browser: Browser, strict: Served, authenticator: Authenticator, scheme: str
) -> None:
    rui.emulate_media(color_scheme=scheme)
    high = strict.ask("/project/src/axe.py")
    acts = ("approve", "deny", "recall", "suggest")
    for path in ["/keys/", "/keys/ssh", *(f"/requests/{high}/{act}/" for act in acts)]:
        rui.goto(path)
        clean(rui, path)
    rui.goto(f"/requests/{high}/approve/")
    authenticator.touch(False)
    rui.get_by_role("button", name=SIGN).click()
    expect(rui.get_by_role("button", name="Cancel")).to_be_visible()
    clean(rui, "while the prompt is open")
    later(rui)
    rui.get_by_role("button", name="Cancel").click()
    expect(problem(rui)).to_be_visible()
    clean(rui, "after it was cancelled")
    with signed_in(browser, strict, "ada") as ada:
        ada.emulate_media(color_scheme=scheme)
        for path in ("/keys/", "/people/"):
            ada.goto(path)
            clean(ada, path)
        ada.get_by_role("link", name="Rui Falk").click()
        ada.wait_for_url("**/people/pe_*")
        clean(ada, "a person")


def clean(page: Page, where: str) -> None:
    """Nothing that axe calls a violation."""
    found = Axe().run(page)
    assert not found.response["violations"], (where, found.generate_report())


def later(page: Page) -> None:
    """Wait until a press is no longer the other half of a double click."""
    page.wait_for_function(
        """() => new Promise(done => { const start = performance.now(); const look = () =>
        performance.now() - start > 850 ? done(true) : requestAnimationFrame(look); look(); })"""
    )
