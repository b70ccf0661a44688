"""Policy: which risk a call carries, and what is never done. The answer to every question is at least explained.

Order: deny rules, then the first rule that matches, then floors take the maximum. Each effect of a call is judged on
its own and the worst counts, so a harmless recipient cannot stand in for the others. Unknown is HIGH, an error is at
least HIGH (and denies, if it stands in a deny rule), and the agent's own estimate can only raise. Nothing an agent
wrote is repeated in an explanation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from functools import cached_property
from heapq import merge
from typing import Any

from imprimatur.formats import canonical, digests, shapes
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import asking, conditions, freeze, money
from imprimatur.rules.conditions import Condition, ConditionError
from imprimatur.rules.effects import Derived
from imprimatur.rules.quorum import Candidate, Circumstances, satisfiable, stages_for
from imprimatur.rules.risk import Risk, maximum, risk_of
from imprimatur.rules.tools import REVERSIBILITIES, TOOL_NAME

TYP = "imprimatur/policy/v1"
DEFAULT_RULE = "default"
FLOORS = ("destructive", "irreversible", "withheld", "unknown", "freeze")
TTL_LIMITS = {"default": (60, 3600), "maximum": (60, 3600), "critical": (60, 14_400)}
_TTL_DEFAULTS = {"default": 300, "maximum": 3600, "critical": 14_400}

_NAME = r"[a-z0-9][a-z0-9\-]{0,63}"
_ACTION = re.compile(r"\*|[a-z][a-z0-9_\-]*:(\*|[a-z][a-z0-9_\-]*)")
_RISKS = tuple(risk.value for risk in Risk)
_STAGE = shapes.Obj({"role": shapes.Text(max=64, pattern=r"[a-z][a-z0-9_\-]*"), "count": shapes.Int(1, 20)})
_SELECT = {"tool": shapes.Text(max=128), "action": shapes.Text(max=128), "when": shapes.Text(max=conditions.MAX_LENGTH)}
_DENY = shapes.Obj({"name": shapes.Text(max=64, pattern=_NAME), "reason": shapes.Text(max=500)}, _SELECT)
_RULE = shapes.Obj(
    {"name": shapes.Text(max=64, pattern=_NAME), "risk": shapes.OneOf(*_RISKS)},
    {**_SELECT, "stages": shapes.ListOf(_STAGE, max=3, min=1)},
)
MAX_RULES = 20_000
SHAPE = shapes.Obj(
    {
        "typ": shapes.Const(TYP),
        "name": shapes.Text(max=200),
        "assurance": shapes.OneOf("H0", "H1", "H2", "H3"),
        "single_human": shapes.Bool(),
        "default_risk": shapes.OneOf("HIGH", "CRITICAL"),
        "deny": shapes.ListOf(_DENY, max=MAX_RULES),
        "rules": shapes.ListOf(_RULE, max=MAX_RULES),
    },
    {
        "ttl": shapes.Obj({}, {name: shapes.Int(*limits) for name, limits in TTL_LIMITS.items()}),
        "floors": shapes.Obj({}, {name: shapes.OneOf("HIGH", "CRITICAL") for name in FLOORS}),
        "device_bound": shapes.ListOf(shapes.OneOf("HIGH", "CRITICAL"), max=2, unique=True),
        "freeze": freeze.SHAPE,
        "ask": asking.SHAPE,
        "grants": shapes.Bool(),
        "respond": shapes.Obj(
            {}, {"drift": shapes.OneOf("alert", "suspend"), "canary": shapes.OneOf("alert", "pause")}
        ),
    },
)


@dataclass(frozen=True)
class Problem:
    """One fault: where it stands in the document, and a sentence on what to change."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class PolicyError(ValueError):
    """A document that cannot become a policy. `problems` lists everything found."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(" ".join(str(problem) for problem in self.problems))


@dataclass(frozen=True)
class Facts:
    """Everything a policy may look at. Derived by the server; `risk_claimed` alone is the agent's word, and only
    raises.

    `size` is bytes; absent for a known tool means that it carries no content. `time` must know its zone.
    """

    tool: str
    action: str = ""
    resource: str = ""
    effects: Sequence[Mapping[str, str]] = ()
    risk_claimed: Risk | str | None = None
    cost_micro: int = 0
    cost_unit: str = ""
    size: int | None = None
    agent: str = ""
    owner: str = ""
    delegation: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    reversibility: str = ""
    destructive: bool = False
    known: bool = False
    withheld: Sequence[str] = ()
    minimum_risk: Risk | str | None = None
    time: datetime | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any], derived: Derived, parameters: Mapping[str, Any], **more: Any) -> Facts:
        """The facts of one call of a registered tool; `more` holds the rest (agent, owner, time, ...)."""
        return cls(
            tool=document["name"],
            effects=derived.effects,
            cost_micro=derived.cost_micro,
            cost_unit=derived.cost[1] if derived.cost else "",
            size=derived.size,
            parameters=parameters,
            reversibility=document["reversibility"],
            destructive=derived.destructive,
            known=True,
            minimum_risk=document.get("minimum_risk"),
            **more,
        )

    def pairs(self) -> list[tuple[str, str]]:
        """The distinct effects, as (action, resource)."""
        found = [(str(effect.get("action", "")), str(effect.get("resource", ""))) for effect in self.effects]
        if self.action or not found:
            found.append((self.action, self.resource))
        return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Verdict:
    """What a policy says. `outcome` is "deny" or the risk's name; `why` is for people to read, line by line.

    `stages` is what the matching rules ask for (None: the usual for this risk); `assurance` is what an approval needs.
    """

    outcome: str
    risk: Risk
    rule: str
    code: str | None
    why: tuple[str, ...]
    floors: tuple[str, ...]
    assurance: str
    stages: tuple[dict[str, Any], ...] | None
    single_human: bool
    reason: str | None = None

    @property
    def denied(self) -> bool:
        """Whether a deny rule ended it."""
        return self.outcome == "deny"


@dataclass(frozen=True)
class _Rule:
    name: str
    tool: str | None
    action: str | None
    condition: Condition | None
    risk: Risk
    stages: tuple[dict[str, Any], ...]
    reason: str


class _Index:
    """Rules by tool, action and domain. Looking one up costs what could match, not what there is."""

    def __init__(self, rules: Sequence[_Rule]) -> None:
        self.rules = rules
        self._places: dict[tuple[str, str], list[int]] = {}
        for place, rule in enumerate(rules):
            key = ("tool", rule.tool) if rule.tool is not None else ("action", rule.action or "")
            self._places.setdefault(key, []).append(place)

    def candidates(self, tool: str, action: str) -> Iterator[_Rule]:
        keys = (("tool", tool), ("action", action), ("action", action.partition(":")[0] + ":*"), ("action", "*"))
        return (self.rules[place] for place in merge(*(self._places.get(key, ()) for key in dict.fromkeys(keys))))


class _Evaluation:
    """Conditions of one request: facts are handed over once, and only if a condition needs them."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self._shared: dict[int, bool | ConditionError] = {}
        self._made: Any = None
        self._turned_to = ("", "")

    def matches(self, rule: _Rule, pair: tuple[str, str]) -> bool:
        condition = rule.condition
        if condition is None:
            return True
        if condition.per_effect:
            return condition.holds(self._context(pair))
        key = id(condition)
        if key not in self._shared:
            try:
                self._shared[key] = condition.holds(self._context(pair))
            except ConditionError as error:
                self._shared[key] = error
        answer = self._shared[key]
        if isinstance(answer, ConditionError):
            raise answer
        return answer

    def _context(self, pair: tuple[str, str]) -> Any:
        # One context for all effects: handing over a megabyte of parameters for each would take a minute.
        if self._made is None:
            self._made = conditions.context(
                {**self._variables, "action": pair[0], "resource": pair[1]}, unit=self.facts.cost_unit, action=pair[0]
            )
        elif pair != self._turned_to:
            conditions.retarget(self._made, action=pair[0], resource=pair[1])
        self._turned_to = pair
        return self._made

    @cached_property
    def _variables(self) -> dict[str, Any]:
        facts = self.facts
        try:
            amount = money.format_amount(facts.cost_micro)
            parameters, context = dict(facts.parameters), dict(facts.context)
        except (money.MoneyError, TypeError, ValueError):
            raise ConditionError("the facts of this request could not be read") from None
        found: dict[str, Any] = {
            "tool": facts.tool,
            "effects": [dict(effect) for effect in facts.effects],
            "cost": {"micro": facts.cost_micro, "amount": amount, "unit": facts.cost_unit},
            "agent": facts.agent,
            "owner": facts.owner,
            "delegation": facts.delegation,
            "parameters": parameters,
            "context": context,
            "reversibility": facts.reversibility,
            "destructive": facts.destructive,
            "known": facts.known,
            "withheld": list(facts.withheld),
            "risk_claimed": str(facts.risk_claimed or ""),
        }
        if facts.size is not None or facts.known:
            found["size"] = facts.size or 0
        # A time without a zone says nothing about the hour: leave it out, so that a rule that asks fails.
        if facts.time is not None and facts.time.tzinfo is not None:
            at = facts.time.astimezone(UTC)
            found["time"] = {"at": at, "hour": at.hour, "minute": at.minute, "weekday": at.isoweekday()}
        return found


