"""A service's conversation with the server: sign, write down, send in order, check the answer, and catch up after an
outage.

Invariants: nothing is sent that is not in the ledger, and nothing in the ledger is left out or sent out of order. When
the server has statements that are not in the ledger, or another tree, everything stops: either somebody else signs with
this key, or the server lies, and to go on would cover it up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx2

from imprimatur.client import answers as replies
from imprimatur.client.config import Config, check_origin
from imprimatur.client.held import Held
from imprimatur.client.wire import RETRIES, Answer, Flow, Wire
from imprimatur.errors import ConfigError, ImprimaturError, ServerError
from imprimatur.formats import attestation
from imprimatur.formats.timestamps import format_time
from imprimatur.formats.trust import Trust
from imprimatur.service import answers
from imprimatur.service.carrier import Carrier
from imprimatur.service.folder import Folder
from imprimatur.service.ledger import Ledger

AT_ONCE = 20
"""Observations in one request."""

_PATHS = {
    attestation.LAUNCH: ("/launches", ("launch.attested", "launch.refused")),
    attestation.OBSERVATION: ("/observations", ("observation.recorded",)),
    attestation.CANARY: ("/canaries", ("canary.reported",)),
}


class ForkError(ImprimaturError):
    """The server's tree of this service's statements is not this service's. The message says what to do."""


class StatementRefused(ImprimaturError):
    """The server will not have a statement that is in the ledger, so nothing after it can be sent either."""


@dataclass(frozen=True, slots=True)
class Told:
    """A statement that is in the server's log: its envelope, the checked entry, and the answer's row about it."""

    envelope: bytes
    entry: Mapping[str, Any]
    row: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The kind of the entry."""
        return str(self.entry["kind"])

    @property
    def body(self) -> Mapping[str, Any]:
        """The body of the entry."""
        found: Mapping[str, Any] = self.entry["body"]
        return found


class Service:
    """One service at one server. Close it at the end."""

    def __init__(
        self,
        folder: Folder,
        url: str,
        trust: Trust,
        *,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.time,
        retries: int = RETRIES,
        program: str = "imprimatur-service",
    ) -> None:
        """Raises ConfigError when the folder is another realm's, or the pin names no decision key."""
        if not trust.decision:
            raise ConfigError("The trust file names no decision key, so no answer could be checked. Get a new one.")
        if folder.realm != trust.realm:
            raise ConfigError(f"{folder.path} does not belong to the realm {trust.realm}.")
        self.folder = folder
        self.trust = trust
        config = Config(check_origin(url), folder.key, folder.service, trust)
        self.wire = Wire(config, Held(trust.realm), clock=clock, agent_name=program)
        self._carrier = Carrier(config.origin, transport, sleep)
        self._retries = retries

    def close(self) -> None:
        """Close the connections."""
        self._carrier.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def now(self) -> datetime:
        """The time, corrected by what the server told us."""
        return self.wire.now()

    @contextmanager
    def speaking(self) -> Iterator[Voice]:
        """Hold the folder, catch up with the server, and sign. Raises FolderBusy, LedgerError, ForkError, APIError."""
        with self.folder.locked():
            voice = self.voice()
            voice.catch_up()
            yield voice

    def voice(self) -> Voice:
        """A voice for who holds the folder already, and catches up when it can. Raises LedgerError."""
        return Voice(self, Ledger(self.folder))

    def get(self, path: str) -> dict[str, Any]:
        """A signed GET of a document. Raises APIError."""
        return replies.items(self._carrier.run(self.wire.get(path)))

    def post(self, path: str, document: Mapping[str, Any]) -> Answer:
        """A signed POST. Raises ServerError when nobody answers."""
        return self._carrier.run(self._flow(path, document))

    def _flow(self, path: str, document: Mapping[str, Any]) -> Flow[Answer]:
        return (yield from self.wire.post(path, document, retries=self._retries))


