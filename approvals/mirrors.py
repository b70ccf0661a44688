"""The rows of this room that repeat what the log says: requests, votes, grants and what was used of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from approvals.models import ActionRequest, Grant, Vote
from audit import mirrors
from governance.mirrors import compare
from imprimatur.formats import canonical
from imprimatur.rules import states

if TYPE_CHECKING:
    from imprimatur.verify.facts import Facts

# What ends the wait of a request; the row remembers the index of the last one.
_DECIDING = ("action.decided", "action.withdrawn")


class Answers:
    """Votes, grants and decisions one by one as their entries come by; what is still open at the end."""

    def __init__(self) -> None:
        self._votes = self._grants = self._requests = 0

    def see(self, entries: Sequence[dict[str, Any]]) -> Iterable[str]:
        yield from self._see_votes([entry for entry in entries if entry["kind"] == "vote.cast"])
        yield from self._see_grants([entry for entry in entries if entry["kind"] == "grant.issued"])
        yield from self._see_decisions([entry for entry in entries if entry["kind"] in _DECIDING])

    def end(self, facts: Facts) -> Iterable[str]:
        for what, rows, told in (
            ("votes", Vote.objects.count(), self._votes),
            ("grants", Grant.objects.count(), self._grants),
            ("decided requests", ActionRequest.objects.filter(decided_index__isnull=False).count(), self._requests),
        ):
            if rows != told:
                yield f"the table holds {rows} {what}, the log {told}"
        used = {
            row.id: (row.uses, row.total, bool(row.revoked_at))
            for row in Grant.objects.filter(pk__in=list(facts.grants))
        }
        log = {name: (known.uses, known.total, known.revoked) for name, known in facts.grants.items()}
        yield from compare("grant", used, log)
        yield from self._open(facts)

    def _open(self, facts: Facts) -> Iterable[str]:
        rows = ActionRequest.objects.exclude(state__in=states.TERMINAL)
        standing = {row.id: (row.state, row.action_digest) for row in rows.only("id", "state", "action_digest")}
        log = {name: (known.state, known.action_digest) for name, known in facts.requests.items()}
        # The rules forget a request whose outcome never came; then only its row still waits for one.
        forgotten = {name for name, (state, _) in standing.items() if state == "UNREPORTED" and name not in log}
        return compare("request", {name: row for name, row in standing.items() if name not in forgotten}, log)

    def _see_votes(self, cast: list[dict[str, Any]]) -> Iterable[str]:
        self._votes += len(cast)
        rows = {row.index: row for row in Vote.objects.filter(index__in=[entry["index"] for entry in cast])}
        for entry in cast:
            row, body = rows.get(entry["index"]), entry["body"]
            if row is None:
                yield f"the vote of entry {entry['index']} is in the log and not in the table"
                continue
            statement = body["statement"].encode("utf-8")
            said = canonical.loads(statement)
            table = (row.request_id, row.person_id, row.decision, row.stage, row.key or "", bytes(row.statement))
            log = (
                body["request"],
                said["reviewer"],
                said["decision"],
                said["stage"],
                said.get("credential", ""),
                statement,
            )
            if table != log:
                yield f"the vote of entry {entry['index']}: its row says something else than was stated"

    def _see_grants(self, issued: list[dict[str, Any]]) -> Iterable[str]:
        self._grants += len(issued)
        rows = Grant.objects.in_bulk([entry["body"]["grant"] for entry in issued])
        for entry in issued:
            row, body = rows.get(entry["body"]["grant"]), entry["body"]
            if row is None:
                yield f"grant {body['grant']} is in the log and not in the table"
            elif bytes(row.statement) != body["statement"].encode("utf-8") or row.index != entry["index"]:
                yield f"grant {body['grant']} is not what was stated"

    def _see_decisions(self, decided: list[dict[str, Any]]) -> Iterable[str]:
        rows = ActionRequest.objects.in_bulk([entry["subject"] for entry in decided])
        for entry in decided:
            row, body = rows.get(entry["subject"]), entry["body"]
            if row is None:
                yield f"request {entry['subject']} is in the log and not in the table"
                continue
            if (row.decided_index or 0) > entry["index"]:
                continue  # decided again later, by an entry that the row is held against when it comes
            self._requests += 1
            if entry["kind"] == "action.withdrawn":
                if (row.decided_index, row.state) != (entry["index"], body["state"]):
                    yield f"request {entry['subject']}: its row says something else than entry {entry['index']}"
                continue
            # What was denied stays as it ended; what was allowed goes on, and `end` looks at where it is now.
            ended = row.state if body["verdict"] == "deny" else body["state"]
            table = (ended, row.action_digest, row.risk, row.policy, row.decided_index, bytes(row.binding))
            log = (
                body["state"],
                body["action_digest"],
                body["risk"],
                body["policy"],
                entry["index"],
                canonical.dumps(body["binding"]),
            )
            if table != log:
                yield f"request {entry['subject']}: its row says something else than entry {entry['index']}"


def register() -> None:
    """Called once, when the application starts."""
    mirrors.register("answers", Answers)
