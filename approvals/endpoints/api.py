"""Every operation of the agent API, declared once for Django and for the OpenAPI document; the work is in the door."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from ninja import NinjaAPI, Path, Query
from ninja.errors import HttpError, ValidationError
from ninja.openapi.schema import OpenAPISchema
from ninja.parser import Parser
from ninja.security import APIKeyHeader

from approvals.door import attesting, operations, problems, rejections, schemas, serve
from approvals.door.authenticate import Caller, ServiceCaller, authenticate, authenticate_service
from approvals.door.raw import LARGEST_BODY, RawRequest, Reply
from audit.log import utc_now
from governance.errors import Refused
from imprimatur.formats import canonical
from imprimatur.formats.attestation import CANARIES, MONITOR, ORCHESTRATOR, ROLES

ABOUT = """\
Agents ask before they act. Every request is signed (RFC 9421, Ed25519, one fixed profile with the tag imprimatur-v1);
errors are RFC 9457 problems with a stable code; a problem with a receipt is a decision, one without is none.

Signed components, in this order: "@method" "@target-uri" "content-type" "content-digest" "idempotency-key", on
POST /actions also "imprimatur-commitments"; on GET only the first two.
"""


class StrictParser(Parser):
    """JSON without duplicate keys, NaN, lone surrogates or trailing bytes."""

    def parse_body(self, request: HttpRequest) -> Any:
        return canonical.loads(request.body)


class SignedRequest(APIKeyHeader):
    """The signature over the raw request, checked before any of its body is parsed."""

    param_name = "Signature"

    def authenticate(self, request: HttpRequest, key: str | None) -> Caller:
        return authenticate(raw_of(request))


class SignedByService(SignedRequest):
    """The same, by a service in one of these roles. An agent's signature does not do."""

    def __init__(self, *roles: str) -> None:
        super().__init__()
        self.roles = roles

    def authenticate(self, request: HttpRequest, key: str | None) -> ServiceCaller:  # type: ignore[override]  # not an agent
        return authenticate_service(raw_of(request), *self.roles)


class Api(NinjaAPI):
    """The declaration. Its OpenAPI document says what problems really are: application/problem+json."""

    _documents: ClassVar[dict[str | None, OpenAPISchema]] = {}

    def get_openapi_schema(self, **arguments: Any) -> OpenAPISchema:
        # Made once: anybody may ask for it, it never changes, and making it costs as much as a hundred requests.
        prefix = arguments.get("path_prefix")
        if prefix not in self._documents:
            self._documents[prefix] = self._document(**arguments)
        return self._documents[prefix]

    def _document(self, **arguments: Any) -> OpenAPISchema:
        document = super().get_openapi_schema(**arguments)
        for operations_there in document["paths"].values():
            for operation in operations_there.values():
                for status, response in operation["responses"].items():
                    content = response.get("content", {})
                    if int(status) >= 400 and "application/json" in content:
                        content[problems.PROBLEM] = content.pop("application/json")
        return document

    def _get_urls(self) -> list[URLResolver | URLPattern]:
        """Ninja's addresses, with problems for whoever uses a wrong method or address."""
        found: list[URLResolver | URLPattern] = super()._get_urls()
        for pattern in found:
            if isinstance(pattern, URLPattern):
                pattern.callback = _with_problems(pattern.callback)
        return [*found, path("<path:rest>", _nowhere)]


