"""Delegation documents: one id per document, and signatures that count for nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.formats import canonical, delegation, ids
from imprimatur.formats.canonical import CanonicalError
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.shapes import ShapeError
from tests.formats import samples

KEY = samples.AGENT_KEY
CHILD_AGENT = ids.agent_id(b"c" * 32)


def a_child(**changes: Any) -> dict[str, Any]:
    parent = delegation.delegation_id(samples.a_delegation())
    return samples.a_delegation(
        **{"issuer": samples.AGENT, "subject": CHILD_AGENT, "parent": parent, "max_depth": 0, **changes}
    )


def test_the_id_is_the_hash_of_the_tagged_canonical_bytes() -> None:
    document = samples.a_delegation()
    assert delegation.preimage(document) == b"imprimatur/delegation/v1\0" + canonical.dumps(document)
    assert delegation.delegation_id(document).startswith("sha256:")
    assert delegation.delegation_id(document) != delegation.delegation_id({**document, "max_depth": 0})


def test_a_delegation_parses_from_its_canonical_bytes_only() -> None:
    document = samples.a_delegation()
    raw = canonical.dumps(document)
    assert delegation.parse(raw) == document
    with pytest.raises(CanonicalError):
        delegation.parse(raw + b"\n")


@pytest.mark.parametrize(
    "change",
    [
        {"typ": "imprimatur/delegation/v2"},
        {"subject": "ada"},
        {"subject": "ag_short"},
        {"scope": []},
        {"scope": ["a:b", "a:b"]},
        {"scope": "file:*"},
        {"max_depth": 16},
        {"max_depth": -1},
        {"max_depth": True},
        {"not_after": samples.at(0)},
        {"not_before": "2026-11-20"},
        {"parent": samples.DIGEST},
        {"spend": {"unit": "USD"}},
        {"spend": {"unit": "USD", "limit": 5}},
        {"spend": {"unit": "USD", "limit": "-5.00"}},
        {"spend": {"unit": "US D", "limit": "5.00"}},
        {"constraints": {"path": ["/x"]}},
        {"constraints": {"max_file_size": "10"}},
        {"nonce": "short"},
        {"approve_on_timeout": True},
        {"purpose": ""},
    ],
    ids=str,
)
def test_a_document_outside_the_closed_shape_is_neither_parsed_nor_signed(change: dict[str, Any]) -> None:
    document = {**samples.a_delegation(), **change}
    with pytest.raises(ShapeError):
        delegation.parse(canonical.dumps(document))
    with pytest.raises(ShapeError):
        delegation.preimage(document)


def test_invariant_4_an_agent_cannot_issue_a_delegation_without_a_parent() -> None:
    delegation.validate(a_child())
    orphan = a_child()
    del orphan["parent"]
    with pytest.raises(ShapeError, match="parent"):
        delegation.validate(orphan)


def test_the_optional_parts_may_be_absent() -> None:
    document = samples.a_delegation()
    for name in ("constraints", "spend", "purpose"):
        del document[name]
    delegation.validate(document)


def test_an_agents_signature_verifies_for_this_document_and_key_only() -> None:
    document = a_child()
    signature = delegation.sign_as_agent(document, KEY)
    assert delegation.verify_agent_signature(document, signature, KEY.public_key)
    assert not delegation.verify_agent_signature({**document, "nonce": "x" * 22}, signature, KEY.public_key)
    other = KeyPair.from_seed(b"o" * 32)
    assert not delegation.verify_agent_signature(document, signature, other.public_key)
    assert not delegation.verify_agent_signature(document, {**signature, "key": other.thumbprint}, KEY.public_key)


def test_invariant_12_a_bare_signature_over_the_document_does_not_count() -> None:
    from imprimatur.formats.encoding import b64u

    document = a_child()
    untagged = {"kind": "ed25519", "key": KEY.thumbprint, "value": b64u(KEY.sign(canonical.dumps(document)))}
    assert not delegation.verify_agent_signature(document, untagged, KEY.public_key)


@given(
    st.dictionaries(st.sampled_from(["kind", "key", "value", "x"]), st.text(max_size=60) | st.integers() | st.none())
)
def test_a_malformed_signature_is_simply_no(signature: dict[str, Any]) -> None:
    document = samples.a_delegation()
    assert not delegation.verify_agent_signature(document, signature, KEY.public_key)
    assert not delegation.verify_ssh_signature(document, signature, samples.ssh_line(samples.PERSON_KEY))


def test_one_kind_of_signature_never_passes_for_the_other() -> None:
    document = samples.a_delegation()
    ssh = samples.ssh_evidence(canonical.dumps(document).decode(), namespace=delegation.SSH_NAMESPACE)
    line = samples.ssh_line(samples.PERSON_KEY)
    assert delegation.verify_ssh_signature(document, ssh, line)
    assert not delegation.verify_agent_signature(document, ssh, samples.PERSON_KEY.public_key)
    agents = delegation.sign_as_agent(document, samples.PERSON_KEY)
    assert not delegation.verify_ssh_signature(document, agents, line)
    assert not delegation.verify_ssh_signature(document, ssh, "ssh-rsa AAAA")
