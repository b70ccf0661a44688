"""The forms of the admin's pages. They read and shape what was typed; whether it may be done, the actions decide."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django import forms

from audit.log import utc_now
from governance.models import ROLES, Agent, Delegation, Pause, Person, Tool
from imprimatur.formats import canonical, delegation, ed25519
from imprimatur.formats.digests import fingerprint
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import money, narrowing, scope, tools
from imprimatur.rules.risk import Risk

REASON_LIMIT = 2000
LIVES = (
    (1, "1 hour"),
    (8, "8 hours"),
    (24, "1 day"),
    (24 * 7, "7 days"),
    (24 * 30, "30 days"),
    (24 * 90, "90 days"),
    (24 * 365, "1 year"),
)


def _people() -> list[tuple[str, str]]:
    people = Person.objects.filter(user__is_active=True).order_by("name")
    return [(person.id, person.name) for person in people]


def _agents() -> list[tuple[str, str]]:
    return [(agent.id, agent.name) for agent in Agent.objects.order_by("name")]


def _words(text: str) -> list[str]:
    """One word per line; commas separate too, since no scope, path, host or tool has one."""
    return list(dict.fromkeys(word.strip() for line in text.splitlines() for word in line.split(",") if word.strip()))


class ReasonForm(forms.Form):
    """Why. It goes into the log as it stands, for good."""

    reason = forms.CharField(
        label="Why",
        max_length=REASON_LIMIT,
        widget=forms.Textarea({"rows": 2}),
        help_text="This goes into the log, and stays there.",
        error_messages={"required": "Say why: the reason goes into the log."},
    )

    def clean_reason(self) -> str:
        """The words as they were typed: forms travel with other line ends than a page shows and a key signs."""
        return str(self.cleaned_data["reason"]).replace("\r\n", "\n")


class SinceForm(ReasonForm):
    """Why, and from when a key is dead."""

    since = forms.DateTimeField(
        label="Lost since (UTC)",
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local"}, "%Y-%m-%dT%H:%M"),
        help_text="What the key signed from then on is dead. Leave it empty for now.",
    )

    def clean_since(self) -> datetime | None:
        """The time, in UTC."""
        since: datetime | None = self.cleaned_data["since"]
        return None if since is None else since.replace(tzinfo=UTC) if since.tzinfo is None else since


class InviteForm(forms.Form):
    """A new agent."""

    name = forms.CharField(
        label="Name", max_length=80, help_text="Letters, digits, spaces, dots, dashes. It stands on every card."
    )
    owner = forms.ChoiceField(
        label="Owner", choices=_people, help_text="Answers for it, may stop it, and never approves what it asks."
    )
    enforcement = forms.ChoiceField(
        label="What forces it to ask",
        choices=[
            ("E0", "E0: its own wrapper"),
            ("E1", "E1: a separate proxy or hook"),
            ("E2", "E2: a sandbox with no other way out"),
            ("E3", "E3: the resource itself checks the receipt"),
        ],
        help_text="Stated in every receipt. Say what is true, not what is planned.",
    )


class DelegationForm(forms.Form):
    """What becomes a delegation document."""

    subject = forms.ChoiceField(label="Agent", choices=_agents)
    may = forms.CharField(
        label="May",
        max_length=20_000,
        widget=forms.Textarea({"rows": 5, "spellcheck": "false", "class": "mono"}),
        help_text="One per line: a scope such as file:write:/project/src, a permission such as WRITE_FILE:/project, or "
        "a preset (READONLY, STANDARD, FULL). Words become scopes before you sign.",
    )
    purpose = forms.CharField(
        label="What for", max_length=2000, required=False, help_text="In your own words. Reviewers see it."
    )
    hours = forms.TypedChoiceField(label="Ends after", choices=LIVES, coerce=int, initial=8)
    limit = forms.CharField(
        label="May spend in total", max_length=24, required=False, help_text="Such as 150.00. Empty: nothing."
    )
    unit = forms.CharField(label="Unit", max_length=12, required=False, initial="USD")
    per_action = forms.CharField(label="At most per action", max_length=24, required=False)
    max_depth = forms.IntegerField(
        label="May pass on, levels",
        min_value=0,
        max_value=narrowing.MAX_DEPTH,
        initial=0,
        help_text="0: it may not delegate to other agents.",
    )
    paths = forms.CharField(label="Only below these paths", required=False, widget=forms.Textarea({"rows": 2}))
    domains = forms.CharField(label="Only these domains", required=False, widget=forms.Textarea({"rows": 2}))
    tools = forms.CharField(label="Only these tools", required=False, widget=forms.Textarea({"rows": 2}))
    max_file_size = forms.IntegerField(label="Largest file, bytes", required=False, min_value=0, max_value=2**53 - 1)
    on_behalf_of = forms.ChoiceField(
        label="Acts on behalf of",
        required=False,
        choices=lambda: [("", "Nobody in particular"), *_people()],
        help_text="That person never approves what it asks.",
    )

    def clean_may(self) -> list[str]:
        """The scopes that the words expand to."""
        try:
            scopes = scope.expand(_words(self.cleaned_data["may"]))
        except scope.ScopeError as error:
            raise forms.ValidationError(str(error)) from None
        if not scopes:
            raise forms.ValidationError("Name at least one scope.")
        return scopes

    def clean_limit(self) -> str:
        """The total, spelled as it will be signed."""
        return self._amount("limit")

    def clean_per_action(self) -> str:
        """The most one action may cost, spelled as it will be signed."""
        return self._amount("per_action")

    def _amount(self, name: str) -> str:
        typed = self.cleaned_data[name].strip()
        if not typed:
            return ""
        try:
            return money.format_amount(money.read_amount(typed))
        except money.MoneyError as error:
            raise forms.ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        """Money needs a unit, and a limit per action needs a total."""
        found: dict[str, Any] = super().clean() or {}
        if found.get("per_action") and not found.get("limit"):
            self.add_error("limit", "Name the total as well.")
        if found.get("limit"):
            try:
                money.check_unit(found.get("unit", ""))
            except money.MoneyError as error:
                self.add_error("unit", str(error))
        return found

    def document(self, *, realm: str, issuer: str, nonce: str, now: datetime) -> dict[str, Any]:
        """The delegation these fields mean, from now on. Call it only when the form is valid."""
        found = self.cleaned_data
        spend = {"unit": found["unit"], "limit": found["limit"]} if found["limit"] else {}
        if spend and found["per_action"]:
            spend["per_action"] = found["per_action"]
        constraints: dict[str, Any] = {name: _words(found[name]) for name in ("paths", "domains", "tools")}
        constraints["max_file_size"] = found["max_file_size"]
        constraints = {name: value for name, value in constraints.items() if value not in ([], None)}
        document = {
            "typ": delegation.TYP,
            "realm": realm,
            "issuer": issuer,
            "subject": found["subject"],
            "scope": found["may"],
            "not_before": format_time(now),
            "not_after": format_time(now + timedelta(hours=found["hours"])),
            "max_depth": found["max_depth"],
            "nonce": nonce,
            "spend": spend,
            "constraints": constraints,
            "purpose": found["purpose"].strip(),
            "on_behalf_of": found["on_behalf_of"],
        }
        return {name: value for name, value in document.items() if value not in ("", {})}


class SignatureForm(forms.Form):
    """The exact bytes that were shown, and what the person's key made of them."""

    document = forms.CharField(widget=forms.HiddenInput, max_length=40_000, strip=False)
    signature = forms.CharField(
        label="Signature",
        required=False,
        max_length=8192,
        widget=forms.Textarea({"rows": 8, "spellcheck": "false", "autocomplete": "off", "class": "mono"}),
        help_text="Paste all of delegation.json.sig, from BEGIN to END.",
    )
    file = forms.FileField(label="Or choose the file", required=False, help_text="delegation.json.sig")

    def clean(self) -> dict[str, Any]:
        """One signature, from the field or from the file, with line ends as ssh-keygen writes them."""
        found: dict[str, Any] = super().clean() or {}
        uploaded = found.get("file")
        text = found.get("signature", "")
        if uploaded is not None:
            if uploaded.size > 8192:
                self.add_error("file", "A signature is smaller than that.")
                return found
            text = uploaded.read().decode("ascii", "replace")
        if not text.strip():
            self.add_error("signature", "Paste the signature, or choose its file.")
        found["armored"] = text.replace("\r\n", "\n").strip() + "\n"
        return found


