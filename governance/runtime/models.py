"""Services with a key of their own, and what they told the log. Every row follows from an entry."""

from __future__ import annotations

from django.db import models


class Service(models.Model):
    """An orchestrator, a monitor or a canary runner: a principal that attests and decides nothing.

    Its id is derived from its one key; another key is another service. ``size`` and ``hashes`` are the tree of all it
    signed for this log (RFC 6962, a compact range in hex): what it signs next names that tree.
    """

    id = models.CharField(primary_key=True, max_length=35)  # sv_…
    name = models.CharField(max_length=80, unique=True)
    role = models.CharField(max_length=12)  # formats.attestation.ROLES
    public_key = models.BinaryField()
    thumbprint = models.CharField(max_length=43, unique=True)
    vkey = models.CharField(max_length=512, default="", blank=True)  # a monitor's key for cosignatures
    size = models.BigIntegerField(default=0)
    hashes = models.JSONField(default=list)
    newest = models.BigIntegerField(null=True)  # index of the entry with its newest statement
    registered_at = models.DateTimeField()
    registered_by = models.CharField(max_length=40)
    retired_at = models.DateTimeField(null=True)
    last_seen_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("registered_at",)

    def __str__(self) -> str:
        return self.name


class CanaryAgent(models.Model):
    """An agent that an admin declared to be a canary when its runner was registered.

    Only lists and notifications may ask for it (`governance.runtime.canary_agents`): no check is weaker for it.
    """

    agent = models.OneToOneField("governance.Agent", on_delete=models.PROTECT, primary_key=True, related_name="+")
    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="canary_agents")


class Launch(models.Model):
    """A start of an agent that an orchestrator attested, or that was refused (then ``id`` is only what it was called).

    ``document`` is the predicate that was signed. ``drifted`` counts observations that found something.
    """

    ATTESTED, ENDED = "attested", "ended"

    id = models.CharField(primary_key=True, max_length=30)  # lau_…
    agent = models.ForeignKey("governance.Agent", on_delete=models.PROTECT, related_name="launches")
    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="launches")
    runtime = models.CharField(max_length=12)
    launched = models.BooleanField()  # false: declared
    configuration = models.CharField(max_length=71)  # sha256:… of the effective configuration
    document = models.JSONField()
    signers = models.JSONField(default=list)  # ids of the people who signed its layers
    state = models.CharField(max_length=8, default=ATTESTED)
    index = models.BigIntegerField(unique=True)
    attested_at = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(null=True)
    how = models.CharField(max_length=8, default="", blank=True)
    code = models.PositiveSmallIntegerField(null=True)
    observed_at = models.DateTimeField(null=True)  # the newest observation of it
    observations = models.PositiveIntegerField(default=0)
    drifted = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ("-attested_at",)
        # Rows are as long as what was signed: no list may have to read all there ever were.
        indexes = [models.Index(fields=("state", "attested_at")), models.Index(fields=("state", "ended_at"))]


class RefusedLaunch(models.Model):
    """A launch that was refused, by the entry that says why."""

    index = models.BigIntegerField(primary_key=True)
    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="refusals")
    launch = models.CharField(max_length=64, default="", blank=True)
    agent = models.CharField(max_length=64, default="", blank=True)
    reasons = models.JSONField()
    at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("-index",)


class Observation(models.Model):
    """What a monitor saw once, by its entry. ``launch`` is null when it matches no launch; ``claimed`` is what the
    processes said then."""

    index = models.BigIntegerField(primary_key=True)
    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="observations")
    launch = models.ForeignKey(Launch, null=True, on_delete=models.PROTECT, related_name="seen")
    claimed = models.CharField(max_length=64, default="", blank=True)
    node = models.CharField(max_length=200, default="", blank=True)
    processes = models.PositiveSmallIntegerField(default=0)
    findings = models.JSONField(default=list)
    at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("-index",)
        indexes = [models.Index(fields=("launch", "-index"))]  # the newest of a launch, of which there may be thousands


class CanaryRun(models.Model):
    """One run of all canaries, by its entry."""

    index = models.BigIntegerField(primary_key=True)
    service = models.ForeignKey(Service, on_delete=models.PROTECT, related_name="canary_runs")
    began_at = models.DateTimeField()
    ended_at = models.DateTimeField(db_index=True)
    every = models.PositiveIntegerField()  # seconds
    result = models.CharField(max_length=6)
    attempts = models.JSONField()

    class Meta:
        ordering = ("-index",)
