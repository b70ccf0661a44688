"""The rule of who is asked, held against every combination of levels, absences and people."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from approvals import routing
from imprimatur.rules.asking import EVERYONE_AT, Level, levels

NAMES = ("ann", "bea", "cem", "dov", "eve")
PEOPLE = st.sets(st.sampled_from(NAMES))


@given(
    pool=PEOPLE,
    able=PEOPLE,
    needed=st.integers(1, 3),
    away=st.dictionaries(st.sampled_from(NAMES), st.none() | st.sampled_from(NAMES)),
    named=st.lists(PEOPLE, min_size=1, max_size=3),
    everyone=st.booleans(),
)
def test_asking_stays_within_who_may_answer_and_always_finds_enough(
    pool: set[str], able: set[str], needed: int, away: dict[str, str | None], named: list[set[str]], everyone: bool
) -> None:
    roles = {name: frozenset({"reviewer"}) for name in sorted(pool)}
    able &= pool
    steps = [Level(number, frozenset(people)) for number, people in enumerate(named)]
    chosen = routing.whom([*steps, Level(EVERYONE_AT, everyone=everyone)], roles, able, needed, away)
    assert set(chosen) <= pool
    assert len(set(chosen)) == len(chosen)
    enough = len(able & set(chosen)) >= needed
    assert enough or set(chosen) == pool
    if set(chosen) != pool:
        assert not set(chosen) & set(away)
        wanted = pool if everyone else pool & set().union(*named)
        standing_in = {away[one] for one in wanted if one in away}
        assert set(chosen) <= wanted | {one for one in standing_in if one}


@given(named=PEOPLE, pool=PEOPLE.filter(bool), away=st.dictionaries(st.sampled_from(NAMES), st.none()))
def test_somebody_is_asked_at_once_whatever_the_calendar_says(
    named: set[str], pool: set[str], away: dict[str, None]
) -> None:
    document = [{"after": 0, "people": sorted(named) or ["nobody"]}]
    roles = {name: frozenset[str]() for name in pool}
    assert routing.whom(levels(document)[:1], roles, pool, 1, away)
