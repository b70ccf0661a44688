"""Choosing several and denying them, and approving in advance, in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from tests.desk.browser.conftest import Served, running
from tests.desk.browser.test_desk import calm

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A desk of its own: an agent has few requests waiting at a time, and the other tests leave some."""
    with running(tmp_path_factory.mktemp("many")) as desk:
        yield desk


def row(page: Page, request: str) -> Locator:
    return page.locator(f"#row-{request}")


def tick(page: Page, request: str) -> Locator:
    return row(page, request).get_by_role("checkbox")


def clean(page: Page) -> None:
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_choose_with_x_and_deny_several_for_one_reason(page: Page, served: Served) -> None:
    asked = [served.ask(f"/project/src/many-{number}.py") for number in range(3)]
    page.goto("/")
    bar = page.locator("#many")
    expect(bar).to_be_hidden()
    calm(page)
    row(page, asked[0]).locator(".row").focus()
    page.keyboard.press("x")
    expect(tick(page, asked[0])).to_be_checked()
    expect(bar.get_by_role("button", name="Deny 1…")).to_be_visible()
    tick(page, asked[1]).check()
    expect(bar.get_by_role("button", name="Deny 2…")).to_be_visible()
    calm(page)
    page.keyboard.press("j")
    expect(tick(page, asked[1])).not_to_be_focused()
    clean(page)
    bar.get_by_role("button", name="Deny 2…").click()
    expect(page.get_by_role("heading", name="You say no to 2 requests")).to_be_visible()
    expect(page.get_by_text("many-0.py")).to_be_visible()
    expect(page.get_by_text("many-2.py")).to_have_count(0)
    clean(page)
    page.get_by_label("Why?").fill("Not on a Friday.")
    page.get_by_role("button", name="Deny 2", exact=True).click()
    expect(page.get_by_text("You denied 2 requests. None of them runs.")).to_be_visible()
    expect(row(page, asked[2])).to_be_visible()
    expect(row(page, asked[0])).to_have_count(0)


def test_a_tick_stays_when_the_list_grows_and_goes_when_its_request_changes(page: Page, served: Served) -> None:
    kept, gone = served.ask("/project/src/kept.py"), served.ask("/project/src/gone.py")
    page.goto("/")
    tick(page, kept).check()
    tick(page, gone).check()
    newer = served.ask("/project/src/newer.py")
    page.get_by_role("button", name="new request").click()
    expect(row(page, newer)).to_be_visible()
    expect(tick(page, kept)).to_be_checked()
    expect(tick(page, gone)).to_be_checked()
    row(page, gone).hover()
    served.vote("rosa", gone, "deny")
    expect(row(page, gone)).to_have_class("gone")
    expect(page.get_by_role("button", name="Deny 1…")).to_be_visible()
    page.get_by_role("button", name="Choose none").click()
    expect(tick(page, kept)).not_to_be_checked()
    expect(page.locator("#many")).to_be_hidden()


def test_what_changed_while_the_sheet_was_open_is_said(page: Page, served: Served) -> None:
    mine, theirs = served.ask("/project/src/still.py"), served.ask("/project/src/taken.py")
    page.goto("/")
    tick(page, mine).check()
    tick(page, theirs).check()
    page.get_by_role("button", name="Deny 2…").click()
    expect(page.get_by_role("heading", name="You say no to 2 requests")).to_be_visible()
    served.vote("rosa", theirs, "approve")
    page.get_by_label("Why?").fill("no")
    page.get_by_role("button", name="Deny 2", exact=True).click()
    expect(page.get_by_role("heading", name="You denied 1 request. 1 was left as it is.")).to_be_visible()
    expect(page.get_by_text("Approved. The agent has not used it yet.")).to_be_visible()
    clean(page)


def test_without_script_it_works_too(page: Page, served: Served) -> None:
    asked = served.ask("/project/src/plain.py")
    browser = page.context.browser
    assert browser is not None
    context = browser.new_context(
        base_url=served.url, java_script_enabled=False, storage_state=page.context.storage_state()
    )
    plain = context.new_page()
    plain.goto("/")
    tick(plain, asked).check()
    plain.get_by_role("button", name="Deny these…").click()
    plain.get_by_label("Why?").fill("no")
    plain.get_by_role("button", name="Deny 1", exact=True).click()
    expect(plain.get_by_text("You denied 1 request.")).to_be_visible()
    context.close()


def overwrite(served: Served, name: str) -> str:
    """Have robo ask to overwrite a file, once everything is published: before that no grant answers for anything."""
    served._do(published=True)
    return served._do(ask=["write_file", {"path": f"/project/src/{name}.py", "content": "x = 1", "destructive": True}])


def test_approve_in_advance_from_the_card_and_take_it_back(page: Page, served: Served) -> None:
    asked = overwrite(served, "first")
    page.goto(f"/requests/{asked}/")
    page.get_by_role("link", name="Approve this and the like for some minutes…").click()
    clean(page)
    page.locator("input[name=effect_0][value='file:write:/project/src']").check()
    page.locator("input[name=how_2][value=any]").check()
    page.get_by_label("For how many minutes").fill("5")
    page.get_by_role("button", name="Read what that means…").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("robo may use write_file up to 3 times")
    expect(page.get_by_role("heading", level=1)).to_contain_text("nobody will be asked")
    clean(page)
    page.get_by_role("button", name="Approve in advance").click()
    expect(page.get_by_text("This request still waits for your answer.")).to_be_visible()
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.get_by_text("You approved it.")).to_be_visible()
    later = overwrite(served, "second")
    page.goto(f"/requests/{later}/")
    expect(page.get_by_text("Nobody was asked about this one")).to_be_visible()
    page.get_by_role("link", name="The grant").click()
    expect(page.get_by_text("1 of 3")).to_be_visible()
    clean(page)
    page.get_by_role("button", name="Revoke").first.click()
    expect(page.get_by_text("Revoked. From now on people are asked again.")).to_be_visible()
