"""The form that asks for an evidence bundle: which requests it is to show, and whether with what opens commitments."""

from __future__ import annotations

import re
from datetime import UTC
from typing import Any

from django import forms
from django.utils.timezone import is_naive

from audit import kinds
from audit.evidence.controls import CONTROLS
from audit.models import Entry
from imprimatur.formats import selection
from imprimatur.formats.shapes import ShapeError
from imprimatur.formats.timestamps import format_time

MOST_CHOICES = 100
_RISKS = [(name, name.title()) for name in ("LOW", "MEDIUM", "HIGH", "CRITICAL")]
_VERDICTS = [("allow", "Allowed"), ("deny", "Refused or denied"), ("open", "Still open")]
_BETWEEN = re.compile(r"[\s,;]+")


def _agents() -> list[tuple[str, str]]:
    ids = Entry.objects.exclude(agent="").order_by("agent").values_list("agent", flat=True).distinct()[:MOST_CHOICES]
    return sorted(((id, kinds.name("agent", id)) for id in ids), key=lambda each: each[1])


def _controls() -> list[tuple[str, str]]:
    return [(control.id, f"{control.id} {control.title}: {control.about}") for control in CONTROLS.values()]


def _several(label: str, choices: Any) -> forms.MultipleChoiceField:
    widget = forms.CheckboxSelectMultiple
    return forms.MultipleChoiceField(label=label, required=False, choices=choices, widget=widget)


def _moment(label: str) -> forms.DateTimeField:
    widget = forms.DateTimeInput({"type": "datetime-local"}, "%Y-%m-%dT%H:%M")
    return forms.DateTimeField(label=label, required=False, widget=widget)


class AskForm(forms.Form):
    """What a bundle is to show. Empty fields leave nothing out; one field's ticks are alternatives."""

    agents = _several("Agents", _agents)
    since = _moment("Asked from (UTC)")
    until = _moment("Asked before (UTC)")
    verdicts = _several("Outcome", _VERDICTS)
    risks = _several("Risk", _RISKS)
    controls = _several("NIST SP 800-53 controls", _controls)
    requests = forms.CharField(
        label="Requests",
        required=False,
        max_length=32_000,
        strip=True,
        widget=forms.Textarea({"rows": 2, "spellcheck": "false", "placeholder": "act_…"}),
        help_text="Their ids, with spaces between. What they replace comes with them.",
    )
    withhold = forms.BooleanField(
        label="Leave out what opens commitments",
        required=False,
        help_text="Parameters, reasons and comments stay here; every signature and every proof still holds.",
    )

    def clean_requests(self) -> list[str]:
        """The ids. Raises ValidationError for one that the log does not have."""
        ids = (
            list(dict.fromkeys(_BETWEEN.split(self.cleaned_data["requests"]))) if self.cleaned_data["requests"] else []
        )
        known = set(Entry.objects.filter(subject__in=ids[:1000]).values_list("subject", flat=True))
        for id in ids[:1000]:
            if id not in known:
                raise forms.ValidationError(
                    f"The log has no request {id[:80]}. Copy its id from its page or its entry."
                )
        return ids

    def clean(self) -> dict[str, Any]:
        """Hold that what was chosen can be asked for at all."""
        found = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                selection.validate(self.filters())
            except ShapeError as error:
                name = error.path.partition("[")[0]
                field = {"from": "since"}.get(name, name)
                said = (
                    "The end lies before the beginning." if name == "until" else f"This cannot be asked for: {error}."
                )
                self.add_error(field if field in self.fields else None, said)
        return found

    def filters(self) -> dict[str, Any]:
        """The selection that these fields mean. Call it only when the form is valid."""
        given = self.cleaned_data
        lists = {name: given[name] for name in ("agents", "requests", "verdicts", "risks", "controls") if given[name]}
        times = {}
        for name, at in (("from", given["since"]), ("until", given["until"])):
            if at is not None:
                times[name] = format_time(at.replace(tzinfo=UTC) if is_naive(at) else at)
        return {**lists, **times, **({"openings": False} if given["withhold"] else {})}
