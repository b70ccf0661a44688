"""What every template may use."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def desk(request: HttpRequest) -> dict[str, Any]:
    """The realm, the person at the desk and their roles."""
    person = getattr(request.user, "person", None) if request.user.is_authenticated else None
    roles = set(request.user.groups.values_list("name", flat=True)) if person is not None else set()
    return {"realm": settings.REALM, "demo": settings.DEMO, "person": person, "roles": roles}
