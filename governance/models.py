"""Who may do what: people, agents, their keys, delegations, the tool registry, policy, spend, pauses."""

from __future__ import annotations

from django.conf import settings
from django.db import models

ADMIN, REVIEWER, AUDITOR = "admin", "reviewer", "auditor"
ROLES = (ADMIN, REVIEWER, AUDITOR)


class Person(models.Model):
    """A human being with a login. Roles are the Django groups admin, reviewer and auditor."""

    id = models.CharField(primary_key=True, max_length=29)  # pe_…
    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="person")
    name = models.CharField(max_length=120)
    must_change_password = models.BooleanField(default=False)
    added_at = models.DateTimeField()
    # Who made this login or reset it since: they could be sitting at it, so they never vouch for its keys.
    introducers = models.JSONField(default=list)  # ids of people

    def __str__(self) -> str:
        return self.name


class PersonKey(models.Model):
    """A person's own signing key: SSH, or a WebAuthn credential. Never deleted: revocation is a date.

    A key signs only while it is *in force*: vouched for (``signing``), or registered at the console for delegations
    alone (``delegation``), and not revoked. One key belongs to one person for ever, in whatever form it comes:
    ``thumbprint`` (RFC 7638) is of the raw public key.
    """

    SSH, WEBAUTHN = "ssh", "webauthn"
    SIGNING, DELEGATION = "signing", "delegation"

    fingerprint = models.CharField(primary_key=True, max_length=71)  # SHA256:… of an SSH key, thumbprint of a passkey
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="keys")
    kind = models.CharField(max_length=8, default=SSH)
    purpose = models.CharField(max_length=20, default=DELEGATION)
    label = models.CharField(max_length=80, default="", blank=True)
    thumbprint = models.CharField(max_length=43, unique=True)
    line = models.TextField(default="", blank=True)  # of a .pub file
    public_key = models.BinaryField(default=b"")  # COSE key of a WebAuthn credential, the raw bytes
    credential = models.CharField(max_length=1400, null=True, unique=True)  # credential id, base64url
    rp_id = models.CharField(max_length=253, default="", blank=True)
    device_bound = models.BooleanField(default=False)
    attested = models.BooleanField(default=False)
    aaguid = models.CharField(max_length=36, default="", blank=True)
    transports = models.JSONField(default=list)
    sign_count = models.BigIntegerField(default=0)
    statement = models.BinaryField(default=b"")  # the enrolment statement, the bytes that were signed
    enrolled_index = models.BigIntegerField(null=True)
    added_at = models.DateTimeField()
    vouched_at = models.DateTimeField(null=True)
    vouched_by = models.CharField(max_length=40, default="", blank=True)  # a person, "console", or "first"
    first = models.BooleanField(default=False)  # vouched before three people could take part, and flagged as such
    revoked_at = models.DateTimeField(null=True)
    stolen = models.BooleanField(default=False)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("added_at",)

    @property
    def in_force(self) -> bool:
        """Whether a signature by this key counts now, for what it is for."""
        return self.revoked_at is None and (self.purpose == self.DELEGATION or self.vouched_at is not None)

    @property
    def signs_decisions(self) -> bool:
        """Whether it signs answers, grants and changes: only keys that were enrolled and vouched for do."""
        return self.in_force and self.purpose == self.SIGNING


class Ceremony(models.Model):
    """A statement that was shown to one person to sign, once, within its life. Used up in the deciding transaction."""

    id = models.CharField(primary_key=True, max_length=30)  # cer_…
    person = models.ForeignKey(Person, on_delete=models.CASCADE, related_name="ceremonies")
    typ = models.CharField(max_length=60)
    statement = models.BinaryField()  # the exact bytes to sign
    kept = models.JSONField(default=dict)  # what finishing it needs besides, such as the opening of a reason
    opened_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    used_at = models.DateTimeField(null=True)


class Change(models.Model):
    """A change that takes two people: proposed and signed by one, seconded and signed by another."""

    PROPOSED, READY, DONE, WITHDRAWN, EXPIRED = "proposed", "ready", "done", "withdrawn", "expired"

    id = models.CharField(primary_key=True, max_length=30)  # chg_…
    act = models.CharField(max_length=40)
    subject = models.CharField(max_length=128)
    document = models.JSONField()
    toml = models.TextField(default="", blank=True)  # how the author of a policy wrote it
    kept = models.JSONField(default=dict)  # what never enters the log, such as the login of a newcomer
    hold = models.BooleanField(default=False)  # kept ready for an emergency instead of done when seconded
    state = models.CharField(max_length=10, default=PROPOSED, db_index=True)
    proposed_by = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="proposed_changes")
    proposed_at = models.DateTimeField()
    proposed_index = models.BigIntegerField()
    seconded_by = models.ForeignKey(Person, null=True, on_delete=models.PROTECT, related_name="seconded_changes")
    seconded_at = models.DateTimeField(null=True)
    seconded_index = models.BigIntegerField(null=True)
    expires_at = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-proposed_at",)


class Away(models.Model):
    """A person is out of office: not asked, and one colleague (with rights of their own) is asked instead."""

    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="absences")
    delegate = models.ForeignKey(Person, null=True, on_delete=models.PROTECT, related_name="covers")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)  # came back early, or wrote a new absence

    class Meta:
        ordering = ("-starts_at",)


