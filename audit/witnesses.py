"""Witnesses: others who see every checkpoint and cosign it if it continues the last one they saw (C2SP tlog-witness).

Each witness is asked by a thread of its own, which touches the network and the published tiles and nothing else. What
it brings back is kept and shown by the publisher, in its own rounds. So a witness that hangs, lies or is gone holds up
neither the log nor another witness. Which witnesses there are, where, and how many must have cosigned is a file
(`IMPRIMATUR_WITNESSES`, C2SP tlog-policy).
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from audit import wire
from audit.errors import NotPublished
from audit.follower import FIRST_PAUSE, LONGEST_PAUSE, Follower, end_all
from audit.log import utc_now
from audit.models import Checkpoint, Cosignature, WitnessState
from imprimatur.formats import cosignature, note, tiles, tlog_policy
from imprimatur.formats.encoding import b64
from imprimatur.formats.merkle import MAX_TREE_SIZE

logger = logging.getLogger(__name__)

MOST_SKEW = 300  # seconds by which a witness's clock may differ from ours
LAG_ALARM = timedelta(minutes=5)
TRIES = 2  # a 409 says which size to start from: ask once more

_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})\n", re.ASCII)
_LOOKED_BACK = 2_000  # cosignatures that are read to find the newest quorum


class WitnessError(Exception):
    """A witness did not cosign. The message says what it did instead."""


# --- which ones -----------------------------------------------------------------------------------------------------


def policy() -> tlog_policy.Policy:
    """The policy of this installation; without one, nobody is asked and nothing is required.

    Raises ImproperlyConfigured when the file cannot be read or used.
    """
    return _policy(settings.WITNESSES) if settings.WITNESSES else tlog_policy.Policy()


@cache
def _policy(path: str) -> tlog_policy.Policy:
    try:
        found = tlog_policy.parse(Path(path).read_bytes())
    except OSError as error:
        raise ImproperlyConfigured(f"IMPRIMATUR_WITNESSES: {path} cannot be read: {error.strerror}") from error
    except tlog_policy.PolicyError as error:
        raise ImproperlyConfigured(f"IMPRIMATUR_WITNESSES: {path}: {error}") from error
    for witness in found.witnesses:
        parts = urlsplit(witness.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ImproperlyConfigured(
                f"IMPRIMATUR_WITNESSES: {path}: witness {witness.name} needs the address it listens at, behind its key"
            )
    return found


def published_policy(*log_keys: note.Vkey) -> tlog_policy.Policy:
    """The policy for whoever verifies this log: our log's keys, the witnesses without their addresses, the quorum."""
    own = policy()
    known = tuple(replace(witness, url="") for witness in own.witnesses)
    return tlog_policy.Policy(tuple(map(tlog_policy.Log, log_keys)), known, own.groups, own.quorum)


def anchor() -> dict[str, Any]:
    """The witnesses for ``trust.json``; nothing without any, and nothing for a quorum it has no words for (groups)."""
    own = policy()
    quorum = own.flat()
    if quorum is None:
        return {}
    return {"witness": {"keys": [witness.vkey.format() for witness in own.witnesses], "quorum": quorum}}


# --- what they said -------------------------------------------------------------------------------------------------


def cosigned(checkpoint: Checkpoint) -> str:
    """The signed checkpoint with the cosignatures it has so far, in the order of the policy."""
    return attached(checkpoint.note, checkpoint.size)


def attached(signed: str, size: int) -> str:
    """The same for a note that is not yet kept."""
    lines = dict(Cosignature.objects.filter(size=size).values_list("witness", "line"))
    return cosignature.attach(signed, [lines[vkey] for vkey in _order() if vkey in lines])


def is_shown(checkpoint: Checkpoint, shown: str) -> bool:
    """Whether this text is the checkpoint as it was signed, and below it nothing but cosignatures that hold."""
    below = shown.removeprefix(checkpoint.note)
    if not below or not shown.startswith(checkpoint.note):
        return shown == checkpoint.note
    # Whoever cosigned it once may have left the policy since.
    former = Cosignature.objects.filter(size=checkpoint.size).values_list("witness", flat=True)
    keys = [witness.vkey for witness in policy().witnesses] + [note.Vkey.parse(vkey) for vkey in former]
    try:
        found = cosignature.accept(shown.partition("\n\n")[0] + "\n", below, keys)
    except cosignature.CosignatureError:
        return False
    return len(found) == below.count("\n")


