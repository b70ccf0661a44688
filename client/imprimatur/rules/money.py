"""Money as integers. Amounts travel as decimal strings and are compared as millionths of a unit, never as floats.

One amount has one spelling in anything signed: `150.00`, `0.0025`. Units are plain codes such as `USD`; units are never
converted into one another.
"""

from __future__ import annotations

import re

SCALE = 6
MAX_MICRO = 2**53 - 1

_PLAIN = re.compile(r"(0|[1-9][0-9]{0,15})(?:\.([0-9]{1,6}))?")
_UNIT = re.compile(r"[A-Z][A-Z0-9]{1,11}")


class MoneyError(ValueError):
    """An amount or a unit that cannot be read without guessing."""


def read_amount(text: str) -> int:
    """Read an amount as a person or a tool writes it (`150`, `12.5`, `150.00`) into millionths.

    Refuses signs, exponents, grouping, leading zeros, other scripts' digits, more than six decimals and anything above
    2**53 - 1 millionths. For amounts inside signed objects use `parse_amount`.

    Raises:
        MoneyError: when the text is none of that.
    """
    match = _PLAIN.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise MoneyError(
            'An amount is a decimal string such as "150.00": digits, at most six decimals, no sign, no exponent.'
        )
    micro: int = int(match[1]) * 10**SCALE + int((match[2] or "").ljust(SCALE, "0"))
    if micro > MAX_MICRO:
        raise MoneyError(f"An amount may not exceed {format_amount(MAX_MICRO)}.")
    return micro


def parse_amount(text: str) -> int:
    """Read an amount from a signed object into millionths; the text must be the one canonical spelling.

    Raises:
        MoneyError: when the text is not an amount, or is spelled otherwise than `format_amount` would spell it.
    """
    micro = read_amount(text)
    canonical = format_amount(micro)
    if text != canonical:
        raise MoneyError(f'Write this amount as "{canonical}": signed objects have one spelling for each amount.')
    return micro


def format_amount(micro: int) -> str:
    """Spell millionths as the canonical decimal string: at least two decimals, further zeros trimmed.

    Raises:
        MoneyError: for anything but an integer from 0 to 2**53 - 1.
    """
    if isinstance(micro, bool) or not isinstance(micro, int) or not 0 <= micro <= MAX_MICRO:
        raise MoneyError("An amount is a whole number of millionths from 0 to 2**53 - 1.")
    whole, rest = divmod(micro, 10**SCALE)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{whole}.{decimals}"


def check_unit(unit: str) -> str:
    """Return the unit when it is a code such as `USD` (2 to 12 capital letters and digits, a letter first).

    Raises:
        MoneyError: otherwise.
    """
    if not isinstance(unit, str) or _UNIT.fullmatch(unit) is None:
        raise MoneyError("A unit is a code in capitals such as USD, EUR or TOKENS.")
    return unit
