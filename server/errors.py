"""The page for what went wrong unforeseen. A database that does not answer has a page, and a status, of its own."""

from __future__ import annotations

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from approvals.views import errors


def broken(request: HttpRequest) -> HttpResponse:
    """503 in words when the database is locked or gone, wherever that was noticed; else 500. It reads no database."""
    if not isinstance(sys.exc_info()[1], OperationalError | InterfaceError):
        return errors.broken(request)
    response = HttpResponse(render_to_string("errors/busy.html"), status=503)
    response["Retry-After"] = "5"
    return response
