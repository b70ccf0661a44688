"""The non-adjacent form of a scalar: what makes multiplying a point by it quick (Hankerson et al., algorithm 3.35)."""

from __future__ import annotations


def digits(scalar: int, width: int) -> list[int]:
    """The width-w form, lowest digit first: odd digits below 2**(width-1) in size, mostly zeros.

    Not constant-time: for public scalars only.
    """
    found: list[int] = []
    full, half = 1 << width, 1 << (width - 1)
    while scalar:
        digit = 0
        if scalar & 1:
            digit = scalar & (full - 1)
            if digit >= half:
                digit -= full
            scalar -= digit
        found.append(digit)
        scalar >>= 1
    return found
