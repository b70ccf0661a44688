"""Let somebody in again who lost their password or their second factor."""

from __future__ import annotations

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from audit.views.recent import recent_login
from governance.access import access_person
from governance.actions import login_reset
from governance.models import ADMIN
from governance.views.edge import act, page, person_at, sheet


class ResetForm(forms.Form):
    """What somebody lost."""

    what = forms.ChoiceField(
        label="They lost",
        choices=[
            (login_reset.PASSWORD, "the password: they get a one-time password"),
            (login_reset.SECOND_FACTOR, "the second factor: they log in with the password alone, and set up a new one"),
        ],
        widget=forms.RadioSelect,
        initial=login_reset.PASSWORD,
    )


@page(ADMIN, methods=("GET", "POST"))
@recent_login
def reset(request: HttpRequest, person_id: str) -> HttpResponse:
    """Reset a login. A one-time password is shown on the answer to this one request and kept nowhere."""
    me = person_at(request)
    person = access_person(me, person_id)
    form = ResetForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        password = ""
        command = login_reset.Command(person, login_reset.SECOND_FACTOR, by=me)
        if form.cleaned_data["what"] == login_reset.PASSWORD:
            command, password = login_reset.new_password(person, me)
        if act(form, login_reset.apply, command) is not None:
            if password:
                context = {"added": person, "login": person.user.username, "password": password}
                return render(request, "governance/person_added.html", context)
            messages.success(request, f"{person.name} logs in with the password alone now.")
            return redirect("person", person.id)
    lead = (
        "Their sessions end. Their signing keys stay, since no login opens them; but you will not be able to vouch for "
        "a new key of theirs, and one that waits for a voucher lapses."
    )
    return sheet(
        request,
        form,
        title=f"Let {person.name} in again",
        lead=lead,
        button="Reset",
        danger=True,
        back=reverse("person", args=[person.id]),
        facts=[],
    )
