"""What people send from a sheet. Every form carries what they saw, so that nobody signs something else."""

from __future__ import annotations

from django import forms

from approvals.openings import LONGEST_TEXT


class SheetForm(forms.Form):
    """The version and display digest of the page, and the words of the person."""

    version = forms.IntegerField(widget=forms.HiddenInput)
    display_digest = forms.CharField(widget=forms.HiddenInput, required=False)
    reason = forms.CharField(
        required=False, max_length=LONGEST_TEXT, widget=forms.Textarea(attrs={"rows": 2, "autocomplete": "off"})
    )


class ReasonForm(SheetForm):
    """A sheet that needs words: a denial, a question, a flag."""

    reason = forms.CharField(max_length=LONGEST_TEXT, widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off"}))


class ConfirmForm(SheetForm):
    """A confirmation: the name of the target, typed exactly; spaces around it are not forgiven."""

    typed = forms.CharField(
        strip=False,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"}),
    )