def newest_cosigned() -> int:
    """The size of the newest checkpoint that the quorum cosigned; 0 when there is none."""
    own = policy()
    by_size: dict[int, list[note.Vkey]] = defaultdict(list)
    known = {witness.vkey.format(): witness.vkey for witness in own.witnesses}
    rows = Cosignature.objects.order_by("-size").values_list("size", "witness")[:_LOOKED_BACK]
    for size, vkey in rows:
        if vkey in known:
            by_size[size].append(known[vkey])
    return next((size for size, keys in sorted(by_size.items(), reverse=True) if own.satisfied_by(keys)), 0)


def await_quorum(seconds: float, pause: Callable[[float], object] = time.sleep) -> Checkpoint:
    """The newest checkpoint, after giving the witnesses this long to cosign it or a later one.

    When they do not, it is the newest all the same: what it lacks shows. Raises NotPublished before the first.
    """
    wanted = _newest()
    if policy().quorum == tlog_policy.NONE:
        return wanted
    until = time.monotonic() + seconds
    while (size := newest_cosigned()) < wanted.size:
        if time.monotonic() >= until:
            return _newest()
        pause(0.2)
    return Checkpoint.objects.get(size=size)


def _newest() -> Checkpoint:
    found = Checkpoint.objects.order_by("-size").first()
    if found is None:
        raise NotPublished("no checkpoint is published yet")
    return found


@dataclass(frozen=True)
class Standing:
    """How one witness is: the newest size it cosigned and when, and what keeps it from more, since when."""

    name: str
    size: int
    cosigned_at: datetime | None
    error: str
    failing_since: datetime | None


@dataclass(frozen=True)
class Quorum:
    """How the witnesses are together. `size` is the newest checkpoint with a quorum; `waits` how long a newer one has
    been without; `alarm` whether that is too long."""

    witnesses: list[Standing]
    size: int
    waits: timedelta
    alarm: bool


def standing() -> Quorum | None:
    """How the witnesses are, as the publisher last noted it; None when nobody is asked."""
    own = policy()
    if not own.witnesses:
        return None
    rows = {row.witness: row for row in WitnessState.objects.all()}
    found = [_standing(witness.name, rows.get(witness.vkey.format())) for witness in own.witnesses]
    size = newest_cosigned()
    waits = timedelta()
    if own.quorum != tlog_policy.NONE:
        oldest = Checkpoint.objects.filter(size__gt=size).order_by("size").first()
        waits = max(utc_now() - oldest.published_at, timedelta()) if oldest else timedelta()
    return Quorum(found, size, waits, waits > LAG_ALARM)


def _standing(name: str, row: WitnessState | None) -> Standing:
    if row is None:
        return Standing(name, 0, None, "not asked yet", None)
    return Standing(name, row.size, row.cosigned_at, row.error, row.failing_since)


def _order() -> Iterable[str]:
    return (witness.vkey.format() for witness in policy().witnesses)


# --- asking ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Offer:
    """A published checkpoint: its tree, and the note as the log signed it."""

    size: int
    root: bytes
    signed: str

    @property
    def text(self) -> str:
        """The three lines that are cosigned."""
        return self.signed.partition("\n\n")[0] + "\n"


@dataclass(frozen=True)
class Said:
    """What came of asking: a cosignature for `size`, or an error."""

    witness: tlog_policy.Witness
    size: int
    found: cosignature.Cosignature | None
    error: str = ""


