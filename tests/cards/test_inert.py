"""Text from an agent is inert in every medium, and nothing of it is lost."""

from __future__ import annotations

import csv
import html
import io
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imprimatur.inert import inert, reveal, visible

TEXT = st.text(
    st.characters(exclude_categories=()) | st.sampled_from("<>&\"'=+-@.:/⟦⟧ \n\t\r\u202e\u200b\u0430\U000e0041"),
    max_size=60,
)

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
ZERO_WIDTH = (
    "\u00ad\u034f\u115f\u1160\u17b4\u180e\u200b\u200c\u200d\u2060\u2061\u2800\u3164\ufe0f\ufeff\uffa0\U000e0100"
)
CONTROLS = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)])) + "\u2028\u2029"
TAGS = "".join(map(chr, range(0xE0000, 0xE0080)))
ODD_SPACES = "\u00a0\u1680\u2003\u2009\u202f\u205f\u3000"


@pytest.mark.parametrize("character", [*BIDI, *ZERO_WIDTH, *CONTROLS, *TAGS, *ODD_SPACES, "\ud800", "\ue000", "\uffff"])
@pytest.mark.parametrize("where", ["html", "terminal", "csv", "mail"])
def test_invariant_9_hidden_characters_are_shown_as_escapes(character: str, where: str) -> None:
    shown = inert(f"a{character}b", where)
    assert character not in shown
    assert f"⟦U+{ord(character):04X}⟧" in shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("p\u0430ypal", "p⟦U+0430⟧ypal"),
        ("\u0430\u0440\u0440\u04cf\u0435.com", "⟦U+0430⟧⟦U+0440⟧⟦U+0440⟧⟦U+04CF⟧⟦U+0435⟧.com"),
        ("go\u03bfgle", "go⟦U+03BF⟧gle"),
        ("g\u0131thub.com", "g⟦U+0131⟧thub.com"),
        ("/etc\u2215passwd", "/etc⟦U+2215⟧passwd"),
        ("evil\uff0ecom", "evil⟦U+FF0E⟧com"),
        ("\uff41dmin", "⟦U+FF41⟧dmin"),
        ("\U0001d41apple", "⟦U+1D41A⟧pple"),
        ("\u22125", "⟦U+2212⟧5"),
        ("⟦U+202E⟧", "⟦U+27E6⟧U+202E⟦U+27E7⟧"),
        ("e\u0301\u0301\u0301\u0301", "e\u0301\u0301⟦U+0301⟧⟦U+0301⟧"),
    ],
)
def test_invariant_9_look_alikes_and_imitations_of_escapes_are_shown_as_escapes(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "reports/q3-final.csv", "Zürich, Málaga, Øre", "Привет, мир", "/проект/отчёт.txt", "Καλημέρα", "日本語のファイル", "مرحبا", "שלום",
        "sınır", "4,200.00 €", "“quoted” – dash — …", "👍 done", "½ m²", "naïve café",
    ],
)  # fmt: skip
def test_honest_text_in_any_language_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_a_value_on_one_line_cannot_forge_a_second_or_hide_blanks() -> None:
    assert visible("a\nRisk: LOW") == "a⟦U+000A⟧Risk: LOW"
    assert visible(" a  b ") == "⟦U+0020⟧a ⟦U+0020⟧b⟦U+0020⟧"
    assert visible("a\n\tb  c\r", lines=True) == "a\n\tb  c⟦U+000D⟧"


@given(TEXT, st.booleans())
@example("⟦U+0041⟧", False)
@example("  ", False)
def test_invariant_9_nothing_is_lost_and_no_two_texts_look_the_same(text: str, lines: bool) -> None:
    shown = visible(text, lines=lines)
    assert reveal(shown) == text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", shown)
    if not lines:
        assert "\n" not in shown and "\t" not in shown
    assert not [c for c in shown if unicodedata.category(c) in ("Cf", "Cs", "Co", "Cc") and c not in "\n\t"]


@given(TEXT)
def test_invariant_9_html_forms_no_markup_and_keeps_the_text(text: str) -> None:
    shown = inert(text, "html")
    assert not set("<>\"'") & set(shown)
    assert re.sub(r"&(amp|lt|gt|quot|#x27);", "", shown).count("&") == 0
    assert reveal(html.unescape(shown)) == text


@given(TEXT)
def test_invariant_9_csv_cells_are_no_formulas_and_keep_the_text(text: str) -> None:
    cell = inert(text, "csv")
    assert not re.match(r"\s*[=+\-@|%]", cell)
    assert reveal(cell.removeprefix("'")) == text
    row = io.StringIO()
    csv.writer(row).writerow([cell, "next"])
    assert next(csv.reader(io.StringIO(row.getvalue()))) == [cell, "next"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "|cmd", "%0A", "\uff1d1", "'=1"])
def test_invariant_9_formulas_are_marked_as_text(text: str) -> None:
    assert inert(text, "csv").startswith(("'", "⟦"))


@given(TEXT)
@example("https://evil.example/a?b=c mailto:a@b.example www.x.example [.]x [@] [://]")
def test_invariant_9_mail_has_nothing_to_click_and_keeps_the_text(text: str) -> None:
    shown = inert(text, "mail")
    assert not re.search(r"[A-Za-z]+://|(?<=[A-Za-z0-9])\.(?=[A-Za-z])|[A-Za-z0-9]@[A-Za-z0-9]", shown)
    assert reveal(re.sub(r"\[(\.|@|://)\]", r"\1", shown)) == text


def test_invariant_9_no_control_sequence_reaches_a_terminal() -> None:
    assert inert("\x1b]8;;https://evil.example\x07click\x1b]8;;\x07\x9b31m", "terminal").isprintable()


def test_a_medium_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="medium"):
        inert("x", "fax")
