"""The page that says what a policy would have changed, before anybody puts it in force."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from approvals import simulation
from audit.log import utc_now
from governance import policies
from governance.errors import Refused
from governance.forms import PolicyForm
from governance.models import ADMIN
from governance.views.edge import page
from imprimatur.rules import policy as rules

SHOWN = 100
WORDS = {
    simulation.UP: "rise in risk",
    simulation.DOWN: "fall in risk",
    simulation.DENIED: "would be denied",
    simulation.ALLOWED: "would no longer be denied",
    simulation.STAGES: "would ask other people",
}


@page(ADMIN, methods=("POST",))
def simulate(request: HttpRequest) -> HttpResponse:
    """Judge the recorded requests by the policy that was sent and by the one in force. Nothing is kept."""
    form = PolicyForm(request.POST)
    if not form.is_valid():
        raise Refused("invalid", "Send the text of a policy.")
    try:
        compiled = policies.compile_document(rules.from_toml(form.cleaned_data["toml"]))
    except rules.PolicyError as error:
        raise Refused("invalid", str(error)) from None
    found = simulation.simulate(policies.active().compiled, compiled, utc_now())
    fragment = request.headers.get("HX-Request") == "true"
    return render(
        request,
        "governance/_policy_simulated.html" if fragment else "governance/policy_simulated.html",
        {
            "found": found,
            "most": simulation.MOST,
            "days": simulation.LOOK_BACK.days,
            "counts": [(WORDS[kind], many) for kind, many in found.counts.items() if many],
            "rows": [(each, WORDS[each.kind]) for each in found.differences[:SHOWN]],
            "left": max(0, len(found.differences) - SHOWN),
        },
    )
