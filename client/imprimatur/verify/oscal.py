"""The folder `oscal/` of a bundle: plan, assessment plan, results, and what is left to do, as OSCAL 1.2.1.

Everything follows from the entries, and from the digests of the bundle's other files; identifiers are UUIDv5 of leaf
hashes. So the same bundle has the same bytes, and whoever verifies derives them anew. A control for which there is no
data, or for which somebody else has to show something, gets no finding: the result says why in its remarks.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from imprimatur.formats import canonical
from imprimatur.rules import canaries
from imprimatur.verify import assessment, controls
from imprimatur.verify.assessment import NOT_SHOWN, SHOWN
from imprimatur.verify.controls import CONTROLS, NEEDS
from imprimatur.verify.periods import Event, Period, Periods

FOLDER = "oscal"
SSP, PLAN, RESULTS, POAM = "ssp.json", "assessment-plan.json", "assessment-results.json", "poam.json"
NAMES = (PLAN, RESULTS, POAM, SSP)
VERSION = "1.2.1"
NAMESPACE = "urn:imprimatur:oscal:v1"

_UUIDS = uuid.uuid5(uuid.NAMESPACE_URL, NAMESPACE)
_RUNS, _OBSERVATIONS = "canaries/index.jsonl", "monitor/index.jsonl"
_CHECKPOINT = "log/checkpoint"
_STATES = {SHOWN: "satisfied", NOT_SHOWN: "not-satisfied"}

Json = dict[str, Any]


def documents(claims: Mapping[str, Any], periods: Periods, hashes: Mapping[str, str]) -> dict[str, bytes]:
    """The four files by name. ``claims`` is `claims.json`; ``hashes`` are SHA-256 in hex of the bundle's files, and
    what is not among them is referred to nowhere."""
    made = _Documents(claims, periods, hashes)
    found = {SSP: made.ssp(), PLAN: made.plan(), RESULTS: made.results(), POAM: made.poam()}
    return {name: canonical.dumps_json(document) + b"\n" for name, document in found.items()}


def _uuid(*parts: object) -> str:
    return str(uuid.uuid5(_UUIDS, "/".join(map(str, parts))))


def _sha256(value: str) -> Json:
    return {"algorithm": "SHA-256", "value": value}


def _prop(name: str, value: object) -> Json:
    return {"name": name, "ns": NAMESPACE, "value": str(value)}


class _Documents:
    def __init__(self, claims: Mapping[str, Any], periods: Periods, hashes: Mapping[str, str]) -> None:
        self.claims = claims
        self.statements: list[Mapping[str, Any]] = claims["statements"]
        self.periods = periods
        self.hashes = hashes
        self.root = str(claims["root"]).removeprefix("sha256:")
        self.realm = claims["realm"]
        self.files: set[str] = set()

    # --- what all of them share -------------------------------------------------------------------------------------

    def metadata(self, title: str) -> Json:
        whole = "all entries" if self.claims["whole"] else "a selection of the entries"
        return {
            "title": f"{title}: {self.realm}",
            "last-modified": self.claims["time"],
            "version": str(self.claims["size"]),
            "oscal-version": VERSION,
            "props": [
                _prop("origin", self.realm),
                _prop("tree-size", self.claims["size"]),
                _prop("root", self.claims["root"]),
                _prop("entries", whole),
            ],
            "parties": [{"uuid": _uuid(self.realm, "party"), "type": "organization", "name": self.realm}],
            "remarks": "Derived from the log alone, up to the checkpoint that these properties name, by the program "
            "that verifies the bundle. Who assesses decides; these documents say what the log shows.",
        }

    def evidence(self, names: Iterable[str]) -> list[Json]:
        """References to files of the bundle, each once; their resources go to the back matter."""
        wanted = sorted(self.hashes.keys() & set(names))
        self.files.update(wanted)
        return [{"href": f"#{self.resource_id(name)}", "description": name} for name in wanted]

    def resource_id(self, name: str) -> str:
        return _uuid(self.hashes[name], name)

    def back_matter(self) -> Json:
        """The files that were referred to since the last call."""
        names, self.files = sorted(self.files), set()
        return {
            "resources": [
                {
                    "uuid": self.resource_id(name),
                    "title": name,
                    "rlinks": [
                        {"href": f"../{name}", "hashes": [{"algorithm": "SHA-256", "value": self.hashes[name]}]}
                    ],
                }
                for name in names
            ]
        }

    @property
    def verifier_id(self) -> str:
        return _uuid(self.realm, "verifier")

    def verifier(self) -> Json:
        return {
            "uuid": self.verifier_id,
            "type": "software",
            "title": "The verifier of evidence bundles",
            "description": "Derives everything here anew from the entries, and demands equal bytes.",
            "status": {"state": "operational"},
        }

    def reviewed(self) -> Json:
        chosen = [{"control-id": control.oscal} for control in CONTROLS.values()]
        return {"control-selections": [{"include-controls": chosen}]}

    # --- the plan of the system -------------------------------------------------------------------------------------

    def ssp(self) -> Json:
        own = _uuid(self.realm, "component")
        catalog = _uuid(self.realm, "catalog")
        requirements = [
            {
                "uuid": _uuid(self.realm, control.id, "requirement"),
                "control-id": control.oscal,
                "by-components": [
                    {
                        "component-uuid": own,
                        "uuid": _uuid(self.realm, control.id, "component"),
                        "description": NEEDS[control.need].answer,
                        "implementation-status": {"state": "partial" if control.open else "implemented"},
                        "remarks": "Not shown: " + " ".join(_limits(control)),
                    }
                ],
            }
            for control in CONTROLS.values()
        ]
        resources = [{"uuid": catalog, "title": controls.CATALOG, "citation": {"text": controls.CATALOG}}]
        return {
            "system-security-plan": {
                "uuid": _uuid(self.root, "ssp"),
                "metadata": self.metadata("Fragment of a system security plan"),
                "import-profile": {
                    "href": f"#{catalog}",
                    "remarks": "The controls that this software serves, and no baseline: put this fragment into the "
                    "plan of the whole system.",
                },
                "system-characteristics": {
                    "system-ids": [{"id": self.realm}],
                    "system-name": self.realm,
                    "description": "The desk at which people countersign what AI agents do.",
                    "system-information": {
                        "information-types": [
                            {
                                "uuid": _uuid(self.realm, "information"),
                                "title": "Decisions about what agents may do",
                                "description": "Requests of agents, answers of people, and the log of both.",
                            }
                        ]
                    },
                    "status": {"state": "other", "remarks": "A log does not say in which state its system is."},
                    "authorization-boundary": {
                        "description": "The server with its database, log, keys and publisher. Agents, their "
                        "machines, orchestrators and monitors are outside of it."
                    },
                },
                "system-implementation": {
                    "users": [{"uuid": _uuid(self.realm, "user", role), "title": role} for role in _ROLES],
                    "components": [
                        {
                            "uuid": own,
                            "type": "this-system",
                            "title": self.realm,
                            "description": "Decides on requests, asks people, and writes the log.",
                            "status": {"state": "operational"},
                        }
                    ],
                },
                "control-implementation": {
                    "description": "What this software contributes to each control, and what it does not show.",
                    "implemented-requirements": requirements,
                },
                "back-matter": {"resources": resources},
            }
        }

    # --- the plan of the assessment ---------------------------------------------------------------------------------

    def plan(self) -> Json:
        activities = [
            {
                "uuid": _uuid(self.realm, need.id, "activity"),
                "title": need.words,
                "description": f"{need.answer} Checked by the claims {', '.join(need.claims)} of the verifier.",
                "steps": [
                    {"uuid": _uuid(self.realm, need.id, "step", number), "description": command}
                    for number, command in enumerate(need.commands)
                ],
                "related-controls": {
                    "control-selections": [
                        {
                            "include-controls": [
                                {"control-id": each.oscal} for each in CONTROLS.values() if each.need == need.id
                            ]
                        }
                    ]
                },
                "remarks": "Not shown: " + " ".join(need.limits),
            }
            for need in NEEDS.values()
        ]
        return {
            "assessment-plan": {
                "uuid": _uuid(self.root, "plan"),
                "metadata": self.metadata("Plan of the assessment that the log itself makes"),
                "import-ssp": {"href": SSP},
                "local-definitions": {"activities": activities},
                "reviewed-controls": self.reviewed(),
                "assessment-assets": {
                    "components": [self.verifier(), *map(_service, self.periods.services.items())],
                    "assessment-platforms": [
                        {
                            "uuid": _uuid(self.realm, "platform"),
                            "title": "Any machine with Python 3.11",
                            "uses-components": [{"component-uuid": self.verifier_id}],
                        }
                    ],
                },
            }
        }

    # --- the results ------------------------------------------------------------------------------------------------

    def results(self) -> Json:
        months = self.periods.months
        results = [self.result(period, newest=period is months[-1]) for period in months]
        return {
            "assessment-results": {
                "uuid": _uuid(self.root, "results"),
                "metadata": self.metadata("What the log shows"),
                "import-ap": {"href": PLAN},
                "results": results,
                "back-matter": self.back_matter(),
            }
        }

    def result(self, period: Period, *, newest: bool) -> Json:
        observations = list(self.observations(period))
        risks = list(self.risks(period))
        result: Json = {
            "uuid": _uuid(period.first.leaf, "result"),
            "title": period.name,
            "description": f"Canary runs: {sum(period.runs.values())}, observations: {period.observations}, launches: "
            f"{period.launches}, refused launches: {period.refused}, starts of the server: {period.starts}.",
            "start": period.first.time,
            "end": period.last.time,
            "props": [_prop("first-entry", period.first.index), _prop("last-entry", period.last.index)],
            "reviewed-controls": self.reviewed(),
        }
        remarks = [_left_out(period)]
        if newest:
            observations += [self.examined(statement) for statement in self.statements]
            risks += [self.risk_of(statement) for statement in self.statements if statement["verdict"] == NOT_SHOWN]
            findings = list(self.findings())
            if findings:
                result["findings"] = findings
            remarks.append("Findings are over all entries up to the checkpoint.")
            remarks += self.without_finding()
        else:
            remarks.append("Findings are in the newest result, over all entries.")
        if observations:
            result["observations"] = observations
        if risks:
            result["risks"] = risks
        return {**result, "remarks": " ".join(filter(None, remarks))}

    def observations(self, period: Period) -> Iterator[Json]:
        events = {event.index: event for event in period.red}
        if period.run is not None:
            events[period.run.index] = period.run
        for index in sorted(events):
            yield self.tested(events[index])
        seen = {event.index: event for event in (*period.drift, *period.strange)}
        if period.observed is not None:
            seen[period.observed.index] = period.observed
        for index in sorted(seen):
            yield self.watched(seen[index])

    def tested(self, event: Event) -> Json:
        """A run of the canaries."""
        said = event.said
        told = [f"Canaries from {said['begun']} to {said['ended']}: {said['result']}."]
        if said["failed"]:
            told.append(f"Not refused as they must be: {', '.join(said['failed'])}.")
        if said["got_through"]:
            told.append(f"Not refused at all: {', '.join(said['got_through'])}.")
        if not said["control"]:
            told.append("The positive control did not succeed, so nothing is shown for this time.")
        return self.observation(event, "TEST", "Run of the canaries", " ".join(told))

    def watched(self, event: Event) -> Json:
        """An observation of a monitor."""
        said = event.said
        of = f"of the launch {said['launch']}" if said["launch"] else "of no launch"
        told = f"Observation {of}: {', '.join(said['codes']) or 'no difference'}."
        return self.observation(event, "EXAMINE", "Observation of a monitor", told)

    def observation(self, event: Event, method: str, title: str, told: str) -> Json:
        service, index = event.said["service"], _RUNS if method == "TEST" else _OBSERVATIONS
        folder = index.partition("/")[0]
        return {
            "uuid": _uuid(event.leaf, "observation"),
            "title": title,
            "description": told,
            "props": [_prop("entry", event.index), _prop("leaf", event.leaf)],
            "methods": [method],
            "origins": [{"actors": [{"type": "tool", "actor-uuid": _uuid(service, "service")}]}],
            "relevant-evidence": self.evidence((index, f"{folder}/statements/{service}.jsonl")),
            "collected": event.time,
        }

    def examined(self, statement: Mapping[str, Any]) -> Json:
        """One statement of the claims page, as it stands at the checkpoint."""
        counts = "; ".join(f"{each['count']}: {each['words']}" for each in statement["evidence"])
        why = f", because {statement['why']}" if statement["why"] else ""
        why += f" (entries {', '.join(map(str, statement['see']))})" if statement["see"] else ""
        files = [each["file"] for each in statement["evidence"] if "file" in each]
        return {
            "uuid": self.statement_id(statement),
            "title": statement["name"],
            "description": f"{statement['sentence']} {statement['verdict'].capitalize()}{why}. {counts}.",
            "methods": ["EXAMINE"],
            "origins": [{"actors": [{"type": "tool", "actor-uuid": self.verifier_id}]}],
            "relevant-evidence": self.evidence((*files, assessment.FILE, _CHECKPOINT)),
            "collected": self.claims["time"],
            "remarks": statement["limit"],
        }

    def statement_id(self, statement: Mapping[str, Any]) -> str:
        return _uuid(self.root, statement["name"], "statement")

    def findings(self) -> Iterator[Json]:
        """One for each control that something can be said of: that it is satisfied, or that it is not."""
        for control in CONTROLS.values():
            state = assessment.state_of(control, self.claims)
            if state not in _STATES:
                continue
            rests_on = NEEDS[control.need].rests_on
            named = [each for each in self.statements if each["name"] in rests_on]
            related = [{"observation-uuid": self.statement_id(each)} for each in named]
            risks = [{"risk-uuid": self.risk_id(each)} for each in named if each["verdict"] == NOT_SHOWN]
            yield {
                "uuid": _uuid(self.root, control.id, "finding"),
                "title": f"{control.id} {control.title}",
                "description": NEEDS[control.need].answer,
                "target": {
                    "type": "objective-id",
                    "target-id": f"{control.oscal}_obj",
                    "status": {"state": _STATES[state]},
                },
                "related-observations": related,
                **({"related-risks": risks} if risks else {}),
                "remarks": "As far as this software can show. Not shown: " + " ".join(_limits(control)),
            }

    def without_finding(self) -> list[str]:
        """Why some controls have none."""
        unsure = [each for each in CONTROLS.values() if assessment.rests_on(each, self.claims) not in _STATES]
        others = [each for each in CONTROLS.values() if each.open and assessment.rests_on(each, self.claims) == SHOWN]
        told = []
        if unsure:
            reasons = [f"{each['name']}: {each['why']}" for each in self.statements if each["why"]]
            listed = ", ".join(control.id for control in unsure)
            told.append(f"No finding, because nobody can tell ({'; '.join(reasons)}): {listed}.")
        if others:
            listed = ", ".join(control.id for control in others)
            told.append(f"No finding, because something outside of this software has to be shown: {listed}.")
        return told

    # --- risks, and what is left to do ------------------------------------------------------------------------------

    def risks(self, period: Period) -> Iterator[Json]:
        for event in period.red:
            if event.said["result"] == canaries.FAILED:
                yield self.failed(event)
        for event in period.drift:
            yield self.drifted(event)

    def failed(self, event: Event) -> Json:
        through = event.said["got_through"]
        worse = "An attack that must be refused was not." if through else "An attack was refused for another reason."
        told = f"{worse} {', '.join(through or event.said['failed'])}."
        return self.risk(event, "A canary failed", told, "open")

    def drifted(self, event: Event) -> Json:
        live = event.said["launch"] in self.periods.live
        ended = "It has not ended." if live else "It has ended since."
        told = (
            f"What ran was not what the launch {event.said['launch']} said: {', '.join(event.said['codes'])}. {ended}"
        )
        return self.risk(event, "Drift from a launch", told, "open" if live else "closed")

    def risk(self, event: Event, title: str, told: str, status: str) -> Json:
        return {
            "uuid": _uuid(event.leaf, "risk"),
            "title": title,
            "description": told,
            "statement": "Found by the installation itself, and in its log for good. Whether it was dealt with is for "
            "people to say.",
            "props": [_prop("entry", event.index), _prop("leaf", event.leaf)],
            "status": status,
            "related-observations": [{"observation-uuid": _uuid(event.leaf, "observation")}],
        }

    def risk_of(self, statement: Mapping[str, Any]) -> Json:
        return {
            "uuid": self.risk_id(statement),
            "title": f"Not shown: {statement['name']}",
            "description": f"{statement['sentence']} This is not shown: {statement['why']}.",
            "statement": "What the controls rest on that this statement serves does not hold.",
            "status": "open",
            "related-observations": [{"observation-uuid": self.statement_id(statement)}],
        }

    def risk_id(self, statement: Mapping[str, Any]) -> str:
        return _uuid(self.root, statement["name"], "risk")

    def poam(self) -> Json:
        observations, risks = [], []
        for period in self.periods.months:
            known = {event.index: self.tested(event) for event in period.red}
            known |= {event.index: self.watched(event) for event in period.drift}
            needed = list(self.risks(period))
            wanted = {each["observation-uuid"] for risk in needed for each in risk["related-observations"]}
            observations += [known[index] for index in sorted(known) if known[index]["uuid"] in wanted]
            risks += needed
        wrong = [statement for statement in self.statements if statement["verdict"] == NOT_SHOWN]
        observations += [self.examined(statement) for statement in wrong]
        risks += [self.risk_of(statement) for statement in wrong]
        items = [_item(risk) for risk in risks]
        items += [self.standing(control) for control in CONTROLS.values() if control.open]
        plan: Json = {
            "uuid": _uuid(self.root, "poam"),
            "metadata": self.metadata("What is left to do"),
            "import-ssp": {"href": SSP},
        }
        if observations:
            plan["observations"] = observations
        if risks:
            plan["risks"] = risks
        plan["poam-items"] = items
        if self.files:
            plan["back-matter"] = self.back_matter()
        return {"plan-of-action-and-milestones": plan}

    def standing(self, control: controls.Control) -> Json:
        """What nobody can show with this software alone."""
        return {
            "uuid": _uuid(self.realm, control.id, "item"),
            "title": f"{control.id} {control.title}",
            "description": control.open,
            **({"remarks": control.limit} if control.limit else {}),
        }


def _item(risk: Json) -> Json:
    return {
        "uuid": _uuid(risk["uuid"], "item"),
        "title": risk["title"],
        "description": risk["description"],
        "related-observations": risk["related-observations"],
        "related-risks": [{"risk-uuid": risk["uuid"]}],
    }


_ROLES = ("admin", "reviewer", "auditor")


def _service(known: tuple[str, str]) -> Json:
    name, role = known
    return {
        "uuid": _uuid(name, "service"),
        "type": "service",
        "title": name,
        "description": f"Signs as {role} with a key of its own.",
        "status": {"state": "operational"},
    }


def _limits(control: controls.Control) -> tuple[str, ...]:
    own = (control.limit,) if control.limit else ()
    return (*own, *NEEDS[control.need].limits)


def _left_out(period: Period) -> str:
    """That more happened than is told one by one, in words; empty when all is told."""
    red = sum(period.runs.values()) - period.runs[canaries.PASSED] - len(period.red)
    rest = period.differing - len(period.drift) + period.unmatched - len(period.strange)
    if red or rest:
        return (
            f"Told one by one are the newest; left out are {red} runs and {rest} observations: see {_RUNS} and "
            f"{_OBSERVATIONS}."
        )
    return ""
