"""People in a browser and in a terminal: the sheets and endpoints as their scripts and clients use them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.test import Client
from django.urls import reverse

from approvals.models import ActionRequest
from audit.log import utc_now
from governance.models import PersonKey
from imprimatur.formats import merkle, signing, sshsig
from imprimatur.formats.encoding import b64u
from imprimatur.formats.timestamps import format_time
from tests.conftest import World

JSON = "application/json"


@dataclass
class Browser:
    """Somebody of the cast at the desk, with the passkeys they enrolled."""

    world: World
    who: str
    client: Client = field(default_factory=Client)

    def __post_init__(self) -> None:
        self.client.force_login(self.world.people[self.who].user)

    def fields(self, request: ActionRequest, **said: Any) -> dict[str, Any]:
        """What the form of a sheet holds for the row as it is now."""
        request.refresh_from_db()
        return {"version": request.version, "display_digest": request.display_digest, "reason": "", **said}

    def offer(self, request: ActionRequest, act: str, **said: Any) -> Any:
        """Ask for the statement to sign."""
        address = reverse("sign", args=[request.id, act])
        return self.client.post(address, self.fields(request, **said), headers={"Accept": JSON})

    def send(self, request: ActionRequest, act: str, **said: Any) -> Any:
        """Send the sheet."""
        return self.client.post(reverse("sheet", args=[request.id, act]), self.fields(request, **said))

    def sign(
        self,
        request: ActionRequest,
        act: str,
        *,
        answer: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        **said: Any,
    ) -> Any:
        """The whole ceremony. ``answer`` stands in for the authenticator."""
        offered = self.offer(request, act, **said)
        assert offered.status_code == 200, offered.content.decode()
        offer = offered.json()
        response = answer(offer) if answer else self.world.sign(self.who, offer)
        return self.send(request, act, **said, ceremony=offer["ceremony"], response=json.dumps(response))


@dataclass
class Terminal:
    """Somebody of the cast in a terminal, with an SSH key."""

    world: World
    who: str
    key: PersonKey
    client: Client = field(default_factory=Client)

    def read(self, request: str, now: datetime | None = None, **changes: Any) -> dict[str, Any]:
        """The statement that asks to read a request. A change to None leaves a field out."""
        now = now or utc_now()
        document = {
            "typ": signing.READ,
            "realm": self.world.realm,
            "person": self.world.people[self.who].id,
            "credential": self.key.fingerprint,
            "request": request,
            "log_size": 0,
            "log_root": f"sha256:{merkle.EMPTY_ROOT.hex()}",
            "nonce": b64u(secrets.token_bytes(16)),
            "issued_at": format_time(now),
            "expires_at": format_time(now + timedelta(seconds=120)),
            **changes,
        }
        return {name: value for name, value in document.items() if value is not None}

    def evidence(self, raw: bytes, namespace: str = "imprimatur-read-v1") -> dict[str, str]:
        pair = self.world.ssh_keys[self.key.fingerprint]
        return {"kind": "ssh", "key": self.key.fingerprint, "value": sshsig.sign(pair, raw, namespace)}

    def post(self, name: str, body: Any) -> Any:
        raw = body if isinstance(body, bytes | str) else json.dumps(body)
        return self.client.post(reverse(name), raw, content_type=JSON)

    def card(self, request: ActionRequest, decision: str, *, namespace: str = "imprimatur-read-v1", **more: Any) -> Any:
        """Read a request, to answer it. ``document`` replaces the statement; the rest goes into the body."""
        raw = signing.encode(more.pop("document", None) or self.read(request.id))
        evidence = more.pop("evidence", None) or self.evidence(raw, namespace)
        body = {"statement": raw.decode(), "evidence": evidence, "decision": decision, **more}
        return self.post("terminal-card", body)

    def answer(self, card: dict[str, Any], *, namespace: str = "imprimatur-decision-v1", **more: Any) -> Any:
        """Sign what the card offers, and send it."""
        value = self.evidence(card["statement"].encode(), namespace)["value"]
        return self.post("terminal-answer", {"ceremony": card["ceremony"], "value": value, **more})