class Policy:
    """A validated policy: immutable, content-addressed, total. Build it with `validate`."""

    def __init__(
        self, document: dict[str, Any], rules: Sequence[_Rule], denials: Sequence[_Rule], warnings: Sequence[Problem]
    ) -> None:
        self.document = document
        self.warnings = tuple(warnings)
        self.assurance: str = document["assurance"]
        self.single_human: bool = document["single_human"]
        self.default_risk = Risk(document["default_risk"])
        self.grants: bool = document.get("grants", True)
        self.windows = freeze.read(document.get("freeze", ()))
        self._floors = {name: Risk(document.get("floors", {}).get(name, "HIGH")) for name in FLOORS}
        self._rules, self._denials = _Index(rules), _Index(denials)

    @cached_property
    def digest(self) -> str:
        """The content address of the document."""
        return digest(self.document)

    def ttl(self, risk: Risk, asked: int | None = None) -> int:
        """Seconds a pending request of this risk may wait: what was asked, or the default, within the limits."""
        limits = {**_TTL_DEFAULTS, **self.document.get("ttl", {})}
        ceiling = limits["critical"] if risk is Risk.CRITICAL else limits["maximum"]
        wanted = limits["default"] if asked is None else asked
        return int(max(60, min(wanted, ceiling)))

    def frozen(self, at: datetime) -> str | None:
        """The name of the freeze that is on at this moment, or None. ValueError if the time has no zone."""
        return freeze.frozen(self.windows, at)

    def needs_device_bound(self, risk: Risk | str) -> bool:
        """Whether an approval of this risk takes a key that never leaves its device."""
        return str(Risk(risk)) in self.document.get("device_bound", ())

    def ask_levels(self) -> tuple[asking.Level, ...]:
        """Who is told of a request, and after which part of its time. It never says who may answer."""
        return asking.levels(self.document.get("ask"))

    def evaluate(self, facts: Facts, frozen: bool = False) -> Verdict:
        """Judge one request. Total: any facts give a verdict, and none gives LOW by mistake.

        `frozen` adds a freeze from outside the calendar, such as a pause.
        """
        evaluation = _Evaluation(facts)
        denied = self._denial(facts, evaluation)
        risk, rule, why, stages, failed = self._judge(facts, evaluation)
        floors = list(self._active_floors(facts, frozen))
        if failed:
            floors.append(("policy-error", Risk.HIGH, "a rule could not be evaluated"))
        for _, least, because in floors:
            why.append(f"At least {least}, because {because}.")
        risk = maximum(risk, *(least for _, least, _ in floors))
        code = "policy-error" if failed else None
        if denied is not None:
            rule, code, reason, line = denied
            why.insert(0, line)
        elif floors and risk is maximum(*(least for _, least, _ in floors)):
            why.append(f"Together: {risk}.")
        return Verdict(
            outcome="deny" if denied is not None else risk.value,
            risk=risk,
            rule=rule,
            code=code,
            why=tuple(why),
            floors=tuple(name for name, _, _ in floors),
            assurance=self.assurance,
            stages=stages if risk.blocks and stages else None,
            single_human=self.single_human,
            reason=reason if denied is not None else None,
        )

    def _denial(self, facts: Facts, evaluation: _Evaluation) -> tuple[str, str, str, str] | None:
        for pair in facts.pairs():
            for rule in self._denials.candidates(facts.tool, pair[0]):
                try:
                    if evaluation.matches(rule, pair):
                        return rule.name, "policy-denied", rule.reason, f'Denied by rule "{rule.name}": {rule.reason}'
                except ConditionError as error:
                    line = f'Denied by rule "{rule.name}", which could not be evaluated: {error}.'
                    return rule.name, "policy-error", rule.reason, line
        return None

    def _judge(
        self, facts: Facts, evaluation: _Evaluation
    ) -> tuple[Risk, str, list[str], tuple[dict[str, Any], ...], bool]:
        """The worst answer over all effects. A rule that fails counts as if it had matched, and the search goes on."""
        worst, name = Risk.LOW, ""
        why: list[str] = []
        need: dict[str, int] = {}
        failed = False
        for pair in facts.pairs():
            for rule in (*self._rules.candidates(facts.tool, pair[0]), None):
                try:
                    if rule is not None and not evaluation.matches(rule, pair):
                        continue
                    line, risk, done = _answer(rule, self.default_risk)
                except ConditionError as error:
                    assert rule is not None
                    failed, done, risk = True, False, maximum(rule.risk, Risk.HIGH)
                    line = f'Rule "{rule.name}" could not be evaluated ({error}), so this is treated as {risk} or more.'
                if line not in why:
                    why.append(line)
                for stage in rule.stages if rule is not None else ():
                    need[stage["role"]] = max(need.get(stage["role"], 0), stage["count"])
                if not name or risk > worst:
                    worst, name = risk, rule.name if rule is not None else DEFAULT_RULE
                if done:
                    break
        return worst, name, why, tuple({"role": role, "count": count} for role, count in need.items()), failed

    def _active_floors(self, facts: Facts, frozen: bool) -> Iterator[tuple[str, Risk, str]]:
        if facts.minimum_risk is not None:
            yield "registry-minimum", risk_of(facts.minimum_risk), "the tool registry says so"
        if not facts.known or not any(action for action, _ in facts.pairs()):
            yield "unknown", self._floors["unknown"], "the registry does not know this tool or what it does"
        if facts.destructive:
            yield "destructive", self._floors["destructive"], "the call is marked destructive"
        if facts.reversibility not in REVERSIBILITIES[:3]:
            yield "irreversible", self._floors["irreversible"], "it cannot be undone"
        if facts.withheld:
            yield "withheld", self._floors["withheld"], "part of the request is withheld"
        on = "a freeze is on" if frozen else self._freeze(facts.time)
        if on:
            yield "freeze", self._floors["freeze"], on
        if facts.risk_claimed is not None:
            yield "agent", risk_of(facts.risk_claimed), "the agent itself asked for that"

    def _freeze(self, at: datetime | None) -> str:
        """Why it is frozen, or nothing. A calendar that cannot be asked, for want of a time, is on."""
        if not self.windows:
            return ""
        if at is None or at.tzinfo is None:
            return "there is a freeze calendar, and the time is not known"
        name = self.frozen(at)
        return f'the freeze "{name}" is on' if name is not None else ""

    def usable_keys(self, candidate: Candidate, risk: Risk | str) -> frozenset[str]:
        """The keys of theirs that an approval of this risk takes."""
        keys = frozenset(candidate.keys)
        if self.needs_device_bound(risk) or self.assurance == "H3":
            keys &= frozenset(candidate.device_bound)
        return keys & frozenset(candidate.attested) if self.assurance == "H3" else keys

    def takes_key(self, risk: Risk | str) -> bool:
        """Whether an approval of this risk takes a signing key at all; without, a click in a session does."""
        return self.assurance in ("H2", "H3") or self.needs_device_bound(risk)

    def satisfiable_by(self, people: Iterable[Candidate], *, keys: bool = True) -> list[Problem]:
        """What these people could never answer, whoever the agent belongs to: one problem per rule, and per level.

        Where an approval takes a signing key, only people who hold a fitting one count; `keys` False leaves that out,
        which tells missing people from missing keys.
        """
        candidates = list(people)
        asked: list[tuple[str, Risk, list[dict[str, Any]] | None]] = [
            (f"rules[{place}].stages", Risk(rule["risk"]), rule["stages"])
            for place, rule in enumerate(self.document["rules"])
            if "stages" in rule
        ]
        asked += [("rules", risk, None) for risk in (Risk.HIGH, Risk.CRITICAL)]
        found = []
        for where, risk, stages in asked:
            able, counted = candidates, keys and self.takes_key(risk)
            if counted:
                able = [candidate for candidate in candidates if self.usable_keys(candidate, risk)]
            problem = satisfiable(
                stages_for(risk, stages), able, Circumstances(risk=risk, single_human=self.single_human)
            )
            if problem is not None:
                kind = "a device-bound signing key" if self.needs_device_bound(risk) else "a signing key"
                more = f" Only people who hold {kind} count here." if counted else ""
                found.append(Problem(where, f"{risk}: {problem.message}{more}"))
        return found


