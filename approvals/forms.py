"""What people send from a sheet. Every form carries what they saw, so that nobody signs something else."""

from __future__ import annotations

from typing import Any

from django import forms

from approvals import suggestions
from approvals.openings import LONGEST_TEXT
from governance.errors import Refused

_LONGEST_ANSWER = 20_000
"""Characters of what a browser answers for a passkey; its parts are at most a few kilobytes."""


class SheetForm(forms.Form):
    """The version and display digest of the page, the words of the person, and what they signed, if they did.

    ``credential`` is the fingerprint of the key that is going to sign; ``ceremony`` and ``response`` come with the
    signature.
    """

    version = forms.IntegerField(widget=forms.HiddenInput)
    display_digest = forms.CharField(widget=forms.HiddenInput, required=False)
    reason = forms.CharField(
        required=False, max_length=LONGEST_TEXT, widget=forms.Textarea(attrs={"rows": 2, "autocomplete": "off"})
    )
    credential = forms.CharField(required=False, max_length=71, widget=forms.HiddenInput)
    ceremony = forms.CharField(required=False, max_length=30, widget=forms.HiddenInput)
    response = forms.CharField(required=False, max_length=_LONGEST_ANSWER, widget=forms.HiddenInput)


class ReasonForm(SheetForm):
    """A sheet that needs words: a denial, a question, a flag."""

    reason = forms.CharField(max_length=LONGEST_TEXT, widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off"}))


class ConfirmForm(SheetForm):
    """A confirmation: the name of the target, typed exactly; spaces around it are not forgiven."""

    typed = forms.CharField(
        strip=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}),
    )


class SuggestForm(ReasonForm):
    """A no with a copy of the parameters to edit, one field for each that the tool's schema names.

    ``cleaned_data["suggestion"]`` is what was put together; ``proposed`` are the fields to show.
    """

    PREFIX = "set-"

    def __init__(self, *args: Any, proposal: suggestions.Proposal, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._proposal = proposal
        for one in proposal.fields:
            self.fields[self.PREFIX + one.name] = _field_for(one)

    @property
    def proposed(self) -> list[forms.BoundField]:
        """The fields of the parameters, in the order of the schema."""
        return [self[self.PREFIX + one.name] for one in self._proposal.fields]

    def clean(self) -> dict[str, Any]:
        """Put the parameters together. What is wrong with them is said of the form as a whole."""
        said = super().clean() or {}
        typed = {one.name: str(said.get(self.PREFIX + one.name) or "") for one in self._proposal.fields}
        try:
            said["suggestion"] = self._proposal.read(typed)
        except Refused as error:
            self.add_error(None, error.message)
        return said


def _field_for(one: suggestions.Field) -> forms.Field:
    common: dict[str, Any] = {"label": one.name, "required": False, "initial": one.text}
    if one.kind == suggestions.CHOICE:
        blank = [] if one.required else [("", "(left out)")]
        return forms.ChoiceField(choices=[*blank, *((choice, choice) for choice in one.choices)], **common)
    rows = min(12, max(1, one.text.count("\n") + 1))
    plain = {"rows": rows, "autocomplete": "off", "spellcheck": "false"}
    return forms.CharField(strip=False, widget=forms.Textarea(attrs=plain), **common)
