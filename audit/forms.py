"""The filters of the log, read from the address of the page: a link to a page shows the same entries again."""

from __future__ import annotations

from datetime import UTC
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.utils.timezone import is_naive

from audit import kinds
from audit.selectors import EntryFilter, values_of
from imprimatur.formats.entries import KINDS
from imprimatur.verify import sampling

MOST_CHOICES = 500


def _kind_choices() -> list[tuple[str, Any]]:
    families: dict[str, list[tuple[str, str]]] = {}
    for kind in sorted(KINDS):
        family = kind.partition(".")[0]
        families.setdefault(family, [(f"{family}.", f"{family}: all")]).append((kind, kind))
    return [("", "All kinds"), *families.items()]


def _agents() -> list[tuple[str, str]]:
    ids = [(id, kinds.name("agent", id)) for id, _ in values_of("agent", MOST_CHOICES)]
    return [("", "All agents"), *sorted(ids, key=lambda each: each[1])]


def _actors() -> list[tuple[str, str]]:
    named = [
        (id, "Imprimatur" if type == "system" else kinds.name(type, id))
        for id, type in values_of("actor_id", MOST_CHOICES)
    ]
    return [("", "Everybody"), *sorted(named, key=lambda each: each[1])]


def _time(label: str) -> forms.DateTimeField:
    widget = forms.DateTimeInput({"type": "datetime-local"}, "%Y-%m-%dT%H:%M")
    return forms.DateTimeField(label=label, required=False, widget=widget)


_VERDICTS = [("", "Any"), ("allow", "Allowed"), ("deny", "Denied")]
_RISKS = [("", "Any"), *((name, name.title()) for name in ("LOW", "MEDIUM", "HIGH", "CRITICAL"))]


class FilterForm(forms.Form):
    """Fields that stand in the address of a page. Empty ones filter nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, choices in (("agent", _agents), ("actor", _actors)):
            if name in self.fields:  # asked for once, not whenever the field is looked at
                self.fields[name].choices = choices()  # type: ignore[attr-defined]  # both are choice fields

    def clean(self) -> dict[str, Any]:
        """Times of the form are in UTC."""
        found = super().clean() or {}
        for name in ("since", "until"):
            if found.get(name) is not None and is_naive(found[name]):
                found[name] = found[name].replace(tzinfo=UTC)
        if found.get("since") and found.get("until") and found["until"] <= found["since"]:
            self.add_error("until", "This lies before the beginning.")
        return found

    @property
    def in_use(self) -> bool:
        """Whether anything is filtered."""
        return any(self.data.get(name) for name in self.fields)

    @property
    def query(self) -> str:
        """The fields in use, as they stand in an address: always in the same order, and nothing else."""
        used = {name: self.data.get(name, "").strip() for name in self.fields}
        return urlencode({name: value for name, value in used.items() if value})


class LogFilterForm(FilterForm):
    """What to look for in the log."""

    text = forms.CharField(label="Search", required=False, max_length=200, strip=True)
    kind = forms.ChoiceField(label="Kind", required=False, choices=_kind_choices)
    agent = forms.ChoiceField(label="Agent", required=False)
    actor = forms.ChoiceField(label="Done by", required=False)
    verdict = forms.ChoiceField(label="Verdict", required=False, choices=_VERDICTS)
    risk = forms.ChoiceField(label="Risk", required=False, choices=_RISKS)
    since = _time("From (UTC)")
    until = _time("Before (UTC)")
    subject = forms.CharField(label="Subject (exact id)", required=False, max_length=128, strip=True)

    def filters(self, below: int | None = None) -> EntryFilter:
        """The filter these fields mean. Call it only when the form is valid."""
        return EntryFilter(**self.cleaned_data, below=below)


class ChartForm(FilterForm):
    """Which decisions a chart counts."""

    agent = forms.ChoiceField(label="Agent", required=False)
    since = _time("From (UTC)")
    until = _time("Before (UTC)")


class SampleForm(FilterForm):
    """What to draw a random sample from, and with which seed."""

    seed = forms.CharField(label="Seed, agreed on before anybody looks", max_length=200, strip=True)
    n = forms.IntegerField(label="How many", min_value=1, max_value=sampling.MOST, initial=25)
    size = forms.IntegerField(
        label="Of the first … entries", min_value=1, required=False, help_text="Empty: all that are sealed."
    )
    kind = forms.ChoiceField(label="Kind", required=False, choices=_kind_choices, initial="action.decided")
    agent = forms.ChoiceField(label="Agent (with decisions)", required=False)
    actor = forms.ChoiceField(label="Done by", required=False)
    verdict = forms.ChoiceField(label="Verdict", required=False, choices=_VERDICTS)
    risk = forms.ChoiceField(label="Risk", required=False, choices=_RISKS)
    since = _time("From (UTC)")
    until = _time("Before (UTC)")

    def clean(self) -> dict[str, Any]:
        """Only what the entries say themselves can be drawn from again without this server."""
        found = super().clean()
        if found.get("agent") and found.get("kind") not in sampling.NAMES_ITS_AGENT:
            self.add_error("agent", "Choose the kind action.decided or action.requested with it.")
        return found

    def filters(self, size: int) -> EntryFilter:
        """The filter these fields mean, over the first ``size`` entries. Call it only when the form is valid."""
        names = ("kind", "agent", "actor", "verdict", "risk", "since", "until")
        return EntryFilter(**{name: self.cleaned_data[name] for name in names}, below=size)


_STATES = [("", "All"), ("live", "In force"), ("stopped", "Stopped"), ("waiting", "Not begun"), ("ended", "Ended")]


class GrantHistoryForm(FilterForm):
    """Which grants to show. Who there is to choose from, the history itself says."""

    text = forms.CharField(label="Search", required=False, max_length=200, strip=True)
    holder = forms.ChoiceField(label="Agent", required=False)
    person = forms.ChoiceField(label="Signed by", required=False)
    state = forms.ChoiceField(label="State", required=False, choices=_STATES)

    def __init__(self, *args: Any, holders: list[tuple[str, str]], people: list[tuple[str, str]], **kwargs: Any):
        super().__init__(*args, **kwargs)
        for name, choices, everybody in (("holder", holders, "All agents"), ("person", people, "Everybody")):
            named = sorted(choices, key=lambda each: each[1])
            self.fields[name].choices = [("", everybody), *named]  # type: ignore[attr-defined]  # both are choice fields


class ViewNameForm(forms.Form):
    """The name of a saved view."""

    name = forms.CharField(max_length=80, strip=True)
