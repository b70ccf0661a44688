"""The filters of the log, read from the address of the page: a link to a page shows the same entries again."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from django import forms
from django.utils.timezone import is_naive

from audit import kinds
from audit.models import Entry
from audit.selectors import EntryFilter
from imprimatur.formats.entries import KINDS

MOST_CHOICES = 500


def _kind_choices() -> list[tuple[str, Any]]:
    families: dict[str, list[tuple[str, str]]] = {}
    for kind in sorted(KINDS):
        family = kind.partition(".")[0]
        families.setdefault(family, [(f"{family}.", f"{family}: all")]).append((kind, kind))
    return [("", "All kinds"), *families.items()]


def _agents() -> list[tuple[str, str]]:
    ids = Entry.objects.exclude(agent="").order_by("agent").values_list("agent", flat=True).distinct()[:MOST_CHOICES]
    return [("", "All agents"), *sorted(((id, kinds.name("agent", id)) for id in ids), key=lambda each: each[1])]


def _actors() -> list[tuple[str, str]]:
    rows = Entry.objects.order_by("actor_type", "actor_id").values_list("actor_type", "actor_id").distinct()
    named = [(id, "Imprimatur" if type == "system" else kinds.name(type, id)) for type, id in rows[:MOST_CHOICES]]
    return [("", "Everybody"), *sorted(named, key=lambda each: each[1])]


class LogFilterForm(forms.Form):
    """What to look for. Empty fields filter nothing."""

    text = forms.CharField(label="Search", required=False, max_length=200, strip=True)
    kind = forms.ChoiceField(label="Kind", required=False, choices=_kind_choices)
    agent = forms.ChoiceField(label="Agent", required=False, choices=_agents)
    actor = forms.ChoiceField(label="Done by", required=False, choices=_actors)
    verdict = forms.ChoiceField(
        label="Verdict", required=False, choices=[("", "Any"), ("allow", "Allowed"), ("deny", "Denied")]
    )
    risk = forms.ChoiceField(
        label="Risk",
        required=False,
        choices=[("", "Any"), *((name, name.title()) for name in ("LOW", "MEDIUM", "HIGH", "CRITICAL"))],
    )
    since = forms.DateTimeField(
        label="From (UTC)", required=False, widget=forms.DateTimeInput({"type": "datetime-local"}, "%Y-%m-%dT%H:%M")
    )
    until = forms.DateTimeField(
        label="Before (UTC)", required=False, widget=forms.DateTimeInput({"type": "datetime-local"}, "%Y-%m-%dT%H:%M")
    )
    subject = forms.CharField(label="Subject (exact id)", required=False, max_length=128, strip=True)

    def filters(self) -> EntryFilter:
        """The filter these fields mean. Call it only when the form is valid."""
        found = dict(self.cleaned_data)
        for name in ("since", "until"):
            if found[name] is not None and is_naive(found[name]):
                found[name] = found[name].replace(tzinfo=UTC)
        return EntryFilter(**found)

    @property
    def in_use(self) -> bool:
        """Whether anything is filtered."""
        return any(self.data.get(name) for name in self.fields)
