"""Trust anchors: read strictly, and silent parts stay distinguishable from empty ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imprimatur.formats import note, trust
from imprimatur.formats.encoding import b64u
from imprimatur.formats.trust import TrustError
from tests.formats import samples
from tests.formats.soft_authenticator import SoftAuthenticator

VKEY = note.Vkey(samples.REALM, samples.PERSON_KEY.public_key).format()
WITNESS = note.Vkey("witness.example", samples.SECOND_PERSON_KEY.public_key, note.COSIGNATURE).format()
PLAIN = note.Vkey("witness.example", samples.SECOND_PERSON_KEY.public_key).format()


def a_document(**changes: Any) -> dict[str, Any]:
    key = b64u(samples.DECISION_KEY.public_key)
    return {
        "realm": samples.REALM,
        "log": [VKEY],
        "decision": [
            {"key": b64u(samples.AGENT_KEY.public_key), "from": 0, "to": 99},
            {"key": key, "from": 100},
        ],
        "people": [{"person": "ada", "kind": "ssh", "key": samples.ssh_line(samples.PERSON_KEY), "from": samples.at()}],
        "policy": [samples.DIGEST],
        "witness": {"keys": [WITNESS], "quorum": 1},
        "origins": ["https://desk.example"],
        **changes,
    }


def test_a_whole_trust_file_loads(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    path.write_text(json.dumps(a_document(), indent=2))
    known = trust.load(path)
    assert known.realm == samples.REALM
    assert known.log is not None
    assert known.log[0].name == samples.REALM
    assert known.people is not None
    assert known.people[0].person == "ada"
    assert known.witness is not None
    assert known.witness.quorum == 1
    assert known.origins == ("https://desk.example",)


def test_a_pinned_key_has_the_name_that_statements_give_it_and_counts_in_its_time() -> None:
    own = SoftAuthenticator()
    keys = [
        {"person": "ada", "kind": "webauthn", "key": b64u(own.public_key), "from": samples.at(), "to": samples.at(9)},
        {"person": "ada", "kind": "ssh", "key": samples.ssh_line(samples.PERSON_KEY)},
    ]
    people = trust.parse(json.dumps(a_document(people=keys)).encode()).people
    assert people is not None
    assert [known.fingerprint for known in people] == [own.thumbprint, samples.fingerprint(samples.PERSON_KEY)]
    assert [people[0].covers(samples.at(second)) for second in (-1, 0, 9, 10)] == [False, True, True, False]
    assert people[1].covers(samples.at(-1))


def test_a_decision_key_counts_for_its_own_part_of_the_log() -> None:
    known = trust.parse(json.dumps(a_document()).encode())
    old, new = samples.AGENT_KEY.public_key, samples.DECISION_KEY.public_key
    assert known.decision_keys(0) == known.decision_keys(99) == (old,)
    assert known.decision_keys(100) == (new,)
    assert known.decision_keys() == (old, new)


def test_what_the_file_does_not_say_is_none_and_not_empty() -> None:
    known = trust.parse(json.dumps({"realm": samples.REALM, "people": []}).encode())
    assert known.people == ()
    assert (known.log, known.decision, known.policy, known.witness) == (None, None, None, None)
    assert known.decision_keys(0) == ()


@pytest.mark.parametrize(
    "change",
    [
        {"realm": ""},
        {"extra": 1},
        {"log": []},
        {"log": ["desk+00000000+AAAA"]},
        {"log": [VKEY, VKEY]},
        {"witness": {"keys": [PLAIN], "quorum": 1}},
        {"log": VKEY},
        {"decision": [{"key": "AAAA", "from": 0}]},
        {"decision": [{"key": b64u(bytes(32)), "from": 0}]},
        {"decision": [{"key": b64u(samples.AGENT_KEY.public_key)}]},
        {"decision": [{"key": b64u(samples.AGENT_KEY.public_key), "from": 5, "to": 4}]},
        {"people": [{"person": "ada", "kind": "ssh", "key": "ssh-rsa AAAA"}]},
        {"people": [{"person": "ada", "kind": "session", "key": "x"}]},
        {"people": [{"person": "ada", "kind": "webauthn", "key": "not base64!"}]},
        {"people": [{"person": "ada", "kind": "webauthn", "key": b64u(b"no COSE key")}]},
        {"origins": []},
        {"origins": ["desk.example"]},
        {"origins": ["https://desk.example/path"]},
        {"policy": ["abc"]},
        {"witness": {"keys": [WITNESS], "quorum": 2}},
        {"witness": {"keys": [WITNESS, WITNESS], "quorum": 2}},
        {"witness": {"keys": [WITNESS], "quorum": 0}},
        {"witness": [WITNESS]},
    ],
    ids=lambda change: str(change)[:60],
)
def test_a_trust_file_with_a_fault_is_refused_as_a_whole(change: dict[str, Any]) -> None:
    trust.parse(json.dumps(a_document()).encode())
    with pytest.raises(TrustError, match="not a trust file"):
        trust.parse(json.dumps(a_document(**change)).encode())


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b"null", b'{"realm":"a","realm":"b"}', b"\xff"])
def test_bytes_that_are_no_trust_document_are_refused(raw: bytes) -> None:
    with pytest.raises(TrustError):
        trust.parse(raw)


def test_a_missing_or_huge_trust_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="cannot read"):
        trust.load(tmp_path / "none.json")
    (tmp_path / "huge.json").write_bytes(b" " * 1_000_001)
    with pytest.raises(TrustError, match="larger"):
        trust.load(tmp_path / "huge.json")
