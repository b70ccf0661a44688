"""The rows of this room that repeat what the log says: people, keys, agents, delegations, tools, policy, pauses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from audit import mirrors
from governance.models import Agent, Delegation, Pause, Person, PersonKey, Policy, Tool
from imprimatur.formats import canonical
from imprimatur.formats.encoding import b64u
from imprimatur.rules import policy, tools

if TYPE_CHECKING:
    from imprimatur.verify.facts import Facts


def compare(what: str, rows: dict[str, Any], log: dict[str, Any]) -> Iterator[str]:
    """A line for each thing that only one side has, and for each about which they differ."""
    for name in sorted(rows.keys() | log.keys()):
        if name not in log:
            yield f"{what} {name} is in the table and not in the log"
        elif name not in rows:
            yield f"{what} {name} is in the log and not in the table"
        elif rows[name] != log[name]:
            yield f"{what} {name}: the table says {rows[name]}, the log {log[name]}"


class Authority:
    """Delegations one by one as their entries come by; everything that stands now at the end."""

    def __init__(self) -> None:
        self._issued = 0

    def see(self, entries: Sequence[dict[str, Any]]) -> Iterable[str]:
        issued = {entry["body"]["delegation"]: entry for entry in entries if entry["kind"] == "delegation.issued"}
        self._issued += len(issued)
        rows = Delegation.objects.in_bulk(list(issued)) if issued else {}
        for name, entry in issued.items():
            row, body = rows.get(name), entry["body"]
            if row is None:
                yield f"delegation {name} is in the log and not in the table"
            elif bytes(row.document) != canonical.dumps(body["document"]) or row.signature != body["signature"]:
                yield f"delegation {name} is not the document that was signed"
            elif row.issued_index != entry["index"] or row.subject_id != body["document"]["subject"]:
                yield f"delegation {name}: its row names another entry or another agent"

    def end(self, facts: Facts) -> Iterable[str]:
        rows = Delegation.objects.count()
        if rows != self._issued:
            yield f"the table holds {rows} delegations, the log issued {self._issued}"
        yield from _delegations(facts)
        yield from _people(facts)
        yield from _person_keys(facts)
        yield from _agents(facts)
        current = {row.name: (row.digest, tools.digest(row.document)) for row in Tool.objects.filter(current=True)}
        yield from compare("tool", current, {name: (found, found) for name, found in facts.tool_digests.items()})
        active = {row.digest: policy.digest(row.document) for row in Policy.objects.filter(active=True)}
        yield from compare("policy", active, {facts.policy: facts.policy} if facts.policy else {})
        pauses = {f"{row.scope}:{row.target}": "set" for row in Pause.objects.filter(lifted_at__isnull=True)}
        yield from compare("pause", pauses, dict.fromkeys(facts.pauses, "set"))


def _delegations(facts: Facts) -> Iterator[str]:
    """What stands of each that the rules still remember: whether it was revoked, and its money."""
    seen: set[str] = set()
    fields = ("id", "revoked_at", "reserved", "spent")
    for name, revoked, reserved, spent in Delegation.objects.values_list(*fields).iterator(chunk_size=500):
        known = facts.delegations.get(name)
        if known is None:
            continue
        seen.add(name)
        if bool(revoked) != bool(known.revoked_since):
            yield f"delegation {name}: revoked in {'the table' if revoked else 'the log'} alone"
        if (reserved, spent) != (known.reserved, known.spent):
            yield (
                f"delegation {name}: the table says {reserved} reserved and {spent} spent, "
                f"the log {known.reserved} and {known.spent}"
            )


def _people(facts: Facts) -> Iterator[str]:
    rows = {
        row.id: (row.name, sorted(group.name for group in row.user.groups.all()), row.user.is_active)
        for row in Person.objects.select_related("user").prefetch_related("user__groups")
    }
    log = {name: (known.name, sorted(known.roles), known.active) for name, known in facts.people.items()}
    return compare("person", rows, log)


def _person_keys(facts: Facts) -> Iterator[str]:
    rows = {
        row.fingerprint: (row.person_id, row.purpose, row.thumbprint, bool(row.vouched_at), bool(row.revoked_at))
        for row in PersonKey.objects.all()
    }
    log = {
        fingerprint: (name, key.purpose, key.thumbprint, bool(key.vouched), bool(key.revoked_since or key.lapsed))
        for name, known in facts.people.items()
        for fingerprint, key in known.keys.items()
    }
    return compare("key", rows, log)


def _agents(facts: Facts) -> Iterator[str]:
    rows = {
        row.id: (
            row.owner_id,
            row.enforcement,
            row.state == Agent.SUSPENDED,
            {
                key.thumbprint: (b64u(bytes(key.public_key)), bool(key.retired_at), bool(key.revoked_since))
                for key in row.keys.all()
            },
        )
        for row in Agent.objects.prefetch_related("keys")
    }
    log = {
        name: (
            known.owner,
            known.enforcement,
            known.suspended,
            {
                thumbprint: (key.public_key, bool(key.retired), bool(key.revoked_since))
                for thumbprint, key in known.keys.items()
            },
        )
        for name, known in facts.agents.items()
    }
    return compare("agent", rows, log)


def register() -> None:
    """Called once, when the application starts."""
    mirrors.register("authority", Authority)
