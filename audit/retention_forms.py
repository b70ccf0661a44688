"""What an admin fills in about retention: a hold, its end, and the wish to erase one request."""

from __future__ import annotations

from django import forms

from audit.models import Hold

_REASON = {"rows": 2, "autocomplete": "off"}
LONGEST = 500


class HoldForm(forms.Form):
    """Place a legal hold."""

    scope = forms.ChoiceField(
        label="It covers",
        choices=[(Hold.REQUEST, "one request"), (Hold.AGENT, "one agent"), (Hold.EVERYTHING, "everything")],
    )
    target = forms.CharField(
        label="Id of the request or agent",
        required=False,
        max_length=120,
        strip=True,
        help_text="act_… or ag_…, as on its page. Leave it empty for everything.",
    )
    reason = forms.CharField(
        label="Why", max_length=LONGEST, strip=True, widget=forms.Textarea(_REASON), help_text="It stands in the log."
    )


class LiftForm(forms.Form):
    """Lift a legal hold."""

    reason = forms.CharField(
        label="Why it may be lifted",
        max_length=LONGEST,
        strip=True,
        widget=forms.Textarea(_REASON),
        help_text="It stands in the log.",
    )


class EraseForm(forms.Form):
    """Erase the words of one request, now and for good."""

    request = forms.CharField(
        label="Id of the request", max_length=120, strip=True, help_text="act_…, as on its page and in the log."
    )
    reason = forms.CharField(
        label="Why",
        max_length=LONGEST,
        strip=True,
        widget=forms.Textarea(_REASON),
        help_text="It stands in the log for ever: name no one who asked to be forgotten.",
    )
    certain = forms.BooleanField(label="I know that nobody can bring it back")
