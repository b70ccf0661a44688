"""Bindings and commitments: what is bound cannot change, and what is erased cannot be guessed."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.formats import binding, canonical, commitments
from imprimatur.formats.canonical import CanonicalError
from imprimatur.formats.commitments import Opening
from imprimatur.formats.encoding import b64u
from imprimatur.formats.shapes import ShapeError
from tests.formats import samples

values = (
    st.none()
    | st.booleans()
    | st.integers(-100, 100)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
)


def test_a_commitment_is_computed_as_the_design_says() -> None:
    salt = b"s" * 32
    made, opening = commitments.commit(salt, "path", {"a": None, "b": 1.5})
    key = hmac.new(salt, b"path", hashlib.sha256).digest()
    wanted = hashlib.sha256(b"imprimatur/commit/v1\0" + key + b'{"a":null,"b":1.5}').digest()
    assert made == "c:" + b64u(wanted)
    assert opening == Opening("path", key, {"a": None, "b": 1.5})
    assert commitments.commitment_of(opening) == made


def test_the_salt_comes_from_the_agents_key_and_the_idempotency_key_and_repeats() -> None:
    salt = commitments.salt_for(samples.AGENT_KEY.sign, "k")
    assert salt == hashlib.sha256(samples.AGENT_KEY.sign(b"imprimatur/salt/v1\0k")).digest()
    assert salt == commitments.salt_for(samples.AGENT_KEY.sign, "k")
    assert salt != commitments.salt_for(samples.AGENT_KEY.sign, "l")
    assert salt != commitments.salt_for(samples.PERSON_KEY.sign, "k")


@given(st.text(max_size=10).filter(str.isascii), values, st.text(max_size=10).filter(str.isascii), values)
def test_different_names_or_values_give_different_commitments(one: str, x: Any, other: str, y: Any) -> None:
    same = one == other and canonical.dumps_json(x) == canonical.dumps_json(y)
    assert (commitments.commit(b"s" * 32, one, x)[0] == commitments.commit(b"s" * 32, other, y)[0]) == same


def test_the_same_value_under_another_salt_is_another_commitment() -> None:
    assert commitments.commit(b"s" * 32, "n", 1)[0] != commitments.commit(b"t" * 32, "n", 1)[0]


def test_a_commitment_needs_a_whole_salt_and_a_json_value() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        commitments.commit(b"s", "n", 1)
    with pytest.raises(ValueError, match="32 bytes"):
        commitments.commitment_of(Opening("n", b"k", 1))
    with pytest.raises(CanonicalError):
        commitments.commit(b"s" * 32, "n", float("nan"))


def test_invariant_11_an_opening_does_not_show_its_value() -> None:
    _, opening = commitments.commit(b"s" * 32, "password", "hunter2")
    assert "hunter2" not in repr(opening)
    assert "key" not in repr(opening)


def test_the_commitments_digest_covers_every_parameter_and_the_justification() -> None:
    own = samples.parameters()
    digest = commitments.commitments_digest(own, None)
    note = samples.a_commitment()
    assert digest != commitments.commitments_digest(own, note)
    assert digest != commitments.commitments_digest({**own, "path": own["content"]}, None)
    assert digest != commitments.commitments_digest({"path": own["path"]}, None)
    assert digest == commitments.commitments_digest(dict(reversed(own.items())), None)


def test_the_action_digest_is_the_hash_of_the_tagged_binding() -> None:
    document = samples.a_binding()
    raw = b"imprimatur/action/v1\0" + canonical.dumps(document)
    assert binding.action_digest(document) == "sha256:" + hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        {"realm": "desk.example/staging"},
        {"delegation": samples.DIGEST},
        {"tool": {"name": "delete_file", "schema": samples.DIGEST}},
        {"tool": {"name": "write_file"}},
        {"effects": []},
        {"effects": [{"action": "file:write", "resource": "/project/src/b.py"}]},
        {"parameters": {}},
        {"cost": {"amount": "0.01", "unit": "USD"}},
        {"cost": {"amount": "0.00", "unit": "EUR"}},
        {"context": {"run": "run-1", "call": "call-2"}},
        {"context": {"run": "run-1", "call": "call-1", "launch": "l"}},
    ],
    ids=str,
)
def test_invariant_1_every_part_of_a_binding_changes_its_digest(change: dict[str, Any]) -> None:
    assert binding.action_digest(samples.a_binding(**change)) != binding.action_digest(samples.a_binding())


@pytest.mark.parametrize(
    "change",
    [
        {"agent": "ada"},
        {"delegation": "sha256:xyz"},
        {"tool": {}},
        {"tool": {"name": "x", "schema": samples.DIGEST, "version": "1"}},
        {"effects": [{"action": "file:write"}]},
        {"parameters": {"path": "/etc/passwd"}},
        {"parameters": {"path": "c:short"}},
        {"cost": {"amount": "1e3", "unit": "USD"}},
        {"cost": {"amount": "1.00"}},
        {"context": {"run": 1}},
        {"context": {"approved_by": "ada"}},
    ],
    ids=str,
)
def test_a_binding_outside_its_closed_shape_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ShapeError):
        samples.a_binding(**change)
