"""One signed call over HTTP as a flow: a generator that asks a shell to send or to sleep, and decides everything else.

Because the sync and the async client only carry out :class:`Send` and :class:`Sleep`, they cannot disagree about
retries, clocks, receipts or refusals.
"""

from __future__ import annotations

import contextlib
import logging
import random
import secrets
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias, TypeVar

from imprimatur.client.config import Config
from imprimatur.client.held import Held
from imprimatur.formats import canonical, httpsig
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair

logger = logging.getLogger("imprimatur")

API = "/api/v1"
SEEN = "/log/seen"
RETRIES = 4
TIMEOUT = 10.0
LONGEST_PAUSE = 60.0
_RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_CUT_OFF = frozenset({502, 504})
_BACKOFF, _MOST_BACKOFF = 0.25, 8.0
MOST_BODY = 8 * 1024 * 1024
PRESENTING = 5.0
"""Seconds for presenting the newest entry held, before what was really to be asked."""


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
    """Builds, signs and repeats requests. A repetition keeps its Idempotency-Key and body and has a new nonce.

    Before the first request, and again after a connection was lost, the newest entry in ``held`` is presented: behind
    the same address there may be an older state of the server by then.
    """

    def __init__(
        self,
        config: Config,
        held: Held,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
        agent_name: str = "imprimatur-python",
    ) -> None:
        self.config = config
        self.held = held
        self.monotonic = monotonic
        self._clock = clock
        self._jitter = jitter
        self._user_agent = agent_name
        self._offset = 0.0
        self._to_present = True

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
                if self._to_present and key is None:
                    yield from self._present(timeout)
                answer = yield self._request(method, path, body, headers, timeout=timeout, key=key or self.config.key)
            if answer is None or answer.status in _CUT_OFF:
                self._to_present = True
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

    def _present(self, timeout: float) -> Flow[None]:
        """Show the server the newest entry held. Its log is frozen when it does not have it; what is asked next is
        answered accordingly. Raises Unreachable."""
        self._to_present = False
        newest = self.held.newest
        if newest is None:
            return
        headers = {"Content-Type": "application/json", "Idempotency-Key": "once-" + secrets.token_urlsafe(24)}
        body = canonical.dumps_json({"envelope": newest})
        timeout = min(timeout, PRESENTING)
        answer = yield self._request("POST", SEEN, body, headers, timeout=timeout, key=self.config.key)
        if answer is None or answer.status in (200, 404):  # a server that does not know the call is an older one
            return
        if answer.code == "log-frozen":
            logger.error("the server lost an entry of its log that this agent holds, and has frozen the log")
        elif answer.status == 422:
            logger.warning("the newest receipt held is of another log than the server's: it was set up anew, or moved")
            self.held.drop()
        else:
            self._to_present = True  # turned away for now, by a limit or a clock: with the next request, then

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
