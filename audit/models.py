"""What happened: the head of the log, its entries, its checkpoints, and what waits to be told to the world."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class LogHead(models.Model):
    """The one row every state change locks first. Its ``size`` is the index that the next entry gets.

    ``epoch`` is raised by database triggers whenever an agent, a key, a delegation, a policy, a role or a pause
    changes, so that whatever was decided from an older read is decided again inside the transaction.
    """

    OPEN, FROZEN = "open", "frozen"

    realm = models.CharField(max_length=200)
    size = models.BigIntegerField(default=0)
    last_leaf = models.CharField(max_length=64, default="0" * 64)
    last_time = models.DateTimeField(null=True)
    epoch = models.BigIntegerField(default=0)
    state = models.CharField(max_length=6, default=OPEN)
    frozen_reason = models.TextField(default="", blank=True)


class Entry(models.Model):
    """One leaf of the log: the exact bytes of its DSSE envelope. The other columns only help to find it.

    Append-only: triggers on both databases refuse UPDATE, DELETE, TRUNCATE, REPLACE and gaps.
    """

    index = models.BigIntegerField(primary_key=True)
    leaf = models.CharField(max_length=64, unique=True)
    envelope = models.BinaryField()
    time = models.DateTimeField(db_index=True)
    kind = models.CharField(max_length=40, db_index=True)
    subject = models.CharField(max_length=120, db_index=True)
    actor_type = models.CharField(max_length=10)
    actor_id = models.CharField(max_length=120, db_index=True)
    agent = models.CharField(max_length=40, default="", db_index=True)
    verdict = models.CharField(max_length=8, default="")
    risk = models.CharField(max_length=8, default="")

    class Meta:
        ordering = ("index",)
        indexes = [models.Index(fields=["kind", "time", "verdict", "risk", "agent"], name="decisions_over_time")]


class LogKey(models.Model):
    """A key of the log that an entry introduced or retired. Those of entry 0 have a row only once they are retired."""

    DECISION, LOG = "decision", "log"

    key = models.CharField(max_length=512, primary_key=True)  # the id of a decision key, the verifier key of a log key
    role = models.CharField(max_length=8)
    since = models.BigIntegerField()  # the entry that introduced it
    until = models.BigIntegerField(null=True)  # the entry that retired it


class Checkpoint(models.Model):
    """A signed checkpoint that was published. Append-only like the entries."""

    size = models.BigIntegerField(primary_key=True)
    root = models.CharField(max_length=64)
    note = models.TextField()
    published_at = models.DateTimeField()


class Cosignature(models.Model):
    """A witness's line below the checkpoint of this size: checked when it came, and again by whoever verifies."""

    size = models.BigIntegerField()
    witness = models.CharField(max_length=512)  # its verifier key
    line = models.TextField()
    time = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["size", "witness"], name="one_cosignature_each")]


class WitnessState(models.Model):
    """How asking a witness went last. Only for people to look at: nothing is decided by it."""

    witness = models.CharField(max_length=512, primary_key=True)  # its verifier key
    size = models.BigIntegerField(default=0)
    cosigned_at = models.DateTimeField(null=True)
    failing_since = models.DateTimeField(null=True)
    error = models.CharField(max_length=500, default="", blank=True)


class SinkState(models.Model):
    """What a sink has, as far as we know: sent and accepted, and read back. Only for people to look at."""

    name = models.CharField(max_length=128, primary_key=True)
    sent = models.BigIntegerField(default=0)  # entries that it accepted, from 0 on
    sent_at = models.DateTimeField(null=True)
    held = models.BigIntegerField(default=0)  # entries that were read back and are the same as here
    held_root = models.CharField(max_length=64, default="", blank=True)
    held_at = models.DateTimeField(null=True)
    failing_since = models.DateTimeField(null=True)
    error = models.CharField(max_length=500, default="", blank=True)
    failures = models.BigIntegerField(default=0)  # since the beginning


class Hold(models.Model):
    """A legal hold: while it stands, the retention rule and every wish to erase pass by what it covers."""

    REQUEST, AGENT, EVERYTHING = "request", "agent", "everything"

    id = models.CharField(primary_key=True, max_length=40)
    scope = models.CharField(max_length=10)
    target = models.CharField(max_length=120, default="", blank=True)
    reason = models.TextField()
    placed_index = models.BigIntegerField()
    placed_at = models.DateTimeField()
    lifted_at = models.DateTimeField(null=True, db_index=True)


class SavedView(models.Model):
    """Filters of the log explorer under a name, for whoever saved them."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    name = models.CharField(max_length=80)
    query = models.CharField(max_length=2000)
    saved_at = models.DateTimeField()

    class Meta:
        ordering = ("name",)
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="one_view_of_a_name")]


class Opening(models.Model):
    """What opens a commitment in the log: kept beside the log, so that it can be erased without breaking a proof."""

    commitment = models.CharField(max_length=60, primary_key=True)
    subject = models.CharField(max_length=120, db_index=True)
    name = models.CharField(max_length=200)
    key = models.BinaryField()
    value = models.BinaryField(null=True)
    erased_at = models.DateTimeField(null=True)


class Outbox(models.Model):
    """Something to tell the world after the commit: mail, a webhook. Written in the transaction it speaks of."""

    topic = models.CharField(max_length=40)
    payload = models.JSONField()
    created_at = models.DateTimeField()
    not_before = models.DateTimeField(db_index=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    claimed_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True, db_index=True)
    error = models.TextField(default="", blank=True)


class Bundle(models.Model):
    """An evidence bundle that an auditor asked for."""

    WAITING, BUILDING, READY, FAILED = "waiting", "building", "ready", "failed"

    id = models.CharField(primary_key=True, max_length=40)
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    asked_as = models.CharField(max_length=120)  # the id of the person, as the log names them
    asked_at = models.DateTimeField()
    filters = models.JSONField(default=dict, blank=True)  # imprimatur.formats.selection
    state = models.CharField(max_length=8, default=WAITING)
    error = models.TextField(default="", blank=True)
    size = models.BigIntegerField(null=True)
    manifest = models.CharField(max_length=71, default="", blank=True)
    bytes = models.BigIntegerField(null=True)
    ready_at = models.DateTimeField(null=True)
    issued_index = models.BigIntegerField(null=True)
    shown = models.BigIntegerField(null=True)  # entries that are in it; fewer than `size` when it is selective

    class Meta:
        ordering = ("-asked_at",)
