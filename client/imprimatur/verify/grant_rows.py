"""The rows of the grant history: one for each capability that was ever given, and how each one ended.

Times are canonical text, so text order is time order. A row holds what the entry says and what was found about it; how
it stands is told for a moment (`grant_history.GrantHistory.standings`), so the same row tells of any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

LIVE, WAITING, STOPPED, ENDED = "live", "waiting", "stopped", "ended"
"""In force; not begun; stopped while an agent is suspended or a person switched off, and may come back; over."""

DELEGATION, TOOL, POLICY, IN_ADVANCE, SERVICE = "delegation", "tool", "policy", "in advance", "service"
"""The sorts of rows."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How something ended or was stopped: how, when, by whom and why, in which entry, since when, and what of it.

    `how` is one of revoked, expired, parent, key, suspended, person, replaced, retired, used-up, delegation, policy.
    `of` is what ended above: a delegation, an agent, a person or a key.
    """

    how: str
    at: str
    by: str = ""
    why: str = ""
    entry: int = -1
    since: str = ""
    of: str = ""

    @classmethod
    def by_entry(cls, how: str, entry: Mapping[str, Any], since: str = "", of: str = "") -> Ending:
        """The ending that this entry is."""
        why = entry["body"].get("reason", "")
        return cls(how, entry["time"], entry["actor"]["id"], why, entry["index"], since, of)

    def lapsed(self, since: str, of: str) -> Ending:
        """The same for a key that lapses with this one, which vouched for it."""
        return replace(self, since=since, of=of, why=f"it lapsed with the key {self.of}, which vouched for it")

    def as_json(self) -> dict[str, Any]:
        """Without what is not known."""
        found: dict[str, Any] = {"how": self.how, "at": self.at}
        for name in ("by", "why", "since", "of"):
            if getattr(self, name):
                found[name] = getattr(self, name)
        if self.entry >= 0:
            found["entry"] = self.entry
        return found


@dataclass(frozen=True, slots=True)
class Standing:
    """How a row stands at a moment, and what ended or stopped it."""

    state: str
    ending: Ending | None = None

    def as_json(self) -> dict[str, Any]:
        """As it stands in a row."""
        if self.ending is None:
            return {"state": self.state}
        return {"state": self.state, "ended" if self.state == ENDED else "stopped": self.ending.as_json()}


@dataclass(slots=True)
class Row:
    """What every row has: the entry that gave the capability, with its leaf hash, and who made it."""

    index: int
    leaf: str
    time: str
    actor: dict[str, Any]
    faults: list[str] = field(default_factory=list)

    def _common(self, sort: str) -> dict[str, Any]:
        found = {"row": sort, "index": self.index, "leaf": self.leaf, "time": self.time, "by": self.actor}
        return {**found, "faults": self.faults} if self.faults else found


@dataclass(slots=True)
class Held(Row):
    """A delegation. `person` signed its root; "" where it traces to nobody. `narrower` says what it has less than its
    parent, in words; `key` and `kind` are of the signature."""

    id: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    kind: str = ""
    key: str = ""
    person: str = ""
    root: str = ""
    depth: int = 0
    narrower: list[str] = field(default_factory=list)
    revoked: Ending | None = None

    @property
    def holder(self) -> str:
        """The agent that got it."""
        return str(self.document["subject"])

    @property
    def parent(self) -> str | None:
        """The delegation that this is a part of; None for a root."""
        return self.document.get("parent")

    def as_json(self, standing: Standing) -> dict[str, Any]:
        """The row, as it stands."""
        document = self.document
        found = {
            **self._common(DELEGATION),
            "id": self.id,
            "holder": self.holder,
            "issuer": document["issuer"],
            "root": self.root,
            "depth": self.depth,
            "signature": {"kind": self.kind, "key": self.key},
            **{name: document[name] for name in ("scope", "not_before", "not_after", "max_depth")},
            **standing.as_json(),
        }
        for name in ("parent", "constraints", "spend", "on_behalf_of", "purpose"):
            if name in document:
                found[name] = document[name]
        if self.person:
            found["person"] = self.person
        if self.parent is not None:
            found["narrower"] = self.narrower
        return found


@dataclass(frozen=True, slots=True)
class Signed:
    """A person's signature on a change: who, and with which key."""

    person: str
    key: str


@dataclass(slots=True)
class Version(Row):
    """A version of a tool or of the policy. `signers` are the two who signed it, nobody for one person's act.

    `changed` says facet by facet what is other than in the version before; empty for the first.
    """

    sort: str = TOOL
    name: str = ""
    digest: str = ""
    document: dict[str, Any] = field(default_factory=dict)
    replaces: str = ""
    number: int = 0
    signers: tuple[Signed, ...] = ()
    changed: dict[str, str] = field(default_factory=dict)
    ended: Ending | None = None

    @property
    def new(self) -> bool:
        """Whether nothing of that name stood before."""
        return not self.replaces

    def as_json(self, standing: Standing) -> dict[str, Any]:
        """The row, as it stands."""
        found = {
            **self._common(self.sort),
            "name": self.name,
            "digest": self.digest,
            "signed_by": [{"person": signed.person, "key": signed.key} for signed in self.signers],
            **standing.as_json(),
        }
        if self.replaces:
            found |= {"replaces": self.replaces, "changed": self.changed}
        if self.number:
            found["number"] = self.number
        return found


@dataclass(slots=True)
class InAdvance(Row):
    """A vote in advance. `uses` is None where not every decision was looked at, so that none can be told."""

    id: str = ""
    said: dict[str, Any] = field(default_factory=dict)
    kind: str = ""
    key: str = ""
    uses: int | None = None
    last_use: Ending | None = None
    revoked: Ending | None = None

    def as_json(self, standing: Standing) -> dict[str, Any]:
        """The row, as it stands."""
        said = self.said
        names = ("agent", "delegation", "tool", "effects", "max_uses", "not_after", "policy")
        found = {
            **self._common(IN_ADVANCE),
            "id": self.id,
            "signature": {"kind": self.kind, "key": self.key} if self.key else {"kind": self.kind},
            **{name: said[name] for name in names},
            **standing.as_json(),
        }
        if "max_total" in said:
            found["max_total"] = said["max_total"]
        if self.uses is not None:
            found["uses"] = self.uses
        return found


@dataclass(slots=True)
class Registered(Row):
    """A service with a key of its own. What it signs is evidence and grants nothing; who let it in is told all the
    same."""

    id: str = ""
    name: str = ""
    role: str = ""
    key: str = ""
    ended: Ending | None = None

    def as_json(self, standing: Standing) -> dict[str, Any]:
        """The row, as it stands."""
        found = {"id": self.id, "name": self.name, "role": self.role, "key": self.key}
        return {**self._common(SERVICE), **found, **standing.as_json()}


Capability = Held | Version | InAdvance | Registered
