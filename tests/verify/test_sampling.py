"""Samples that two people draw alike."""

from __future__ import annotations

import hashlib
import random

import pytest

from imprimatur.verify import sampling


def test_the_sample_are_the_smallest_hashes_as_anybody_computes_them() -> None:
    by_hand = sorted(range(5000), key=lambda index: hashlib.sha256(f"dice 4 2 6\0{index}".encode()).hexdigest())[:25]
    indexes = list(range(5000))
    random.Random(1).shuffle(indexes)

    assert sampling.draw("dice 4 2 6", indexes, 25) == sorted(by_hand)
    assert sampling.draw("dice 4 2 5", indexes, 25) != sorted(by_hand)
    assert sampling.draw("x", range(3), 25) == [0, 1, 2]


def test_a_longer_list_keeps_who_was_drawn_unless_somebody_drew_less() -> None:
    before = sampling.draw("seed", range(1000), 50)
    after = sampling.draw("seed", range(1001), 50)

    assert len(set(before) - set(after)) <= 1


@pytest.mark.parametrize(("seed", "count"), [("", 5), ("s", 0), ("s", sampling.MOST + 1)])
def test_no_seed_or_an_odd_count_draws_nothing(seed: str, count: int) -> None:
    with pytest.raises(sampling.SamplingError):
        sampling.draw(seed, range(10), count)


def test_an_agent_is_asked_for_only_where_the_entries_name_it() -> None:
    with pytest.raises(sampling.SamplingError, match=r"action\.decided"):
        sampling.Wanted(kind="vote.cast", agent="ag_x")
    assert sampling.Wanted(kind="action.decided", agent="ag_x").agent == "ag_x"