def _answer(rule: _Rule | None, default: Risk) -> tuple[str, Risk, bool]:
    if rule is None:
        return f"No rule speaks of this, so the policy's default applies: {default}.", default, True
    return f'Rule "{rule.name}" says {rule.risk}.', rule.risk, True


def digest(document: Mapping[str, Any]) -> str:
    """The content address of a policy: SHA-256 over ``imprimatur/policy/v1`` 0x00 JCS(document)."""
    return digests.tagged(TYP, canonical.dumps(dict(document)))


def validate(document: object) -> Policy:
    """Check a parsed document and build the policy. Raises PolicyError with everything that is wrong.

    Refused: an open or unknown shape, conditions that do not compile, name unknown facts or order text, and repeated
    names. Rules that can never be reached, or that approve everything, are warnings of the policy returned.
    """
    try:
        shapes.check(document, SHAPE, "")
        canonical.dumps(document)
    except shapes.ShapeError as error:
        raise PolicyError([Problem(error.path or "policy", error.message)]) from error
    except canonical.CanonicalError as error:
        raise PolicyError([Problem("policy", str(error))]) from error
    assert isinstance(document, dict)
    found: list[Problem] = []
    names: dict[str, str] = {DEFAULT_RULE: "the built-in default"}
    compiled = {
        part: [_compile(raw, f"{part}[{place}]", names, found) for place, raw in enumerate(document[part])]
        for part in ("deny", "rules")
    }
    for part, faults in (("freeze", freeze.faults), ("ask", asking.faults)):
        found += [Problem(f"{part}[{place}]", message) for place, message in faults(document.get(part, ()))]
    if found:
        raise PolicyError(found)
    warnings = [*_warnings(compiled["deny"], compiled["rules"]), *_late_levels(document)]
    return Policy(document, compiled["rules"], compiled["deny"], warnings)