def _with_problems(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @csrf_exempt
    @wraps(view)
    def answered(request: HttpRequest, *arguments: Any, **parameters: Any) -> HttpResponse:
        response = view(request, *arguments, **parameters)
        if response.status_code != 405:
            return response
        refused = Refused("method-not-allowed", "This address does not take this method.", 405)
        told = respond(problems.problem(refused))
        told["Allow"] = response.get("Allow", "")
        return told

    return answered


@csrf_exempt
def _nowhere(request: HttpRequest, rest: str) -> HttpResponse:
    return respond(problems.problem(Refused("not-found", "The API has no such address.")))


api = Api(
    title="Imprimatur agent API",
    version="1",
    description=ABOUT,
    parser=StrictParser(),
    docs_url=None,
    urls_namespace="agent-api",
)
signed = SignedRequest()

P = schemas.Problem
READ: dict[Any, Any] = {401: P, 403: P, 404: P, 413: P, 422: P, 429: P, 503: P}
CHANGE: dict[Any, Any] = {**READ, 409: P}
DECISION: dict[Any, Any] = {200: schemas.ActionView, 202: schemas.ActionView, **CHANGE}


def raw_of(request: HttpRequest) -> RawRequest:
    """The request as the door wants it. Headers that come twice are joined, and then no signature holds."""
    oversized = False
    try:
        body = request.body
    except RequestDataTooBig:
        body, oversized = b"", True
    return RawRequest(
        method=request.method or "",
        path=request.path,
        query=request.META.get("QUERY_STRING", ""),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        peer=request.META.get("REMOTE_ADDR", ""),
        oversized=oversized or len(body) > LARGEST_BODY,
    )


def respond(reply: Reply) -> HttpResponse:
    """The reply as Django sends it."""
    return HttpResponse(reply.body, status=reply.status, content_type=reply.content_type, headers=dict(reply.headers))


def _caller(request: HttpRequest) -> Caller:
    caller: Caller = request.auth  # type: ignore[attr-defined]  # set by Ninja from SignedRequest
    return caller


def _count(request: HttpRequest) -> None:
    caller = getattr(request, "auth", None)
    known = rejections.UNKNOWN
    if isinstance(caller, Caller):
        known = caller.key.thumbprint
    elif isinstance(caller, ServiceCaller):
        known = caller.thumbprint
    rejections.note(known, "malformed", utc_now())


@api.exception_handler(Exception)
def _failed(request: HttpRequest, error: Exception) -> HttpResponse:
    return respond(problems.from_error(error))


@api.exception_handler(ValidationError)
def _invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    _count(request)
    return respond(problems.problem(Refused("malformed", serve.sentence(error.errors))))


@api.exception_handler(HttpError)
def _unreadable(request: HttpRequest, error: HttpError) -> HttpResponse:
    _count(request)
    return respond(problems.problem(Refused("malformed", "The body is not the JSON this API takes.")))


# Ninja types its markers as generics without a use for their arguments here.
Identifier: Any = Path(..., max_length=100)  # type: ignore[type-arg]

Seconds: Any = Query(0, ge=0, le=25, description="hold the answer so long")  # type: ignore[type-arg]


@api.post("/actions", auth=signed, response=DECISION, operation_id="submit", summary="Ask to run a tool")
def submit(request: HttpRequest, payload: schemas.Submit) -> HttpResponse:
    return respond(serve.perform(lambda: operations.submit(_caller(request), raw_of(request), payload)))


@api.get(
    "/actions/{identifier}",
    auth=signed,
    response=DECISION,
    operation_id="getAction",
    summary="Read, or wait for, an answer",
)
def get_action(request: HttpRequest, identifier: str = Identifier, wait: int = Seconds) -> HttpResponse:
    return respond(serve.perform(lambda: operations.get_action(_caller(request), raw_of(request), identifier)))


@api.post(
    "/actions/{identifier}/redeem",
    auth=signed,
    response=DECISION,
    operation_id="redeem",
    summary="Claim an approval, once, just before executing",
)
def redeem(request: HttpRequest, payload: schemas.Redeem, identifier: str = Identifier) -> HttpResponse:
    return respond(serve.perform(lambda: operations.redeem(_caller(request), raw_of(request), identifier, payload)))


@api.post(
    "/actions/{identifier}/outcome", auth=signed, response=DECISION, operation_id="outcome", summary="Report an outcome"
)
def outcome(request: HttpRequest, payload: schemas.Outcome, identifier: str = Identifier) -> HttpResponse:
    return respond(serve.perform(lambda: operations.outcome(_caller(request), raw_of(request), identifier, payload)))


@api.post(
    "/outcomes",
    auth=signed,
    response={200: schemas.OutcomesResult, **CHANGE},
    operation_id="outcomes",
    summary="Report many outcomes",
)
def outcomes(request: HttpRequest, payload: schemas.Outcomes) -> HttpResponse:
    return respond(serve.perform(lambda: operations.outcomes(_caller(request), raw_of(request), payload)))


@api.post(
    "/actions/{identifier}/cancel", auth=signed, response=DECISION, operation_id="cancel", summary="Cancel a request"
)
def cancel(request: HttpRequest, payload: schemas.Nothing, identifier: str = Identifier) -> HttpResponse:
    return respond(serve.perform(lambda: operations.cancel(_caller(request), raw_of(request), identifier, payload)))


@api.post(
    "/actions/{identifier}/comments",
    auth=signed,
    response={201: schemas.CommentView, **CHANGE},
    operation_id="comment",
    summary="Say something in the thread",
)
def comment(request: HttpRequest, payload: schemas.Comment, identifier: str = Identifier) -> HttpResponse:
    return respond(serve.perform(lambda: operations.comment(_caller(request), raw_of(request), identifier, payload)))


@api.get("/me", auth=signed, response={200: schemas.Me, **READ}, operation_id="me", summary="The agent itself")
def me(request: HttpRequest) -> HttpResponse:
    return respond(serve.perform(lambda: operations.me(_caller(request), raw_of(request))))


@api.post(
    "/enroll",
    response={201: schemas.Enrolled, **CHANGE},
    operation_id="enroll",
    summary="Register a key against an invitation",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schemas.Enrol.model_json_schema()}},
        }
    },
)
def enroll(request: HttpRequest) -> HttpResponse:
    # The key that signed stands in the body, so the body is read by the door, after all that can be checked before.
    return respond(serve.perform(lambda: serve.enrolment(raw_of(request))))


