"""What is asked and answered: action requests, votes, comments, nonces."""

from __future__ import annotations

from django.db import models

from governance.models import Agent, AgentKey, Delegation, Person


class ActionRequest(models.Model):
    """One wish of one agent to run one tool with given parameters.

    ``state`` changes only through ``approvals/actions/``, one function per change, under the head lock. ``version``
    grows with every change a reviewer could see; a vote names the version it was cast on.
    """

    id = models.CharField(primary_key=True, max_length=30)  # act_…
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="requests")
    key = models.ForeignKey(AgentKey, on_delete=models.PROTECT)
    delegation = models.ForeignKey(Delegation, null=True, on_delete=models.PROTECT, related_name="requests")
    delegation_claimed = models.CharField(max_length=71)
    idempotency_key = models.CharField(max_length=200)
    comparison = models.CharField(max_length=71)  # digest of what idempotency compares
    tool = models.CharField(max_length=80, db_index=True)
    tool_digest = models.CharField(max_length=71, default="", blank=True)
    known_tool = models.BooleanField(default=True)
    binding = models.BinaryField()
    action_digest = models.CharField(max_length=71, db_index=True)
    signed_request = models.JSONField()  # content_digest, signature_input, signature, method, target_uri, …
    justification = models.CharField(max_length=60, default="", blank=True)  # commitment
    state = models.CharField(max_length=21, db_index=True)
    verdict = models.CharField(max_length=7, default="pending")
    code = models.CharField(max_length=40, default="", blank=True)
    version = models.PositiveIntegerField(default=1)
    risk = models.CharField(max_length=8)
    reversibility = models.CharField(max_length=22)
    rule = models.CharField(max_length=120)
    why = models.JSONField(default=list)
    policy = models.CharField(max_length=71)
    assurance = models.CharField(max_length=2, default="H2")
    stages = models.JSONField(default=list)
    # ids of the people who signed a launch of its agent that ran when it was asked: none of them answers it
    launch_signers = models.JSONField(default=list)
    # what the card shows, as rendered when it was asked: {sentence, lines, body, unknown, withheld, target, …}
    card = models.JSONField(default=dict)
    display_digest = models.CharField(max_length=71, default="", blank=True)
    target = models.TextField(default="", blank=True)
    enforcement = models.CharField(max_length=2)
    cost = models.BigIntegerField(default=0)
    unit = models.CharField(max_length=12, default="", blank=True)
    settle = models.CharField(max_length=8, default="spent")
    executor = models.CharField(max_length=80, default="agent")
    created_at = models.DateTimeField(db_index=True)
    expires_at = models.DateTimeField(db_index=True)  # the answer must come before; then the confirmation window
    decided_at = models.DateTimeField(null=True)
    not_after = models.DateTimeField(null=True)  # an approval is redeemable until then
    attempt = models.CharField(max_length=71, default="", blank=True)  # digest of the attempt that redeemed
    redeemed_at = models.DateTimeField(null=True)
    execute_by = models.DateTimeField(null=True)
    reported_at = models.DateTimeField(null=True)
    late = models.BooleanField(default=False)
    look_over = models.CharField(max_length=12, default="", blank=True)  # "", open, acknowledged, flagged
    supersedes = models.ForeignKey("self", null=True, on_delete=models.PROTECT, related_name="superseded_by")
    requested_index = models.BigIntegerField(null=True)
    decided_index = models.BigIntegerField(null=True)
    reminded_at = models.DateTimeField(null=True)
    escalated_at = models.DateTimeField(null=True)
    device_bound = models.BooleanField(default=False)  # an approval needs a key that never leaves its device
    grant = models.ForeignKey("Grant", null=True, on_delete=models.PROTECT, related_name="uses_made")
    suggestion = models.CharField(max_length=60, default="", blank=True)  # commitment: a reviewer's counter-proposal
    asked_level = models.SmallIntegerField(default=-1)  # the level of the policy's `ask` that was told last
    claimed_by = models.ForeignKey(Person, null=True, on_delete=models.PROTECT, related_name="claims")
    claimed_until = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = [
            models.UniqueConstraint(fields=("agent", "idempotency_key"), name="one_request_per_idempotency_key")
        ]
        indexes = [models.Index(fields=("state", "expires_at")), models.Index(fields=("look_over", "created_at"))]