def speaks_of(rule: Mapping[str, Any], tool: str, effects: Iterable[Mapping[str, str]]) -> bool:
    """Whether a rule of a document is about this tool or one of these effects. Its condition is not asked."""
    if "tool" in rule:
        return bool(rule["tool"] == tool)
    actions = [effect.get("action", "") for effect in effects] or [""]
    return any(rule.get("action") in (action, f"{action.partition(':')[0]}:*", "*") for action in actions)


def _late_levels(document: Mapping[str, Any]) -> Iterator[Problem]:
    for place, level in enumerate(document.get("ask", ())):
        if level["after"] >= asking.EVERYONE_AT:
            yield Problem(f"ask[{place}]", f"From {asking.EVERYONE_AT} percent on everybody is asked anyway.")


def _compile(raw: Mapping[str, Any], where: str, names: dict[str, str], found: list[Problem]) -> _Rule:
    name = raw["name"]
    if name in names:
        found.append(
            Problem(
                f"{where}.name", f'"{name}" is taken by {names[name]}. Every decision names its rule: choose another.'
            )
        )
    names.setdefault(name, where)
    tool, action = raw.get("tool"), raw.get("action")
    if (tool is None) == (action is None):
        found.append(Problem(where, "Name either a tool or an action (one of the two)."))
    if tool is not None and not TOOL_NAME.fullmatch(tool):
        found.append(Problem(f"{where}.tool", "That is not a tool's name."))
    if action is not None and not _ACTION.fullmatch(action):
        found.append(Problem(f"{where}.action", "Write domain:verb, domain:* or *."))
    risk = Risk(raw.get("risk", "CRITICAL"))
    if "stages" in raw and not risk.blocks:
        found.append(Problem(f"{where}.stages", f"{risk} asks nobody. Stages belong to HIGH or CRITICAL."))
    roles = [stage["role"] for stage in raw.get("stages", ())]
    if len(set(roles)) != len(roles):
        found.append(Problem(f"{where}.stages", "A role stands in two stages: write one stage with the sum."))
    condition = None
    if "when" in raw:
        try:
            condition = Condition(raw["when"])
        except ConditionError as error:
            found.append(Problem(f"{where}.when", str(error)))
    return _Rule(name, tool, action, condition, risk, tuple(raw.get("stages", ())), raw.get("reason", ""))


