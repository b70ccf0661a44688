"""What signing pages say about keys: those of whoever reads the page, and who can vouch for one that waits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django import template
from django.conf import settings

from governance import changes, signing_keys
from governance.actions import vouch_key
from governance.models import ADMIN, Person, PersonKey
from imprimatur.formats.encoding import un_b64u
from imprimatur.rules import administration
from imprimatur.rules.administration import Objection

register = template.Library()

_FLAGS, _BACKUP_ELIGIBLE = 32, 0x08
"""Where the flags stand in authenticator data, and the one that says BE (WebAuthn Level 3, section 6.1)."""


@dataclass(frozen=True)
class Held:
    """The keys of one person. ``usable`` sign here now, ``usable_ssh`` in a terminal; ``waiting`` once vouched for.

    ``passkeys`` are all that sign, with those that may leave their device.
    """

    usable: list[PersonKey]
    usable_ssh: list[PersonKey]
    passkeys: list[PersonKey]
    waiting: list[PersonKey]
    vouchers: list[str]


@register.simple_tag(takes_context=True)
def own_keys(context: dict[str, Any], *, bound: bool = False, fitting: Collection[PersonKey] | None = None) -> Held:
    """The keys of the person at the desk, and, when one waits, who can vouch for it.

    With ``bound`` only keys that never leave their device are usable; with ``fitting`` (a list) only those.
    """
    person = context.get("person")
    if not isinstance(person, Person):
        return Held([], [], [], [], [])
    found = signing_keys.keys_of(person)
    passkeys = [key for key in found if key.kind == PersonKey.WEBAUTHN and key.rp_id == settings.RP_ID]
    waiting = [key for key in person.keys.order_by("-added_at") if waits(key)]
    # A template without the variable hands over an empty string.
    fits = set(found) if fitting is None or isinstance(fitting, str) else set(fitting)
    fits = {key for key in fits if key.device_bound or not bound}
    return Held(
        usable=[key for key in passkeys if key in fits],
        usable_ssh=[key for key in found if key.kind == PersonKey.SSH and key in fits],
        passkeys=passkeys,
        waiting=waiting,
        vouchers=vouchers_for(person) if waiting else [],
    )


@register.simple_tag
def vouchers(person: Person) -> list[str]:
    """The names of everybody who can vouch for this person's keys now."""
    return vouchers_for(person)


@register.filter
def waits(key: PersonKey) -> bool:
    """Whether the key is enrolled and nobody has vouched for it yet."""
    return key.purpose == PersonKey.SIGNING and key.vouched_at is None and key.revoked_at is None


@dataclass(frozen=True)
class Vouch:
    """What vouching for one key comes to for whoever is at the desk. ``objection`` is empty when they may."""

    objection: str
    first: bool
    own: bool
    says: list[tuple[str, str]]


@register.simple_tag(takes_context=True)
def vouching_for(context: dict[str, Any], key: PersonKey) -> Vouch:
    """Whether the person at the desk may vouch for this key, and what their statement must say."""
    person = context["person"]
    verdict = vouch_key.may_vouch(person, key)
    own = person.pk == key.person_id
    says = [("for", key.person_id), ("key", key.fingerprint), ("enrolment", vouch_key.enrolment_digest(key))]
    if isinstance(verdict, Objection):
        return Vouch(verdict.message, False, own, says)
    return Vouch("", verdict.first, own, says)


@register.filter
def voucher(key: PersonKey) -> str:
    """Who put the key in force, to follow "vouched for by"."""
    if key.vouched_by == vouch_key.CONSOLE:
        return "an operator at the console"
    if key.vouched_by == vouch_key.FIRST:
        return "its owner, as the first key here"
    return Person.objects.filter(pk=key.vouched_by).values_list("name", flat=True).first() or key.vouched_by


@register.filter
def by_four(text: str) -> str:
    """A long value in groups of four, to read out to somebody."""
    name, colon, value = text.rpartition(":")
    return f"{name}{colon}" + " ".join(value[at : at + 4] for at in range(0, len(value), 4))


@register.filter
def kind_words(key: PersonKey) -> str:
    """What sort of key it is, and where its secret lives."""
    if key.kind == PersonKey.SSH:
        return "SSH key on a security key" if key.device_bound else "SSH key"
    if key.attested:
        return "Passkey, bound to one device, attested by its maker"
    return "Passkey, bound to one device" if key.device_bound else "Passkey, synced between devices"


@register.filter
def short_key(key: PersonKey) -> str:
    """The beginning of a key's fingerprint, to tell two keys apart by eye."""
    return key.fingerprint.removeprefix("SHA256:")[:8]


@register.filter
def signed_how(vote: Any) -> str:
    """How somebody signed an answer, to follow "approved at 14:02". Read from the evidence, not from today's key."""
    kind = vote.evidence.get("kind")
    if kind == PersonKey.SSH:
        return "with an SSH key"
    if kind != PersonKey.WEBAUTHN:
        return "by a click, which no key signed"
    bound = not un_b64u(vote.evidence["authenticator_data"])[_FLAGS] & _BACKUP_ELIGIBLE
    return f"with a {'device-bound' if bound else 'synced'} passkey"


@register.simple_tag
def founders() -> list[Person]:
    """The admins of whom one comes first, while nobody ever held a signing key; nobody once somebody did."""
    if changes.holders():
        return []
    return list(Person.objects.select_related("user").filter(user__groups__name=ADMIN, user__is_active=True))


@register.simple_tag
def demo_voucher(person: Person) -> str:
    """The login under which whoever tries the demo puts this person's key in force, or begins to. Empty: nobody's."""
    able = [one for one in _vouchers(person) if one.pk != person.pk] or founders()
    return able[0].user.username if able else ""


def vouchers_for(newcomer: Person) -> list[str]:
    """Who can vouch for this person: their names, or "you"."""
    return ["you" if one.pk == newcomer.pk else one.name for one in _vouchers(newcomer)]


def _vouchers(newcomer: Person) -> list[Person]:
    """Who can vouch for this person, by the rule that the action and the verifier apply."""
    known = changes.holders()
    found = []
    for one in Person.objects.select_related("user").prefetch_related("user__groups").order_by("name"):
        verdict = administration.vouching(
            newcomer=newcomer.id,
            voucher=one.id,
            voucher_roles={group.name for group in one.user.groups.all()},
            voucher_active=one.user.is_active,
            introducers=newcomer.introducers,
            holders=known,
        )
        if isinstance(verdict, administration.Vouching) and (one.pk == newcomer.pk or signing_keys.may_sign(one)):
            found.append(one)
    return found