class Vote(models.Model):
    """One person's answer to one request. Counted once per person and once per key (in each stage, where policy lets
    a single person answer them all)."""

    request = models.ForeignKey(ActionRequest, on_delete=models.PROTECT, related_name="votes")
    person = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="votes")
    key = models.CharField(max_length=80, null=True)  # the signing key; none for a session vote (H0)
    decision = models.CharField(max_length=12)  # approve, confirm, deny
    stage = models.PositiveSmallIntegerField(default=0)
    assurance = models.CharField(max_length=2)
    statement = models.BinaryField()
    evidence = models.JSONField()
    reason = models.CharField(max_length=60, default="", blank=True)  # commitment
    suggestion = models.CharField(max_length=60, default="", blank=True)  # commitment
    cast_at = models.DateTimeField()
    index = models.BigIntegerField()
    recalled_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("cast_at",)
        constraints = [
            models.UniqueConstraint(
                fields=("request", "person", "stage"),
                condition=models.Q(recalled_at__isnull=True),
                name="one_vote_per_person",
            ),
            models.UniqueConstraint(
                fields=("request", "key", "stage"),
                condition=models.Q(recalled_at__isnull=True, key__isnull=False),
                name="one_vote_per_key",
            ),
        ]


class Grant(models.Model):
    """A reviewer's signed vote in advance (``imprimatur/grant/v1``). Amounts are millionths of the unit.

    It satisfies one HIGH approval of its tool, never a critical or irreversible one; it dies with its delegation, its
    policy version, and its reviewer's role or key. Uses are counted in the deciding transaction.
    """

    id = models.CharField(primary_key=True, max_length=71)  # sha256:…
    reviewer = models.ForeignKey(Person, on_delete=models.PROTECT, related_name="grants")
    key = models.CharField(max_length=80, null=True)  # the signing key; none for a session grant (H0)
    assurance = models.CharField(max_length=2)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="grants")
    delegation = models.ForeignKey(Delegation, on_delete=models.PROTECT, related_name="grants")
    request = models.ForeignKey(ActionRequest, on_delete=models.PROTECT, related_name="grants_made")
    tool = models.CharField(max_length=80)
    tool_digest = models.CharField(max_length=71)
    policy = models.CharField(max_length=71)
    statement = models.BinaryField()
    evidence = models.JSONField()
    max_uses = models.PositiveSmallIntegerField()
    uses = models.PositiveSmallIntegerField(default=0)
    unit = models.CharField(max_length=12, default="", blank=True)
    max_total = models.BigIntegerField(null=True)
    total = models.BigIntegerField(default=0)
    issued_at = models.DateTimeField()
    not_after = models.DateTimeField(db_index=True)
    index = models.BigIntegerField()
    revoked_at = models.DateTimeField(null=True)
    revoked_by = models.CharField(max_length=40, default="", blank=True)

    class Meta:
        ordering = ("-issued_at",)
        indexes = [models.Index(fields=("agent", "tool", "not_after"))]
        constraints = [
            models.CheckConstraint(condition=models.Q(uses__lte=models.F("max_uses")), name="grant_is_not_overused"),
            models.CheckConstraint(
                condition=models.Q(max_total__isnull=True) | models.Q(total__lte=models.F("max_total")),
                name="grant_is_not_overspent",
            ),
        ]


class Remark(models.Model):
    """Something said in the thread of a request, by a person or by the agent. The text is in an opening."""

    request = models.ForeignKey(ActionRequest, on_delete=models.PROTECT, related_name="remarks")
    author_type = models.CharField(max_length=6)
    author_id = models.CharField(max_length=40)
    comment = models.CharField(max_length=60)
    said_at = models.DateTimeField()
    index = models.BigIntegerField()

    class Meta:
        ordering = ("said_at",)


class Nonce(models.Model):
    """A request signature that was accepted. The unique constraint is the defence against replay."""

    key = models.CharField(max_length=43)
    nonce = models.CharField(max_length=128)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("key", "nonce"), name="a_nonce_is_used_once")]