class Voice:
    """A service that speaks: it holds the folder. ``ledger`` is what it signed; ``sent`` how much the server has."""

    def __init__(self, service: Service, ledger: Ledger) -> None:
        self.service = service
        self.ledger = ledger
        self.sent = 0

    def catch_up(self) -> list[Told]:
        """Compare with what the server has, and send again what it does not. Returns what was sent.

        Raises ForkError, StatementRefused, APIError.
        """
        about = self.service.get("/service")
        folder = self.service.folder
        expected = {"service": folder.service, "role": folder.role, "realm": self.service.trust.realm}
        for name, value in expected.items():
            if about.get(name) != value:
                raise ServerError(
                    f"The server says that the {name} of this key is {about.get(name)!r}, and here it is {value!r}. "
                    "Have an admin compare what is registered with what `imprimatur service keygen` printed.",
                    code="unknown-answer",
                )
        self._compare(about.get("own"))
        return self.send()

    def say(self, predicate_type: str, subjects: Mapping[str, str], predicate: Mapping[str, Any]) -> bytes:
        """Sign a statement and write it down; `send` sends it. ``realm service own at`` are added here."""
        folder = self.service.folder

        def make(own: Mapping[str, Any]) -> bytes:
            signed_by = {"realm": self.service.trust.realm, "service": folder.service, "own": dict(own)}
            at = {"at": format_time(self.service.now())}
            return attestation.seal(predicate_type, subjects, {**at, **predicate, **signed_by}, folder.key)

        return self.ledger.append(make)

    def send(self) -> list[Told]:
        """Send everything that the server does not have, in order. Raises ForkError, StatementRefused, APIError."""
        told: list[Told] = []
        compared = False
        while self.sent < self.ledger.size:
            batch = self._batch()
            answer = self._post(batch)
            if answer.status == 409 and answer.code == "wrong-state" and not compared:
                # The answer to an earlier request was lost, perhaps: what the server has decides.
                compared = True
                self._compare(self.service.get("/service").get("own"))
                continue
            told += self._told(batch, answer)
            self.sent += len(batch)
        return told

    def _batch(self) -> list[bytes]:
        envelopes = self.ledger.envelopes(self.sent, self.sent + AT_ONCE)
        kinds = [attestation.open_statement(envelope).predicate_type for envelope in envelopes]
        if kinds[0] != attestation.OBSERVATION:
            return envelopes[:1]
        return envelopes[: next((place for place, kind in enumerate(kinds) if kind != kinds[0]), len(kinds))]

    def _post(self, batch: Sequence[bytes]) -> Answer:
        path, _ = _PATHS[attestation.open_statement(batch[0]).predicate_type]
        texts = [envelope.decode("utf-8") for envelope in batch]
        return self.service.post(path, {"statements": texts} if path == "/observations" else {"statement": texts[0]})

    def _told(self, batch: Sequence[bytes], answer: Answer) -> list[Told]:
        found = answer.document()
        refused = answer.status == 403 and answer.code == "launch-refused"
        if answer.status not in (200, 201) and not refused:
            problem = replies.failure(answer)
            if answer.status in (409, 413, 422):
                raise StatementRefused(
                    f"The server does not take statement {self.sent} of this service: {problem} Nothing after it can "
                    "be sent. Tell an admin; a new service with a new folder can go on."
                )
            raise problem
        _, kinds = _PATHS[attestation.open_statement(batch[0]).predicate_type]
        if len(kinds) > 1:
            kinds = kinds[1:] if refused else kinds[:1]
        rows = found.get("observations") if "observation.recorded" in kinds else [found]
        if not isinstance(rows, list) or len(rows) != len(batch) or not all(isinstance(row, dict) for row in rows):
            raise ServerError("The server answered about other statements than those sent.", code="unknown-answer")
        told = []
        for envelope, row in zip(batch, rows, strict=True):
            entry = answers.statement_entry(
                row, envelope, service=self.service.folder.service, trust=self.service.trust, kinds=kinds
            )
            told.append(Told(envelope, entry, row))
        if found.get("own") != self.ledger.head_at(self.sent + len(batch)):
            raise ForkError(_FORK.format(f"after that it names the tree {found.get('own')}"))
        return told

    def _compare(self, own: Any) -> None:
        """Hold what the server has of this service against the ledger."""
        size = own.get("size") if isinstance(own, dict) else None
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise ServerError("The server does not say what it has of this service.", code="unknown-answer")
        if size > self.ledger.size:
            here = f"only {self.ledger.size} are in {self.service.folder.statements}"
            raise ForkError(_FORK.format(f"it has {size} statements of this service, and {here}"))
        if own != self.ledger.head_at(size):
            raise ForkError(_FORK.format(f"the first {size} statements there are not the first {size} here"))
        self.sent = size


_FORK = (
    "STOPPED. The server's record of this service is not this folder's: {}. Either somebody else signs with this key, "
    "or an older copy of the folder was put back, or the server lies. Have an admin retire this service now, find out "
    "which it was, and make a new one."
)