def _warnings(denials: Sequence[_Rule], rules: Sequence[_Rule]) -> Iterator[Problem]:
    total: dict[tuple[str | None, str | None], str] = {}
    exact: dict[tuple[str | None, str | None, str], str] = {}
    for part, group in (("deny", denials), ("rules", rules)):
        for place, rule in enumerate(group):
            domain = (rule.action or "").partition(":")[0]
            above = ((rule.tool, rule.action), (None, "*"), (None, f"{domain}:*") if rule.action else (None, "*"))
            source = rule.condition.source if rule.condition else ""
            hidden = next((total[key] for key in above if key in total), None) or exact.get(
                (rule.tool, rule.action, source)
            )
            where = f"{part}[{place}]"
            if hidden is not None:
                yield Problem(
                    where, f'"{rule.name}" is never reached: "{hidden}" before it answers everything it could.'
                )
            if rule.condition is None:
                total.setdefault((rule.tool, rule.action), rule.name)
                if part == "rules" and rule.action == "*" and not rule.risk.blocks:
                    yield Problem(where, f'"{rule.name}" approves every action nobody named before it.')
            elif rule.condition.unit_free_money:
                yield Problem(
                    f"{where}.when", 'money("5.00") compares any unit alike: name it, as in money("5.00", "USD").'
                )
            exact.setdefault((rule.tool, rule.action, source), rule.name)