class Asker(Follower[Offer]):
    """Asks one witness about the newest checkpoint, for as long as it takes, more seldom while it fails."""

    def __init__(
        self, witness: tlog_policy.Witness, tell: Callable[[Said], None], read_tile: tiles.TileGetter, known: int
    ) -> None:
        super().__init__(f"witness {witness.name}")
        self.witness = witness
        self._tell = tell
        self._read_tile = read_tile
        self._known = known  # the size that the witness has, as far as we know

    def run(self) -> None:
        done, pause = -1, FIRST_PAUSE
        while True:
            with self._changed:
                while not self._ending and (self._offer is None or self._offer.size == done):
                    self._changed.wait()
                if self._ending:
                    return
                offer = self._offer
            assert offer is not None
            try:
                found = self.ask(offer)
            except WitnessError as error:
                self._tell(Said(self.witness, offer.size, None, str(error)))
                self._rest(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except Exception as error:
                # Whatever a hostile answer or a damaged file makes of us, this witness is asked again, later.
                logger.exception("asking the witness %s failed", self.witness.name)
                self._tell(Said(self.witness, offer.size, None, f"{type(error).__name__}: see the server's log"))
                self._rest(LONGEST_PAUSE)
            else:
                self._tell(Said(self.witness, offer.size, found))
                done, pause = offer.size, FIRST_PAUSE

    def ask(self, offer: Offer) -> cosignature.Cosignature:
        """Ask for one cosignature, and believe it only after checking it. Raises WitnessError."""
        old = min(self._known, offer.size)
        for _ in range(TRIES):
            status, kind, body = self._post(offer, old)
            if status == 200:
                found = self._accept(offer, body)
                self._known = offer.size
                return found
            if status != 409:
                raise WitnessError(_refusal(status, body))
            told = _SIZE.fullmatch(body)
            if kind != wire.SIZE_TYPE or told is None or int(told[1]) > MAX_TREE_SIZE:
                raise WitnessError("answered 409 without saying which size it has")
            size = int(told[1])
            if size > offer.size:
                raise WitnessError(f"has cosigned {size} entries of this log, more than the {offer.size} we published")
            if size == old == offer.size:
                raise WitnessError(f"has cosigned another tree of {size} entries: one of two histories is a fork")
            self._known = old = size
        raise WitnessError("names another size each time it is asked")

    def _post(self, offer: Offer, old: int) -> tuple[int, str, str]:
        proof: list[bytes] = []
        if 0 < old < offer.size:
            proof = tiles.HashReader(self._read_tile, offer.size).consistency_proof(old, offer.size)
        body = "\n".join([f"old {old}", *map(b64, proof), "", offer.signed]).encode("utf-8")
        try:
            return wire.post(f"{self.witness.url.rstrip('/')}/add-checkpoint", body)
        except OSError as error:
            raise WitnessError(f"does not answer ({error})") from error

    def _accept(self, offer: Offer, body: str) -> cosignature.Cosignature:
        try:
            found = cosignature.verify(offer.text, body, self.witness.vkey)
        except cosignature.CosignatureError as error:
            raise WitnessError(
                f"answered with something else than its cosignature ({wire.words(str(error))})"
            ) from error
        if abs(found.time - time.time()) > MOST_SKEW:
            raise WitnessError(f"states a time that is {abs(found.time - int(time.time()))} s away from ours")
        return found


def _refusal(status: int, body: str) -> str:
    said = wire.words(body)
    known = {
        400: "finds the request malformed",
        403: "does not accept this log's signature",
        404: "does not know this log",
        422: "finds that this does not continue what it saw: one of two histories is a fork",
        503: "cannot cosign now",
    }
    return f"{known.get(status, 'answered something unexpected')} ({status}{f': {said}' if said else ''})"


class Client:
    """All askers, and what they brought back until the publisher takes it."""

    def __init__(self, read_tile: tiles.TileGetter, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._said: list[Said] = []
        states = dict(WitnessState.objects.values_list("witness", "size"))
        self._askers = [
            Asker(witness, self._hear, read_tile, states.get(witness.vkey.format(), 0))
            for witness in policy().witnesses
        ]

    def start(self) -> None:
        """Start asking."""
        for asker in self._askers:
            asker.start()

    def stop(self) -> None:
        """Stop asking. A request that hangs is left to end by itself."""
        end_all(self._askers)

    def offer(self, size: int, root: bytes, signed: str) -> None:
        """This checkpoint is published: ask about it. Returns at once."""
        for asker in self._askers:
            asker.offer(Offer(size, root, signed))

    @contextmanager
    def taken(self) -> Iterator[list[Said]]:
        """What was brought back since; forgotten only when the block ends well."""
        with self._lock:
            found = list(self._said)
        yield found
        with self._lock:
            self._said = [said for said in self._said if said not in found]

    def _hear(self, said: Said) -> None:
        with self._lock:
            # Of a witness that fails again and again the last word is enough.
            self._said = [other for other in self._said if other.found or other.witness != said.witness]
            self._said.append(said)
        if said.found is not None:
            self._wake()


def keep(found: Iterable[Said]) -> None:
    """Store what the witnesses said: cosignatures for good, states as they are now. For the publisher alone.

    The first cosignature of a witness for a checkpoint is never replaced.
    """
    now = utc_now()
    for said in found:
        vkey = said.witness.vkey.format()
        row = WitnessState.objects.filter(pk=vkey).first() or WitnessState(witness=vkey)
        if said.found is None:
            if row.failing_since is None:
                logger.warning("the witness %s %s", said.witness.name, said.error)
            row.failing_since, row.error = row.failing_since or now, said.error[:500]
        else:
            at = datetime.fromtimestamp(said.found.time, UTC)
            Cosignature.objects.get_or_create(
                size=said.size, witness=vkey, defaults={"line": said.found.line, "time": at}
            )
            row.size, row.cosigned_at, row.failing_since, row.error = max(row.size, said.size), at, None, ""
        row.save()


__all__ = [
    "Client",
    "Quorum",
    "Standing",
    "anchor",
    "attached",
    "await_quorum",
    "cosigned",
    "keep",
    "newest_cosigned",
    "policy",
    "published_policy",
    "standing",
]
