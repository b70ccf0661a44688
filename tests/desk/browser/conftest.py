from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser import chromium
from tests.installation import ROOT, eventually, free_port
from tests.sqlite import migrated


@dataclass
class Served:
    """A running desk and the pipe that steers it."""

    url: str
    process: subprocess.Popen[str]

    def _do(self, **command: Any) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return str(json.loads(self.process.stdout.readline()))

    def ask(self, path: str = "/project/src/old.py") -> str:
        """Have robo ask to delete a file."""
        return self._do(ask=["delete_file", {"path": path}])

    def pay(self) -> str:
        """Have robo ask to pay."""
        wish = {"payee": "vendor/nordhav", "amount": "1.00", "currency": "USD", "reference": "2026-1187"}
        return self._do(ask=["make_payment", wish])

    def vote(self, who: str, request: str, decision: str, reason: str = "because") -> str:
        """Have a person answer, somewhere else."""
        return self._do(vote=[who, request, decision, reason])

    def recall(self, who: str, request: str) -> str:
        """Have a person take an answer back, somewhere else."""
        return self._do(recall=[who, request])

    def vouch(self, who: str) -> str:
        """Have an operator put this person's newest key in force; the key's fingerprint."""
        return self._do(vouch=who)

    def login(self, who: str) -> str:
        """Have a person sign in without a browser; the cookie of their session."""
        return self._do(login=who)

    def evidence(self, request: str) -> dict[str, Any]:
        """What proves the decision about a request: receipt, entry, proof, trust."""
        found: dict[str, Any] = json.loads(self._do(evidence=request))
        return found

    def ready(self) -> bool:
        assert self.process.poll() is None, "the desk did not start"
        try:
            with urlopen(f"{self.url}/readyz", timeout=5) as reply:
                return bool(reply.status == 200)
        except (URLError, OSError):
            return False


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Served]:
    """A desk in a process of its own, until the block ends."""
    port = free_port()
    migrated(folder)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("IMPRIMATUR_", "DJANGO_"))}
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.desk.browser.served", str(folder), str(port), *options],
            cwd=ROOT,
            env=clean,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    started = Served(f"http://localhost:{port}", process)
    try:
        eventually(started.ready, seconds=90)
        yield started
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One desk for all browser tests, the demo's; each test asks for requests of its own."""
    with running(tmp_path_factory.mktemp("served")) as desk:
        yield desk


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A desk on which approvals need a signing key."""
    with running(tmp_path_factory.mktemp("strict"), "strict") as desk:
        yield desk


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed with the module: an open Playwright keeps an event loop, in which no other test may touch the database."""
    with chromium() as running:
        yield running


def context_of(browser: Browser, desk: Served, who: str) -> BrowserContext:
    """A browser 1280 px wide in which somebody is signed in, in a session of their own.

    They signed in without a browser; the page on which people do is tested by itself.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=desk.url)
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": desk.login(who), "url": desk.url}])
    return context


@contextmanager
def signed_in(browser: Browser, desk: Served, who: str) -> Iterator[Page]:
    """The desk of somebody, for as long as the block lasts."""
    context = context_of(browser, desk, who)
    page = context.new_page()
    page.goto("/")
    try:
        yield page
    finally:
        context.close()


@pytest.fixture
def page(browser: Browser, served: Served) -> Iterator[Page]:
    """Rui's desk at 1280 px. Anything on the console that is an error fails the test."""
    wrong: list[str] = []
    with signed_in(browser, served, "rui") as page:
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        yield page
    # Being offline is something a test does on purpose.
    assert not [text for text in wrong if "ERR_INTERNET_DISCONNECTED" not in text], wrong
