"""The rows of what runs, held against the log: services, launches, refusals, observations and canary runs.

Each entry is compared with its row as it comes by; services and the launches that have not ended are compared with what
the rules know at the end. A row without an entry shows in the counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from audit import mirrors
from governance.mirrors import compare
from governance.runtime.models import CanaryAgent, CanaryRun, Launch, Observation, RefusedLaunch, Service
from imprimatur.formats import attestation
from imprimatur.formats.encoding import b64u
from imprimatur.formats.timestamps import format_time

if TYPE_CHECKING:
    from imprimatur.verify.facts import Facts

Entry = dict[str, Any]
Row = Launch | RefusedLaunch | Observation | CanaryRun
Said = Callable[[Any, Entry], dict[str, tuple[Any, Any]]]
"""From a row and its entry to pairs of what each says, by name."""


class Running:
    """Launches, observations and canary runs one by one; services and what runs now at the end."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._agents: dict[str, str] = {}

    def see(self, entries: Sequence[Entry]) -> Iterable[str]:
        by_kind: dict[str, list[Entry]] = {}
        for entry in entries:
            by_kind.setdefault(entry["kind"], []).append(entry)
        for kind, (model, said) in _ROWS.items():
            found = by_kind.get(kind, [])
            self._seen[kind] += len(found)
            if not found:
                continue
            rows: dict[int, Row] = {
                row.index: row for row in model._default_manager.filter(index__in=[entry["index"] for entry in found])
            }
            for entry in found:
                yield from _held(kind, entry, rows.get(entry["index"]), said)
        yield from _ends(by_kind.get("launch.ended", []))
        self._take_agents(by_kind.get("service.registered", []))

    def _take_agents(self, entries: Sequence[Entry]) -> None:
        """Who is left out of lists is in the log. An agent that moved to a later runner is that one's."""
        for entry in entries:
            for agent in entry["body"].get("agents", []):
                self._agents[agent] = entry["body"]["service"]

    def end(self, facts: Facts) -> Iterable[str]:
        for kind, (model, _) in _ROWS.items():
            rows = model._default_manager.count()
            if rows != self._seen[kind]:
                yield f"the table holds {rows} rows of {kind}, the log {self._seen[kind]} entries"
        yield from compare("canary agent", dict(CanaryAgent.objects.values_list("agent", "service")), self._agents)
        yield from _services(facts)
        yield from _live(facts)


def _held(kind: str, entry: Entry, row: Any, said: Said) -> Iterator[str]:
    if row is None:
        yield f"{kind} of entry {entry['index']} is in the log and not in the table"
        return
    pairs = {"service": (row.service_id, entry["actor"]["id"]), **said(row, entry)}
    differing = [name for name, (stored, logged) in pairs.items() if stored != logged]
    if differing:
        yield f"{kind} of entry {entry['index']}: the row says otherwise of {', '.join(differing)}"


def _predicate(entry: Entry, typ: str) -> Any:
    return attestation.open_statement(entry["body"]["statement"].encode("utf-8"), typ).predicate


def _launch(row: Launch, entry: Entry) -> dict[str, tuple[Any, Any]]:
    said = _predicate(entry, attestation.LAUNCH)
    return {
        "launch": (row.pk, said["launch"]),
        "agent": (row.agent_id, said["agent"]),
        "document": (row.document, said),
        "runtime": ((row.runtime, row.launched), (said["runtime"]["kind"], said["runtime"]["launched"])),
        "attested_at": (format_time(row.attested_at), entry["time"]),
    }


def _refusal(row: RefusedLaunch, entry: Entry) -> dict[str, tuple[Any, Any]]:
    return {"reasons": (row.reasons, entry["body"]["reasons"]), "at": (format_time(row.at), entry["time"])}


def _observation(row: Observation, entry: Entry) -> dict[str, tuple[Any, Any]]:
    said, body = _predicate(entry, attestation.OBSERVATION), entry["body"]
    claimed = said.get("launch", "")
    return {
        "claimed": (row.claimed, claimed),
        "launch": (row.launch_id, claimed if body["matched"] else None),
        "findings": (row.findings, body["findings"]),
        "processes": (row.processes, len(said["processes"])),
        "node": (row.node, said["node"]["name"]),
        "at": (format_time(row.at), entry["time"]),
    }


def _run(row: CanaryRun, entry: Entry) -> dict[str, tuple[Any, Any]]:
    said = _predicate(entry, attestation.CANARY)
    return {
        "result": (row.result, entry["body"]["result"]),
        "attempts": (row.attempts, said["attempts"]),
        "every": (row.every, said["every"]),
        "times": ((format_time(row.began_at), format_time(row.ended_at)), (said["from"], said["at"])),
    }


_ROWS: dict[str, tuple[type[Row], Said]] = {
    "launch.attested": (Launch, _launch),
    "launch.refused": (RefusedLaunch, _refusal),
    "observation.recorded": (Observation, _observation),
    "canary.reported": (CanaryRun, _run),
}


def _ends(entries: Sequence[Entry]) -> Iterator[str]:
    rows = Launch.objects.in_bulk([entry["body"]["launch"] for entry in entries]) if entries else {}
    for entry in entries:
        body, row = entry["body"], rows.get(entry["body"]["launch"])
        said = (Launch.ENDED, body["how"], body.get("code"), entry["time"])
        stored = (row.state, row.how, row.code, row.ended_at and format_time(row.ended_at)) if row is not None else None
        if stored != said:
            yield f"launch {body['launch']}: its row does not say how it ended in entry {entry['index']}"


def _services(facts: Facts) -> Iterator[str]:
    rows = {
        row.pk: (
            row.role,
            b64u(bytes(row.public_key)),
            row.thumbprint,
            format_time(row.retired_at) if row.retired_at else "",
            row.size,
            row.hashes,
        )
        for row in Service.objects.all()
    }
    log = {
        name: (known.role, known.public_key, known.thumbprint, known.retired, known.size, known.hashes)
        for name, known in facts.services.items()
    }
    return compare("service", rows, log)


def _live(facts: Facts) -> Iterator[str]:
    rows = {
        row.pk: (row.agent_id, row.service_id, row.index, row.signers, row.observations, row.drifted)
        for row in Launch.objects.filter(state=Launch.ATTESTED).defer("document").iterator(chunk_size=500)
    }
    log = {
        name: (known.agent, known.service, known.index, known.signers, known.observations, known.drifted)
        for name, known in facts.launches.items()
    }
    return compare("running launch", rows, log)


def register() -> None:
    """Called once, when the application starts."""
    mirrors.register("running", Running)
