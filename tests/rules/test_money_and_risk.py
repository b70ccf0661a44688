from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.rules.money import MAX_MICRO, MoneyError, check_unit, format_amount, parse_amount, read_amount
from imprimatur.rules.risk import Risk, maximum, risk_of


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("0.00", 0),
        ("150.00", 150_000_000),
        ("0.01", 10_000),
        ("0.0025", 2_500),
        ("0.000001", 1),
        ("9007199254.740991", MAX_MICRO),
    ],
)
def test_an_amount_is_read_into_millionths_and_back(text: str, micro: int) -> None:
    assert parse_amount(text) == micro
    assert format_amount(micro) == text


@pytest.mark.parametrize("text", ["150", "150.0", "150.000", "0.00250", "0"])
def test_a_signed_object_has_one_spelling_for_each_amount(text: str) -> None:
    with pytest.raises(MoneyError, match="Write this amount as"):
        parse_amount(text)
    assert format_amount(read_amount(text)) == format_amount(parse_amount(format_amount(read_amount(text))))


@pytest.mark.parametrize(
    "text",
    ["", "-1.00", "+1.00", "1e3", "1,00", "1_000.00", " 1.00", "1.00\n", "01.00", ".50", "1.", "NaN", "Infinity", "1.0000001",
     "٣.00", "9007199254.740992", "99999999999999999.00", 1, 1.5, None, True, b"1.00"],
)  # fmt: skip
def test_what_is_not_a_plain_decimal_is_no_amount(text: object) -> None:
    with pytest.raises(MoneyError):
        read_amount(text)  # type: ignore[arg-type]  # what untyped callers may pass
    with pytest.raises(MoneyError):
        parse_amount(text)  # type: ignore[arg-type]  # as above


@given(st.integers(0, MAX_MICRO))
def test_every_amount_survives_writing_and_reading(micro: int) -> None:
    assert parse_amount(format_amount(micro)) == micro


@pytest.mark.parametrize("micro", [-1, MAX_MICRO + 1, 1.0, True, "1"])
def test_what_is_not_a_count_of_millionths_is_not_written(micro: object) -> None:
    with pytest.raises(MoneyError):
        format_amount(micro)  # type: ignore[arg-type]  # as above


def test_units_are_codes_in_capitals() -> None:
    assert [check_unit(unit) for unit in ("USD", "EUR", "TOKENS", "USDC2")] == ["USD", "EUR", "TOKENS", "USDC2"]
    for wrong in ("usd", "US$", "", "U", "USD ", "USD\n", "1USD", "ＵＳＤ", None):
        with pytest.raises(MoneyError):
            check_unit(wrong)  # type: ignore[arg-type]  # as above


def test_risk_is_ordered_by_level_and_not_by_spelling() -> None:
    assert sorted(Risk) == [Risk.LOW, Risk.MEDIUM, Risk.HIGH, Risk.CRITICAL]
    assert max(Risk.CRITICAL, Risk.HIGH) is Risk.CRITICAL
    assert Risk.HIGH < "CRITICAL" and Risk.HIGH > Risk.MEDIUM and Risk.LOW <= Risk.LOW and Risk.CRITICAL >= Risk.HIGH
    assert [risk.blocks for risk in Risk] == [False, False, True, True]


def test_risk_does_not_compare_with_other_text() -> None:
    with pytest.raises(TypeError):
        _ = Risk.HIGH < "high"


def test_the_maximum_is_the_highest_and_nothing_has_none() -> None:
    assert maximum(Risk.LOW, Risk.CRITICAL, Risk.HIGH) is Risk.CRITICAL
    with pytest.raises(ValueError, match="no risk levels"):
        maximum()
    with pytest.raises(TypeError):
        maximum(Risk.LOW, "SEVERE")  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize("text", ["low", "", None, 3, "SEVERE"])
def test_an_unknown_risk_is_high(text: object) -> None:
    assert risk_of(text) is Risk.HIGH
    assert risk_of("LOW") is Risk.LOW
