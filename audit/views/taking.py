"""What leaves the desk as a file is entered into the log first, in the name of whoever takes it."""

from __future__ import annotations

from collections.abc import Iterator

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from audit import log
from audit.actions import take_export
from audit.errors import Declined
from audit.views.guard import refuse

TYPES = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8", "txt": "text/plain; charset=utf-8"}
LONGEST_QUERY = 2000


def take(
    request: HttpRequest, what: str, form: str, *, query: str, size: int, count: int, content: Iterator[bytes]
) -> HttpResponseBase:
    """Write `export.taken`, then stream the file. Without the entry nothing leaves. Raises LogError."""
    refused = enter(request, what, "page" if form == "txt" else form, query=query, size=size, count=count)
    if refused is not None:
        return refused
    answer = StreamingHttpResponse(content, content_type=TYPES[form])
    name = {"entries": "log", "sample": "sample", "comparison": "comparison"}[what]
    answer["Content-Disposition"] = f'attachment; filename="imprimatur-{name}.{form}"'
    return answer


def enter(request: HttpRequest, what: str, form: str, *, query: str, size: int, count: int) -> HttpResponse | None:
    """Write `export.taken` in the name of whoever asks. Returns the refusal if they may not. Raises LogError."""
    person = getattr(request.user, "person", None)  # who is at the desk is known above this room; here it is an id
    if person is None or request.user.pk is None:
        return refuse(request, 403, "This login is nobody", "It belongs to no person, so the log could not name you.")
    if len(query) > LONGEST_QUERY:
        return refuse(request, 400, "The filter is too long", "The log could not keep it. Use fewer or shorter words.")
    try:
        log.commit(take_export.apply, take_export.Command(request.user.pk, person.pk, what, form, query, size, count))
    except Declined as error:
        return refuse(request, 403, "Nothing was taken", str(error))
    return None


def no_such_form(request: HttpRequest) -> HttpResponse:
    """The answer to a format that is not written here."""
    return refuse(request, 404, "There is no such format", "Lists are exported as jsonl or csv.")