class CorrectionForm(ReasonForm):
    """Money that turned out not to be spent."""

    amount = forms.CharField(label="Give back", max_length=24, help_text="What was counted as spent and was not.")
    field_order = ("amount", "reason")


class ToolForm(forms.Form):
    """A tool's document, as JSON."""

    document = forms.CharField(
        label="Document",
        max_length=60_000,
        widget=forms.Textarea({"rows": 26, "spellcheck": "false", "class": "mono"}),
        help_text="JSON. The schema is closed, and the effects are templates over its parameters.",
    )

    def clean_document(self) -> dict[str, Any]:
        """The parsed and checked document, strictly: no duplicate keys, no floats."""
        try:
            document = canonical.loads(self.cleaned_data["document"].encode("utf-8"))
            tools.check(document)
            tools.validator(document)
        except canonical.CanonicalError as error:
            raise forms.ValidationError(f"This is not the JSON we sign: {error}") from None
        except tools.ToolError as error:
            raise forms.ValidationError(error.problems) from None
        if not isinstance(document, dict):
            raise forms.ValidationError("A tool's document is a JSON object.")
        return document


class PolicyForm(forms.Form):
    """A policy as TOML."""

    toml = forms.CharField(
        label="Policy",
        max_length=200_000,
        strip=False,
        widget=forms.Textarea({"rows": 30, "spellcheck": "false", "class": "mono"}),
        help_text="TOML. Rules are tried from the top; the first that matches counts, then floors raise.",
    )


