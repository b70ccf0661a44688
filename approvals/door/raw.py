"""A request as it came off the wire, and a reply as it goes back. Nothing here knows of Django or ASGI."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from audit.log import Writer
from imprimatur.formats import canonical

LARGEST_BODY = 1_000_000
JSON = "application/json"


@dataclass(frozen=True)
class RawRequest:
    """Header names are lower case. A body over the limit is not kept: ``oversized`` says so."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    peer: str = ""
    oversized: bool = False

    def target_uris(self) -> list[str]:
        """What the agent may have signed as ``@target-uri``: this path at each configured origin, never at Host."""
        tail = f"{self.path}?{self.query}" if self.query else self.path
        return [origin.rstrip("/") + tail for origin in settings.ORIGINS]


@dataclass(frozen=True)
class Reply:
    """What goes back."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = JSON


@dataclass(frozen=True)
class Write:
    """A change to commit, and how to answer once it is durable. ``apply`` runs under the head lock."""

    apply: Callable[[Writer, Any], Any]
    command: Any
    answer: Callable[[Any], Reply]


@dataclass(frozen=True)
class Wait:
    """Hold the answer until the request is beyond ``version``, at most so many seconds; then call ``answer``.

    ``key`` is the thumbprint of whoever waits: one key may have only so many answers held.
    """

    key: str
    request: str
    version: int
    seconds: float
    answer: Callable[[], Reply]


Step = Reply | Write | Wait


def json_reply(status: int, document: Any, headers: Mapping[str, str] | None = None, content_type: str = JSON) -> Reply:
    """A reply with a canonical JSON body that no cache keeps."""
    return Reply(status, canonical.dumps_json(document), {"cache-control": "no-store", **(headers or {})}, content_type)
