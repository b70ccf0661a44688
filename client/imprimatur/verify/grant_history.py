"""Every capability that an agent ever held: from which delegation, signed by whom with which key, and how it ended.

Fed with the entries of a log, in order, and with nothing else. It applies no rule of `history` and trusts none: each
grant is traced to a person's signature, which is verified here again, so a history that was written without the rules
is found out by this alone. It never raises for what an entry says: what cannot be judged is counted.

What it keeps is bounded by the number of capabilities, people, agents and keys, not of entries. To take in another
kind of entry, write a handler and name it in `HANDLERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imprimatur.formats import canonical, delegation, digests, dsse, merkle, shapes, signing
from imprimatur.formats.selection import AUTHORITY
from imprimatur.rules import narrowing
from imprimatur.verify import grant_keys, grant_words, signatures
from imprimatur.verify.grant_keys import Holders
from imprimatur.verify.grant_rows import (
    ENDED,
    LIVE,
    POLICY,
    STOPPED,
    TOOL,
    WAITING,
    Capability,
    Ending,
    Held,
    InAdvance,
    Registered,
    Signed,
    Standing,
    Version,
)

WITHOUT_ROOT = "without_human_root"
BY_AGENTS = "initiated_by_agents"
AGENT_KEYS = "agent_keys_among_signers"
NOT_NARROWER = "not_narrower"
UNREADABLE = "unreadable"
VIOLATIONS = (WITHOUT_ROOT, BY_AGENTS, AGENT_KEYS, NOT_NARROWER, UNREADABLE)
"""What must be found nowhere: each is the number of findings of its sort, over every entry that was fed."""

COUNTS_TYPE = "imprimatur/grant-counts/v1"
USE = "action.decided"

_STUMBLES = (LookupError, TypeError, AttributeError, ArithmeticError, ValueError)
_PEOPLES = frozenset(
    {
        "tool.registered",
        "policy.activated",
        "grant.issued",
        "agent.invited",
        "agent.resumed",
        "pause.lifted",
        "spend.corrected",
        "change.proposed",
        "change.seconded",
        "person.added",
        "person.changed",
        "person.key_added",
        "person.key_enrolled",
        "person.key_vouched",
        "service.registered",
    }
)
"""What gives or restores authority besides a delegation. No agent begins any of it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be: in which entry, of which sort of `VIOLATIONS`, and why, in a sentence."""

    index: int
    sort: str
    why: str


@dataclass(slots=True)
class _Change:
    """A change that two people sign: what it is, and whose signatures over it held."""

    act: str
    subject: str
    digest: str
    signers: list[Signed]


class GrantHistory:
    """The history of every grant, as far as the entries that were fed say it.

    `whole` tells that decisions are among them, so that uses of votes in advance can be counted.
    """

    def __init__(self, *, whole: bool = True) -> None:
        self.whole = whole
        self.realm = ""
        self.now = ""
        self.entries = 0
        self.holders = Holders()
        self.delegations: dict[str, Held] = {}
        self.versions: list[Version] = []
        self.in_advance: dict[str, InAdvance] = {}
        self.services: dict[str, Registered] = {}
        self._found: list[Finding] = []
        self._signers: dict[str, int] = {}
        self._changes: dict[str, _Change] = {}
        self._current: dict[tuple[str, str], tuple[Version, Mapping[str, Any]]] = {}

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(self, index: int, raw: bytes) -> None:
        """Take in the entry in these bytes, which nobody has judged yet."""
        try:
            entry = canonical.loads_canonical(dsse.open_envelope(raw).payload)
            fits = isinstance(entry, dict) and entry["index"] == index
        except _STUMBLES:
            fits = False
        if fits:
            self.entry(entry, raw)
        else:
            self.entries += 1
            self._find(index, UNREADABLE, "it is no entry of this log")

    def entry(self, entry: Mapping[str, Any], raw: bytes) -> None:
        """Take in the next entry; `raw` is its envelope, the leaf of the log."""
        self.entries += 1
        try:
            self._entry(entry, raw)
        except _STUMBLES as error:
            why = f"{entry.get('kind')} cannot be judged ({type(error).__name__}: {str(error)[:200]})"
            self._find(int(entry.get("index", self.entries - 1)), UNREADABLE, why)

    def _entry(self, entry: Mapping[str, Any], raw: bytes) -> None:
        kind = entry["kind"]
        self.realm = self.realm or entry["realm"]
        self.now = entry["time"]
        if kind in AUTHORITY:
            self._look_at_signer(entry)
        if kind in _PEOPLES and self.holders.is_agent(entry["actor"]):
            self._find(entry["index"], BY_AGENTS, f"an agent wrote {kind}, which gives authority")
        self.holders.see(entry)
        handler = HANDLERS.get(kind)
        if handler is not None:
            handler(self, entry, raw)

    def _look_at_signer(self, entry: Mapping[str, Any]) -> None:
        """Remember the bytes of each key that signed a grant in a person's place, to hold against every agent's."""
        body = entry["body"]
        part = signatures.signed_part(body)
        evidence = part["evidence"] if part is not None else None
        if entry["kind"] == "delegation.issued" and "parent" not in body["document"]:
            evidence = body["signature"]
        if evidence is None:
            return
        try:
            thumbprint = grant_keys.thumbprint_of(evidence)
        except _STUMBLES:
            return  # it verifies nowhere, which the grant itself is held against
        if thumbprint:
            self._signers.setdefault(thumbprint, entry["index"])

    def _find(self, index: int, sort: str, why: str) -> str:
        self._found.append(Finding(index, sort, why))
        return why

    def findings(self) -> list[Finding]:
        """Everything that must not be, by entry. An agent's key counts as one whenever it became the agent's."""
        found = list(self._found)
        for thumbprint, index in self._signers.items():
            if thumbprint in self.holders.ever_agents:
                of = self.holders.ever_agents[thumbprint]
                found.append(
                    Finding(
                        index, AGENT_KEYS, f"the key {thumbprint}, an agent's or a service's (entry {of}), signed it"
                    )
                )
        return sorted(found, key=lambda finding: finding.index)

    # --- delegations ------------------------------------------------------------------------------------------------

    def _issued(self, entry: Mapping[str, Any], raw: bytes) -> None:
        body = entry["body"]
        document, signature = body["document"], body["signature"]
        shapes.check(document, delegation.SHAPE)
        shapes.check(signature, delegation.SIGNATURE)
        name = digests.tagged(delegation.TYP, canonical.dumps(document))
        row = Held(
            entry["index"],
            _leaf(raw),
            entry["time"],
            dict(entry["actor"]),
            id=name,
            document=document,
            kind=signature["kind"],
            key=signature["key"],
            root=name,
        )
        parent = self.delegations.get(document.get("parent", ""))
        faults = self._faults(entry, row, parent)
        if name in self.delegations:
            faults.append((WITHOUT_ROOT, "the same delegation was issued before"))
        row.faults = [self._find(entry["index"], sort, why) for sort, why in faults]
        if parent is not None:
            row.root, row.depth = parent.root, parent.depth + 1
            row.narrower = grant_words.narrower(parent.document, document)
        if all(sort == NOT_NARROWER for sort, _ in faults):
            row.person = document["issuer"] if parent is None else parent.person
        self.delegations.setdefault(name, row)

    def _faults(self, entry: Mapping[str, Any], row: Held, parent: Held | None) -> list[tuple[str, str]]:
        document = row.document
        found = []
        if entry["body"]["delegation"] != row.id:
            found.append((WITHOUT_ROOT, "what was signed is another delegation than it is said to be"))
        if document["realm"] != entry["realm"]:
            found.append((WITHOUT_ROOT, "it was signed for another realm"))
        if row.holder not in self.holders.agents:
            found.append((WITHOUT_ROOT, "its holder is no agent that was enrolled"))
        if "parent" not in document:
            return found + self._root_faults(entry, row)
        if parent is None:
            return [*found, (WITHOUT_ROOT, "its parent is not in this log, so it traces to nobody")]
        return found + self._child_faults(entry, row, parent)

    def _root_faults(self, entry: Mapping[str, Any], row: Held) -> list[tuple[str, str]]:
        """Whether a person's own key gave it: an active admin, named as issuer, who brought it in."""
        issuer, actor, signature = row.document["issuer"], entry["actor"], entry["body"]["signature"]
        found = []
        as_agent = self.holders.is_agent({"type": "", "id": issuer}) or row.kind == grant_keys.AGENTS_KIND
        if as_agent or self.holders.is_agent(actor):
            found.append((BY_AGENTS, "an agent gave it, from nothing"))
        person = self.holders.people.get(issuer)
        if person is None:
            return [*found, (WITHOUT_ROOT, "its issuer is no person of this log")]
        if actor["type"] != "person" or actor["id"] != issuer:
            found.append((WITHOUT_ROOT, "somebody else than its issuer brought it in"))
        if person.off is not None or grant_keys.ADMIN not in person.roles:
            found.append((WITHOUT_ROOT, "its issuer was no active admin"))
        raw = canonical.dumps(row.document)
        problem = self.holders.not_signed(issuer, signature, delegation.TYP, raw)
        return [*found, (WITHOUT_ROOT, problem)] if problem else found

    def _child_faults(self, entry: Mapping[str, Any], row: Held, parent: Held) -> list[tuple[str, str]]:
        """Whether the agent that held the parent passed on a strictly narrower part of it, while the parent stood."""
        document, issuer = row.document, row.document["issuer"]
        found = [(NOT_NARROWER, problem.message) for problem in narrowing.problems(parent.document, document)]
        if not parent.person:
            found.append((WITHOUT_ROOT, "its parent traces to nobody"))
        standing = Standing(LIVE)
        if parent.depth + 2 > narrowing.MAX_CHAIN:
            found.append((NOT_NARROWER, f"the chain is longer than {narrowing.MAX_CHAIN} links"))
        else:
            standing = self._chain_standing(parent, entry["time"])
        if standing.state in (ENDED, STOPPED):
            found.append((WITHOUT_ROOT, f"its parent carried nothing then: {grant_words.how(standing)}"))
        if entry["actor"]["id"] != issuer:
            found.append((WITHOUT_ROOT, "somebody else than its issuer brought it in"))
        key = self.holders.agent_keys.get(row.key)
        if key is None or key.agent != issuer or key.retired or key.ended is not None:
            found.append((WITHOUT_ROOT, "the key that signed it was not its issuer's at that time"))
        elif not _agent_signed(document, entry["body"]["signature"], key.public):
            found.append((WITHOUT_ROOT, "the agent named as its issuer did not sign it"))
        return found

    def _revoked(self, entry: Mapping[str, Any], raw: bytes) -> None:
        body = entry["body"]
        row = self.delegations.get(body["delegation"])
        # To revoke what nobody was given, or once more, gives nobody anything.
        if row is not None and row.revoked is None:
            row.revoked = Ending.by_entry("revoked", entry, since=body["since"])

    # --- tools and policy -------------------------------------------------------------------------------------------

    def _proposed(self, entry: Mapping[str, Any], raw: bytes) -> None:
        body = entry["body"]
        change = _Change(body["act"], body["subject"], signing.document_digest(body["document"]), [])
        self._changes[body["change"]] = change
        self._sign(entry, change, "propose")

    def _seconded(self, entry: Mapping[str, Any], raw: bytes) -> None:
        self._sign(entry, self._changes[entry["body"]["change"]], "second")

    def _sign(self, entry: Mapping[str, Any], change: _Change, role: str) -> None:
        part, person = entry["body"]["signed"], entry["actor"]["id"]
        raw = part["statement"].encode("utf-8")
        said = signing.parse(raw, signing.CHANGE)
        wanted = {
            "realm": entry["realm"],
            "person": person,
            "role": role,
            "change": entry["body"]["change"],
            "act": change.act,
            "subject": change.subject,
            "document": change.digest,
            "credential": grant_keys.key_of(part["evidence"]),
        }
        problem = self.holders.not_signed(person, part["evidence"], signing.CHANGE, raw)
        if problem or any(said.get(name) != value for name, value in wanted.items()):
            why = problem or "what was signed is another change"
            self._find(entry["index"], WITHOUT_ROOT, f"it is no person's signature on the change: {why}")
        else:
            change.signers.append(Signed(person, said["credential"]))

    def _withdrawn(self, entry: Mapping[str, Any], raw: bytes) -> None:
        self._changes.pop(entry["body"]["change"], None)

    def _changed_person(self, entry: Mapping[str, Any], raw: bytes) -> None:
        """A change of people is used up; whose role it is says nothing of what an agent holds."""
        self._changes.pop(entry["body"].get("change", ""), None)

    def _signers_of(self, entry: Mapping[str, Any]) -> tuple[Signed, ...]:
        """The two people whose signatures put this in force, with two keys; nobody where they are not there."""
        body = entry["body"]
        done = {name: value for name, value in body.items() if name != "change"}
        change = self._changes.pop(body.get("change", ""), None)
        if change is None or (change.act, change.subject, change.digest) != (
            entry["kind"],
            entry["subject"],
            signing.document_digest(done),
        ):
            return ()
        people, used = ({getattr(signed, part) for signed in change.signers} for part in ("person", "key"))
        return tuple(change.signers) if len(people) > 1 and len(used) > 1 else ()

    def _registered(self, entry: Mapping[str, Any], raw: bytes) -> None:
        body = entry["body"]
        self._version(entry, raw, Version(*_common(entry, raw), sort=TOOL, name=body["tool"], digest=body["digest"]))

    def _activated(self, entry: Mapping[str, Any], raw: bytes) -> None:
        body = entry["body"]
        row = Version(
            *_common(entry, raw),
            sort=POLICY,
            name=body["document"].get("name", ""),
            digest=body["policy"],
            number=body["number"],
        )
        self._version(entry, raw, row)

    def _version(self, entry: Mapping[str, Any], raw: bytes, row: Version) -> None:
        document = entry["body"]["document"]
        row.signers = self._signers_of(entry)
        if "change" in entry["body"] and not row.signers:
            why = "two people are said to have signed it, and they did not"
            row.faults.append(self._find(entry["index"], WITHOUT_ROOT, why))
        place = (row.sort, row.name if row.sort == TOOL else "")
        old, was = self._current.get(place, (None, {}))
        if old is not None:
            row.replaces = old.digest
            changes = grant_words.tool_changes if row.sort == TOOL else grant_words.policy_changes
            row.changed = changes(was, document)
            old.ended = Ending("replaced", entry["time"], entry["actor"]["id"], entry=entry["index"])
        self._current[place] = (row, document)
        self.versions.append(row)

    def _retired(self, entry: Mapping[str, Any], raw: bytes) -> None:
        row, _ = self._current.pop((TOOL, entry["body"]["tool"]))
        row.ended = Ending.by_entry("retired", entry)

    # --- votes in advance -------------------------------------------------------------------------------------------

    def _granted(self, entry: Mapping[str, Any], raw: bytes) -> None:
        body, person = entry["body"], entry["actor"]["id"]
        statement = body["statement"].encode("utf-8")
        said = signing.parse(statement, signing.GRANT)
        evidence = body["evidence"]
        name = signing.grant_id(statement)
        row = InAdvance(
            *_common(entry, raw),
            id=name,
            said=said,
            kind=evidence["kind"],
            key=grant_keys.key_of(evidence),
            uses=0 if self.whole else None,
        )
        human = self.holders.people.get(person)
        if body["grant"] != name or said["realm"] != entry["realm"]:
            row.faults.append("what was signed is another vote in advance, or for another realm")
        if said["person"] != person or human is None or human.off is not None:
            row.faults.append("its giver is no active person of this log")
        if evidence["kind"] != grant_keys.SESSION:
            problem = self.holders.not_signed(person, evidence, signing.GRANT, statement)
            row.faults += [problem] if problem else []
        for why in row.faults:
            self._find(entry["index"], WITHOUT_ROOT, f"a vote in advance: {why}")
        self.in_advance.setdefault(name, row)

    def _taken_back(self, entry: Mapping[str, Any], raw: bytes) -> None:
        row = self.in_advance.get(entry["body"]["grant"])
        if row is not None and row.revoked is None:
            row.revoked = Ending.by_entry("revoked", entry)

    def _used(self, entry: Mapping[str, Any], raw: bytes) -> None:
        if "grant" not in entry["body"]:
            return
        row = self.in_advance.get(entry["body"]["grant"])
        if row is None:
            self._find(entry["index"], WITHOUT_ROOT, "it rests on a vote in advance that nobody gave")
        elif row.uses is not None:
            row.uses += 1
            row.last_use = Ending("used-up", entry["time"], entry=entry["index"])

    # --- services ---------------------------------------------------------------------------------------------------

    def _let_in(self, entry: Mapping[str, Any], raw: bytes) -> None:
        body = entry["body"]
        row = Registered(
            *_common(entry, raw), id=body["service"], name=body["name"], role=body["role"], key=body["thumbprint"]
        )
        self.services.setdefault(row.id, row)

    def _let_go(self, entry: Mapping[str, Any], raw: bytes) -> None:
        row = self.services[entry["body"]["service"]]
        row.ended = row.ended or Ending.by_entry("retired", entry)

    # --- how it all stands ------------------------------------------------------------------------------------------

    def standings(self, at: str = "") -> dict[int, Standing]:
        """How each row stands at that time (of the last entry by default), by the index of its entry."""
        at = at or self.now
        of_delegation: dict[str, Standing] = {}
        for row in self.delegations.values():
            above = of_delegation.get(row.parent) if row.parent is not None else None
            of_delegation[row.id] = self._standing(row, above, at)
        found = {row.index: of_delegation[row.id] for row in self.delegations.values()}
        endings = [(row.index, row.ended) for row in self.versions]
        endings += [(row.index, row.ended) for row in self.services.values()]
        for index, ended in endings:
            found[index] = Standing(LIVE) if ended is None else Standing(ENDED, ended)
        policy = self._current.get((POLICY, ""))
        for vote in self.in_advance.values():
            found[vote.index] = self._vote_standing(vote, of_delegation, policy[0] if policy else None, at)
        return found

    def _chain_standing(self, row: Held, at: str) -> Standing:
        chain = [row]
        while chain[-1].parent in self.delegations:
            chain.append(self.delegations[str(chain[-1].parent)])
        standing: Standing | None = None
        for link in reversed(chain):
            standing = self._standing(link, standing, at)
        assert standing is not None
        return standing

    def _standing(self, row: Held, above: Standing | None, at: str) -> Standing:
        endings = [row.revoked] if row.revoked is not None else []
        if row.document["not_after"] <= at:
            endings.append(Ending("expired", row.document["not_after"]))
        key = self.holders.keys.get(row.key) or self.holders.agent_keys.get(row.key)
        if key is not None and key.ended is not None and key.ended.since <= row.time:
            endings.append(key.ended)
        if above is not None and above.state == ENDED and above.ending is not None:
            endings.append(Ending("parent", above.ending.at, entry=above.ending.entry, of=row.parent or ""))
        if endings:
            return Standing(ENDED, min(endings, key=lambda ending: ending.at))
        if above is not None and above.state == STOPPED:
            return above
        issuer, holder = row.document["issuer"], self.holders.agents.get(row.holder)
        person, agent = self.holders.people.get(issuer), self.holders.agents.get(issuer)
        stopped = person.off if person is not None else agent.suspended if agent is not None else None
        stopped = stopped or (holder.suspended if holder is not None else None)
        if stopped is not None:
            return Standing(STOPPED, stopped)
        return Standing(WAITING if at < row.document["not_before"] else LIVE)

    def _vote_standing(
        self, row: InAdvance, delegations: Mapping[str, Standing], policy: Version | None, at: str
    ) -> Standing:
        said = row.said
        endings = [row.revoked] if row.revoked is not None else []
        if row.uses is not None and row.last_use is not None and row.uses >= said["max_uses"]:
            endings.append(row.last_use)
        if said["not_after"] <= at:
            endings.append(Ending("expired", said["not_after"]))
        under = delegations.get(said["delegation"])
        if under is not None and under.state == ENDED and under.ending is not None:
            endings.append(Ending("delegation", under.ending.at, entry=under.ending.entry, of=said["delegation"]))
        if policy is not None and policy.digest != said["policy"]:
            endings.append(Ending("policy", policy.time, policy.actor["id"], entry=policy.index, of=said["policy"]))
        key = self.holders.keys.get(row.key)
        if key is not None and key.ended is not None:
            # A vote in advance lives as long as the key: it is used after the key is gone.
            endings.append(key.ended)
        if endings:
            return Standing(ENDED, min(endings, key=lambda ending: ending.at))
        person = self.holders.people.get(row.actor["id"])
        stopped = person.off if person is not None else None
        return Standing(STOPPED, stopped) if stopped is not None else Standing(LIVE)

    def rows(self) -> list[Capability]:
        """Every row, in the order of the entries."""
        found: list[Capability] = [*self.delegations.values(), *self.versions]
        found += [*self.in_advance.values(), *self.services.values()]
        return sorted(found, key=lambda row: row.index)

    def documents(self, at: str = "") -> Iterator[dict[str, Any]]:
        """Every row as JSON values, as it stands at that time."""
        standings = self.standings(at)
        return (row.as_json(standings[row.index]) for row in self.rows())

    def violations(self) -> dict[str, int]:
        """How many entries are found to be of each sort of `VIOLATIONS`; of agents' keys, how many keys."""
        findings = self.findings()
        found = {sort: len({each.index for each in findings if each.sort == sort}) for sort in VIOLATIONS}
        return {**found, AGENT_KEYS: sum(each.sort == AGENT_KEYS for each in findings)}

    def in_doubt(self) -> int:
        """Roots signed with a key that was revoked later, from that moment or before: it may have been stolen."""
        roots = (row for row in self.delegations.values() if row.parent is None)
        keys = ((row, self.holders.keys.get(row.key)) for row in roots)
        return sum(1 for row, key in keys if key is not None and key.ended and key.ended.since <= row.time)

    def counts(self, at: str = "") -> dict[str, Any]:
        """Everything counted, over the entries that were fed, as it stands at that time."""
        at = at or self.now
        standings = self.standings(at)
        held = list(self.delegations.values())
        states = [standings[row.index].state for row in held]
        votes = list(self.in_advance.values())
        tools = [row for row in self.versions if row.sort == TOOL]
        policies = [row for row in self.versions if row.sort == POLICY]
        retired = sum(row.ended is not None and row.ended.how == "retired" for row in tools)
        in_advance = {"given": len(votes), "by_click": sum(row.kind == grant_keys.SESSION for row in votes)}
        if self.whole:
            in_advance["used"] = sum(row.uses or 0 for row in votes)
        return {
            "typ": COUNTS_TYPE,
            "realm": self.realm,
            "at": at,
            "entries": self.entries,
            "violations": self.violations(),
            "findings": [{"index": each.index, "sort": each.sort, "why": each.why} for each in self.findings()],
            "delegations": {
                "from_people": sum(row.parent is None for row in held),
                "passed_on": sum(row.parent is not None for row in held),
                **{state: states.count(state) for state in (LIVE, WAITING, STOPPED, ENDED)},
                "deepest": max((row.depth for row in held), default=0),
                "holders": len({row.holder for row in held}),
                "people": len({row.person for row in held if row.person}),
                "in_doubt": self.in_doubt(),
            },
            "tools": {
                "new": sum(row.new for row in tools),
                "changed": sum(not row.new for row in tools),
                "retired": retired,
                **_by_how_many(tools),
            },
            "policies": {"activated": len(policies), **_by_how_many(policies)},
            "in_advance": in_advance,
            "keys": {"signers": len(self._signers), "of_agents": len(self.holders.ever_agents)},
            "services": {
                "registered": len(self.services),
                "retired": sum(row.ended is not None for row in self.services.values()),
            },
        }