def from_toml(text: str) -> dict[str, Any]:
    """Parse TOML into a document (its `typ`, `deny` and `rules` may be left out). Raises PolicyError when it is not
    TOML.

    The result still needs `validate`.
    """
    import tomllib

    try:
        parsed = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise PolicyError([Problem("policy", f"It is not valid TOML: {error}")]) from error
    document = {"typ": TYP, "single_human": False, "default_risk": "HIGH", "deny": [], "rules": [], **parsed}
    if isinstance(parsed.get("freeze"), list):
        document["freeze"] = [_spelled(window) for window in parsed["freeze"]]
    return document


def _spelled(window: object) -> object:
    """A window of the calendar with its times as the document spells them; anything odd is left for `validate`."""
    if not isinstance(window, dict):
        return window
    found = dict(window)
    for name in ("from", "until"):
        value = found.get(name)
        if isinstance(value, datetime):
            # TOML knows times without a zone; a calendar does not, and everything in it is UTC.
            found[name] = format_time(value if value.tzinfo is not None else value.replace(tzinfo=UTC))
        elif isinstance(value, time):
            found[name] = f"{value:%H:%M}"
    return found


def to_toml(document: Mapping[str, Any]) -> str:
    """Write TOML that `from_toml` reads back to the same document. Needs tomlkit (RuntimeError without)."""
    try:
        import tomlkit
    except ImportError as error:
        raise RuntimeError("Writing a policy as TOML needs tomlkit: pip install tomlkit") from error
    simple = {
        key: value
        for key, value in document.items()
        if not isinstance(value, dict) and value and key not in ("deny", "rules", "freeze", "ask")
    }
    simple |= {key: value for key, value in document.items() if isinstance(value, bool) or value == []}
    return tomlkit.dumps({**simple, **{key: value for key, value in document.items() if key not in simple}})


def _default(name: str, assurance: str) -> dict[str, Any]:
    return {
        "typ": TYP,
        "name": name,
        "assurance": assurance,
        "single_human": False,
        "default_risk": "HIGH",
        "ttl": {"default": 300},
        "deny": [],
        "rules": [
            {"name": "reading-is-low", "tool": "read_file", "risk": "LOW"},
            {"name": "writing-is-medium", "tool": "write_file", "risk": "MEDIUM"},
            {"name": "delete-is-high", "tool": "delete_file", "risk": "HIGH"},
            {"name": "mail-is-high", "tool": "send_email", "risk": "HIGH"},
            {"name": "code-is-critical", "tool": "execute_code", "risk": "CRITICAL"},
            {"name": "payment-is-critical", "tool": "make_payment", "risk": "CRITICAL"},
        ],
    }


DEFAULT_POLICY: dict[str, Any] = _default("Default", "H2")
DEMO_POLICY: dict[str, Any] = _default("Demonstration: a click approves", "H0")
