"""Policy: total, fail-closed, explainable; floors only raise; an agent's estimate only raises."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprimatur.rules import effects, policy
from imprimatur.rules.policy import DEFAULT_POLICY, DEMO_POLICY, Facts, Policy, PolicyError, Verdict, validate
from imprimatur.rules.quorum import Candidate
from imprimatur.rules.risk import Risk
from imprimatur.rules.tools import DEFAULT_TOOLS

PARAMETERS: dict[str, dict[str, Any]] = {
    "read_file": {"path": "/p/a"},
    "write_file": {"path": "/p/a", "content": "hello"},
    "delete_file": {"path": "/p/a"},
    "send_email": {"to": ["bo@ours.example", "eve@evil.example"], "subject": "s", "body": "b"},
    "execute_code": {"code": "1"},
    "make_payment": {"payee": "Nordhav", "amount": "4200.00", "currency": "USD", "reference": "r"},
    "http_request": {"method": "GET", "url": "https://api.example.com/v1"},
    "call_external": {"url": "https://api.example.com/v1"},
}


def facts(tool: str = "read_file", changes: dict[str, Any] | None = None, **more: Any) -> Facts:
    document, parameters = DEFAULT_TOOLS[tool], {**PARAMETERS[tool], **(changes or {})}
    return Facts.of(document, effects.derive(document, parameters), parameters, **more)


def make(*rules: dict[str, Any], deny: tuple[dict[str, Any], ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "typ": "imprimatur/policy/v1", "name": "Test", "assurance": "H2", "single_human": False, "default_risk": "HIGH",
        "deny": list(deny), "rules": list(rules), **more,
    }  # fmt: skip


def rule(name: str = "r", **more: Any) -> dict[str, Any]:
    return {"name": name, "risk": "LOW", **({} if {"tool", "action"} & set(more) else {"tool": "read_file"}), **more}


def judge(document: dict[str, Any], given_facts: Facts, **more: Any) -> Verdict:
    return validate(document).evaluate(given_facts, **more)


# -- defaults


@pytest.mark.parametrize(
    ("tool", "changes", "risk", "name"),
    [
        ("read_file", {}, "LOW", "reading-is-low"),
        ("write_file", {}, "MEDIUM", "writing-is-medium"),
        ("write_file", {"destructive": True}, "HIGH", "writing-is-medium"),
        ("delete_file", {}, "HIGH", "delete-is-high"),
        ("send_email", {}, "HIGH", "mail-is-high"),
        ("execute_code", {}, "CRITICAL", "code-is-critical"),
        ("make_payment", {}, "CRITICAL", "payment-is-critical"),
        ("http_request", {}, "HIGH", "default"),
        ("call_external", {}, "HIGH", "default"),
    ],
)
@pytest.mark.parametrize(("document", "assurance"), [(DEFAULT_POLICY, "H2"), (DEMO_POLICY, "H0")])
def test_the_default_policies_answer_as_designed(
    tool: str, changes: dict[str, Any], risk: str, name: str, document: dict[str, Any], assurance: str
) -> None:
    verdict = judge(document, facts(tool, changes))
    assert (verdict.outcome, verdict.rule, verdict.assurance, verdict.code) == (risk, name, assurance, None)
    assert any(name in line or "No rule" in line for line in verdict.why)


def test_an_unknown_tool_is_high_even_when_it_borrows_a_known_name() -> None:
    verdict = judge(
        DEFAULT_POLICY, Facts(tool="read_file", action="file:read", resource="/p", reversibility="read-only")
    )
    assert verdict.risk is Risk.HIGH
    assert "unknown" in verdict.floors


# -- floors


@pytest.mark.parametrize(
    ("change", "floor", "risk"),
    [
        ({"destructive": True}, "destructive", "HIGH"),
        ({"reversibility": "irreversible"}, "irreversible", "HIGH"),
        ({"reversibility": "who knows"}, "irreversible", "HIGH"),
        ({"withheld": ["path"]}, "withheld", "HIGH"),
        ({"known": False}, "unknown", "HIGH"),
        ({"minimum_risk": "CRITICAL"}, "registry-minimum", "CRITICAL"),
        ({"minimum_risk": "nonsense"}, "registry-minimum", "HIGH"),
        ({"risk_claimed": Risk.CRITICAL}, "agent", "CRITICAL"),
        ({"risk_claimed": "sky high"}, "agent", "HIGH"),
    ],
)
def test_a_floor_lifts_what_a_rule_lets_through(change: dict[str, Any], floor: str, risk: str) -> None:
    plain = judge(DEFAULT_POLICY, facts())
    assert plain.outcome == "LOW" and plain.floors == ()
    lifted = judge(DEFAULT_POLICY, replace(facts(), **change))
    assert lifted.outcome == risk
    assert floor in lifted.floors
    assert lifted.rule == plain.rule


def test_a_freeze_lifts_and_a_policy_may_set_its_floors_higher() -> None:
    document = make(rule(), floors={"freeze": "CRITICAL"})
    assert judge(DEFAULT_POLICY, facts(), frozen=True).outcome == "HIGH"
    assert judge(document, facts(), frozen=True).outcome == "CRITICAL"
    with pytest.raises(PolicyError):
        validate(make(rule(), floors={"freeze": "LOW"}))


# -- order, deny, several effects


def test_the_first_rule_that_matches_answers() -> None:
    document = make(
        rule("never", when='agent == "other"', risk="CRITICAL"), rule("first", risk="MEDIUM"), rule("second")
    )
    verdict = judge(document, facts())
    assert (verdict.outcome, verdict.rule) == ("MEDIUM", "first")


def test_rules_by_tool_and_by_action_keep_the_order_of_the_document() -> None:
    for first, second in (({"action": "file:*"}, {"tool": "read_file"}), ({"tool": "read_file"}, {"action": "*"})):
        verdict = judge(make(rule("a", risk="MEDIUM", **first), rule("b", **second)), facts())
        assert verdict.rule == "a"


def test_a_deny_rule_ends_it_and_keeps_its_reason() -> None:
    deny = {"name": "no-keys", "action": "file:*", "when": 'under(resource, "/p")', "reason": "Nothing under /p."}
    document = make(rule(), deny=(deny,))
    verdict = judge(document, facts())
    assert (verdict.outcome, verdict.rule, verdict.code, verdict.reason) == (
        "deny",
        "no-keys",
        "policy-denied",
        "Nothing under /p.",
    )
    assert verdict.denied and "no-keys" in verdict.why[0]
    assert judge(document, facts(changes={"path": "/p-evil/a"})).outcome == "LOW"


def test_every_effect_is_judged_and_the_worst_counts() -> None:
    document = make(
        rule("ours", action="email:send", when='resource.endsWith("@ours.example")', risk="HIGH"),
        rule("others", action="email:send", risk="CRITICAL"),
    )
    verdict = judge(document, facts("send_email"))
    assert (verdict.outcome, verdict.rule) == ("CRITICAL", "others")
    assert judge(document, facts("send_email", {"to": ["bo@ours.example"]})).rule == "ours"


def test_the_stages_of_every_rule_that_counted_are_asked_for() -> None:
    document = make(
        rule(
            "ours",
            action="email:send",
            when='resource.endsWith("@ours.example")',
            risk="HIGH",
            stages=[{"role": "lead", "count": 2}],
        ),
        rule(
            "others",
            action="email:send",
            risk="HIGH",
            stages=[{"role": "lead", "count": 1}, {"role": "security", "count": 1}],
        ),
    )
    verdict = judge(document, facts("send_email"))
    assert verdict.stages == ({"role": "lead", "count": 2}, {"role": "security", "count": 1})
    assert judge(DEFAULT_POLICY, facts("send_email")).stages is None


def test_rules_that_cannot_match_are_not_even_evaluated() -> None:
    others = [rule(f"r{n}", tool=f"tool_{n}", when="parameters.absent > 1") for n in range(10_000)]
    verdict = judge(make(*others, rule("mine")), facts())
    assert (verdict.outcome, verdict.rule, verdict.code) == ("LOW", "mine", None)


# -- conditions


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        ('cost.micro > money("5.00", "USD")', True),
        ('cost.micro > money("5000.00", "USD")', False),
        ('cost.unit == "USD" && parameters.payee == "Nordhav"', True),
        ("time.hour >= 22 || time.hour < 6", True),
        ("time.weekday in [6, 7]", False),
        ('effects.all(e, e.action == "payment:send")', True),
        ("size(parameters.reference) == 1 && size == 0", True),
        ('reversibility == "irreversible" && !destructive && known', True),
        ('has(parameters.account) || agent.startsWith("ag_")', True),
        ('owner == "pe_ada" && delegation == "d" && context.run == "7"', True),
        ('risk_claimed == "" && size(withheld) == 0 && tool == "make_payment" && action == "payment:send"', True),
    ],
)
def test_conditions_see_the_facts(condition: str, matches: bool) -> None:
    document = make(rule("mine", action="*", when=condition, risk="CRITICAL"))
    given_facts = facts(
        "make_payment",
        agent="ag_1",
        owner="pe_ada",
        delegation="d",
        context={"run": "7"},
        time=datetime(2026, 3, 4, 23, 15, tzinfo=UTC),
    )
    verdict = judge(document, given_facts)
    assert verdict.code is None
    assert verdict.rule == ("mine" if matches else "default")


ERRORS = [
    "parameters.absent == 1",
    "parameters.path > 3",
    "parameters.path",
    "1 / 0 == 1",
    "int(parameters.path) > 1",
    'parameters.path.matches("(")',
    "time.hour > 3",
    'cost.micro > money(parameters.path, "USD")',
]


@pytest.mark.parametrize("condition", ERRORS)
def test_a_rule_that_fails_is_at_least_high_and_says_so(condition: str) -> None:
    document = make(rule("broken", when=condition), rule("after", risk="LOW"))
    verdict = judge(document, facts(changes={"path": "/SECRET-PATH"}))
    assert (verdict.outcome, verdict.code, verdict.rule) == ("HIGH", "policy-error", "broken")
    assert "SECRET" not in " ".join(verdict.why)


@pytest.mark.parametrize("condition", ERRORS)
def test_a_deny_rule_that_fails_denies(condition: str) -> None:
    verdict = judge(
        make(rule(), deny=({"name": "broken", "action": "*", "when": condition, "reason": "No."},)), facts()
    )
    assert (verdict.outcome, verdict.code, verdict.rule) == ("deny", "policy-error", "broken")


def test_a_rule_that_fails_does_not_hide_a_stricter_one_after_it() -> None:
    verdict = judge(make(rule("broken", when=ERRORS[0]), rule("strict", risk="CRITICAL")), facts())
    assert (verdict.outcome, verdict.code) == ("CRITICAL", "policy-error")


def test_money_in_another_unit_is_an_error_and_not_a_comparison() -> None:
    document = make(rule("cheap", tool="make_payment", when='cost.micro < money("5000.00", "USD")', risk="HIGH"))
    assert judge(document, facts("make_payment")).code is None
    assert judge(document, facts("make_payment", {"currency": "JPY"})).code == "policy-error"


# -- saving


@pytest.mark.parametrize(
    "condition",
    [
        'cost.amount < "5"', '"5" > cost.amount', "cost.amount <= parameters.limit", 'tool < "m"', 'parameters.a >= "5.00"', 'string(size) < "9"',
        '(cost.amount) < ("5")', 'parameters.a + "0" < parameters.b', "parameters.a < parameters.b", 'parameters["a"] < parameters["b"]',
        'parameters.list.exists(x, x < "b")', 'true ? cost.amount < "5" : false', '!(cost.amount > "5")', "b'1' < b'2'", "cost.unit > tool",
        'dyn("10") < dyn("9")', "parameters.t > (true ? 'a' : 'b')",
    ],
)  # fmt: skip
def test_ordering_of_text_is_refused_at_save(condition: str) -> None:
    with pytest.raises(PolicyError) as refused:
        validate(make(rule(when=condition)))
    assert refused.value.problems[0].where == "rules[0].when"


@pytest.mark.parametrize(
    "condition",
    [
        "size > 3", "3 < size", "parameters.n < 3", "int(parameters.n) > int(parameters.m)", 'money(cost.amount) > money("5.00")',
        "size(parameters.a) > size(parameters.b)", "parameters.a - 1 < parameters.b", "-1 < parameters.a", '"<" == tool', 'tool == "a > b"',
        'parameters.list.exists(n, n > 3) // a < "b"', "time.at > timestamp('2026-01-01T00:00:00Z')",
    ],
)  # fmt: skip
def test_ordering_of_numbers_is_fine(condition: str) -> None:
    validate(make(rule(when=condition)))


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ([], "policy"),
        ({}, "typ"),
        (make(extra=1), "policy"),
        (make(assurance="H9"), "assurance"),
        (make(default_risk="LOW"), "default_risk"),
        (make(ttl={"default": 5}), "ttl.default"),
        (make(rule(risk="NONE")), "rules[0].risk"),
        (make(rule(extra=1)), "rules[0]"),
        (make(rule(name="Has Space")), "rules[0].name"),
        (make(rule(name="default")), "rules[0].name"),
        (make(rule("a"), rule("a")), "rules[1].name"),
        (make(rule("a"), deny=({"name": "a", "tool": "x", "reason": "r"},)), "rules[0].name"),
        (make(rule(tool="read_file", action="file:read")), "rules[0]"),
        (make({"name": "a", "risk": "LOW"}), "rules[0]"),
        (make(rule(action="file")), "rules[0].action"),
        (make(rule(tool="no tool")), "rules[0].tool"),
        (make(rule(risk="HIGH", stages=[{"role": "lead", "count": 0}])), "rules[0].stages[0].count"),
        (make(rule(risk="HIGH", stages=[])), "rules[0].stages"),
        (make(rule(risk="LOW", stages=[{"role": "lead", "count": 1}])), "rules[0].stages"),
        (make(rule(risk="HIGH", stages=[{"role": "a", "count": 1}, {"role": "a", "count": 1}])), "rules[0].stages"),
        (make(rule(when="1 +")), "rules[0].when"),
        (make(rule(when="nowhere == 1")), "rules[0].when"),
        (make(rule(when='tool.lowerAscii() == "x"')), "rules[0].when"),
        (make(rule(when="parameters.a.exists(x, parameters.b.exists(y, x == y))")), "rules[0].when"),
        (make(rule(when="parameters.a.exists(size, size < parameters.b)")), "rules[0].when"),
        (make(deny=({"name": "a", "tool": "x"},)), "deny[0].reason"),
    ],
)
def test_a_faulty_document_is_refused_and_the_place_named(document: Any, where: str) -> None:
    with pytest.raises(PolicyError) as refused:
        validate(document)
    assert where in [problem.where for problem in refused.value.problems]


def test_every_fault_is_reported_at_once() -> None:
    with pytest.raises(PolicyError) as refused:
        validate(make(rule("a", when="1 +"), rule("a", when="nowhere")))
    assert len(refused.value.problems) == 3


@pytest.mark.parametrize(
    ("rules", "deny", "warned"),
    [
        ((rule("a"), rule("b", when="size > 1")), (), ["rules[1]"]),
        ((rule("a", action="file:*", risk="HIGH"), rule("b", action="file:read")), (), ["rules[1]"]),
        ((rule("a", action="*", risk="HIGH"), rule("b")), (), ["rules[1]"]),
        ((rule("a", when="size > 1"), rule("b", when="size > 1")), (), ["rules[1]"]),
        ((rule("a"),), ({"name": "d", "tool": "read_file", "reason": "r"},), ["rules[0]"]),
        ((rule("a", action="*"),), (), ["rules[0]"]),
        ((rule("a", when='cost.micro > money("5.00")'),), (), ["rules[0].when"]),
        ((rule("a", when="size > 1"), rule("b")), (), []),
        ((rule("a", action="file:read"), rule("b", action="file:*", risk="HIGH")), (), []),
    ],
)
def test_rules_that_can_never_be_reached_or_approve_everything_are_warned_about(
    rules: Any, deny: Any, warned: list[str]
) -> None:
    assert [warning.where for warning in validate(make(*rules, deny=deny)).warnings] == warned


def test_the_default_policies_have_no_warnings_and_different_digests() -> None:
    first, second = validate(DEFAULT_POLICY), validate(DEMO_POLICY)
    assert first.warnings == second.warnings == ()
    assert first.digest == policy.digest(DEFAULT_POLICY) != second.digest


def test_toml_is_only_another_spelling() -> None:
    document = make(
        rule("a", when='tool == "x"', risk="HIGH", stages=[{"role": "lead", "count": 2}]), rule("b"),
        deny=({"name": "d", "action": "file:*", "reason": 'Says "no".'},), ttl={"default": 600}, floors={"freeze": "CRITICAL"},
    )  # fmt: skip
    for each in (document, DEFAULT_POLICY, make()):
        again = policy.from_toml(policy.to_toml(each))
        assert again == each
        assert validate(again).digest == validate(each).digest
    with pytest.raises(PolicyError):
        policy.from_toml("rules = [")


def test_time_to_live_stays_within_the_limits() -> None:
    made = validate(make(ttl={"default": 600, "maximum": 1200, "critical": 7200}))
    assert [made.ttl(Risk.HIGH), made.ttl(Risk.HIGH, 5000), made.ttl(Risk.HIGH, 1)] == [600, 1200, 60]
    assert made.ttl(Risk.CRITICAL, 100_000) == 7200
    assert validate(DEFAULT_POLICY).ttl(Risk.CRITICAL, 100_000) == 14_400


def person(name: str, *roles: str, human: bool = True, active: bool = True) -> Candidate:
    return Candidate(name, roles or ("reviewer",), human, active, keys=(f"key-{name}",))


def test_a_policy_nobody_could_satisfy_is_found_before_it_counts() -> None:
    plain, ada, rui = validate(DEFAULT_POLICY), person("ada"), person("rui")
    assert plain.satisfiable_by([ada, rui]) == []
    assert len(plain.satisfiable_by([ada])) == 1
    assert len(plain.satisfiable_by([ada, person("bot", human=False), person("gone", active=False)])) == 1
    assert len(plain.satisfiable_by([])) == 2
    assert validate({**DEFAULT_POLICY, "single_human": True}).satisfiable_by([ada]) == []
    staged = validate(make(rule(risk="HIGH", stages=[{"role": "lead", "count": 1}, {"role": "security", "count": 1}])))
    both = person("mina", "reviewer", "lead", "security")
    assert [problem.where for problem in staged.satisfiable_by([both, ada])] == ["rules[0].stages"]
    assert staged.satisfiable_by([both, person("rui", "reviewer", "lead")]) == []


# -- properties

RISKS = st.sampled_from(list(Risk))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
WILD_FACTS = st.builds(
    Facts,
    tool=st.sampled_from(["read_file", "make_payment", "other"]) | st.text(max_size=8),
    action=st.sampled_from(["file:read", "payment:send", ""]) | st.text(max_size=8),
    resource=st.text(max_size=8),
    effects=st.lists(
        st.fixed_dictionaries({"action": st.text(max_size=8), "resource": st.text(max_size=8)}), max_size=3
    ),
    risk_claimed=st.none() | RISKS | st.text(max_size=4),
    cost_micro=st.integers(),
    cost_unit=st.sampled_from(["", "USD", "JPY"]),
    size=st.none() | st.integers(0, 2**40),
    agent=st.text(max_size=4),
    parameters=st.dictionaries(st.sampled_from(["path", "amount", "x"]), ANY_JSON),
    reversibility=st.sampled_from(["", "read-only", "reversible", "irreversible", "odd"]),
    destructive=st.booleans(),
    known=st.booleans(),
    withheld=st.lists(st.text(max_size=3), max_size=2),
    minimum_risk=st.none() | RISKS | st.text(max_size=3),
    time=st.none() | st.datetimes() | st.datetimes(timezones=st.just(UTC)),
)
CONDITIONS = st.sampled_from(
    [None, "size > 3", "parameters.x == 1", 'cost.micro > money("5.00", "USD")', 'under(resource, "/p")', "parameters.path", "1/0 == 1",
     "parameters.x.exists(y, y > 3)", "time.hour < 6", 'resource.matches(parameters.path)', "known"]
)  # fmt: skip


@st.composite
def policies(draw: st.DrawFn, with_deny: bool = True) -> Policy:
    def drawn(name: str) -> dict[str, Any]:
        when = draw(CONDITIONS)
        chosen = draw(
            st.sampled_from(
                [
                    {"tool": "read_file"},
                    {"tool": "other"},
                    {"action": "file:*"},
                    {"action": "*"},
                    {"action": "payment:send"},
                ]
            )
        )
        return {"name": name, **chosen, **({} if when is None else {"when": when})}

    rules = [{**drawn(f"r{n}"), "risk": draw(RISKS).value} for n in range(draw(st.integers(0, 4)))]
    deny = [{**drawn(f"d{n}"), "reason": "No."} for n in range(draw(st.integers(0, 1)) if with_deny else 0)]
    return validate(make(*rules, deny=tuple(deny)))


@settings(deadline=None)
@given(policies(), WILD_FACTS, st.booleans())
def test_any_facts_give_a_verdict_that_names_its_rule_and_explains_itself(
    made: Policy, wild: Facts, frozen: bool
) -> None:
    verdict = made.evaluate(wild, frozen)
    assert verdict.outcome in ("deny", "LOW", "MEDIUM", "HIGH", "CRITICAL")
    names = {each["name"] for part in ("rules", "deny") for each in made.document[part]} | {"default"}
    assert verdict.rule in names
    assert verdict.why
    if (
        not wild.known
        or wild.destructive
        or wild.withheld
        or frozen
        or wild.reversibility not in ("read-only", "reversible")
    ):
        assert verdict.risk >= Risk.HIGH
    if verdict.code == "policy-error":
        assert verdict.denied or verdict.risk >= Risk.HIGH


@settings(deadline=None)
@given(policies(), WILD_FACTS, st.none() | RISKS, st.none() | RISKS)
def test_invariant_8_what_the_agent_claims_about_risk_only_raises(
    made: Policy, wild: Facts, first: Risk | None, second: Risk | None
) -> None:
    silent = made.evaluate(replace(wild, risk_claimed=None))
    one, two = (made.evaluate(replace(wild, risk_claimed=claim)) for claim in (first, second))
    assert one.risk >= silent.risk and two.risk >= silent.risk
    if (-1 if first is None else first.level) <= (-1 if second is None else second.level):
        assert one.risk <= two.risk
    assert one.denied is two.denied is silent.denied


@settings(deadline=None)
@given(policies(), WILD_FACTS, st.sampled_from(["destructive", "withheld", "known", "minimum_risk"]))
def test_every_floor_is_monotone(made: Policy, wild: Facts, which: str) -> None:
    lifted = {"destructive": True, "withheld": ["x"], "known": False, "minimum_risk": Risk.CRITICAL}[which]
    before = replace(
        wild, **{which: {"destructive": False, "withheld": [], "known": True, "minimum_risk": None}[which]}
    )
    # Conditions may read these facts too; a policy without conditions isolates the floors.
    bare = validate({**copy.deepcopy(made.document), "rules": [_bare(r) for r in made.document["rules"]], "deny": []})
    assert bare.evaluate(replace(before, **{which: lifted})).risk >= bare.evaluate(before).risk


def _bare(each: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in each.items() if key != "when"}


@settings(deadline=None)
@given(policies(), WILD_FACTS)
def test_invariant_9_an_explanation_never_repeats_what_an_agent_wrote(made: Policy, wild: Facts) -> None:
    mark = "MARK\u202eMARK"
    marked = replace(wild, tool=mark, resource=mark, agent=mark, parameters={"path": mark, "x": [mark]}, action=mark)
    verdict = made.evaluate(marked)
    assert "MARK" not in " ".join((*verdict.why, *verdict.floors, verdict.rule, verdict.code or ""))
