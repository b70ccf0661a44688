"""Enrol an SSH key from a terminal: no session, but a one-time code from the page *Your keys*, and the key's signature.

The code says who; the signature by the new key over the statement does the rest. Refusals are problem documents.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from audit import log
from audit.errors import LogError
from governance import ceremonies, enrolment
from governance.actions import enrol_key
from governance.errors import Refused
from governance.models import Ceremony
from governance.views.signed import MOST_A_MINUTE, MOST_ADDRESSES, Limit, problem, read_json
from imprimatur.formats import shapes, signing

limit = Limit(MOST_A_MINUTE, MOST_ADDRESSES)

BEGIN = shapes.Obj(
    {
        "person": signing.PERSON,
        "line": shapes.Text(max=2000),
        "label": shapes.Text(max=80),
        "code": shapes.Text(max=40),
    }
)
FINISH = shapes.Obj({"ceremony": shapes.Text(max=30), "value": shapes.Text(max=4096)})


@csrf_exempt
@require_POST
def begin(request: HttpRequest) -> HttpResponse:
    """Use the code up and say what the key is to sign: ``{"ceremony", "statement"}``."""

    def answer(body: dict[str, Any]) -> dict[str, str]:
        person = enrolment.take_code(body["person"], body["code"])
        ceremony = enrolment.begin_ssh(person, body["line"], body["label"])
        return {"ceremony": ceremony.id, "statement": bytes(ceremony.statement).decode("utf-8")}

    return _answered(request, BEGIN, answer)


@csrf_exempt
@require_POST
def enrol(request: HttpRequest) -> HttpResponse:
    """Take the signature and write the key down: ``{"key", "state"}``; it waits for a voucher then."""

    def answer(body: dict[str, Any]) -> dict[str, str]:
        waiting = Ceremony.objects.select_related("person__user").filter(pk=body["ceremony"], typ=signing.ENROLMENT)
        ceremony = waiting.first()
        if ceremony is None:
            raise Refused("not-found", "There is no such enrolment in progress. Begin again with a new code.")
        signed = ceremonies.finish_ssh(ceremony.person, ceremony.id, body["value"], typ=signing.ENROLMENT)
        done = log.commit(enrol_key.apply, enrol_key.Command(signed, ceremony.person))
        return {"key": done.key.fingerprint, "state": "waits for a voucher"}

    return _answered(request, FINISH, answer)


def _answered(request: HttpRequest, shape: shapes.Obj, answer: Any) -> HttpResponse:
    try:
        if limit.exceeded(request.META.get("REMOTE_ADDR", "")):
            raise Refused("rate-limited", f"At most {MOST_A_MINUTE} a minute from one address. Wait a moment.")
        return JsonResponse(answer(read_json(request, shape)))
    except Refused as error:
        return problem(error.status, error.code, error.message)
    except LogError as error:
        return problem(503, "log-frozen", f"Nothing was changed. {error}")
