"""An agent under test: it signs its own requests, and sends them through either door."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
from asgiref.sync import async_to_sync, sync_to_async
from django.core.asgi import get_asgi_application
from django.test import Client

from imprimatur.formats import canonical, commitments, httpsig, receipts
from imprimatur.formats.encoding import b64u
from imprimatur.formats.keys import KeyPair
from server.agent_door import AgentDoor

ORIGIN = "http://testserver"
PREFIX = "/api/v1"


@dataclass
class Answer:
    """A reply, read."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def code(self) -> str:
        return str(self.json["code"])

    @property
    def receipt(self) -> receipts.Receipt:
        return receipts.parse(self.json["receipt"])


Send = Callable[[str, str, dict[str, str], bytes], Answer]


def through_django(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    """Through Django and Ninja."""
    extra = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    content_type = headers.get("Content-Type", "application/octet-stream")
    reply = Client(raise_request_exception=False).generic(method, path, body, content_type=content_type, headers=extra)
    return Answer(reply.status_code, {k.lower(): v for k, v in reply.headers.items()}, reply.content)


async def run_here(function: Callable[..., Any], /, *arguments: Any) -> Any:
    """In a test everything blocking runs in the test's own thread, which holds its transaction."""
    return await sync_to_async(function, thread_sensitive=True)(*arguments)


def through_asgi(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
    """Through the bare ASGI coroutines, with Django behind them for the cold calls."""

    async def call() -> Answer:
        app = AgentDoor(get_asgi_application(), run=run_here)
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=ORIGIN) as client:
            reply = await client.request(method, path, headers=headers, content=body)
            return Answer(reply.status_code, {k.lower(): v for k, v in reply.headers.items()}, reply.content)

    return async_to_sync(call)()


@dataclass
class AgentUnderTest:
    """Signs with its key and remembers nothing; every request has a fresh nonce unless told otherwise."""

    send: Send
    key: KeyPair
    delegation: str
    attempts: dict[str, str] = field(default_factory=dict)

    def headers(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        idempotency_key: str = "",
        committed: str = "",
        created: int | None = None,
        nonce: str | None = None,
        origin: str = ORIGIN,
    ) -> dict[str, str]:
        """The headers of one signed request."""
        headers: dict[str, str] = {}
        if method == "POST":
            headers = {
                "Content-Type": "application/json",
                "Idempotency-Key": idempotency_key or b64u(secrets.token_bytes(12)),
            }
            nonce = nonce or b64u(secrets.token_bytes(16))
            if committed:
                headers["Imprimatur-Commitments"] = committed
        added = httpsig.sign_request(
            method=method,
            target_uri=origin + path,
            headers=headers,
            body=body,
            key=self.key,
            created=int(time.time()) if created is None else created,
            nonce=nonce,
        )
        return {**headers, **added}

    def get(self, path: str) -> Answer:
        return self.send("GET", PREFIX + path, self.headers("GET", PREFIX + path, None), b"")

    def post(self, path: str, body: Any, **signing: Any) -> Answer:
        raw = canonical.dumps_json(body)
        return self.send("POST", PREFIX + path, self.headers("POST", PREFIX + path, raw, **signing), raw)

    def submit_body(self, tool: str, parameters: dict[str, Any], key: str, **more: Any) -> tuple[bytes, str]:
        """Body and commitments of a submit."""
        salt = commitments.salt_for(self.key.sign, key)
        committed = {name: commitments.commit(salt, name, value)[0] for name, value in parameters.items()}
        committed.update(more.get("withheld", {}))
        said = more.get("justification")
        justification = commitments.commit(salt, "justification", said)[0] if said else None
        body = {
            "delegation": self.delegation,
            "tool": tool,
            "parameters": parameters,
            "salt": b64u(salt),
            "context": {"run": "run-1", "call": key[:40]},
            **more,
        }
        return canonical.dumps_json(body), commitments.commitments_digest(committed, justification)

    def submit(self, tool: str, parameters: dict[str, Any], *, key: str = "", **more: Any) -> Answer:
        """Ask to run a tool."""
        key = key or b64u(secrets.token_bytes(12))
        raw, committed = self.submit_body(tool, parameters, key, **more)
        path = f"{PREFIX}/actions"
        return self.send("POST", path, self.headers("POST", path, raw, idempotency_key=key, committed=committed), raw)

    def read(self, path: str = "/project/src/a.py", **more: Any) -> Answer:
        return self.submit("read_file", {"path": path}, **more)

    def write(self, path: str = "/project/src/a.py", **more: Any) -> Answer:
        return self.submit("write_file", {"path": path, "content": "print(1)\n"}, **more)

    def delete(self, path: str = "/project/src/a.py", **more: Any) -> Answer:
        """HIGH: a reviewer has to answer."""
        return self.submit("delete_file", {"path": path}, **more)

    def pay(self, amount: str = "100.00", **more: Any) -> Answer:
        """CRITICAL, and it costs money."""
        return self.submit(
            "make_payment", {"payee": "vendor", "amount": amount, "currency": "USD", "reference": "Invoice 7"}, **more
        )

    def redeem(self, action: dict[str, Any], attempt: str = "", digest: str = "") -> Answer:
        body = {"action_digest": digest or action["action_digest"], "attempt": attempt or new_attempt()}
        return self.post(f"/actions/{action['id']}/redeem", body)

    def report(self, action: dict[str, Any], outcome: str = "SUCCEEDED", **more: Any) -> Answer:
        return self.post(f"/actions/{action['id']}/outcome", {"outcome": outcome, **more})


def new_attempt() -> str:
    """128 random bits for one execution."""
    return b64u(secrets.token_bytes(16))
