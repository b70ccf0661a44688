"""What an attempt got, as the table of `imprimatur.rules.canaries` compares it: a status and a code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from imprimatur.client.wire import Answer
from imprimatur.formats.ids import is_id
from imprimatur.inert import inert
from imprimatur.rules import canaries

CHANGED = "changed"
"""The code of an attack that was refused in words, after which what it wanted was there all the same."""

LONGEST_DETAIL, LONGEST_CODE = 300, 64
_LOGIN_PAGE = "/accounts/login/"


@dataclass(frozen=True)
class Observed:
    """``status`` 0: there was no answer, or the attempt could not be made; ``detail`` says which."""

    status: int
    code: str = ""
    request: str = ""
    detail: str = ""

    def told(self, name: str, at: str) -> dict[str, Any]:
        """As `formats.attestation.ATTEMPT` has it."""
        found: dict[str, Any] = {"name": name, "status": self.status, "code": self.code, "at": at}
        if self.request:
            found["request"] = self.request
        if self.detail:
            found["detail"] = inert(" ".join(self.detail.split()), "terminal")[:LONGEST_DETAIL]
        return found

    def expected(self, name: str) -> bool:
        """Whether that is an answer which this attempt must get."""
        return (self.status, self.code) in canaries.ATTEMPTS[name].expected

    def because(self, detail: str) -> Observed:
        """The same with words to it."""
        return replace(self, detail=detail)


def of(answer: Answer) -> Observed:
    """Read an answer. Only a problem document has a code, and a redirect to the login page ``login``."""
    if not 100 <= answer.status <= 599:
        return Observed(0, detail=f"The server answered with the status {answer.status}.")
    found: Mapping[str, Any] = answer.document()
    identifier = found.get("id")
    request = identifier if isinstance(identifier, str) and is_id("act", identifier) else ""
    detail = found.get("detail")
    words = detail if isinstance(detail, str) else ""
    return Observed(answer.status, _code(answer), request, words)


def _code(answer: Answer) -> str:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()
    if kind == "application/problem+json":
        return answer.code[:LONGEST_CODE]
    if answer.status == 302:
        to = urlsplit(answer.headers.get("location", ""))
        # Only a page of this very server: `//elsewhere/accounts/login/` is another one.
        return canaries.LOGIN if to.path == _LOGIN_PAGE and not to.netloc and not to.scheme else ""
    return ""
