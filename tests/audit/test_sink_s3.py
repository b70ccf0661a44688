"""A sink in an S3 bucket: the log as tiles, every object locked, read back whole. The bucket is moto's."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from audit.models import Checkpoint, Entry, LogHead
from audit.sinks.reconcile import Reading
from audit.sinks.s3 import S3Sink, _RefusedError
from audit.sinks.sink import Differs, SinkError
from audit.sinks.tree import Published
from imprimatur.formats import tiles
from imprimatur.formats.checkpoint import open_checkpoint
from imprimatur.witness.mirror import Mirror
from tests.audit.acts import append, append_together
from tests.audit.sinking import deliver, envelopes, log_vkey, published, rounds_until, shipping_to, state

BUCKET, PREFIX = "archive", "desk/log"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "y"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        client = boto3.session.Session().client("s3")
        client.create_bucket(Bucket=BUCKET, ObjectLockEnabledForBucket=True)
        client.create_bucket(Bucket="plain")
        yield client


def sink(**how: Any) -> S3Sink:
    return S3Sink("copy", BUCKET, PREFIX, region="us-east-1", **how)


def objects(bucket: Any) -> dict[str, bytes]:
    found = {}
    for page in bucket.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page.get("Contents", ()):
            found[item["Key"]] = bucket.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
    return found


def read_back(log: Published) -> int:
    return Reading(sink(), log, log.size).finish().size


def test_a_bucket_is_a_log_that_a_mirror_can_read(begun, bucket, tmp_path) -> None:
    append(2)
    for more in (0, 700, 66):
        append_together(more, f"more{more}_") if more else None
        log = published()
        deliver(sink(), log)
    found = {name.removeprefix(f"{PREFIX}/"): raw for name, raw in objects(bucket).items()}
    assert log.size == 769
    assert {name for name in found if name.startswith("checkpoint")} == {
        "checkpoint",
        "checkpoints/3",
        "checkpoints/703",
        "checkpoints/769",
    }
    kept = Mirror(tmp_path / "mirror", found.__getitem__, [log_vkey()])
    checkpoint = tiles.HashReader(found.__getitem__, 769)
    assert checkpoint.root() == log.root
    kept.keep(open_checkpoint(found["checkpoint"], [log_vkey()])[0], found["checkpoint"].decode())
    assert kept.size == 769
    assert tiles.bundle_decode(found["tile/entries/000"]) == envelopes(256)
    assert read_back(log) == 769


def test_a_lost_log_comes_back_from_the_bucket(begun, bucket, folders) -> None:
    append_together(300)
    log = published()
    deliver(sink(), log)
    for path in sorted((folders / "log").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    for name, raw in objects(bucket).items():
        path = folders / "log" / name.removeprefix(f"{PREFIX}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
    assert log.root_at(301) == log.root and log.entries(256, 301) == envelopes(301)[256:]


def test_every_object_is_locked_with_its_checksum_and_cannot_be_deleted(begun, bucket) -> None:
    append(2)
    log = published()
    deliver(sink(days=30), log)
    versions = bucket.list_object_versions(Bucket=BUCKET)["Versions"]
    assert len(versions) == len({item["Key"] for item in versions}) == 4
    for item in versions:
        key, version = item["Key"], item["VersionId"]
        head = bucket.head_object(Bucket=BUCKET, Key=key, VersionId=version, ChecksumMode="ENABLED")
        assert head["ObjectLockMode"] == "COMPLIANCE"
        assert head["ObjectLockRetainUntilDate"] > datetime.now(UTC) + timedelta(days=29)
        raw = bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        assert head["ChecksumSHA256"] == b64encode(hashlib.sha256(raw).digest()).decode()
        with pytest.raises(ClientError, match="AccessDenied"):
            bucket.delete_object(Bucket=BUCKET, Key=key, VersionId=version)


def test_what_is_there_is_never_put_again(begun, bucket) -> None:
    append_together(300)
    log = published()
    for _ in range(3):
        deliver(sink(), log)
    versions = bucket.list_object_versions(Bucket=BUCKET)["Versions"]
    assert len(versions) == len({item["Key"] for item in versions})


def test_what_was_put_before_a_crash_is_found_again(begun, bucket) -> None:
    append_together(600)
    log = published()
    first = sink()
    assert first.where(log, 0) == 0
    assert first.take(log, 0, 256) == 256
    assert first.take(log, 256, 512) == 512
    assert first.take(log, 512, 601) == 601  # and then it dies, before the checkpoint
    again = sink()
    assert again.where(log, 512) == 512
    deliver(again, log)
    assert read_back(log) == 601


def test_a_bucket_that_lets_go_of_what_it_holds_gets_nothing(begun, bucket, monkeypatch) -> None:
    append(1)
    log = published()
    plain = S3Sink("copy", "plain", "", region="us-east-1")
    with pytest.raises(SinkError, match="Object Lock is switched on when a bucket is made"):
        deliver(plain, log)
    with pytest.raises(SinkError, match="Object Lock"):
        deliver(S3Sink("copy", "nowhere", "", region="us-east-1"), log)
    assert "Contents" not in bucket.list_objects_v2(Bucket="plain")
    # One that says it has Object Lock, and ignores the retention.
    careless = sink()
    call = careless._call

    def unlocked(operation: str, **arguments: Any) -> Any:
        found = call(operation, **arguments)
        return {"ETag": "x"} if operation == "head_object" else found

    monkeypatch.setattr(careless, "_call", unlocked)
    with pytest.raises(SinkError, match="does not say that it is locked for 365 days"):
        careless.take(log, 0, log.size)


def test_without_conditions_it_looks_first(begun, bucket, monkeypatch) -> None:
    append(2)
    log = published()
    old = sink()
    call = old._call

    def simple(operation: str, **arguments: Any) -> Any:
        if "IfNoneMatch" in arguments:
            raise _RefusedError(501, "501 NotImplemented")
        return call(operation, **arguments)

    monkeypatch.setattr(old, "_call", simple)
    deliver(old, log)
    assert read_back(log) == 3
    old._sealed = 0
    old.take(log, 0, 3)
    versions = bucket.list_object_versions(Bucket=BUCKET)["Versions"]
    assert len(versions) == len({item["Key"] for item in versions})


@pytest.mark.parametrize("name", ["tile/entries/000", "tile/0/001.p/45", "tile/1/000.p/1", "checkpoint"])
def test_every_object_that_was_changed_or_is_gone_is_found(begun, bucket, name) -> None:
    append_together(300)
    log = published()
    deliver(sink(), log)
    key = f"{PREFIX}/{name}"
    raw = bucket.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    for place in (0, len(raw) // 2, len(raw) - 2):
        bucket.put_object(Bucket=BUCKET, Key=key, Body=raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(Differs):
            read_back(log)
    bucket.delete_object(Bucket=BUCKET, Key=key)  # the version stays; whoever reads the bucket finds nothing
    with pytest.raises(Differs):
        read_back(log)
    bucket.put_object(Bucket=BUCKET, Key=key, Body=raw)
    assert read_back(log) == 301


def test_another_object_in_its_place_is_an_alarm_and_stays(begun, bucket) -> None:
    append(2)
    log = published()
    bucket.put_object(Bucket=BUCKET, Key=f"{PREFIX}/tile/entries/000.p/3", Body=b"something else")
    with pytest.raises(Differs, match=r"tile/entries/000\.p/3 is another one"):
        deliver(sink(), log)
    assert objects(bucket)[f"{PREFIX}/tile/entries/000.p/3"] == b"something else"


def test_a_thread_ships_to_a_bucket_and_notes_that_it_was_read_back(world, bucket, settings) -> None:
    size = published().size
    with shipping_to(settings, f"copy@s3://{BUCKET}/{PREFIX}?region=us-east-1&days=3&every=1") as one:
        rounds_until(one, lambda: state().held == size)
        client = one._shipping
        assert client is not None
        client.note()
        assert Entry.objects.filter(kind="log.shipped", subject="copy").count() == 1
        client.note()
        assert LogHead.objects.get().size == size + 1
        rounds_until(one, lambda: state().sent == size + 1)
    assert state().held_root == Checkpoint.objects.get(size=size).root
    assert state().error == ""