class ActivateForm(PolicyForm):
    """The same text again, and a yes."""

    toml = forms.CharField(widget=forms.HiddenInput, max_length=200_000, strip=False)
    sure = forms.BooleanField(
        label="Every request is judged by this from now on, and what is pending is judged anew.",
        error_messages={"required": "Tick this to activate the policy."},
    )


class HoldForm(forms.Form):
    """How long a change is held ready."""

    days = forms.IntegerField(
        label="Keep it ready for",
        min_value=1,
        max_value=90,
        help_text="Days, 90 at most. After that it is over, and two people sign it again.",
    )


class SureForm(forms.Form):
    """A yes, after reading."""

    sure = forms.BooleanField(
        label="I have read what it does, and now is the time.",
        error_messages={"required": "Tick this to go on."},
    )


class ExplainForm(forms.Form):
    """A wish to judge without asking for it."""

    delegation = forms.ChoiceField(label="Agent and delegation")
    tool = forms.CharField(label="Tool", max_length=128, widget=forms.TextInput({"list": "tools"}))
    parameters = forms.CharField(
        label="Parameters",
        max_length=20_000,
        initial="{}",
        widget=forms.Textarea({"rows": 6, "spellcheck": "false", "class": "mono"}),
        help_text='JSON, such as {"path": "/project/src/app.py"}.',
    )
    risk = forms.ChoiceField(
        label="Risk the agent claims",
        required=False,
        choices=[("", "None"), *((risk.value, risk.value.title()) for risk in Risk)],
        help_text="It can only raise.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows = Delegation.objects.select_related("subject").order_by("subject__name", "-issued_at")[:500]
        now = utc_now()
        live: list[tuple[str, str]] = []
        ended: list[tuple[str, str]] = []
        for row in rows:
            stands = row.revoked_at is None and row.not_before <= now < row.not_after
            (live if stands else ended).append((row.id, f"{row.subject.name} · {fingerprint(row.id)}"))
        field = self.fields["delegation"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [*live, *([("Ended", ended)] if ended else [])]

    def clean_parameters(self) -> Mapping[str, Any]:
        """The parameters, strictly parsed."""
        try:
            parameters = canonical.loads(self.cleaned_data["parameters"].encode("utf-8"))
        except canonical.CanonicalError as error:
            raise forms.ValidationError(f"This cannot be read: {error}.") from None
        if not isinstance(parameters, dict):
            raise forms.ValidationError("Parameters are a JSON object.")
        return parameters


class RolesForm(forms.Form):
    """A person's name and roles."""

    name = forms.CharField(label="Name", max_length=120)
    roles = forms.MultipleChoiceField(
        label="Roles",
        required=False,
        choices=[
            ("admin", "Admin: agents, delegations, tools, policy, people"),
            ("reviewer", "Reviewer: answers what agents ask"),
            ("auditor", "Auditor: reads everything, takes evidence away"),
        ],
        widget=forms.CheckboxSelectMultiple,
    )

    def clean_roles(self) -> tuple[str, ...]:
        """The roles, in one order."""
        return tuple(role for role in ROLES if role in self.cleaned_data["roles"])


class PersonForm(RolesForm):
    """Somebody new."""

    username = forms.CharField(
        label="Login", max_length=60, help_text="Lower-case letters, digits, dots, dashes. It never changes."
    )
    email = forms.EmailField(label="Mail", required=False, help_text="Reminders go there.")
    field_order = ("username", "name", "email", "roles")


class KeyForm(forms.Form):
    """An SSH public key."""

    line = forms.CharField(
        label="Public key",
        max_length=1000,
        widget=forms.Textarea({"rows": 3, "spellcheck": "false", "class": "mono"}),
        help_text="One line of a .pub file: ssh-ed25519 or sk-ssh-ed25519@openssh.com.",
    )
    # Required only for the second step, which registers; the first one shows a fingerprint and changes nothing.
    password = forms.CharField(
        label="Your password",
        max_length=1000,
        required=False,
        strip=False,
        widget=forms.PasswordInput({"autocomplete": "current-password"}),
        help_text="Asked again when the key is registered, so that an open session alone adds no key.",
    )


class PauseForm(ReasonForm):
    """What to stop."""

    what = forms.ChoiceField(label="Stop")
    field_order = ("what", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        agents = [(f"{Pause.AGENT}:{id}", name) for id, name in _agents()]
        names = Tool.objects.filter(current=True).order_by("name").values_list("name", flat=True)
        registered = [(f"{Pause.TOOL}:{name}", name) for name in names]
        choices: list[tuple[str, Any]] = [(f"{Pause.EVERYTHING}:", "Everything")]
        choices += [("One agent", agents)] if agents else []
        choices += [("One tool", registered)] if registered else []
        field = self.fields["what"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = choices

    @property
    def scope_and_target(self) -> tuple[str, str]:
        """What the choice means to the action."""
        scope_name, _, target = self.cleaned_data["what"].partition(":")
        return scope_name, target


class ServiceForm(forms.Form):
    """A service to register, with the public key that it made for itself."""

    name = forms.CharField(label="Name", max_length=80, help_text="What people call it, such as: orchestrator host-7")
    role = forms.ChoiceField(
        label="It is",
        choices=[
            ("orchestrator", "an orchestrator: attests launches before it starts agents"),
            ("monitor", "a monitor: observes what runs, with a key of its own on a machine of its own"),
            ("canary", "a canary runner: tries what must be refused"),
        ],
        widget=forms.RadioSelect,
    )
    public_key = forms.CharField(
        label="Public key",
        max_length=100,
        widget=forms.TextInput({"spellcheck": "false", "autocomplete": "off"}),
        help_text="43 characters, as imprimatur service keygen prints it on the machine where the service runs.",
    )
    vkey = forms.CharField(
        label="Verifier key of its cosignatures",
        max_length=512,
        required=False,
        widget=forms.TextInput({"spellcheck": "false", "autocomplete": "off"}),
        help_text="For a monitor that also cosigns checkpoints. Leave it empty otherwise.",
    )
    agents = forms.CharField(
        label="Agents of the canaries",
        max_length=1000,
        required=False,
        widget=forms.Textarea({"rows": 2, "spellcheck": "false", "autocomplete": "off"}),
        help_text="For a canary runner: the ids of its agents as `imprimatur canary init` prints them. Lists and "
        "notifications leave out what these ask; nothing else treats them differently.",
    )

    def clean_public_key(self) -> bytes:
        """The 32 bytes of the key."""
        try:
            key = un_b64u(str(self.cleaned_data["public_key"]).strip())
            ed25519.check_public_key(key)
        except ValueError:
            raise forms.ValidationError("This is not an Ed25519 public key as keygen prints it.") from None
        return key

    def clean_agents(self) -> tuple[str, ...]:
        """Ids, however they were set apart."""
        return tuple(str(self.cleaned_data["agents"]).replace(",", " ").split())

    def clean_vkey(self) -> str:
        """Without what was pasted around it."""
        return str(self.cleaned_data["vkey"]).strip()
