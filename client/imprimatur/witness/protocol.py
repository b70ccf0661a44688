"""What a witness answers to `add-checkpoint` (C2SP tlog-witness), without the HTTP around it.

    old <size>
    <at most 63 base64 hashes: the consistency proof from that size>
    <empty line>
    <signed checkpoint>

Invariant: every checkpoint that is cosigned continues the one that was cosigned before it, across threads, processes
and restarts. Checking and storing is one transaction, and it is on the disk before the cosignature exists.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from imprimatur.formats import merkle, note
from imprimatur.formats.checkpoint import Checkpoint, CheckpointError, open_checkpoint, parse
from imprimatur.formats.cosignature import Cosigner
from imprimatur.formats.encoding import b64, un_b64
from imprimatur.witness.state import Seen, State, StateError

MAX_PROOF = 63
MAX_BODY = 64 * 1024  # the longest proof and a checkpoint with a hundred cosignatures are far below

PLAIN, SIZE = "text/plain; charset=utf-8", "text/x.tlog.size"

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})", re.ASCII)

Keep = Callable[[Checkpoint, str], None]
"""Keeps the entries under a signed checkpoint, before it is cosigned. Raises NotKept."""


class NotKept(Exception):
    """The entries could not be kept. `wrong` when they are there and do not give the checkpoint's root."""

    def __init__(self, said: str, *, wrong: bool = False) -> None:
        super().__init__(said)
        self.wrong = wrong


class RequestError(ValueError):
    """The request is malformed."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request, parsed and not yet believed: `signed` is the checkpoint's note as it was sent."""

    old: int
    proof: tuple[bytes, ...]
    signed: str

    def encode(self) -> bytes:
        """The body of the request."""
        lines = [f"old {self.old}", *map(b64, self.proof), "", ""]
        return ("\n".join(lines) + self.signed).encode("utf-8")


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body and content type of an answer."""

    status: int
    body: str
    content_type: str = PLAIN


def parse_request(body: bytes) -> Request:
    """Read the body of a request. Raises RequestError."""
    if len(body) > MAX_BODY:
        raise RequestError(f"a request has at most {MAX_BODY} bytes")
    try:
        head, empty, signed = body.decode("utf-8").partition("\n\n")
    except UnicodeDecodeError:
        raise RequestError("a request is UTF-8") from None
    first, *lines = head.split("\n")
    old = _OLD.fullmatch(first)
    if not empty or old is None or int(old[1]) > merkle.MAX_TREE_SIZE:
        raise RequestError("a request is a line `old <size>`, the proof, an empty line, and a checkpoint")
    if len(lines) > MAX_PROOF:
        raise RequestError(f"a proof has at most {MAX_PROOF} hashes")
    try:
        proof = tuple(un_b64(line) for line in lines)
    except ValueError as error:
        raise RequestError(f"a hash of the proof is {error}") from None
    if any(len(item) != merkle.HASH_SIZE for item in proof):
        raise RequestError("a hash of the proof is not 32 bytes long")
    return Request(int(old[1]), proof, signed)


class Witness:
    """Answers requests. `at_step` is called with the name of each step once it is done; tests stop there."""

    def __init__(
        self,
        cosigner: Cosigner,
        state: State,
        logs: Iterable[note.Vkey],
        *,
        keep: Keep | None = None,
        clock: Callable[[], float] = time.time,
        at_step: Callable[[str], object] = lambda step: None,
    ) -> None:
        """A witness of these logs, each named by its origin. Raises NoteError for a key that is no log's."""
        self._cosigner = cosigner
        self._state = state
        self._logs: dict[str, list[note.Vkey]] = {}
        for vkey in logs:
            if vkey.algorithm != note.ED25519 or vkey.public_key == cosigner.vkey.public_key:
                raise note.NoteError(f"{vkey} is not the key of another's log")
            self._logs.setdefault(vkey.name, []).append(vkey)
        self._keep = keep
        self._clock = clock
        self._at_step = at_step

    def add_checkpoint(self, body: bytes) -> Answer:
        """The answer to one request. Raises StateError when nothing can be remembered: then nothing was cosigned."""
        try:
            request = parse_request(body)
            claimed = parse(request.signed.rpartition("\n\n")[0] + "\n")
        except (RequestError, CheckpointError) as error:
            return Answer(400, f"{error}\n")
        keys = self._logs.get(claimed.origin)
        if keys is None:
            return Answer(404, "unknown log\n")
        try:
            checkpoint, _ = open_checkpoint(request.signed, keys, origin=claimed.origin)
        except (note.NoteError, CheckpointError):
            # Signature lines that cannot be read at all are no valid signature either.
            return Answer(403, "invalid signature\n")
        if request.old > checkpoint.size:
            return Answer(400, "the old size is larger than the checkpoint's\n")
        self._at_step("opened")
        if self._keep is not None:
            # Copying entries takes long, and is not begun for a request that is refused anyway.
            refused = _check(self._state.seen(checkpoint.origin), request, checkpoint)
            if refused is not None:
                return refused
            try:
                self._keep(checkpoint, request.signed)
            except NotKept as error:
                return Answer(422 if error.wrong else 503, f"{error}\n")
            self._at_step("kept")
        with self._state.changing() as change:
            seen = change.seen(checkpoint.origin)
            refused = _check(seen, request, checkpoint)
            if refused is not None:
                return refused
            self._at_step("checked")
            # A clock that was set back must not make an older statement out of a newer one.
            now = max(int(self._clock()), seen.time if seen else 0)
            change.remember(checkpoint.origin, Seen(checkpoint.size, checkpoint.root, now, request.signed))
            self._at_step("written")
        self._at_step("stored")
        return Answer(200, self._cosigner.cosign(checkpoint.text(), now))


def _check(seen: Seen | None, request: Request, checkpoint: Checkpoint) -> Answer | None:
    """Why a checkpoint does not continue what was seen; None when it does."""
    size = seen.size if seen else 0
    if request.old != size:
        return Answer(409, f"{size}\n", SIZE)
    if seen is not None and checkpoint.size == size and checkpoint.root != seen.root:
        return Answer(409, f"{size}\n", SIZE)
    if size == 0:
        proven = not request.proof
    else:
        assert seen is not None
        proven = merkle.verify_consistency(size, checkpoint.size, seen.root, checkpoint.root, request.proof)
    return None if proven else Answer(422, "the consistency proof does not hold\n")


__all__ = ["Answer", "Keep", "NotKept", "Request", "RequestError", "StateError", "Witness", "parse_request"]
