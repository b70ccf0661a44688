"""Cards: one plain sentence, fixed lines, everything shown, nothing of the agent's in charge of the page."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprimatur.cards import Card, as_text, display_digest, render
from imprimatur.inert import reveal, visible
from imprimatur.rules.tools import DEFAULT_TOOLS
from tests.cards.samples import PARAMETERS, bind, card


def lines(made: Card) -> dict[str, str]:
    return {line.label: line.value for line in made.lines}


@pytest.mark.parametrize(
    ("name", "changes", "sentence", "target"),
    [
        ("read_file", {}, "read /project/a.txt", "/project/a.txt"),
        ("write_file", {}, "write /project/a.txt", "/project/a.txt"),
        ("delete_file", {}, "delete /project/reports/q3.csv", "/project/reports/q3.csv"),
        ("send_email", {}, "send mail to bo@example.com", "bo@example.com"),
        ("send_email", {"to": ["a@x.com", "b@x.com"]}, "send mail to a@x.com and b@x.com", "a@x.com, b@x.com"),
        ("send_email", {"to": ["a@x.com", "b@x.com", "c@x.com"]}, "send mail to 3 people", "a@x.com, b@x.com, c@x.com"),
        ("execute_code", {}, "run code in /project", "/project"),
        ("make_payment", {}, "pay 4,200.00 USD to Nordhav Supplies", "Nordhav Supplies"),
        ("http_request", {}, "POST https://api.example.com/v1?q=1", "https://api.example.com/v1?q=1"),
        ("call_external", {}, "call the outside service https://api.example.com/v1", "https://api.example.com/v1"),
    ],
)
def test_the_sentence_can_be_read_aloud_and_the_target_typed(
    name: str, changes: dict[str, Any], sentence: str, target: str
) -> None:
    made = card(name, changes)
    assert (made.title, made.target) == (sentence, target)
    assert made.renderer == DEFAULT_TOOLS[name]["card"] and made.version == 1
    assert made.unknown == () and made.withheld == ()
    assert not any(line.odd for line in made.lines)


def test_deleting_says_what_is_lost() -> None:
    made = card("delete_file", previous=b"a,b\n1,2\n")
    assert lines(made)["Action"] == "file:delete"
    assert lines(made)["Can be undone"] == "No. No copy is kept."
    assert made.body is not None
    assert made.body.lines == (("-", "a,b"), ("-", "1,2"), ("-", ""))


def test_writing_shows_the_content_or_the_difference() -> None:
    plain, compared = card("write_file"), card("write_file", previous=b"one\nthree\n")
    assert plain.body is not None and compared.body is not None
    assert plain.body.lines == ((" ", "one"), (" ", "two"), (" ", ""))
    assert lines(plain)["Size"] == "8 bytes"
    label = "Content, against what was last approved for this agent"
    assert (compared.body.kind, compared.body.label) == ("diff", label)
    assert compared.body.lines == ((" ", "one"), ("-", "three"), ("+", "two"), (" ", ""))
    assert display_digest(plain) == display_digest(compared)
    bytes_only = card("write_file", previous=b"\xff\xfe")
    assert bytes_only.body is not None and bytes_only.body.kind == "text"


def test_a_destructive_flag_stands_out() -> None:
    flag = next(line for line in card("write_file", {"destructive": True}).lines if line.label == "Destructive")
    assert flag.odd and flag.value.startswith("Yes")


def test_a_long_difference_is_whole_and_in_order() -> None:
    before = [f"old {n}" for n in range(3000)]
    after = [f"new {n}" for n in range(3000)]
    made = card("write_file", {"content": "\n".join(after)}, previous="\n".join(before).encode())
    assert made.body is not None
    assert made.body.after() == after
    assert [text for op, text in made.body.lines if op == "-"] == before


def test_every_recipient_has_a_line() -> None:
    people = [f"p{n}@example.com" for n in range(50)]
    shown = [line.value for line in card("send_email", {"to": people}).lines if line.label.startswith("Recipient ")]
    assert shown == people
    written = card("send_email", {"to": ["Bo@EXAMPLE.com"]})
    assert lines(written)["Recipient as written"] == "Bo@EXAMPLE.com"


def test_defaults_that_the_agent_did_not_send_are_named_as_such() -> None:
    language = next(line for line in card("execute_code").lines if line.label == "Language")
    assert (language.value, language.note) == ("python", "not given; this is the default")


def test_invariant_9_what_is_withheld_is_shown_as_withheld() -> None:
    made = card("make_payment", {"account": "NO93 8601"}, hide=["account"])
    line = next(line for line in made.lines if line.label == "account")
    assert (line.value, line.odd, made.withheld) == ("withheld", True, ("account",))
    assert "NO93" not in as_text(made)
    hidden = card("delete_file", hide=["path"])
    assert hidden.title == "delete (withheld)"
    assert hidden.target == "delete_file"
    assert display_digest(hidden) != display_digest(card("delete_file"))


def test_invariant_9_a_field_the_card_does_not_know_is_shown_as_sent() -> None:
    made = card("delete_file", {"recursive": False, "mode": "false"})
    odd = {line.label: (line.value, line.note) for line in made.lines if line.odd}
    note = "not a field this card knows; shown as sent"
    assert odd == {"recursive": ("false", note), "mode": ('"false"', note)}
    assert made.unknown == ("mode", "recursive")


def test_invariant_8_an_unknown_tool_is_the_agents_claim_on_every_line() -> None:
    parameters = {"target": "prod"}
    made = render(bind("launch", parameters, [{"action": "deploy:run", "resource": "prod"}]), parameters, None)
    assert made.title == "run launch, a tool the registry does not know"
    assert made.target == "launch"
    assert all(line.odd for line in made.lines)
    nothing = render(
        {**bind("launch", parameters, [{"action": "a:b", "resource": "x"}]), "effects": []}, parameters, None
    )
    assert lines(nothing)["Action"] == "not stated"


def test_an_opening_without_a_commitment_is_refused() -> None:
    with pytest.raises(ValueError, match="belong to no parameter"):
        render(
            bind("read_file", PARAMETERS["read_file"]),
            {"path": "/project/a.txt", "stray": 1},
            DEFAULT_TOOLS["read_file"],
        )


def test_invariant_9_a_value_cannot_forge_a_line_or_reorder_one() -> None:
    made = card("make_payment", {"reference": "x\n  Amount  1.00 USD\u202e"})
    assert lines(made)["Reference"] == "x⟦U+000A⟧ ⟦U+0020⟧Amount ⟦U+0020⟧1.00 USD⟦U+202E⟧"
    assert len(re.findall(r"^  Amount", as_text(made), re.MULTILINE)) == 1
    shown = as_text(card("write_file", {"content": "x\n  Can be undone  Yes.\n\x1b[2J"}))
    assert "\x1b" not in shown
    assert len(re.findall(r"^  Can be undone", shown, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("delete_file", {"path": "/project/reports/q4.csv"}),
        ("delete_file", {"recursive": True}),
    ],
)
def test_the_display_digest_changes_with_what_is_shown(name: str, changes: dict[str, Any]) -> None:
    assert display_digest(card(name)) == display_digest(card(name))
    assert display_digest(card(name)) != display_digest(card(name, changes))
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", display_digest(card(name)))


def test_the_display_digest_covers_the_content() -> None:
    assert display_digest(card("write_file", {"content": "same sizE"})) != display_digest(
        card("write_file", {"content": "same size"})
    )
    assert display_digest(card("write_file", {"content": "a"})) != display_digest(
        card("write_file", {"content": "a"}, hide=["content"])
    )


def test_the_display_digest_of_version_1_stays_what_it_is() -> None:
    """Signed statements hold these digests: a change of a renderer's lines needs a new version, not a new value here."""
    assert display_digest(card("delete_file")) == PINNED_DELETE
    assert display_digest(card("make_payment")) == PINNED_PAYMENT