class Agent(models.Model):
    """A program with a registered Ed25519 key. The id is derived from its first key, so no other key can take it."""

    ACTIVE, SUSPENDED = "active", "suspended"

    id = models.CharField(primary_key=True, max_length=35)  # ag_…
    name = models.CharField(max_length=80, unique=True)
    owner = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="agents")
    state = models.CharField(max_length=9, default=ACTIVE)
    enforcement = models.CharField(max_length=2, default="E0")
    enrolled_at = models.DateTimeField()
    last_seen_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.name


class AgentKey(models.Model):
    """A key of an agent, by RFC 7638 thumbprint."""

    thumbprint = models.CharField(primary_key=True, max_length=43)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="keys")
    public_key = models.BinaryField()
    added_at = models.DateTimeField()
    retired_at = models.DateTimeField(null=True)  # rotated away: what it signed before stays good
    revoked_since = models.DateTimeField(null=True)  # what it signed from then on is dead


class Invitation(models.Model):
    """A one-time token for enrolment: kept hashed, used once, good for 15 minutes."""

    token = models.CharField(primary_key=True, max_length=71)  # sha256:… of the token
    name = models.CharField(max_length=80)
    owner = models.ForeignKey(Person, on_delete=models.PROTECT)
    enforcement = models.CharField(max_length=2, default="E0")
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)


class Delegation(models.Model):
    """A signed, content-addressed grant of authority. Amounts are millionths of the unit."""

    id = models.CharField(primary_key=True, max_length=71)  # sha256:…
    document = models.BinaryField()  # the JCS bytes that were signed
    signature = models.JSONField()
    issuer_person = models.ForeignKey(Person, null=True, on_delete=models.PROTECT, related_name="issued")
    issuer_agent = models.ForeignKey(Agent, null=True, on_delete=models.PROTECT, related_name="passed_on")
    subject = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="delegations")
    parent = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="children")
    depth = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField()
    not_after = models.DateTimeField(db_index=True)
    unit = models.CharField(max_length=12, default="", blank=True)
    limit = models.BigIntegerField(default=0)
    reserved = models.BigIntegerField(default=0)
    spent = models.BigIntegerField(default=0)
    issued_at = models.DateTimeField()
    issued_index = models.BigIntegerField()
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.CharField(max_length=40, default="", blank=True)
    revoked_reason = models.TextField(default="", blank=True)

    class Meta:
        ordering = ("issued_at",)
        constraints = [
            models.CheckConstraint(
                condition=models.Q(issuer_person__isnull=True) ^ models.Q(issuer_agent__isnull=True),
                name="delegation_has_one_issuer",
            ),
            models.CheckConstraint(
                condition=models.Q(reserved__gte=0) & models.Q(spent__gte=0), name="spend_is_never_negative"
            ),
        ]


class Reservation(models.Model):
    """Money held or spent for one action request, at one delegation of its chain."""

    RESERVED, SPENT, RELEASED = "reserved", "spent", "released"

    request = models.CharField(max_length=40, db_index=True)
    delegation = models.ForeignKey(Delegation, on_delete=models.PROTECT, related_name="reservations")
    amount = models.BigIntegerField()
    state = models.CharField(max_length=8, default=RESERVED)
    key = models.CharField(max_length=43, default="", blank=True, db_index=True)  # the agent key that asked

    class Meta:
        constraints = [models.UniqueConstraint(fields=("request", "delegation"), name="one_reservation_per_link")]


class Tool(models.Model):
    """One version of a registry entry. Exactly one version of a name is current, or none after it was retired."""

    digest = models.CharField(primary_key=True, max_length=71)
    name = models.CharField(max_length=80, db_index=True)
    document = models.JSONField()
    registered_at = models.DateTimeField()
    registered_by = models.CharField(max_length=40)
    current = models.BooleanField(default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("name",), condition=models.Q(current=True), name="one_current_version_per_tool"
            )
        ]


class Policy(models.Model):
    """One version of the policy. Content-addressed; exactly one is active."""

    digest = models.CharField(max_length=71)
    number = models.PositiveIntegerField(unique=True)
    document = models.JSONField()
    toml = models.TextField()
    activated_at = models.DateTimeField()
    activated_by = models.CharField(max_length=40)
    active = models.BooleanField(default=True)

    class Meta:
        ordering = ("-number",)
        constraints = [
            models.UniqueConstraint(fields=("active",), condition=models.Q(active=True), name="one_active_policy")
        ]


class Pause(models.Model):
    """The kill switch: while one stands, nothing it covers is redeemed. Clocks run on."""

    AGENT, TOOL, EVERYTHING = "agent", "tool", "everything"

    scope = models.CharField(max_length=10)
    target = models.CharField(max_length=80, default="", blank=True)
    reason = models.TextField()
    set_at = models.DateTimeField()
    set_by = models.CharField(max_length=40)
    lifted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("scope", "target"), condition=models.Q(lifted_at__isnull=True), name="one_standing_pause"
            )
        ]


import governance.runtime.models  # noqa: E402, F401  # Django looks for an app's tables in this module
