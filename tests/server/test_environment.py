"""Every setting comes through here: a bad value stops the start, with the name of the setting."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from server import environment as env


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch):
    """Set the setting of this name."""
    return lambda name, value: monkeypatch.setenv(env.PREFIX + name, value)


def test_a_text_is_itself_or_its_default(give) -> None:
    assert env.text("THING") == ""
    assert env.text("THING", "usual") == "usual"
    give("THING", " as given ")
    assert env.text("THING", "usual") == " as given "


def test_a_secret_may_lie_in_a_file_which_goes_first(give, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from the file\n", encoding="utf-8")
    give("THING", "from the variable")
    give("THING_FILE", str(file))
    assert env.text("THING") == "from the file"
    give("THING_FILE", str(tmp_path / "none"))
    with pytest.raises(ImproperlyConfigured, match=r"_THING_FILE.*cannot be read: No such file"):
        env.text("THING")
    give("THING_FILE", str(tmp_path))
    with pytest.raises(ImproperlyConfigured, match="_THING_FILE"):
        env.text("THING")


@pytest.mark.parametrize("word", ["1", "true", "YES", "On"])
def test_yes_has_several_words(give, word: str) -> None:
    give("THING", word)
    assert env.flag("THING") is True


@pytest.mark.parametrize("word", ["0", "false", "NO", "Off"])
def test_no_has_several_words(give, word: str) -> None:
    give("THING", word)
    assert env.flag("THING", True) is False


@pytest.mark.parametrize("word", ["ja", "2", "yes please", "y", " "])
def test_a_slip_of_the_pen_switches_nothing_on(give, word: str) -> None:
    give("THING", word)
    with pytest.raises(ImproperlyConfigured, match="_THING must be yes or no"):
        env.flag("THING")


def test_an_empty_switch_is_its_default(give) -> None:
    give("THING", "")
    assert env.flag("THING") is False
    assert env.flag("THING", True) is True


def test_a_number_is_whole_and_large_enough(give) -> None:
    assert env.number("THING", 25) == 25
    give("THING", "587")
    assert env.number("THING", 25) == 587
    give("THING", "-1")
    with pytest.raises(ImproperlyConfigured, match="_THING must be at least 0"):
        env.number("THING", 25)
    give("THING", "4")
    with pytest.raises(ImproperlyConfigured, match="at least 5"):
        env.number("THING", 25, least=5)


@pytest.mark.parametrize("value", ["many", "1.5", "1e3", "0x10", "NaN"])
def test_what_is_no_whole_number_is_said_so(give, value: str) -> None:
    give("THING", value)
    with pytest.raises(ImproperlyConfigured, match="_THING must be a whole number"):
        env.number("THING", 25)


def test_a_list_is_separated_by_commas(give) -> None:
    assert env.words("THING") == []
    assert env.words("THING", "a,b") == ["a", "b"]
    give("THING", " one, ,two,, three ")
    assert env.words("THING") == ["one", "two", "three"]


def test_pairs_are_divided_at_the_last_sign_and_quotes_keep_spaces(give) -> None:
    assert env.pairs("THING") == []
    give("THING", "admins=admin  cn=staff,ou=desk=reviewer 'Night Shift=reviewer'")
    assert env.pairs("THING") == [("admins", "admin"), ("cn=staff,ou=desk", "reviewer"), ("Night Shift", "reviewer")]


@pytest.mark.parametrize("value", ["admins", "=admin", "admins=", "a=b c", "'open=admin"])
def test_what_is_no_pair_stops_the_start(give, value: str) -> None:
    give("THING", value)
    with pytest.raises(ImproperlyConfigured, match="IMPRIMATUR_THING"):
        env.pairs("THING")