def _by_how_many(rows: list[Version]) -> dict[str, int]:
    two = sum(bool(row.signers) for row in rows)
    return {"signed_by_two": two, "by_one_unsigned": len(rows) - two}


def _common(entry: Mapping[str, Any], raw: bytes) -> tuple[int, str, str, dict[str, Any]]:
    return entry["index"], _leaf(raw), entry["time"], dict(entry["actor"])


def _leaf(raw: bytes) -> str:
    return merkle.leaf_hash(raw).hex()


def _agent_signed(document: Mapping[str, Any], signature: Mapping[str, Any], public_key: bytes) -> bool:
    return delegation.verify_agent_signature(document, signature, public_key)


HANDLERS: dict[str, Callable[[GrantHistory, Mapping[str, Any], bytes], None]] = {
    "delegation.issued": GrantHistory._issued,
    "delegation.revoked": GrantHistory._revoked,
    "change.proposed": GrantHistory._proposed,
    "change.seconded": GrantHistory._seconded,
    "change.withdrawn": GrantHistory._withdrawn,
    "person.added": GrantHistory._changed_person,
    "person.changed": GrantHistory._changed_person,
    "tool.registered": GrantHistory._registered,
    "tool.retired": GrantHistory._retired,
    "policy.activated": GrantHistory._activated,
    "grant.issued": GrantHistory._granted,
    "grant.revoked": GrantHistory._taken_back,
    "service.registered": GrantHistory._let_in,
    "service.retired": GrantHistory._let_go,
    USE: GrantHistory._used,
}
KINDS = frozenset(HANDLERS) | frozenset(grant_keys.HANDLERS) | _PEOPLES
"""The kinds of entries that it looks at: whoever feeds it may pass by all others. Without `USE`, nothing is `whole`."""