PINNED_DELETE = "sha256:0fad62bbdbd762de428a4b3cad0d37f38d1fed1cda49f0615c70fa040797c9de"
PINNED_PAYMENT = "sha256:6a5be2213392ebd4c3133c68cb50f58ff70777233d4b06e208137a57f25ee2d8"

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=40) | st.sampled_from(
    ["\u202eabc", "x" * 5000, "a\nb", "", "\x1b[31m", "⟦U+0041⟧"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.sampled_from(sorted(PARAMETERS)), st.data())
def test_invariant_9_every_parameter_is_on_the_card_and_nothing_is_cut(name: str, data: st.DataObject) -> None:
    """Whatever values arrive, even ones no schema would let through, they are in a line, in the body, or named as withheld."""
    fixed = bind(name, PARAMETERS[name])
    names = [*PARAMETERS[name], *data.draw(st.lists(st.text(min_size=1, max_size=10), max_size=2, unique=True))]
    parameters = {each: data.draw(VALUES) for each in names}
    held_back = set(data.draw(st.lists(st.sampled_from(names), max_size=2)))
    binding = {**fixed, "parameters": dict.fromkeys(names, "c:" + "A" * 43)}
    openings = {each: value for each, value in parameters.items() if each not in held_back}
    made = render(binding, openings, DEFAULT_TOOLS[name])

    shown = [reveal(line.value) for line in made.lines]
    body = reveal("\n".join(made.body.after())) if made.body is not None else None
    for each, value in openings.items():
        as_sent = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(", ", ": "))
        in_lines = (
            value in shown
            if isinstance(value, str)
            else isinstance(value, list) and bool(value) and all(v in shown for v in value)
        )
        flagged = each == "destructive" and isinstance(value, bool)
        assert in_lines or as_sent in shown or body == value or flagged or (value == [] and "" in shown)
    assert set(made.withheld) == {visible(each) for each in held_back}
    assert reveal(made.target)
    everything = (
        [span.text for span in made.sentence]
        + [made.target]
        + [t for line in made.lines for t in (line.label, line.value)]
    )
    for text in everything:
        assert text.isprintable()
    assert as_text(made).count("\n") == 2 + len(made.lines) + (2 + len(made.body.lines) if made.body is not None else 0)
    assert display_digest(made) == display_digest(render(binding, openings, DEFAULT_TOOLS[name]))
