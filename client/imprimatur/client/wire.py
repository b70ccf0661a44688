"""One signed call over HTTP as a flow: a generator that asks a shell to send or to sleep, and decides everything else.

Because the sync and the async client only carry out :class:`Send` and :class:`Sleep`, they cannot disagree about
retries, clocks, receipts or refusals.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias, TypeVar

from imprimatur.client.config import Config
from imprimatur.formats import canonical, httpsig
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair

API = "/api/v1"
RETRIES = 4
TIMEOUT = 10.0
LONGEST_PAUSE = 60.0
_RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_BACKOFF, _MOST_BACKOFF = 0.25, 8.0
MOST_BODY = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Send:
    """Send this request and answer with an :class:`Answer`, or throw :class:`Unreachable` into the flow."""

    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    body: bytes | None = field(repr=False)
    timeout: float


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait this long, then go on with ``None``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A response: status, headers with lower-case names, whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def document(self) -> dict[str, Any]:
        """The JSON object in the body, or an empty one: whoever reads it finds what it needs missing, and refuses."""
        if len(self.body) > MOST_BODY:
            return {}
        try:
            found = canonical.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def code(self) -> str:
        """The stable code of a problem, or an empty string."""
        code = self.document().get("code")
        return code if isinstance(code, str) else ""


class Unreachable(Exception):  # a fact about the network, turned into an error of the public family
    """There was no answer."""


T = TypeVar("T")
Step: TypeAlias = Send | Sleep
Flow: TypeAlias = Generator[Step, Answer | None, T]


class Wire:
    """Builds, signs and repeats requests. A repetition keeps its Idempotency-Key and body and has a new nonce."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        agent_name: str = "imprimatur-python",
    ) -> None:
        self.config = config
        self.monotonic = monotonic
        self._clock = clock
        self._jitter = jitter
        self._user_agent = agent_name
        self._offset = 0.0

    def now(self) -> datetime:
        """The time, corrected by what the server told us when our clock was wrong."""
        return datetime.fromtimestamp(self._clock() + self._offset, UTC)

    def get(
        self, path: str, *, timeout: float = TIMEOUT, deadline: float | None = None, key: KeyPair | None = None
    ) -> Flow[Answer]:
        """A signed GET (with ``key`` instead of the agent's present one); see :meth:`_repeat`."""
        return (yield from self._repeat("GET", path, None, {}, timeout=timeout, deadline=deadline, key=key))

    def post(
        self,
        path: str,
        document: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        commitments: str | None = None,
        timeout: float = TIMEOUT,
        deadline: float | None = None,
        retries: int = RETRIES,
    ) -> Flow[Answer]:
        """A signed POST of a JSON document; see :meth:`_repeat`."""
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": idempotency_key or "once-" + secrets.token_urlsafe(24),
        }
        if commitments is not None:
            headers["Imprimatur-Commitments"] = commitments
        body = canonical.dumps_json(dict(document))
        return (
            yield from self._repeat("POST", path, body, headers, timeout=timeout, deadline=deadline, retries=retries)
        )

    def _repeat(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        timeout: float,
        deadline: float | None,
        retries: int = RETRIES,
        key: KeyPair | None = None,
    ) -> Flow[Answer]:
        """Send until there is an answer that repeating cannot change. ``deadline`` (monotonic seconds) replaces the
        limit on the number of tries. Raises Unreachable when the last try had no answer."""
        corrected = False
        tries = 0
        while True:
            answer: Answer | None = None
            with contextlib.suppress(Unreachable):
                answer = yield self._request(method, path, body, headers, timeout=timeout, key=key or self.config.key)
            if answer is not None:
                if answer.status == 401 and answer.code == "clock-skew" and not corrected and self._correct(answer):
                    corrected = True
                    continue
                if answer.status not in _RETRY_STATUS and answer.code != "replayed":
                    return answer
            tries += 1
            pause = self._pause(tries, answer)
            over = tries > retries if deadline is None else self.monotonic() + pause >= deadline
            if over:
                if answer is None:
                    raise Unreachable
                return answer
            yield Sleep(pause)

    def _request(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], *, timeout: float, key: KeyPair
    ) -> Send:
        url = self.config.origin + API + path
        signed = httpsig.sign_request(
            method=method,
            target_uri=url,
            headers=headers,
            body=body,
            key=key,
            created=int(self._clock() + self._offset),
            nonce=b64u(secrets.token_bytes(18)) if method == "POST" else None,
        )
        common = {
            "Accept": "application/json, application/problem+json",
            "Accept-Encoding": "identity",
            "User-Agent": self._user_agent,
        }
        return Send(method, url, {**common, **headers, **signed}, body, timeout)

    def _correct(self, answer: Answer) -> bool:
        """Take the time from the server's Date header. Signatures live 60 s, so a wrong correction only fails."""
        try:
            told = parsedate_to_datetime(answer.headers["date"]).timestamp()
        except (KeyError, TypeError, ValueError):
            return False
        self._offset = told - self._clock()
        return True

    def _pause(self, tries: int, answer: Answer | None) -> float:
        wanted = _retry_after(answer)
        if wanted is not None:
            # Never earlier than asked; a little later, so that a herd of agents does not return in step.
            return min(wanted, LONGEST_PAUSE) + self._jitter() * 0.5
        most: float = min(_MOST_BACKOFF, _BACKOFF * 2.0 ** min(tries, 8))
        return most * (0.5 + 0.5 * self._jitter())


def _retry_after(answer: Answer | None) -> float | None:
    """Seconds from Retry-After (RFC 9110 10.2.3, both forms), or None."""
    text = "" if answer is None else answer.headers.get("retry-after", "").strip()
    if text.isdecimal() and len(text) < 10:
        return float(text)
    if not text or answer is None:
        return None
    try:
        then = parsedate_to_datetime(text)
        sent = parsedate_to_datetime(answer.headers["date"])
        return max(0.0, (then - sent).total_seconds())
    except (KeyError, TypeError, ValueError):
        return None
