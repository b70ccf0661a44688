"""The whole loop, as its users live it: a real agent process, two reviewers in two browsers, an auditor's bundle."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser import chromium, sign_in
from tests.installation import Installation, eventually, installation
from tests.postgres import fresh_database, postgres_server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.e2e, pytest.mark.browser]


# The embedded default; what people sign is tried on PostgreSQL.
DATABASES = ["sqlite", "postgres"] if os.environ.get("IMPRIMATUR_TEST_E2E") == "all" else ["sqlite"]


@pytest.fixture(scope="module", params=DATABASES)
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    data = tmp_path_factory.mktemp("e2e") / "data"
    environment = {"IMPRIMATUR_DEMO_SCRIPT": "once"}
    if request.param == "sqlite":
        with installation(data, environment=environment, bare=True) as running:
            yield running
        return
    with (
        postgres_server() as server,
        fresh_database(server) as url,
        installation(data, environment={**environment, "IMPRIMATUR_DATABASE_URL": url}) as running,
    ):
        yield running


def journal(desk: Installation) -> list[dict[str, Any]]:
    """What the agent wrote down."""
    path = desk.data / "demo" / "agent.log"
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.endswith("}")]


def said(desk: Installation, **fields: Any) -> dict[str, Any] | None:
    """The newest line with these fields."""
    found = [line for line in journal(desk) if all(line.get(name) == value for name, value in fields.items())]
    return found[-1] if found else None


def shown_after_reload(page: Page, what: Any, number: int) -> bool:
    """Whether the page shows that many of them; it is loaded anew for the next look when not."""
    found = page.locator(what) if isinstance(what, str) else what
    if found.count() >= number:
        return True
    page.reload()
    return False


def open_request(page: Page, desk: Installation, words: str) -> str:
    """Open a request from the queue by words of its sentence; returns its id."""
    page.goto(desk.url + "/")
    page.locator("a.row", has_text=words).first.click()
    page.wait_for_url(re.compile(r"/requests/act_"))
    return page.url.rstrip("/").rsplit("/", 1)[1]


def answer(page: Page, desk: Installation, request: str, act: str, *, reason: str = "", typed: str = "") -> None:
    """Go from the card to the sheet and send the answer."""
    page.goto(f"{desk.url}/requests/{request}/")
    page.get_by_role("link", name=re.compile(f"^{act}…", re.IGNORECASE)).first.click()
    page.wait_for_url(re.compile(f"/requests/{request}/{act}/"))
    if typed:
        page.locator("#id_typed").press_sequentially(typed)
    if reason:
        page.locator("textarea[name=reason]").fill(reason)
    page.locator("form[method=post] button.approve, form[method=post] button.deny").last.click()
    page.wait_for_url(re.compile(f"/requests/{request}/$"))


def test_the_whole_loop(desk: Installation, tmp_path: Path) -> None:
    project = desk.data / "demo" / "project"
    with chromium() as browser:
        rui, rosa = sign_in(browser, desk, "rui"), sign_in(browser, desk, "rosa")
        # The agent's morning: what needs nobody, then what is forbidden, then what people have to answer.
        eventually(lambda: len([line for line in journal(desk) if line.get("verdict") == "deny"]) >= 5, seconds=60)
        eventually(lambda: shown_after_reload(rui, "a.row", 4), seconds=60, every=1)

        # LOW and MEDIUM went through without anybody; what is forbidden was refused, with a code that says why.
        assert said(desk, action="read_file", verdict="allow", decided_by="policy")
        assert said(desk, action="write_file", verdict="allow", risk="MEDIUM")
        refused = {(line["action"], line["code"]) for line in journal(desk) if line.get("verdict") == "deny"}
        assert ("call_external", "out-of-scope") in refused
        assert ("write_file", "out-of-scope") in refused
        assert ("make_payment", "over-budget") in refused
        assert not (project / ".env").exists()

        # HIGH blocks: the file is there until somebody approves, and gone within a moment of it.
        [report] = (project / "reports").iterdir()
        request = open_request(rui, desk, report.name)
        assert report.exists()
        answer(rui, desk, request, "approve")
        eventually(lambda: not report.exists(), seconds=60)
        assert eventually(lambda: said(desk, action="delete_file", verdict="allow"))["decided_by"] == "Rui Falk"

        # Deny: nothing is sent, and the agent reports the reason.
        mail = desk.data / "demo" / "mail"
        request = open_request(rosa, desk, "support@example.org")
        answer(rosa, desk, request, "deny", reason="Not before legal has seen it.")
        denied = eventually(lambda: said(desk, action="send_email", verdict="deny"))
        assert denied["code"] == "reviewer-denied"
        assert denied["note"] == "Not before legal has seen it."
        assert not list(mail.glob("*.eml"))

        # The other mail is approved and really sent.
        answer(rosa, desk, open_request(rosa, desk, "audra@example.org"), "approve")
        eventually(lambda: len(list(mail.glob("*.eml"))) == 1, seconds=60)

        # CRITICAL needs two people; the second types the target's name.
        ledger = desk.data / "demo" / "ledger.json"
        request = open_request(rui, desk, "vendor/")
        answer(rui, desk, request, "approve")
        rui.goto(f"{desk.url}/requests/{request}/")
        assert rui.get_by_role("link", name=re.compile("^confirm", re.IGNORECASE)).count() == 0
        assert json.loads(ledger.read_text(encoding="utf-8")) == []
        rosa.goto(f"{desk.url}/requests/{request}/confirm/")
        target = rosa.locator("code.exact").inner_text()
        answer(rosa, desk, request, "confirm", typed=target)
        eventually(lambda: len(json.loads(ledger.read_text(encoding="utf-8"))) == 1, seconds=60)
        eventually(lambda: said(desk, event="finished"), seconds=60)

        for page in (rui, rosa):
            assert page.complaints == []  # type: ignore[attr-defined]

        # An auditor takes the evidence away; it verifies, and with any byte changed it does not.
        audra = sign_in(browser, desk, "audra", accept_downloads=True)
        audra.goto(desk.url + "/evidence/")
        audra.get_by_role("button", name="Ask for everything").click()
        link = audra.get_by_role("link", name=re.compile("Download", re.IGNORECASE)).and_(
            audra.locator("a[href*='/bundles/']")
        )
        expect(link.first).to_be_visible(timeout=90_000)  # the page follows by itself how far it is
        expect(audra.locator("tr[hx-get]")).to_have_count(0)  # and then stays as it is
        with audra.expect_download() as download:
            link.first.click()
        bundle = tmp_path / "bundle.zip"
        download.value.save_as(bundle)
        reply = audra.request.get(desk.url + "/evidence/trust.json")
        trust = tmp_path / "trust.json"
        trust.write_bytes(reply.body())
        assert audra.complaints == []  # type: ignore[attr-defined]

    done = verify(bundle, trust)
    assert done.returncode == 0, done.stdout + done.stderr
    raw = bytearray(bundle.read_bytes())
    for position in range(7, len(raw), len(raw) // 12):
        changed = bytearray(raw)
        changed[position] ^= 1
        bundle.write_bytes(changed)
        assert verify(bundle, trust).returncode == 1, f"byte {position} changed and nobody noticed"


def verify(bundle: Path, trust: Path) -> subprocess.CompletedProcess[str]:
    """What an auditor types."""
    command = [str(Path(sys.executable).with_name("imprimatur")), "verify", str(bundle), "--trust", str(trust)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
