"""The form on which a reviewer says how far a grant reaches: nothing is wider than the request until they widen it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django import forms

from approvals import grants
from approvals.models import ActionRequest
from governance import standing
from imprimatur.formats import canonical
from imprimatur.rules import grants as rules
from imprimatur.rules import money

EQUALS, STARTS_WITH, AT_MOST, ANY = "equals", "starts_with", "at_most", "any"
LONGEST_SHOWN = 120
USES, MINUTES = 3, 15
LONGEST = 60  # minutes


class GrantForm(forms.Form):
    """One choice for every effect and every parameter, then how often, for how much, and for how long."""

    def __init__(self, data: Mapping[str, Any] | None, request: ActionRequest, values: Mapping[str, Any]) -> None:
        super().__init__(data)
        self.action = grants.action_of(request)
        self.values = dict(values)
        self.names = sorted(values)
        held = standing.document_of(request.delegation)["scope"] if request.delegation is not None else []
        for number, effect in enumerate(self.action.effects):
            self.fields[f"effect_{number}"] = _effect(effect, held)
        for number, name in enumerate(self.names):
            how, value = _parameter(name, values[name], self.action)
            self.fields[f"how_{number}"] = how
            if value is not None:
                self.fields[f"value_{number}"] = value
        self.fields["max_uses"] = forms.IntegerField(
            label="How many times", min_value=1, max_value=100, initial=USES, widget=_number(1, 100)
        )
        if self.action.cost:
            self.fields["max_total"] = forms.CharField(
                label=f"For how much in all ({self.action.unit})",
                max_length=24,
                initial=money.format_amount(min(self.action.cost * USES, money.MAX_MICRO)),
                help_text=f"This request costs {money.format_amount(self.action.cost)}.",
            )
        self.fields["minutes"] = forms.IntegerField(
            label="For how many minutes",
            min_value=1,
            max_value=LONGEST,
            initial=MINUTES,
            widget=_number(1, LONGEST),
            help_text=f"At most {LONGEST}. You can take it back before.",
        )

    def effects(self) -> list[forms.BoundField]:
        """What it may act on."""
        return [self[name] for name in self.fields if name.startswith("effect_")]

    def parameters(self) -> list[tuple[forms.BoundField, forms.BoundField | None]]:
        """With which parameters: how each is compared, and with what."""
        return [
            (self[f"how_{number}"], self[f"value_{number}"] if f"value_{number}" in self.fields else None)
            for number in range(len(self.names))
        ]

    def limits(self) -> list[forms.BoundField]:
        """How often, for how much, how long."""
        return [self[name] for name in ("max_uses", "max_total", "minutes") if name in self.fields]

    def clean(self) -> dict[str, Any]:
        """Whatever the fields say has to cover the request itself, and to make sense together."""
        found = super().clean() or {}
        if self.errors:
            return found
        predicates = {}
        for number, name in enumerate(self.names):
            try:
                predicates[name] = self._predicate(number, name)
            except money.MoneyError as error:
                self.add_error(f"how_{number}", str(error))
                continue
            if not rules.holds(predicates[name], self.values[name]):
                self.add_error(f"how_{number}", f"This would rule out the {name} of this very request.")
        self._check_widened(predicates)
        if "max_total" in found:
            try:
                found["max_total"] = money.format_amount(money.read_amount(found["max_total"]))
            except money.MoneyError as error:
                self.add_error("max_total", str(error))
            else:
                if money.parse_amount(found["max_total"]) < self.action.cost:
                    self.add_error("max_total", "That is less than this very request costs.")
        found["predicates"] = predicates
        return found

    def choice(self, now: datetime) -> grants.Choice:
        """What was chosen, ending so many minutes from now. Only for a valid form."""
        said = self.cleaned_data
        effects = [said[f"effect_{number}"] for number in range(len(self.action.effects))]
        return grants.Choice(
            effects=tuple(dict.fromkeys(effects)),
            parameters=said["predicates"],
            max_uses=said["max_uses"],
            not_after=now + timedelta(minutes=said["minutes"]),
            max_total={"amount": said["max_total"], "unit": self.action.unit} if "max_total" in said else None,
        )

    def _predicate(self, number: int, name: str) -> dict[str, Any]:
        how = self.cleaned_data[f"how_{number}"]
        if how == ANY:
            return {"op": ANY}
        if how == EQUALS:
            return {"op": EQUALS, "value": self.values[name]}
        typed = self.cleaned_data.get(f"value_{number}", "")
        if how == AT_MOST:
            return {"op": AT_MOST, "value": money.format_amount(money.read_amount(typed.strip()))}
        if not typed:
            self.add_error(f"value_{number}", "Say how it has to begin.")
        return {"op": STARTS_WITH, "value": typed}

    def _check_widened(self, predicates: Mapping[str, Mapping[str, Any]]) -> None:
        """A wider place does nothing while the parameter that names the place must stay the same: say so."""
        for number, effect in enumerate(self.action.effects):
            exact = f"{effect['action']}:{effect['resource']}"
            if self.cleaned_data[f"effect_{number}"] == exact:
                continue
            for place, name in enumerate(self.names):
                value = self.values[name]
                if predicates.get(name, {}).get("op") == EQUALS and value in (effect["resource"], exact):
                    self.add_error(
                        f"how_{place}",
                        f"You widened the place, but {name} has to stay the same. Leave it open as well.",
                    )


def _effect(effect: Mapping[str, str], held: list[str]) -> forms.ChoiceField:
    exact = f"{effect['action']}:{effect['resource']}"
    options = grants.widenings(effect, held)
    return forms.ChoiceField(
        label=effect["action"],
        choices=[
            (text, text.partition(":")[2].partition(":")[2] + ("" if text == exact else " and all below"))
            for text in options
        ],
        initial=options[0],
        widget=forms.RadioSelect,
    )


def _parameter(name: str, value: Any, action: rules.Action) -> tuple[forms.ChoiceField, forms.CharField | None]:
    """How one parameter is compared. Equal by default; a sum of money at most what it is; nothing for a long text."""
    sum_ = _sum(value) if action.cost else None
    choices, initial = [], ""
    if rules.repeatable(value):
        choices.append((EQUALS, f"exactly {_short(value)}"))
        initial = EQUALS
    if isinstance(value, str):
        choices.append((STARTS_WITH, "begins with"))
    if sum_ is not None:
        choices.append((AT_MOST, "at most, as money"))
        initial = AT_MOST if sum_ == action.cost else initial
    choices.append((ANY, "anything"))
    how = forms.ChoiceField(label=name, choices=choices, initial=initial or None, widget=forms.RadioSelect)
    if len(choices) == 2 and initial:
        return how, None
    if not any(option in (STARTS_WITH, AT_MOST) for option, _ in choices):
        return how, None
    return how, forms.CharField(
        label=f"{name}: begins with, or at most",
        required=False,
        strip=False,
        max_length=rules.LONGEST_VALUE,
        initial=value if sum_ is not None else "",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


def _sum(value: Any) -> int | None:
    try:
        return money.read_amount(value)
    except money.MoneyError:
        return None


def _short(value: Any) -> str:
    text = canonical.dumps_json(value).decode("utf-8", "backslashreplace")
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}… ({len(text)} characters)"


def _number(least: int, most: int) -> forms.NumberInput:
    return forms.NumberInput(attrs={"min": least, "max": most, "inputmode": "numeric"})
