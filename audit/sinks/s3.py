"""A sink in an S3 bucket with Object Lock: the log as C2SP tlog-tiles below a prefix, each object under retention.

`tile/…` are the files as published, `checkpoints/<size>` every checkpoint that was sent, `checkpoint` the newest. All
but the last are put once and never again; every version, of that one too, stays until its retention ends. So a bucket
is a log that `log_recover`, a mirror and a verifier can read.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from audit import wire
from audit.sinks.sink import Differs, Piece, Shown, SinkError
from audit.sinks.tree import CHECKPOINT, Published
from imprimatur.formats import checkpoint, note, tiles

CONNECT_WITHIN, ANSWER_WITHIN = 5, 15  # seconds
OBJECT_WITHIN = 60.0  # seconds for one whole object
MOST_BYTES = tiles.WIDTH * (tiles.MAX_ENTRY_SIZE + 2)
NEEDED = (
    "the key needs s3:PutObject, s3:GetObject, s3:ListBucket, s3:PutObjectRetention, s3:GetObjectRetention and "
    "s3:GetBucketObjectLockConfiguration"
)


class _AwayError(Exception):
    """There is no such object."""


class _RefusedError(Exception):
    """The bucket refused, with this status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class S3Sink(Shown):
    """Puts objects with retention. What counts as taken was answered, with the checksum that we computed."""

    def __init__(
        self,
        name: str,
        bucket: str,
        prefix: str,
        *,
        endpoint: str = "",
        region: str = "",
        mode: str = "COMPLIANCE",
        days: int = 365,
        every: float = 10.0,
    ) -> None:
        super().__init__(name, f"s3://{bucket}/{prefix}" + (f" at {endpoint}" if endpoint else ""))
        self.every = every
        self._bucket, self._prefix = bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._endpoint, self._region, self._mode, self._days = endpoint, region, mode, days
        self._known_client: Any = None
        self._conditional = True  # whether it knows If-None-Match
        self._checked = False  # whether the bucket has Object Lock
        self._lock_seen = False  # whether what was put is really locked
        self._sealed = 0

    def where(self, log: Published, known: int) -> int:
        self._check_bucket()
        self._sealed = size = self._size(log)
        while size < log.size:
            # What was put after the newest checkpoint: an entry bundle comes after the tiles it needs.
            full = size // tiles.WIDTH
            if (full + 1) * tiles.WIDTH > log.size or self._head(tiles.entries_path(full)) is None:
                break
            size = (full + 1) * tiles.WIDTH
        return size

    def take(self, log: Published, start: int, end: int) -> int:
        grown = [tiles.tile_path(level, index) for level, index, width in tiles.tiles_for(start, end) if width == 256]
        bundles = [tiles.entries_path(index) for index, width in tiles.bundles_for(start, end) if width == tiles.WIDTH]
        if end == log.size:
            for level in range(tiles.HEIGHT):
                index, width = divmod(log.size >> (tiles.HEIGHT * level), tiles.WIDTH)
                if width:
                    grown.append(tiles.tile_path(level, index, width))
            index, width = divmod(log.size, tiles.WIDTH)
            if width:
                bundles.append(tiles.entries_path(index, width))
        log.entries(start, end)  # looked at before it is sent: it may be damaged here
        for path in [*grown, *bundles]:
            self._put_once(path, log.file(path))
        return end

    def seal(self, log: Published) -> None:
        if self._sealed >= log.size:
            return
        raw = log.signed.encode("utf-8")
        self._put_once(f"checkpoints/{log.size}", raw)
        if self._size(log) < log.size:  # another process may have been faster
            try:
                self._put(CHECKPOINT, raw, once=False)
            except _RefusedError as error:
                raise SinkError(f"did not take the newest checkpoint ({error})") from error
        self._sealed = log.size

    def read(self, log: Published, start: int) -> Iterator[Piece]:
        self._check_bucket()
        signed, told = self._signed(), self._size(log)
        exact = (
            told <= log.size
        )  # else another process shipped more by now: the partial tiles of our size are not there
        size = told if exact else log.size // tiles.WIDTH * tiles.WIDTH
        for level, index, width in tiles.tiles_for(start, max(start, size)):
            path = tiles.tile_path(level, index, width)
            if level > 0 and (exact or width == tiles.WIDTH) and self._shown(path) != log.file(path):
                raise Differs(f"{path} is another one")
        for index in range(start // tiles.WIDTH, -(-size // tiles.WIDTH)):
            width = min(tiles.WIDTH, size - index * tiles.WIDTH)
            hashes = b"".join(log.leaves(index)[:width])
            if self._shown(tiles.tile_path(0, index, width)) != hashes:
                raise Differs(f"{tiles.tile_path(0, index, width)} is another one")
            try:
                entries = tiles.bundle_decode(self._shown(tiles.entries_path(index, width)))
            except tiles.TileError as error:
                raise Differs(f"{tiles.entries_path(index, width)}: {error}") from error
            if len(entries) != width:
                raise Differs(f"{tiles.entries_path(index, width)} holds {len(entries)} entries")
            yield Piece(entries[max(0, start - index * tiles.WIDTH) :])
        if signed and exact:
            yield Piece([], signed)

    # --- objects ----------------------------------------------------------------------------------------------------

    def _size(self, log: Published) -> int:
        """The size of the newest checkpoint in the bucket; 0 without one. Raises Differs for one that is not ours."""
        signed = self._signed()
        if not signed:
            return 0
        size = self._parsed(signed).size
        if size <= log.size and not log.is_own(signed):
            raise Differs(f"its checkpoint over {size} entries is not of this log")
        return size

    def _signed(self) -> str:
        try:
            return self._get(CHECKPOINT).decode("utf-8")
        except _AwayError:
            return ""
        except UnicodeDecodeError as error:
            raise Differs("its checkpoint cannot be read") from error

    def _parsed(self, signed: str) -> checkpoint.Checkpoint:
        try:
            return checkpoint.parse(note.parse_note(signed)[0])
        except ValueError as error:
            raise Differs(f"its checkpoint cannot be read ({error})") from error

    def _shown(self, path: str) -> bytes:
        try:
            return self._get(path)
        except _AwayError as error:
            raise Differs(f"{path} is not there any more") from error

    def _put_once(self, path: str, raw: bytes) -> None:
        if not self._conditional and (found := self._head(path)) is not None:
            self._check_same(path, raw, found)
            return
        try:
            self._put(path, raw, once=self._conditional)
        except _RefusedError as error:
            if error.status == 412:
                self._check_same(path, raw, self._head(path) or {})
            elif error.status == 501 and self._conditional:
                self._conditional = False  # it does not know the condition: look first, then put
                self._put_once(path, raw)
            else:
                raise SinkError(f"did not take {path} ({error})") from error

    def _put(self, path: str, raw: bytes, *, once: bool) -> None:
        until = datetime.now(UTC) + timedelta(days=self._days)
        self._call(
            "put_object",
            Key=self._prefix + path,
            Body=raw,
            ChecksumAlgorithm="SHA256",
            ChecksumSHA256=_checksum(raw),
            ObjectLockMode=self._mode,
            ObjectLockRetainUntilDate=until,
            **({"IfNoneMatch": "*"} if once else {}),
        )
        if not self._lock_seen:
            found = self._head(path) or {}
            kept = found.get("ObjectLockRetainUntilDate")
            if found.get("ObjectLockMode") != self._mode or kept is None or kept < until - timedelta(days=1):
                raise SinkError(f"took {path} and does not say that it is locked for {self._days} days: {NEEDED}")
            self._lock_seen = True

    def _check_same(self, path: str, raw: bytes, found: dict[str, Any]) -> None:
        """It has this object already: fine if it is the same. Raises Differs otherwise."""
        told = found.get("ChecksumSHA256")
        if told != _checksum(raw) if told else self._shown(path) != raw:
            raise Differs(f"{path} is another one")

    def _head(self, path: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._call("head_object", Key=self._prefix + path, ChecksumMode="ENABLED")
        except _AwayError:
            return None
        except _RefusedError as error:
            raise SinkError(f"does not say whether it has {path} ({error})") from error
        return found

    def _get(self, path: str) -> bytes:
        """One object, bounded in size and time."""
        try:
            stream = self._call("get_object", Key=self._prefix + path)["Body"]
        except _RefusedError as error:
            raise SinkError(f"does not show {path} ({error})") from error
        parts, size, until = [], 0, time.monotonic() + OBJECT_WITHIN
        try:
            while part := stream.read(1 << 16):
                parts.append(part)
                size += len(part)
                if size > MOST_BYTES or time.monotonic() > until:
                    raise SinkError(f"shows {path} too slowly, or too much of it")
        except SinkError:
            raise
        except Exception as error:  # urllib3's own errors come through here, and botocore's
            raise SinkError(f"does not show {path} to its end ({type(error).__name__})") from error
        finally:
            stream.close()
        return b"".join(parts)

    def _check_bucket(self) -> None:
        """Refuse a bucket that could let go of what it was given."""
        if self._checked:
            return
        try:
            found = self._call("get_object_lock_configuration")["ObjectLockConfiguration"]
        except (_AwayError, _RefusedError) as error:
            raise SinkError(f"is not known to have Object Lock ({error}). {_REMEDY}") from error
        if found.get("ObjectLockEnabled") != "Enabled":
            raise SinkError(f"has no Object Lock. {_REMEDY}")
        self._checked = True

    def _call(self, operation: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            if self._known_client is None:
                self._known_client = self._client()
            return getattr(self._known_client, operation)(Bucket=self._bucket, **arguments)
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = wire.words(str(error.response.get("Error", {}).get("Code", "")))
            if code in ("NoSuchKey", "404", "NotFound", "ObjectLockConfigurationNotFoundError"):
                raise _AwayError(code) from error
            if status == 403:
                raise SinkError(f"refuses {operation}: {NEEDED}") from error
            raise _RefusedError(status, f"{status} {code}") from error
        except BotoCoreError as error:
            raise SinkError(f"does not answer ({type(error).__name__}: {error})"[:300]) from error

    def _client(self) -> Any:
        # A session of its own: boto3's default one is not meant for several threads.
        import boto3
        from botocore.config import Config

        return boto3.session.Session().client(
            "s3",
            endpoint_url=self._endpoint or None,
            region_name=self._region or None,
            config=Config(
                connect_timeout=CONNECT_WITHIN,
                read_timeout=ANSWER_WITHIN,
                retries={"total_max_attempts": 2, "mode": "standard"},
            ),
        )


_REMEDY = "Object Lock is switched on when a bucket is made: make one with it, and name that one in IMPRIMATUR_SINKS"


def _checksum(raw: bytes) -> str:
    return base64.b64encode(hashlib.sha256(raw).digest()).decode("ascii")


__all__ = ["S3Sink"]
