"""Evidence that a person's own key signed a statement: each way to get it wrong has its own code."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import replace
from typing import Any

import pytest

from imprimatur.formats import canonical, delegation, evidence, signing, sshsig, statement, webauthn
from imprimatur.formats.encoding import b64, b64u, un_b64u
from imprimatur.formats.evidence import EvidenceError, Given, KeyMaterial
from imprimatur.formats.keys import KeyPair
from tests.formats import samples
from tests.formats.soft_authenticator import BE, BS, ORIGIN, UP, UV, Algorithm, SoftAuthenticator, cbor
from tests.vectors import REPOSITORY

KINDS: list[Algorithm] = ["ES256", "EdDSA", "RS256"]
RAW = statement.encode(samples.a_statement())
DENIED = statement.encode(samples.a_statement(decision="deny"))
ELSEWHERE = statement.encode(samples.a_statement(realm="desk.example/staging"))


@functools.cache
def authenticator(alg: Algorithm = "ES256", device_bound: bool = True) -> SoftAuthenticator:
    return SoftAuthenticator(alg, device_bound=device_bound)


def check(given: dict[str, Any], key: KeyMaterial, **changes: Any) -> Given:
    arguments: dict[str, Any] = {"typ": statement.TYP, "raw": RAW, "namespace": statement.SSH_NAMESPACE}
    return evidence.check(given, key=key, **(arguments | changes))


def refusal(given: dict[str, Any], key: KeyMaterial, **changes: Any) -> str:
    with pytest.raises(EvidenceError) as caught:
        check(given, key, **changes)
    assert caught.value.code in evidence.CODES
    assert str(caught.value) == caught.value.message
    return caught.value.code


def passkey(**overrides: Any) -> tuple[dict[str, Any], KeyMaterial]:
    key = authenticator()
    return key.evidence(statement.TYP, RAW, **overrides), key.key_material()


def ssh_material(key: KeyPair = samples.PERSON_KEY) -> KeyMaterial:
    parsed = sshsig.parse_public_key(samples.ssh_line(key))
    return KeyMaterial("ssh", parsed.fingerprint, line=parsed.line)


def string(raw: bytes) -> bytes:
    return len(raw).to_bytes(4, "big") + raw


def security_key(flags: int, counter: int = 7) -> tuple[dict[str, Any], KeyMaterial]:
    """What a FIDO key makes through ssh-keygen (PROTOCOL.u2f), and the key."""
    kind, application, pair = b"sk-ssh-ed25519@openssh.com", b"ssh:", samples.PERSON_KEY
    namespace = statement.SSH_NAMESPACE
    blob = string(kind) + string(pair.public_key) + string(application)
    tail = bytes([flags]) + counter.to_bytes(4, "big")
    signed = hashlib.sha256(sshsig.signed_data(RAW, namespace)).digest()
    value = pair.sign(hashlib.sha256(application).digest() + tail + signed)
    armored = sshsig.armor(
        b"SSHSIG" + (1).to_bytes(4, "big") + string(blob) + string(namespace.encode()) + string(b"") + string(b"sha512")
        + string(string(kind) + string(value) + tail)
    )  # fmt: skip
    parsed = sshsig.parse_public_key(f"{kind.decode()} {b64(blob)}")
    return {"kind": "ssh", "key": parsed.fingerprint, "value": armored}, KeyMaterial(
        "ssh", parsed.fingerprint, line=parsed.line
    )


@pytest.mark.parametrize("alg", KINDS)
@pytest.mark.parametrize("device_bound", [True, False], ids=["device-bound", "synced"])
@pytest.mark.parametrize("origins", [None, [ORIGIN]], ids=["any-fitting-origin", "listed-origin"])
def test_a_passkey_s_signature_counts(alg: Algorithm, device_bound: bool, origins: list[str] | None) -> None:
    key = authenticator(alg, device_bound)
    given = key.evidence(statement.TYP, RAW)

    assert check(given, key.key_material(), origins=origins) == Given(
        key.thumbprint, "H2", device_bound, key.sign_count, True
    )


@pytest.mark.parametrize(
    ("device_bound", "attested", "assurance"),
    [(True, True, "H3"), (True, False, "H2"), (False, True, "H2"), (False, False, "H2")],
)
def test_only_an_attested_key_that_cannot_leave_its_device_is_h3(
    device_bound: bool, attested: bool, assurance: str
) -> None:
    key = authenticator("ES256", device_bound)
    given = key.evidence(statement.TYP, RAW)

    assert check(given, key.key_material(attested=attested)).assurance == assurance


def test_an_ssh_key_s_signature_counts() -> None:
    key = ssh_material()

    assert check(samples.ssh_evidence(RAW.decode()), key) == Given(key.fingerprint, "H2", False, None, False)


@pytest.mark.parametrize(("flags", "user_verified"), [(UP, False), (UP | UV, True)])
def test_a_security_key_under_ssh_counts_as_device_bound_and_tells_of_its_pin(flags: int, user_verified: bool) -> None:
    given, key = security_key(flags)

    assert check(given, key) == Given(key.fingerprint, "H2", True, 7, user_verified)


def test_a_security_key_under_ssh_is_never_h3() -> None:
    given, key = security_key(UP | UV)

    assert check(given, replace(key, attested=True, device_bound=True)).assurance == "H2"


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        ({"type": "webauthn.create"}, "type"),
        ({"origin": "https://evil.example"}, "origin"),
        ({"origin": "http://localhost.evil.example"}, "origin"),
        ({"cross_origin": True}, "cross-origin"),
        ({"top_origin": "https://evil.example"}, "top-origin"),
        ({"rp_id": "evil.example"}, "rp-id"),
        ({"flags": UV}, "user-presence"),
        ({"flags": UP}, "user-verification"),
        ({"flags": UP | UV | BS}, "backup-flags"),
        ({"flags": UP | UV | BE}, "backup-flags"),
        ({"flags": UP | UV | BE | BS}, "backup-flags"),
        ({"client_data": b"{}"}, "client-data"),
        ({"tail": b"\0"}, "authenticator-data"),
    ],
)
def test_each_fault_of_a_correctly_signed_ceremony_has_its_own_code(overrides: dict[str, Any], code: str) -> None:
    assert refusal(*passkey(**overrides)) == code


def test_a_synced_key_may_not_be_backed_up_yet() -> None:
    key = authenticator("ES256", False)

    assert not check(key.evidence(statement.TYP, RAW, flags=UP | UV | BE), key.key_material()).device_bound


def test_a_synced_key_that_calls_itself_device_bound_is_refused() -> None:
    key = authenticator("ES256", False)

    assert refusal(key.evidence(statement.TYP, RAW, flags=UP | UV), key.key_material()) == "backup-flags"


@pytest.mark.parametrize("raw", [DENIED, ELSEWHERE, RAW + b" ", b""], ids=["flipped", "realm", "space", "empty"])
def test_invariant_12_a_signature_counts_for_its_statement_and_realm_only(raw: bytes) -> None:
    assert refusal(*passkey(), raw=raw) == "challenge"
    assert refusal(samples.ssh_evidence(RAW.decode()), ssh_material(), raw=raw) == "signature"


@pytest.mark.parametrize("typ", [delegation.TYP, *signing.KINDS])
def test_invariant_12_a_signature_counts_for_its_purpose_only(typ: str) -> None:
    key = authenticator()

    assert refusal(key.evidence(typ, RAW), key.key_material()) == "challenge"
    assert refusal(key.evidence(statement.TYP, RAW), key.key_material(), typ=typ) == "challenge"
    elsewhere = samples.ssh_evidence(RAW.decode(), namespace=signing.ssh_namespace(typ))
    assert refusal(elsewhere, ssh_material()) == "namespace"


def test_invariant_12_the_answer_to_a_login_is_no_evidence() -> None:
    key = authenticator()
    for challenge in (b"r" * 32, hashlib.sha256(RAW).digest(), RAW):
        assert refusal(key.as_evidence(key.sign(challenge)), key.key_material()) == "challenge"


def test_client_data_written_anew_is_refused() -> None:
    given, key = passkey()
    for spelled in (b'": ', b'":  '):
        anew = un_b64u(given["client_data"]).replace(b'":', spelled)
        assert refusal(given | {"client_data": b64u(anew)}, key) == "signature"


def test_another_credential_key_or_signature_is_refused() -> None:
    given, key = passkey()
    other = authenticator("ES256", False)
    theirs = other.evidence(statement.TYP, RAW)

    assert refusal(theirs, key) == "key"
    assert refusal(given, other.key_material()) == "key"
    assert refusal(given | {"credential": theirs["credential"]}, key) == "key"
    assert refusal(given | {"public_key": theirs["public_key"]}, key) == "key"
    assert refusal(given | {"key": other.thumbprint}, key) == "key"
    assert check(given | {"key": key.fingerprint}, key).key == key.fingerprint
    assert refusal(given | {"signature": theirs["signature"]}, key) == "signature"


def test_the_same_key_in_another_encoding_is_refused() -> None:
    key = authenticator("EdDSA")
    given, material = key.evidence(statement.TYP, RAW), key.key_material()
    longer = cbor({1: 1, 2: b"id", 3: -8, -1: 6, -2: key.public_key[-32:]})

    assert refusal(given | {"public_key": b64u(longer)}, material) == "key"
    assert refusal(given | {"public_key": b64u(longer)}, replace(material, public_key=longer)) == "key"


@pytest.mark.parametrize(
    "changes",
    [
        {"fingerprint": "x" * 43},
        {"fingerprint": ""},
        {"credential": b""},
        {"rp_id": ""},
        {"public_key": b""},
        {"public_key": b"\xa0"},
    ],
)
def test_a_key_that_was_not_written_down_completely_verifies_nothing(changes: dict[str, Any]) -> None:
    given, key = passkey()

    assert refusal(given, replace(key, **changes)) == "key"


def test_a_passkey_is_no_ssh_key_and_the_other_way_round() -> None:
    given, key = passkey()

    assert refusal(given, ssh_material()) == "key"
    assert refusal(samples.ssh_evidence(RAW.decode()), key) == "key"
    assert refusal(given | {"kind": "ssh"}, key) == "key"
    assert refusal(given, replace(key, kind="ssh")) == "key"


def test_a_click_and_unknown_kinds_are_no_signatures() -> None:
    for key in (ssh_material(), passkey()[1]):
        assert refusal({"kind": "session"}, key) == "session"
        for kind in ({}, {"kind": "ed25519"}, {"kind": None}, {"kind": ["ssh"]}):
            assert refusal(kind, key) == "kind"


def test_another_ssh_key_is_refused_wherever_it_shows() -> None:
    key, other = ssh_material(), ssh_material(samples.SECOND_PERSON_KEY)
    given = samples.ssh_evidence(RAW.decode())
    theirs = samples.ssh_evidence(RAW.decode(), samples.SECOND_PERSON_KEY)

    assert refusal(theirs, key) == "key"
    assert refusal(given, other) == "key"
    assert refusal(theirs | {"key": key.fingerprint}, key) == "key"
    assert refusal(given | {"key": other.fingerprint}, key) == "key"
    assert refusal(given, replace(key, line=other.line)) == "key"
    assert refusal(given, replace(key, line="")) == "key"
    assert refusal(theirs | {"key": key.fingerprint}, replace(key, line=other.line)) == "key"


def test_a_security_key_that_was_not_touched_or_says_something_else_is_refused() -> None:
    given, key = security_key(UV)
    assert refusal(given, key) == "user-presence"

    given, key = security_key(UP)
    flipped = bytearray(sshsig.dearmor(given["value"]))
    flipped[-5] |= UV
    assert refusal(given | {"value": sshsig.armor(bytes(flipped))}, key) == "signature"
    flipped[-5], flipped[-1] = UP, 9
    assert refusal(given | {"value": sshsig.armor(bytes(flipped))}, key) == "signature"


@pytest.mark.parametrize("name", ["credential", "public_key", "client_data", "authenticator_data", "signature"])
@pytest.mark.parametrize("value", [None, "", "=", "a", "A" * 9000, 7, b"AAAA", "AAA\n", "AAAB=", "AAB"])
def test_a_field_that_is_missing_or_no_base64url_is_malformed(name: str, value: Any) -> None:
    given, key = passkey()

    assert refusal(given | {name: value}, key) == "malformed"


@pytest.mark.parametrize("value", [None, "", "text", "x" * 9000, 7, samples.ssh_evidence("x")["value"][:-40]])
def test_an_ssh_signature_that_is_none_is_malformed(value: Any) -> None:
    given = samples.ssh_evidence(RAW.decode())

    assert refusal(given | {"value": value}, ssh_material()) == "malformed"


def test_a_root_delegation_is_signed_the_same_two_ways() -> None:
    document = samples.a_delegation()
    raw = canonical.dumps(document)
    key = authenticator("EdDSA")
    purpose = {"typ": delegation.TYP, "raw": raw, "namespace": delegation.SSH_NAMESPACE}

    by_passkey = check(key.evidence(delegation.TYP, raw), key.key_material(), **purpose)
    by_ssh = check(samples.ssh_evidence(raw.decode(), namespace=delegation.SSH_NAMESPACE), ssh_material(), **purpose)

    assert (by_passkey.assurance, by_ssh.assurance) == ("H2", "H2")


def test_a_material_of_an_unknown_kind_verifies_nothing() -> None:
    given, _ = passkey()

    assert refusal(given, KeyMaterial(kind="session", fingerprint="x")) == "key"  # type: ignore[arg-type]  # on purpose


def test_the_specification_names_every_purpose_and_every_code() -> None:
    page = (REPOSITORY / "docs" / "spec" / "signatures.md").read_text(encoding="utf-8")
    purposes = dict(re.findall(r"^\| [^|]+ \| `(imprimatur/[a-z/0-9]+)` \| `([a-z0-9-]+)` \|$", page, re.M))
    checks = re.findall(r"^\| `([a-z-]+)` \| ", page, re.M)

    assert purposes == {typ: signing.ssh_namespace(typ) for typ in (statement.TYP, delegation.TYP, *signing.KINDS)}
    assert checks == list(webauthn.CODES)
    assert all(f"`{code}`" in page for code in evidence.CODES)
