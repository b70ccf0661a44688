"""One spelling for bytes, times, digests and ids."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.formats import digests, ids
from imprimatur.formats.encoding import b64, b64u, un_b64, un_b64u
from imprimatur.formats.timestamps import format_time, parse_time


@given(st.binary(max_size=100))
def test_base64_round_trips(raw: bytes) -> None:
    assert un_b64u(b64u(raw)) == raw
    assert un_b64(b64(raw)) == raw


@given(st.text(max_size=12))
def test_base64_that_decodes_has_only_this_spelling(text: str) -> None:
    for encode, decode in ((b64u, un_b64u), (b64, un_b64)):
        try:
            raw = decode(text)
        except ValueError:
            continue
        assert encode(raw) == text


@pytest.mark.parametrize("text", ["A", "AA==", "AB", "A+8", "A/8", " AAAA", "AAAA\n", "AAé", "AAAAA"])
def test_base64url_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        un_b64u(text)


@pytest.mark.parametrize("text", ["AA", "AB==", "A-8=", "AA==\n", "AA===", " AA==", "é==="])
def test_base64_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="base64"):
        un_b64(text)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_round_trips_to_the_millisecond_and_is_never_rounded_up(when: datetime) -> None:
    back = parse_time(format_time(when))
    assert timedelta(0) <= when - back < timedelta(milliseconds=1)


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_text_order_of_times_is_time_order(one: datetime, other: datetime) -> None:
    if one <= other:
        assert format_time(one) <= format_time(other)


def test_a_time_in_another_zone_is_written_in_utc() -> None:
    when = datetime(2026, 11, 20, 1, 2, 3, 999_999, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(when) == "2026-11-19T23:02:03.999Z"


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2026, 1, 1))  # noqa: DTZ001 - the point of the test


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-20T12:00:00Z",
        "2026-11-20T12:00:00.00Z",
        "2026-11-20T12:00:00.000000Z",
        "2026-11-20T12:00:00.000+00:00",
        "2026-11-20 12:00:00.000Z",
        "2026-11-20T12:00:00.000z",
        "2026-02-30T12:00:00.000Z",
        "2026-11-20T24:00:00.000Z",
        "2026-11-20T12:00:60.000Z",
        "2026-11-20T12:00:00.000Z\n",
        "٢٠٢٦-11-20T12:00:00.000Z",
    ],
)
def test_a_time_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|range|second|day|hour"):
        parse_time(text)


def test_ids_sort_by_time_and_are_recognised_by_prefix() -> None:
    when = datetime(2026, 11, 20, tzinfo=UTC)
    earlier, later = ids.new_id("act", when), ids.new_id("act", when + timedelta(milliseconds=1))
    assert earlier < later
    assert ids.is_id("act", earlier)
    assert not ids.is_id("vote", earlier)
    assert not ids.is_id("act", earlier.upper())
    assert not ids.is_id("act", earlier + "\n")
    assert not ids.is_id("act", earlier[:-1] + "u")
    assert not ids.is_id("act", None)
    assert len({ids.new_id("act", when) for _ in range(100)}) == 100


@pytest.mark.parametrize("prefix", ["", "A", "a", "act_", "acté", "muchtoolong"])
def test_a_strange_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        ids.new_id(prefix, datetime(2026, 11, 20, tzinfo=UTC))


def test_an_agent_id_comes_from_its_first_key() -> None:
    agent = ids.agent_id(b"k" * 32)
    assert agent.startswith("ag_")
    assert len(agent) == 35
    assert ids.is_id("ag", agent)
    assert agent != ids.agent_id(b"l" * 32)
    with pytest.raises(ValueError, match="32 bytes"):
        ids.agent_id(b"k")


def test_digests_have_one_spelling_and_a_short_form_for_eyes() -> None:
    digest = digests.sha256(b"")
    assert digest == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digests.fingerprint(digest) == "e3b0·c442·98fc"
    assert digests.is_digest(digest)
    for other in (digest.upper(), digest[:-1], digest + "0", digest[7:], digest + "\n", None, 1):
        assert not digests.is_digest(other)


def test_invariant_12_a_tag_separates_purposes() -> None:
    assert digests.tagged("a/v1", b"x") == digests.sha256(b"a/v1\0x")
    assert digests.tagged("a/v1", b"x") != digests.tagged("b/v1", b"x")
