"""Which sinks there are: `IMPRIMATUR_SINKS`, words such as ``archive@file:///mnt/worm/archive.jsonl``."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from audit.sinks.file import FileSink
from audit.sinks.http import HttpSink
from audit.sinks.s3 import S3Sink
from audit.sinks.sink import Sink

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
MODES = frozenset({"COMPLIANCE", "GOVERNANCE"})
MOST_DAYS = 36_500
S3_WORDS = frozenset({"endpoint", "region", "mode", "days", "every"})

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)


def configured() -> list[Sink]:
    """New sinks as the settings name them, in their order; none of them was asked for anything yet.

    Raises ImproperlyConfigured, with what to do, when a setting cannot be used.
    """
    return [make() for make in _parsed(tuple(settings.SINKS), settings.SINK_TOKEN, str(settings.DATA_DIR))]


@cache
def _parsed(words: tuple[str, ...], token: str, data: str) -> tuple[Callable[[], Sink], ...]:
    made: dict[str, Callable[[], Sink]] = {}
    for word in words:
        name, found, url = word.partition("@")
        if not found or not _NAME.fullmatch(name) or "://" in name:
            raise _wrong(
                word.split("://", 1)[0], "it needs a name before its address, as in archive@file:///mnt/a.jsonl"
            )
        if name in made:
            raise _wrong(name, "two sinks have this name: a name stands for one copy, for ever")
        made[name] = _one(name, url, token, Path(data))
        made[name]()  # what cannot be made is found now
    return tuple(made.values())


def _one(name: str, url: str, token: str, data: Path) -> Callable[[], Sink]:
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise _wrong(name, "a password does not belong in an address: set IMPRIMATUR_SINK_TOKEN, or the AWS settings")
    if parts.fragment:
        raise _wrong(name, "its address has a fragment (#)")
    if parts.scheme == "file":
        path = _file(name, parts, data)
        return lambda: FileSink(name, path)
    if parts.scheme == "s3":
        return _s3(name, parts)
    if parts.scheme in ("http", "https"):
        if not parts.hostname or (parts.scheme == "http" and parts.hostname not in LOCAL):
            raise _wrong(name, "a collector on another machine is reached by https only")
        return lambda: HttpSink(name, url, token)
    raise _wrong(name, "its address begins with file://, s3:// or https://")


def _file(name: str, parts: SplitResult, data: Path) -> Path:
    path = Path(unquote(parts.path))
    if parts.netloc or parts.query or not path.is_absolute():
        raise _wrong(name, "a file is named as file:///absolute/path")
    if path.resolve().is_relative_to(data.resolve()):
        raise _wrong(name, "a copy in the data folder goes the way of the data folder: name a file on another system")
    return path


def _s3(name: str, parts: SplitResult) -> Callable[[], Sink]:
    if find_spec("boto3") is None:
        raise _wrong(name, "S3 needs boto3: install imprimatur-server[s3]")
    query = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(query)
    if len(given) != len(query) or given.keys() - S3_WORDS:
        raise _wrong(name, f"behind the ? stand {', '.join(sorted(S3_WORDS))}, each at most once")
    bucket = parts.netloc
    if not _BUCKET.fullmatch(bucket):
        raise _wrong(name, f"{bucket or 'nothing'} is not the name of a bucket, as in s3://bucket/prefix")
    endpoint = given.get("endpoint", "")
    if endpoint:
        where = urlsplit(endpoint)
        safe = where.scheme == "https" or (where.scheme == "http" and where.hostname in LOCAL)
        if not safe or not where.hostname or where.username or where.query:
            raise _wrong(name, "the endpoint is an address such as https://s3.example.org")
    mode = given.get("mode", "COMPLIANCE").upper()
    if mode not in MODES:
        raise _wrong(name, "the mode is COMPLIANCE, or GOVERNANCE, which privileged users can lift")
    days = _number(name, "days", given.get("days", "365"), MOST_DAYS)
    every = _number(name, "every", given.get("every", "10"), 86_400)
    prefix, region = unquote(parts.path), given.get("region", "")
    return lambda: S3Sink(
        name, bucket, prefix, endpoint=endpoint, region=region, mode=mode, days=days, every=float(every)
    )


def _number(name: str, word: str, text: str, most: int) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,6}", text, re.ASCII) or int(text) > most:
        raise _wrong(name, f"{word} is a whole number from 1 to {most}")
    return int(text)


def _wrong(name: str, what: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"IMPRIMATUR_SINKS: {name[:80]}: {what}")
