"""What every template may use: the person at the desk, where they can go, and how the log is doing."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import SimpleLazyObject

from audit.log import utc_now
from audit.models import Checkpoint, LogHead
from governance import changes, logins, pauses

# name, url name, first segment of its pages, roles that see it (none: everybody who may log in)
PLACES = [
    ("Desk", "desk", {"", "desk", "requests"}, {"admin", "reviewer", "auditor"}),
    ("Agents", "agents", {"agents"}, {"admin", "reviewer", "auditor"}),
    ("Delegations", "delegations", {"delegations"}, {"admin", "reviewer", "auditor"}),
    ("Tools", "tools", {"tools"}, {"admin", "auditor"}),
    ("Runtime", "runtime", {"runtime", "canaries"}, {"admin", "auditor"}),
    ("Policy", "policy", {"policy"}, {"admin", "reviewer", "auditor"}),
    ("People", "people", {"people"}, {"admin", "auditor"}),
    ("Changes", "changes", {"changes"}, {"admin", "reviewer", "auditor"}),
    ("Log", "log", {"log", "grant-history"}, {"admin", "reviewer", "auditor"}),
    ("Evidence", "evidence", {"evidence", "retention", "claims", "controls"}, {"admin", "auditor"}),
]
# A checkpoint follows its entries within two seconds; after this long the dot stops being green.
LATE = 10


def pulse() -> dict[str, str]:
    """The corner of every page: how long the log is and when it was last sealed."""
    head = LogHead.objects.first()
    if head is None:
        return {"state": "none", "words": "No log yet", "title": "Run manage.py begin"}
    newest = Checkpoint.objects.order_by("-size").first()
    if head.state != LogHead.OPEN:
        return {"state": "frozen", "words": "Log frozen", "title": head.frozen_reason}
    behind = head.size - (newest.size if newest else 0)
    late = behind > 0 and head.last_time is not None and (utc_now() - head.last_time).total_seconds() > LATE
    words = f"Log {head.size:,} · {'sealed' if behind == 0 else f'{behind} to seal'}"
    title = f"Signed checkpoint over {newest.size:,} entries" if newest else "No checkpoint yet"
    return {"state": "late" if late else "ok", "words": words, "title": title}


def _first_letter(word: str) -> str:
    """Marks and hidden characters are left out: the badge turns nothing around."""
    return next((character for character in word if character.isalnum()), "")


def desk(request: HttpRequest) -> dict[str, Any]:
    """The realm, the person at the desk, their roles, the navigation, the pulse of the log."""
    if not hasattr(request, "user") or not request.user.is_authenticated:
        sign_on = {"url": reverse("openid_connect_login"), "name": settings.OIDC_NAME} if settings.OIDC_ISSUER else None
        return {"realm": settings.REALM, "demo": settings.DEMO, "person": None, "roles": set(), "sso": sign_on}
    person = getattr(request.user, "person", None)
    roles = set(request.user.groups.values_list("name", flat=True))
    first = request.path.strip("/").split("/")[0]
    two = bool(roles) and changes.two_person()
    waiting = changes.waiting_for(person, utc_now()) if two and person is not None else 0
    navigation = [
        {"name": name, "url": reverse(url), "here": first in segments, "waiting": waiting if url == "changes" else 0}
        for name, url, segments, allowed in PLACES
        # Until two people hold keys, nothing takes two, and the place would be empty.
        if roles & allowed and (url != "changes" or two)
    ]
    name = person.name if person is not None else request.user.get_username()
    return {
        "realm": settings.REALM,
        "demo": settings.DEMO,
        "person": person,
        "roles": roles,
        "roles_words": ", ".join(sorted(roles)) or "no role",
        "initials": "".join(map(_first_letter, name.split()[:2])).upper() or "?",
        "navigation": navigation,
        "pulse": SimpleLazyObject(pulse),
        "claims": SimpleLazyObject(logins.claimed_roles) if "admin" in roles else [],
        "stopped": SimpleLazyObject(lambda: pauses.standing("", "")),
        "stops_mark": SimpleLazyObject(pauses.mark),
        "stops": SimpleLazyObject(lambda: [pauses.what(pause) for pause in pauses.all_standing()]),
    }
