"""The form in which somebody says how long they are away, and who is asked instead."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import forms

from governance.absences import LONGEST
from governance.models import Person

_MOMENT = forms.DateTimeInput({"type": "datetime-local"}, "%Y-%m-%dT%H:%M")


class AwayForm(forms.Form):
    """One absence. Whether it may stand, the action decides."""

    starts = forms.DateTimeField(
        label="From (UTC)", required=False, widget=_MOMENT, help_text="Leave it empty for now."
    )
    ends = forms.DateTimeField(
        label="Back at (UTC)",
        widget=_MOMENT,
        help_text=f"At most {LONGEST.days} days later.",
        error_messages={"required": "Say when you are back: an absence without an end is forgotten."},
    )
    delegate = forms.ChoiceField(
        label="Asked instead",
        required=False,
        help_text="A colleague who may answer in their own right, and in their own name. It gives them no rights.",
    )

    def __init__(self, person: Person, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        others = Person.objects.filter(user__is_active=True, user__groups__isnull=False).exclude(pk=person.pk)
        choices = [(one.id, one.name) for one in others.order_by("name").distinct()]
        self.fields["delegate"].choices = [("", "Nobody in particular"), *choices]  # type: ignore[attr-defined]  # a ChoiceField

    def clean_starts(self) -> datetime | None:
        """The time, in UTC."""
        return _utc(self.cleaned_data["starts"])

    def clean_ends(self) -> datetime | None:
        """The time, in UTC."""
        return _utc(self.cleaned_data["ends"])


def _utc(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at
