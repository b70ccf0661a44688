"""A canary: an ordinary agent with its own key. It sends what any agent could send, and also what none should."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from imprimatur.client import answers
from imprimatur.client.config import Config
from imprimatur.client.core import Core
from imprimatur.client.held import Held
from imprimatur.client.wire import API, Answer, Flow, Send, Wire
from imprimatur.client.wish import Wish, Wishes
from imprimatur.formats import canonical, delegation, httpsig, ids
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from imprimatur.formats.trust import Trust
from imprimatur.service.carrier import Carrier

TIMEOUT = 10.0
"""Seconds for one request."""

WHY = "A canary: it tries this so that the answer is on record."
PROGRAM = "imprimatur-canary"
_PLAIN = {"Accept": "text/html", "Accept-Encoding": "identity", "User-Agent": PROGRAM}
_COOKIE = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True)
class Passed:
    """A delegation that an agent signed, whatever the server made of it."""

    id: str
    body: Mapping[str, Any]


class _InTheNameOf(KeyPair):
    """A key that signs as itself and says that it is another one."""

    __slots__ = ("_named",)

    def __init__(self, own: KeyPair, named: KeyPair) -> None:
        super().__init__(own.seed)
        self._named = named.thumbprint

    @property
    def thumbprint(self) -> str:
        return self._named


class Agent:
    """One of the two. Every request goes out under its own key, unless it says otherwise."""

    def __init__(self, origin: str, key: KeyPair, trust: Trust, carrier: Carrier, retries: int) -> None:
        agent = key.agent or ids.agent_id(key.public_key)
        self.config = Config(origin, key, agent, trust)
        self.wire = Wire(self.config, Held(trust.realm), agent_name=PROGRAM)
        self.core = Core(self.config, self.wire)
        self._wishes = Wishes(self.config)
        self._carrier = carrier
        self._retries = retries

    @property
    def id(self) -> str:
        """Its id."""
        return self.config.agent

    @property
    def key(self) -> KeyPair:
        """Its key."""
        return self.config.key

    def now(self) -> datetime:
        """The time, corrected by what the server told us."""
        return self.wire.now()

    # --- as every agent does --------------------------------------------------------------------------------------

    def get(self, path: str) -> Answer:
        """A signed GET."""
        return self._carrier.run(self.wire.get(path))

    def post(self, path: str, document: Mapping[str, Any]) -> Answer:
        """A signed POST."""
        return self._carrier.run(self._post(path, document))

    def held(self) -> list[dict[str, Any]]:
        """The delegations that it holds. Raises APIError."""
        found = answers.items(self.get("/me")).get("delegations")
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    def wish(self, tool: str, parameters: Mapping[str, Any], under: str, *, execute: bool) -> Wish:
        """Commit to a call under a delegation. With ``execute`` an allow is redeemed in the same call."""
        call = secrets.token_hex(8)
        return self._wishes.make(
            tool, parameters, delegation=under, call=call, execute=execute, justification=WHY, ttl=60
        )

    def ask(self, wish: Wish) -> Answer:
        """Submit it."""
        return self._carrier.run(self._submit(wish))

    def finish(self, identifier: str, *, ok: bool) -> None:
        """Report the outcome of what was redeemed, so that nothing stays open. Raises ServerError."""
        self.post(f"/actions/{identifier}/outcome", {"outcome": "SUCCEEDED" if ok else "FAILED"})

    def redeemed(self, answer: Answer, wish: Wish) -> None:
        """Hold the receipt of an allow against the pinned keys. Raises ActionBlocked."""
        self._carrier.run(self.core.redeem(answers.decision(answer, wish)))

    def delegation(self, **facets: Any) -> Passed:
        """A delegation in these words, signed by this agent. It is not sent."""
        document = {
            "typ": delegation.TYP,
            "realm": self.config.realm,
            "issuer": self.id,
            "max_depth": 0,
            "purpose": WHY,
            "nonce": secrets.token_urlsafe(18),
            **{name: format_time(value) if isinstance(value, datetime) else value for name, value in facets.items()},
        }
        signature = delegation.sign_as_agent(document, self.key)
        return Passed(delegation.delegation_id(document), {"document": document, "signature": signature})

    # --- as none should -------------------------------------------------------------------------------------------

    def signed(self, wish: Wish, *, named: KeyPair | None = None, broken: bool = False) -> Send:
        """The exact request that submits a wish: in the name of the key ``named``, or with a ``broken`` signature."""
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": wish.idempotency_key,
            "Imprimatur-Commitments": wish.commitments_digest,
        }
        return self._signed("/actions", wish.body, headers, named, broken)

    def send(self, step: Send) -> Answer:
        """Send exactly these bytes, once. Raises ServerError when there is no answer."""
        return self._carrier.run(_once(step))

    def form(self, path: str, fields: Mapping[str, str]) -> Answer:
        """Send a form of the desk, with its token as a browser would, and with this agent's signature on top."""
        origin = self.config.origin
        page = self.send(Send("GET", f"{origin}/accounts/login/", _PLAIN, None, TIMEOUT))
        name, token = _token(page)
        body = urlencode({**fields, "csrfmiddlewaretoken": token} if token else fields).encode("ascii")
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Idempotency-Key": "once-" + secrets.token_urlsafe(24),
            "Origin": origin,
            "Referer": f"{origin}{path}",
        }
        if token:
            headers["Cookie"] = f"{name}={token}"
        return self.send(self._sign(f"{origin}{path}", body, headers, self.key))

    def _signed(
        self, path: str, document: Mapping[str, Any], headers: dict[str, str], named: KeyPair | None, broken: bool
    ) -> Send:
        key = self.key if named is None else _InTheNameOf(self.key, named)
        step = self._sign(f"{self.config.origin}{API}{path}", canonical.dumps_json(dict(document)), headers, key)
        if broken:
            value = step.headers["Signature"]
            place = len("sig1=:") + 8
            step.headers["Signature"] = value[:place] + ("A" if value[place] != "A" else "B") + value[place + 1 :]
        return step

    def _sign(self, url: str, body: bytes, headers: dict[str, str], key: KeyPair) -> Send:
        signed = httpsig.sign_request(
            method="POST",
            target_uri=url,
            headers=headers,
            body=body,
            key=key,
            created=int(self.now().timestamp()),
            nonce=b64u(secrets.token_bytes(18)),
        )
        common = {"Accept": "application/json, application/problem+json, text/html", "Accept-Encoding": "identity"}
        return Send("POST", url, {**common, "User-Agent": PROGRAM, **headers, **signed}, body, TIMEOUT)

    def _post(self, path: str, document: Mapping[str, Any]) -> Flow[Answer]:
        return (yield from self.wire.post(path, document, timeout=TIMEOUT, retries=self._retries))

    def _submit(self, wish: Wish) -> Flow[Answer]:
        return (
            yield from self.wire.post(
                "/actions",
                wish.body,
                idempotency_key=wish.idempotency_key,
                commitments=wish.commitments_digest,
                timeout=TIMEOUT,
                retries=self._retries,
            )
        )


def _once(step: Send) -> Flow[Answer]:
    answer = yield step
    assert answer is not None
    return answer


def _token(answer: Answer) -> tuple[str, str]:
    """The cookie with the form's token, by name and value, as far as it can be sent back; empty without one."""
    for part in answer.headers.get("set-cookie", "").split(","):
        name, _, value = part.strip().partition("=")
        value = value.partition(";")[0].strip()
        if _COOKIE.fullmatch(name) and "csrf" in name and value.isascii() and value.isalnum():
            return name, value
    return "", ""
