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

    def __str__(self) -> str:
        return self.name


class PersonKey(models.Model):
    """An SSH key with which a person signs delegations. Never deleted: revocation is a date."""

    fingerprint = models.CharField(primary_key=True, max_length=60)  # SHA256:…
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="keys")
    line = models.TextField()
    purpose = models.CharField(max_length=20, default="delegation")
    added_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)


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
