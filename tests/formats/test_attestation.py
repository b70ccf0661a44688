"""Statements of services: one exact form, a closed shape, one signer."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as TheirEnvelope
from securesystemslib.signer._key import SSlibKey

from imprimatur.formats import attestation, canonical, dsse, ids
from imprimatur.formats.attestation import AttestationError, open_statement, seal
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.shapes import ShapeError
from tests.formats import samples

KEY, OTHER = samples.SERVICE_KEY, KeyPair.from_seed(b"t" * 32)
ROOT = "sha256:" + hashlib.sha256(b"").hexdigest()
SUBJECT = {"log": "ab" * 32}


def a_run(**changes: Any) -> dict[str, Any]:
    """The predicate of a canary run."""
    return {
        "result": "PASSED",
        "configuration": [],
        "passedTests": ["replayed"],
        "warnedTests": [],
        "failedTests": [],
        "realm": samples.REALM,
        "service": samples.SERVICE,
        "own": {"size": 0, "root": ROOT},
        "at": samples.at(),
        "from": samples.at(-2),
        "every": 300,
        "attempts": [{"name": "replayed", "status": 401, "code": "replayed", "at": samples.at(-1)}],
        **changes,
    }


def test_what_was_sealed_opens_again_and_names_its_signer() -> None:
    opened = open_statement(seal(attestation.CANARY, SUBJECT, a_run(), KEY), attestation.CANARY)
    assert opened.subjects == SUBJECT
    assert opened.predicate == a_run()
    assert opened.signed_by(KEY.public_key)
    assert not opened.signed_by(OTHER.public_key)


def test_nobody_signs_in_another_services_name() -> None:
    forged = open_statement(seal(attestation.CANARY, SUBJECT, a_run(), OTHER))
    assert not forged.signed_by(KEY.public_key)
    assert not forged.signed_by(OTHER.public_key)


def test_invariant_12_a_statement_of_one_purpose_counts_for_no_other() -> None:
    raw = seal(attestation.CANARY, SUBJECT, a_run(), KEY)
    with pytest.raises(AttestationError, match="predicateType"):
        open_statement(raw, attestation.LAUNCH, attestation.OBSERVATION)
    entry = dsse.seal(dsse.open_envelope(raw).payload, KEY.sign, KEY.keyid)
    with pytest.raises(AttestationError, match="not an in-toto Statement"):
        open_statement(entry)


def test_other_peoples_tools_take_a_statement_as_it_is() -> None:
    raw = seal(attestation.CANARY, SUBJECT, a_run(), KEY)
    envelope = TheirEnvelope.from_dict(canonical.loads(raw))
    key = SSlibKey(KEY.keyid, "ed25519", "ed25519", {"public": KEY.public_key.hex()})
    assert set(envelope.verify([key], 1)) == {KEY.keyid}
    assert canonical.loads(envelope.payload)["predicate"] == a_run()


@pytest.mark.parametrize(
    "changes",
    [{"more": 1}, {"every": 0}, {"service": samples.AGENT}, {"at": "today"}, {"own": {"size": -1, "root": ROOT}}],
    ids=["unknown key", "out of bounds", "an agent's id", "no time", "negative size"],
)
def test_the_shape_is_closed_for_who_signs_and_for_who_reads(changes: dict[str, Any]) -> None:
    with pytest.raises(ShapeError):
        seal(attestation.CANARY, SUBJECT, a_run(**changes), KEY)
    document = canonical.loads(dsse.open_envelope(seal(attestation.CANARY, SUBJECT, a_run(), KEY)).payload)
    document["predicate"] |= changes
    forged = dsse.seal(canonical.dumps(document), KEY.sign, KEY.keyid, attestation.PAYLOAD_TYPE)
    with pytest.raises(AttestationError):
        open_statement(forged)


@pytest.mark.parametrize("where", [{"url": "a\0b"}, {"failedTests": ["\0"]}], ids=["value", "list"])
def test_no_text_holds_a_nul(where: dict[str, Any]) -> None:
    with pytest.raises(AttestationError, match="NUL"):
        seal(attestation.CANARY, SUBJECT, a_run(**where), KEY)
    document = canonical.loads(dsse.open_envelope(seal(attestation.CANARY, SUBJECT, a_run(), KEY)).payload)
    document["predicate"] |= where
    forged = dsse.seal(canonical.dumps(document), KEY.sign, KEY.keyid, attestation.PAYLOAD_TYPE)
    with pytest.raises(AttestationError, match="NUL"):
        open_statement(forged)


def test_a_statement_is_never_larger_than_its_entry_can_hold() -> None:
    attempt = {"name": "replayed", "status": 401, "code": "replayed", "at": samples.at(), "detail": "x" * 300}
    with pytest.raises(AttestationError, match="at most 24,000 bytes"):
        seal(attestation.CANARY, SUBJECT, a_run(attempts=[attempt] * 64), KEY)


def test_two_subjects_of_one_name_are_refused() -> None:
    document = canonical.loads(dsse.open_envelope(seal(attestation.CANARY, SUBJECT, a_run(), KEY)).payload)
    document["subject"] *= 2
    forged = dsse.seal(canonical.dumps(document), KEY.sign, KEY.keyid, attestation.PAYLOAD_TYPE)
    with pytest.raises(AttestationError, match="same name"):
        open_statement(forged)


@given(st.data())
def test_invariant_7_no_changed_byte_goes_unseen(data: st.DataObject) -> None:
    raw = bytearray(seal(attestation.CANARY, SUBJECT, a_run(), KEY))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    try:
        opened = open_statement(bytes(raw), attestation.CANARY)
    except AttestationError:
        return
    assert not opened.signed_by(KEY.public_key)


def test_a_services_id_is_derived_from_its_key_and_is_no_agents() -> None:
    assert ids.is_id("sv", ids.service_id(KEY.public_key))
    assert not ids.is_id("ag", ids.service_id(KEY.public_key))
    assert ids.service_id(KEY.public_key)[3:] == ids.agent_id(KEY.public_key)[3:]
    with pytest.raises(ValueError, match="32 bytes"):
        ids.service_id(b"short")
