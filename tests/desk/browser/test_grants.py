"""A grant signed by passkey in a real Chromium, and a page that refuses to have anything else signed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.desk.browser.authenticator import Authenticator
from tests.desk.browser.conftest import Served
from tests.desk.browser.test_many import clean, overwrite
from tests.desk.browser.test_signing import SIGN, authenticator, challenge, keys, meddle, problem, rui

__all__ = ["authenticator", "keys", "rui"]

pytestmark = pytest.mark.browser


def sheet(page: Page, served: Served, name: str) -> None:
    """The second step, for any content in a folder of its own."""
    request = overwrite(served, f"{name}/a")
    page.goto(f"/requests/{request}/grant/")
    page.locator(f"input[name=effect_0][value='file:write:/project/src/{name}']").check()
    page.locator("input[name=how_0][value=any]").check()
    page.locator("input[name=how_2][value=starts_with]").check()
    page.locator("input[name=value_2]").fill(f"/project/src/{name}/")
    page.get_by_role("button", name="Read what that means…").click()
    # Whoever goes on must not do it while the browser is still on its way: an interception set then may come too late.
    expect(page.get_by_role("heading", level=1)).to_contain_text("nobody will be asked")
    page.wait_for_load_state()


def test_a_passkey_approves_in_advance(rui: Page, authenticator: Authenticator, strict: Served) -> None:
    sheet(rui, strict, "signed")
    expect(rui.get_by_role("button", name="Approve in advance")).to_have_count(0)
    clean(rui)
    rui.get_by_role("button", name=SIGN).click()
    expect(rui.get_by_text("This request still waits for your answer.")).to_be_visible()
    later = overwrite(strict, "signed/b")
    rui.goto(f"/requests/{later}/")
    expect(rui.locator("aside")).to_contain_text("Rui Falk, in advance, with")
    expect(rui.locator("aside")).to_contain_text("(H2). Nobody was asked about this one: 1 of 3 used.")


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_uses", 100), ("effects", ["file:write"]), ("not_after", "2099-01-01T00:00:00.000Z"), ("agent", "ag_other")],
)
def test_the_page_has_nothing_signed_that_it_does_not_show(
    rui: Page, authenticator: Authenticator, strict: Served, field: str, value: Any
) -> None:
    sheet(rui, strict, f"meddled-{field}")

    def change(said: dict[str, Any]) -> None:
        said["statement"] = json.dumps({**json.loads(said["statement"]), field: value}, separators=(",", ":"))
        said["options"]["challenge"] = challenge(said)

    meddle(rui, change)
    rui.get_by_role("button", name=SIGN).click()
    expect(problem(rui)).to_contain_text("is not what this page shows")
    expect(rui.get_by_role("heading", level=1)).to_contain_text("nobody will be asked")
