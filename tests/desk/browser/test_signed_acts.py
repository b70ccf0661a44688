"""Revoking, stopping and lifting with a passkey: the page has its own fields compared before a key is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.desk.browser.authenticator import Authenticator
from tests.desk.browser.conftest import Served, signed_in
from tests.desk.browser.test_signing import challenge, clean, enrol, sign

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def ada(browser: Browser, strict: Served) -> Iterator[Page]:
    """Ada's page, with a passkey in force on its authenticator."""
    with signed_in(browser, strict, "ada") as page:
        Authenticator(page)
        enrol(page, "Ada’s phone")
        strict.vouch("ada")
        yield page


@pytest.fixture(scope="module")
def rui(browser: Browser, strict: Served) -> Iterator[Page]:
    with signed_in(browser, strict, "rui") as page:
        Authenticator(page)
        enrol(page, "Rui’s phone")
        strict.vouch("rui")
        yield page


@pytest.mark.parametrize("act", ["deny", "suggest", "recall"])
def test_what_needs_no_key_may_be_signed_on_the_card_as_well(rui: Page, strict: Served, act: str) -> None:
    request = strict.ask(f"/project/src/{act}.py")
    if act == "recall":
        rui.goto(f"/requests/{request}/approve/")
        sign(rui)
        rui.wait_for_url(f"**/requests/{request}/")
    rui.goto(f"/requests/{request}/{act}/")
    if act == "suggest":
        rui.get_by_label("path").fill("/project/src/other.py")
    rui.locator("textarea[name=reason]").fill("Not this one,\nplease.")
    sign(rui)
    rui.wait_for_url(f"**/requests/{request}/")
    if act == "recall":
        expect(rui.get_by_text("You took your answer back.")).to_be_visible()
    else:
        expect(rui.locator("aside")).to_contain_text("H2: with a device-bound passkey: “Not this one,")


def test_a_statement_that_says_other_words_is_refused_by_the_page(ada: Page) -> None:
    def lie(route: Route) -> None:
        answer = route.fetch()
        said = answer.json()
        said["statement"] = said["statement"].replace("Nobody asked for it", "Everybody asked for it")
        said["options"]["challenge"] = challenge(said)
        route.fulfill(response=answer, body=json.dumps(said))

    ada.goto("/pauses/")
    ada.get_by_label("Stop").select_option(label="twin")
    ada.get_by_label("Why").fill("Nobody asked for it")
    ada.route("**/pauses/sign/", lie)
    sign(ada)
    expect(ada.locator("[data-sign-problem]")).to_contain_text("The page and the statement differ in “content.reason”")
    ada.unroute("**/pauses/sign/")


def test_an_agent_is_stopped_and_let_go_on_with_a_passkey(ada: Page) -> None:
    ada.goto("/pauses/")
    clean(ada, "the page to stop something")
    ada.get_by_label("Stop").select_option(label="twin")
    ada.get_by_label("Why").fill("  It asks too much,\nand too often. ")
    sign(ada)
    expect(ada.get_by_text("Stopped: twin. Nothing of it runs")).to_be_visible()
    ada.get_by_role("link", name="Lift…").click()
    ada.wait_for_url("**/pauses/lift?**")  # both pages ask why
    ada.get_by_label("Why").fill("Mended")
    clean(ada, "the sheet that lifts")
    sign(ada)
    expect(ada.get_by_text("Nothing is stopped.")).to_be_visible()


def test_a_key_of_an_agent_is_revoked_since_a_time_with_a_passkey(ada: Page) -> None:
    ada.goto("/agents/")
    ada.get_by_role("link", name="twin").first.click()
    ada.wait_for_url("**/agents/ag_*")
    ada.get_by_role("link", name="Revoke…").first.click()
    ada.wait_for_url("**/keys/*/revoke")
    ada.get_by_label("Why").fill("Its laptop is gone")
    ada.get_by_label("Lost since (UTC)").fill("2026-01-02T03:04")
    sign(ada)
    expect(ada.get_by_text("The key is revoked.")).to_be_visible()
    expect(ada.get_by_text("revoked from")).to_be_visible()


def test_a_stolen_key_is_revoked_with_another_one(browser: Browser, ada: Page, strict: Served) -> None:
    with signed_in(browser, strict, "ada") as page:
        Authenticator(page)
        enrol(page, "Old phone")
        strict.vouch("ada")
    ada.goto("/keys/")
    ada.locator(".key").filter(has_text="Old phone").get_by_role("link", name="Revoke…").click()
    ada.wait_for_url("**/keys/revoke?**")
    ada.get_by_label("Why").fill("Left in a taxi")
    ada.get_by_label("It was stolen").check()
    clean(ada, "the sheet that revokes a key")
    sign(ada)
    expect(ada.locator(".key").filter(has_text="Old phone")).to_contain_text("as stolen")


def test_a_delegation_is_revoked_with_a_passkey_or_by_a_click(ada: Page) -> None:
    ada.goto("/delegations/")
    ada.get_by_role("link", name="Revoke what robo may do").first.click()
    ada.wait_for_url("**/delegations/*/revoke")
    ada.get_by_label("Why").fill("The work is done")
    expect(ada.get_by_text("A click is enough here; your signature proves more.")).to_be_visible()
    expect(ada.get_by_role("button", name="Revoke", exact=True)).to_be_visible()
    clean(ada, "the sheet that revokes a delegation")
    sign(ada)
    expect(ada.get_by_text("The delegation is revoked. What stood on it has ended.")).to_be_visible()