@api.post(
    "/keys/rotate",
    auth=signed,
    response={200: schemas.Rotated, **CHANGE},
    operation_id="rotateKey",
    summary="Replace the agent's key",
)
def rotate(request: HttpRequest, payload: schemas.Rotate) -> HttpResponse:
    return respond(serve.perform(lambda: operations.rotate(_caller(request), raw_of(request), payload)))


@api.post(
    "/delegations",
    auth=signed,
    response={200: schemas.DelegationView, 201: schemas.DelegationView, **CHANGE},
    operation_id="delegate",
    summary="Pass on a narrower part of its own authority",
)
def delegate(request: HttpRequest, payload: schemas.Delegate) -> HttpResponse:
    return respond(serve.perform(lambda: operations.delegate(_caller(request), raw_of(request), payload)))


@api.get(
    "/delegations/{identifier}",
    auth=signed,
    response={200: schemas.DelegationView, **READ},
    operation_id="getDelegation",
    summary="Read a delegation",
)
def get_delegation(request: HttpRequest, identifier: str = Identifier) -> HttpResponse:
    return respond(serve.perform(lambda: operations.get_delegation(_caller(request), raw_of(request), identifier)))


@api.post(
    "/delegations/{identifier}/revoke",
    auth=signed,
    response={200: schemas.DelegationView, **CHANGE},
    operation_id="revokeDelegation",
    summary="Give up, or take back, authority",
)
def revoke(request: HttpRequest, payload: schemas.Revoke, identifier: str = Identifier) -> HttpResponse:
    return respond(serve.perform(lambda: operations.revoke(_caller(request), raw_of(request), identifier, payload)))


@api.get(
    "/receipts/{identifier}",
    auth=signed,
    response={200: schemas.Receipt, **CHANGE},
    operation_id="getReceipt",
    summary="The receipt of its own action",
)
def get_receipt(request: HttpRequest, identifier: str = Identifier) -> HttpResponse:
    return respond(serve.perform(lambda: operations.get_receipt(_caller(request), raw_of(request), identifier)))


_TEXT = {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "OK"}
_BINARY = {"type": "string", "format": "binary"}
_OCTETS = {"content": {"application/octet-stream": {"schema": _BINARY}}, "description": "OK"}


@api.get(
    "/proofs/{leaf}",
    auth=signed,
    response=READ,
    operation_id="getProof",
    summary="A C2SP tlog-proof of an entry about the agent",
    openapi_extra={"responses": {200: _TEXT}},
)
def get_proof(request: HttpRequest, leaf: str = Identifier) -> HttpResponse:
    return respond(serve.perform(lambda: operations.get_proof(_caller(request), raw_of(request), leaf)))


@api.get(
    "/log/checkpoint",
    response=READ,
    operation_id="getCheckpoint",
    summary="The newest signed checkpoint",
    openapi_extra={"responses": {200: _TEXT}},
)
def get_checkpoint(request: HttpRequest) -> HttpResponse:
    return respond(serve.perform(lambda: operations.get_checkpoint(raw_of(request))))


