"""``POST /delegations/signed``: a delegation and its signature, without a session.

The authority is the signature itself: the document names a person, and the signature is by an SSH key registered to
that person, over exactly these bytes, for this purpose and this realm (invariants 4 and 12). A session adds nothing,
so none is read, and there is nothing for a forged cross-site request to borrow.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from threading import Lock
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from audit import log
from audit.errors import LogError
from governance.actions import issue_delegation
from governance.errors import Refused
from governance.models import Person, PersonKey
from imprimatur.formats import canonical, shapes
from imprimatur.formats import delegation as formats

LARGEST = 64 * 1024  # bytes
MOST_A_MINUTE = 20
MOST_ADDRESSES = 10_000

BODY = shapes.Obj({"document": shapes.Any_(), "signature": formats.SIGNATURE}, {})


class Limit:
    """How often one address may come: a count per minute, in memory, so that no other service can open it."""

    def __init__(self, most: int, addresses: int) -> None:
        self._most, self._addresses = most, addresses
        self._counts: OrderedDict[str, tuple[int, int]] = OrderedDict()
        self._lock = Lock()

    def exceeded(self, address: str) -> bool:
        """Count one more, and say whether it is one too many. When memory is full the oldest address is forgotten."""
        minute = int(time.monotonic() // 60)
        with self._lock:
            at, count = self._counts.pop(address, (minute, 0))
            count = count + 1 if at == minute else 1
            self._counts[address] = (minute, count)
            while len(self._counts) > self._addresses:
                self._counts.popitem(last=False)
            return count > self._most

    def forget(self) -> None:
        """Begin again."""
        with self._lock:
            self._counts.clear()


limit = Limit(MOST_A_MINUTE, MOST_ADDRESSES)


@csrf_exempt
@require_POST
def post(request: HttpRequest) -> HttpResponse:
    """Issue the delegation: 201, or 200 when it had been issued before. Refusals are problem documents (RFC 9457)."""
    try:
        if limit.exceeded(request.META.get("REMOTE_ADDR", "")):
            raise Refused("rate-limited", f"At most {MOST_A_MINUTE} a minute from one address. Wait a moment.")
        document, signature = _read(request)
        issuer = _signer(document, signature)
        done = log.commit(issue_delegation.apply, issue_delegation.Command(document, signature, issuer))
    except Refused as error:
        return problem(error.status, error.code, error.message)
    except LogError as error:
        return problem(503, "log-frozen", f"Nothing was changed. {error}")
    answer = {"delegation": done.delegation.id, "url": reverse("delegation", args=[done.delegation.id])}
    if done.entry is not None:
        answer["entry"] = str(done.entry.index)
    return HttpResponse(json.dumps(answer), content_type="application/json", status=201 if done.entry else 200)


def read_json(request: HttpRequest, shape: shapes.Obj) -> dict[str, Any]:
    """The JSON object of this shape in a request's body. Raises Refused ``malformed``."""
    if request.content_type != "application/json":
        raise Refused("malformed", "Send application/json.", 415)
    # One byte more than is allowed is read, whatever the length header says.
    raw = request.read(LARGEST + 1)
    if len(raw) > LARGEST:
        raise Refused("malformed", f"At most {LARGEST // 1024} kB.", 413)
    try:
        body: dict[str, Any] = canonical.loads(raw)
        shapes.check(body, shape)
    except (canonical.CanonicalError, shapes.ShapeError) as error:
        message = f"This is not what belongs here: {error}. Is the client of another version?"
        raise Refused("malformed", message) from None
    return body


def _read(request: HttpRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    body = read_json(request, BODY)
    try:
        formats.validate(body["document"])
    except (canonical.CanonicalError, shapes.ShapeError) as error:
        raise Refused("malformed", f"This is not a document with its signature: {error}") from None
    return body["document"], body["signature"]


def _signer(document: dict[str, Any], signature: dict[str, Any]) -> Person:
    """The person whose registered key signed it. Checked before any lock is taken; the action checks again inside."""
    if signature["kind"] != "ssh":
        raise Refused("signature", "A person signs here with an SSH key. An agent passes authority on at its own door.")
    key = PersonKey.objects.select_related("person__user").filter(pk=signature["key"]).first()
    if (
        key is None
        or key.person_id != document["issuer"]
        or not formats.verify_ssh_signature(document, signature, key.line)
    ):
        # One answer for all three: who holds no registered key learns nothing about who does.
        raise Refused("signature", "This is not the signature of a key that is registered to the document's issuer.")
    return key.person


def problem(status: int, code: str, message: str) -> HttpResponse:
    """A refusal for a program, as a problem document (RFC 9457)."""
    problem = {
        "type": f"urn:imprimatur:problem:{code}",
        "title": code.replace("-", " "),
        "status": status,
        "code": code,
        "detail": message,
    }
    return HttpResponse(json.dumps(problem), content_type="application/problem+json", status=status)
