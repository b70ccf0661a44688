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


class Checkpoint(models.Model):
    """A signed checkpoint that was published. Append-only like the entries."""

    size = models.BigIntegerField(primary_key=True)
    root = models.CharField(max_length=64)
    note = models.TextField()
    published_at = models.DateTimeField()


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
    state = models.CharField(max_length=8, default=WAITING)
    error = models.TextField(default="", blank=True)
    size = models.BigIntegerField(null=True)
    manifest = models.CharField(max_length=71, default="", blank=True)
    bytes = models.BigIntegerField(null=True)
    ready_at = models.DateTimeField(null=True)
    issued_index = models.BigIntegerField(null=True)

    class Meta:
        ordering = ("-asked_at",)
