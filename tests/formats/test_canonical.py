"""Canonical JSON against RFC 8785 vectors, against itself by three routes, and against everything it must refuse."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.formats import canonical
from imprimatur.formats.canonical import CanonicalError
from tests.vectors import vectors

NAMES = ["arrays", "french", "structures", "unicode", "values", "weird"]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
integers = st.integers(-canonical.MAX_INT, canonical.MAX_INT)
signed = st.recursive(
    st.booleans() | integers | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=25,
)
anything = st.recursive(
    st.none() | st.booleans() | integers | texts | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=25,
)


def by_rfc8785(value: Any, monkeypatch: pytest.MonkeyPatch, encode: Callable[[Any], bytes]) -> bytes:
    with monkeypatch.context() as patch:
        patch.setattr(canonical, "_orjson", None)
        return encode(value)


def by_standard_library(value: Any, monkeypatch: pytest.MonkeyPatch, encode: Callable[[Any], bytes]) -> bytes:
    with monkeypatch.context() as patch:
        patch.setattr(canonical, "_orjson", None)
        patch.setitem(__import__("sys").modules, "rfc8785", None)
        return encode(value)


@pytest.mark.parametrize("name", NAMES)
def test_the_published_jcs_documents_encode_to_their_published_bytes(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = vectors() / "jcs"
    value = canonical.loads((folder / "input" / f"{name}.json").read_bytes())
    wanted = bytes.fromhex((folder / "outhex" / f"{name}.txt").read_text())
    assert canonical.dumps_json(value) == wanted
    assert by_standard_library(value, monkeypatch, canonical.dumps_json) == wanted
    assert by_rfc8785(value, monkeypatch, canonical.dumps_json) == wanted


def aps_cases(folder: Path) -> list[dict[str, Any]]:
    files = ["canonical-bytes-jcs-v2.json", "canonicalize-fixture-v1.json"]
    return [case for name in files for case in json.loads((folder / "aps" / name).read_text())["vectors"]]


def test_the_agent_passport_vectors_encode_to_their_published_bytes_or_are_refused_as_too_large() -> None:
    cases = aps_cases(vectors())
    checked = 0
    for case in cases:
        wanted = case.get("canonical_bytes_hex")
        if wanted is None or "input" not in case:
            continue
        if "2^" in case["name"] or holds_large_integer(case["input"]):
            with pytest.raises(CanonicalError, match="2\\*\\*53"):
                canonical.dumps_json(case["input"])
        else:
            assert canonical.dumps_json(case["input"]).hex() == wanted, case["name"]
        checked += 1
    assert checked >= 10


def holds_large_integer(value: Any) -> bool:
    if isinstance(value, dict):
        return any(holds_large_integer(item) for item in value.values())
    if isinstance(value, list):
        return any(holds_large_integer(item) for item in value)
    return type(value) is int and abs(value) > canonical.MAX_INT


@given(signed)
def test_every_route_gives_the_same_bytes_and_they_parse_back(value: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        raw = canonical.dumps(value)
        assert raw == rfc8785.dumps(value)
        assert raw == by_rfc8785(value, patch, canonical.dumps)
        assert raw == by_standard_library(value, patch, canonical.dumps)
        assert canonical.loads(raw) == value
        assert canonical.loads_canonical(raw) == value
        patch.setattr(canonical, "_orjson", None)
        assert canonical.loads_canonical(raw) == value


@given(anything)
def test_any_json_has_the_same_bytes_by_every_route(value: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        raw = canonical.dumps_json(value)
        assert raw == by_rfc8785(value, patch, canonical.dumps_json)
        assert raw == by_standard_library(value, patch, canonical.dumps_json)


@given(st.binary(min_size=8, max_size=8))
def test_numbers_are_written_as_ecmascript_writes_them(bits: bytes) -> None:
    (number,) = struct.unpack(">d", bits)
    if math.isfinite(number):
        assert canonical._number(number).encode() == rfc8785.dumps(number)


@given(st.binary(max_size=40) | texts.map(str.encode))
def test_what_parses_as_canonical_is_canonical_whatever_the_bytes(raw: bytes) -> None:
    try:
        value = canonical.loads_canonical(raw)
    except CanonicalError:
        return
    assert canonical.dumps(value) == raw


def test_keys_are_ordered_by_utf16_and_not_by_code_point() -> None:
    assert canonical.dumps({"\ufb33": 1, "\U0001f600": 2}) == '{"\U0001f600":2,"\ufb33":1}'.encode()


def test_a_string_enumeration_is_its_string() -> None:
    class Risk(StrEnum):
        HIGH = "HIGH"

    assert canonical.dumps({"risk": Risk.HIGH}) == b'{"risk":"HIGH"}'


@pytest.mark.parametrize(
    "value",
    [
        None,
        1.0,
        {"a": None},
        [1.5],
        2**53,
        -(2**53),
        {1: "a"},
        ("a",),
        {"a"},
        b"a",
        "\ud800",
        {"\udc00": 1},
        float("nan"),
    ],
    ids=repr,
)
def test_values_without_a_signed_form_are_refused(value: Any) -> None:
    with pytest.raises(CanonicalError):
        canonical.dumps(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, "\ud800", {1: 2}, {"a": Ellipsis}], ids=repr)
def test_values_that_are_not_json_are_refused(value: Any) -> None:
    with pytest.raises(CanonicalError):
        canonical.dumps_json(value)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'[{"a":{"b":1,"b":2}}]',
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e999",
        b"9007199254740992",
        b"-9007199254740992",
        b"1" * 5000,
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"\\ud83d":1}',
        b"\xff",
        b'"\xed\xa0\x80"',
        b"\xef\xbb\xbf{}",
        b"1 2",
        b"{}x",
        b"",
        b"{'a':1}",
        b'{"a":1,}',
        b'"\x00"',
        b"[" * 65 + b"]" * 65,
        b"[" * 200_000,
    ],
    ids=lambda raw: repr(raw[:24]),
)
def test_bytes_outside_the_strict_format_are_refused(raw: bytes) -> None:
    with pytest.raises(CanonicalError):
        canonical.loads(raw)
    with pytest.raises(CanonicalError):
        canonical.loads_canonical(raw)


@pytest.mark.parametrize(
    "raw", [b'{"b":1,"a":2}', b'{ "a":1}', b'{"a":1}\n', b'"\\u0061"', b"-0", b"1.0", b"null", b"1e2"]
)
def test_json_in_another_spelling_is_not_canonical(raw: bytes) -> None:
    canonical.loads(raw)
    with pytest.raises(CanonicalError):
        canonical.loads_canonical(raw)


def test_nesting_is_accepted_up_to_the_limit_in_both_directions() -> None:
    deep: Any = []
    for _ in range(canonical.MAX_DEPTH - 1):
        deep = [deep]
    assert canonical.loads_canonical(canonical.dumps(deep)) == deep
    with pytest.raises(CanonicalError, match="deeper"):
        canonical.dumps([deep])


def test_invariant_11_a_parse_error_never_repeats_the_document() -> None:
    for raw in (b'{"secret":hunter2}', b'{"hunter2":1,"hunter2":2}', b'"hunter2\\ud800"'):
        with pytest.raises(CanonicalError) as caught:
            canonical.loads(raw)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None