@api.get(
    "/log/tile/{path:tile}",
    response=READ,
    operation_id="getTile",
    summary="A hash tile of the log",
    openapi_extra={"responses": {200: _OCTETS}},
)
def get_tile(request: HttpRequest, tile: str = Identifier) -> HttpResponse:
    return respond(serve.perform(lambda: operations.get_tile(raw_of(request), tile)))


@api.post(
    "/log/seen",
    auth=signed,
    response={200: schemas.SeenView, **CHANGE},
    operation_id="seen",
    summary="Hold the newest entry that the agent has against the log",
)
def seen(request: HttpRequest, payload: schemas.Seen) -> HttpResponse:
    return respond(serve.perform(lambda: operations.seen(_caller(request), raw_of(request), payload)))


def _service(request: HttpRequest) -> ServiceCaller:
    caller: ServiceCaller = request.auth  # type: ignore[attr-defined]  # set by Ninja from SignedByService
    return caller


Live: Any = Query(..., max_length=1, description="1: those that have not ended")  # type: ignore[type-arg]
After: Any = Query(-1, ge=-1, le=2**53 - 1, description="go on behind this index")  # type: ignore[type-arg]
AgentId: Any = Query(..., max_length=100)  # type: ignore[type-arg]


@api.get(
    "/service",
    auth=SignedByService(*ROLES),
    response={200: schemas.ServiceView, **READ},
    operation_id="service",
    summary="The service itself",
)
def service(request: HttpRequest) -> HttpResponse:
    return respond(serve.perform(lambda: attesting.itself(_service(request))))


@api.get(
    "/launches/terms",
    auth=SignedByService(ORCHESTRATOR),
    response={200: schemas.Terms, **READ},
    operation_id="launchTerms",
    summary="What a launch of an agent has to agree with now",
)
def launch_terms(request: HttpRequest, agent: str = AgentId) -> HttpResponse:
    return respond(serve.perform(lambda: attesting.get_terms(_service(request), agent)))


@api.post(
    "/launches",
    auth=SignedByService(ORCHESTRATOR),
    response={200: schemas.LaunchView, 201: schemas.LaunchView, **CHANGE, 403: schemas.LaunchRefusal},
    operation_id="attestLaunch",
    summary="Attest a launch before it is started",
)
def attest_launch(request: HttpRequest, payload: schemas.Statement) -> HttpResponse:
    return respond(serve.perform(lambda: attesting.launch(_service(request), payload)))


@api.get(
    "/launches",
    auth=SignedByService(ORCHESTRATOR, MONITOR),
    response={200: schemas.Launches, **READ},
    operation_id="liveLaunches",
    summary="Launches that have not ended",
)
def live_launches(request: HttpRequest, live: str = Live, after: int = After) -> HttpResponse:
    return respond(serve.perform(lambda: attesting.live_launches(_service(request), live, after)))


@api.post(
    "/launches/{identifier}/ended",
    auth=SignedByService(ORCHESTRATOR),
    response={200: schemas.EndedView, **CHANGE},
    operation_id="launchEnded",
    summary="Say how a launch ended",
)
def launch_ended(request: HttpRequest, payload: schemas.Ended, identifier: str = Identifier) -> HttpResponse:
    return respond(serve.perform(lambda: attesting.ended(_service(request), identifier, payload)))


@api.post(
    "/observations",
    auth=SignedByService(MONITOR),
    response={200: schemas.Observations, 201: schemas.Observations, **CHANGE},
    operation_id="observe",
    summary="Say what was seen of what runs",
)
def observe(request: HttpRequest, payload: schemas.Statements) -> HttpResponse:
    return respond(serve.perform(lambda: attesting.observations(_service(request), payload)))


@api.post(
    "/canaries",
    auth=SignedByService(CANARIES),
    response={200: schemas.CanaryView, 201: schemas.CanaryView, **CHANGE},
    operation_id="reportCanaries",
    summary="Report a run of the canaries",
)
def report_canaries(request: HttpRequest, payload: schemas.Statement) -> HttpResponse:
    return respond(serve.perform(lambda: attesting.canaries(_service(request), payload)))


@csrf_exempt
@require_safe
def well_known(request: HttpRequest) -> HttpResponse:
    """``/.well-known/imprimatur``, outside the versioned API."""
    return respond(serve.perform(lambda: operations.well_known(raw_of(request))))
