"""SSH signatures, held against the real ssh-keygen in both directions."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_ssh_private_key

from imprimatur.formats import delegation, sshsig
from imprimatur.formats.encoding import b64
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.sshsig import SshSigError
from tests.formats import samples

NAMESPACE = delegation.SSH_NAMESPACE
MESSAGE = b'{"typ":"imprimatur/delegation/v1"}'

needs_ssh_keygen = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")


def string(raw: bytes) -> bytes:
    return len(raw).to_bytes(4, "big") + raw


def keygen(*arguments: str | Path, message: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["ssh-keygen", *map(str, arguments)], input=message, capture_output=True, check=False, timeout=60
    )


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "id"
    made = keygen("-q", "-t", "ed25519", "-N", "", "-C", "ada@desk", "-f", path)
    assert made.returncode == 0, made.stderr
    return path


def pair_of(path: Path) -> KeyPair:
    private = load_ssh_private_key(path.read_bytes(), None)
    assert isinstance(private, Ed25519PrivateKey)
    return KeyPair.from_seed(private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))


def signed_by_ssh(path: Path, message: bytes = MESSAGE, namespace: str = NAMESPACE, *options: str) -> str:
    done = keygen("-Y", "sign", "-q", *options, "-n", namespace, "-f", path, message=message)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@needs_ssh_keygen
def test_a_signature_of_ssh_keygen_verifies_and_ours_is_the_same_to_the_byte(key_file: Path) -> None:
    key = sshsig.parse_public_key(key_file.with_suffix(".pub").read_text())
    armored = signed_by_ssh(key_file)
    assert sshsig.verify(armored, MESSAGE, NAMESPACE, key)
    assert sshsig.sign(pair_of(key_file), MESSAGE, NAMESPACE) == armored
    assert sshsig.armor(sshsig.dearmor(armored)) == armored


@needs_ssh_keygen
def test_a_signature_of_ssh_keygen_with_sha256_verifies(key_file: Path) -> None:
    key = sshsig.parse_public_key(key_file.with_suffix(".pub").read_text())
    armored = signed_by_ssh(key_file, MESSAGE, NAMESPACE, "-O", "hashalg=sha256")
    assert sshsig.parse(armored).hash_name == "sha256"
    assert sshsig.verify(armored, MESSAGE, NAMESPACE, key)


@needs_ssh_keygen
def test_ssh_keygen_names_the_key_as_we_do(key_file: Path) -> None:
    key = sshsig.parse_public_key(key_file.with_suffix(".pub").read_text())
    listed = keygen("-l", "-f", key_file.with_suffix(".pub")).stdout.decode()
    assert key.fingerprint in listed.split()
    assert key_file.with_suffix(".pub").read_text().startswith(key.line + " ")


@needs_ssh_keygen
def test_ssh_keygen_verifies_our_signature_with_our_allowed_signers_line(tmp_path: Path) -> None:
    key = sshsig.parse_public_key(samples.ssh_line(samples.PERSON_KEY))
    allowed, signature = tmp_path / "allowed_signers", tmp_path / "message.sig"
    signature.write_text(sshsig.sign(samples.PERSON_KEY, MESSAGE, NAMESPACE))

    def verify(namespace: str = NAMESPACE, message: bytes = MESSAGE, moment: str = "20261120120000Z") -> int:
        return keygen(
            "-Y", "verify", "-O", f"verify-time={moment}", "-f", allowed, "-I", "ada@desk.example", "-n", namespace,
            "-s", signature, message=message,
        ).returncode  # fmt: skip

    since = datetime(2026, 11, 20, 11, 0, 0, tzinfo=UTC)
    allowed.write_text(sshsig.allowed_signers_line("ada@desk.example", key, [NAMESPACE, "other-v1"], since) + "\n")
    assert verify() == 0
    assert verify(namespace="other-v1") != 0
    assert verify(namespace="imprimatur-decision-v1") != 0
    assert verify(message=MESSAGE + b" ") != 0
    assert verify(moment="20261120105959Z") != 0
    allowed.write_text(sshsig.allowed_signers_line("ada@desk.example", key, ["imprimatur-decision-v1"]) + "\n")
    assert verify() != 0


@needs_ssh_keygen
def test_a_delegation_signed_with_ssh_keygen_verifies(key_file: Path) -> None:
    from imprimatur.formats import canonical

    document = samples.a_delegation()
    line = key_file.with_suffix(".pub").read_text()
    signature = {
        "kind": "ssh",
        "key": sshsig.parse_public_key(line).fingerprint,
        "value": signed_by_ssh(key_file, canonical.dumps(document)),
    }
    assert delegation.verify_ssh_signature(document, signature, line)
    assert not delegation.verify_ssh_signature({**document, "max_depth": 2}, signature, line)
    assert not delegation.verify_ssh_signature(document, signature, samples.ssh_line(samples.PERSON_KEY))
    other = {**signature, "value": signed_by_ssh(key_file, canonical.dumps(document), "imprimatur-decision-v1")}
    assert not delegation.verify_ssh_signature(document, other, line)


def test_invariant_12_a_signature_for_another_namespace_is_refused_with_the_remedy() -> None:
    key = sshsig.parse_public_key(samples.ssh_line(samples.PERSON_KEY))
    armored = sshsig.sign(samples.PERSON_KEY, MESSAGE, "file")
    with pytest.raises(SshSigError, match=f"-n {NAMESPACE}"):
        sshsig.verify(armored, MESSAGE, NAMESPACE, key)
    relabelled = sshsig.armor(sshsig.dearmor(armored).replace(string(b"file"), string(NAMESPACE.encode())))
    assert not sshsig.verify(relabelled, MESSAGE, NAMESPACE, key)


def test_another_key_or_another_message_is_refused() -> None:
    key = sshsig.parse_public_key(samples.ssh_line(samples.PERSON_KEY))
    armored = sshsig.sign(samples.PERSON_KEY, MESSAGE, NAMESPACE)
    assert not sshsig.verify(armored, MESSAGE + b" ", NAMESPACE, key)
    other = sshsig.parse_public_key(samples.ssh_line(samples.SECOND_PERSON_KEY))
    with pytest.raises(SshSigError, match="made by"):
        sshsig.verify(armored, MESSAGE, NAMESPACE, other)


def test_every_changed_byte_of_a_signature_is_refused() -> None:
    key = sshsig.parse_public_key(samples.ssh_line(samples.PERSON_KEY))
    blob = sshsig.dearmor(sshsig.sign(samples.PERSON_KEY, MESSAGE, NAMESPACE))
    for position in range(len(blob)):
        changed = bytearray(blob)
        changed[position] ^= 1
        try:
            assert not sshsig.verify(sshsig.armor(bytes(changed)), MESSAGE, NAMESPACE, key), position
        except SshSigError:
            continue
    for damaged in (blob[:-1], blob + b"\0", b""):
        with pytest.raises(SshSigError):
            sshsig.parse(sshsig.armor(damaged))


def test_a_pasted_signature_may_have_lost_its_line_ends_but_nothing_else() -> None:
    armored = sshsig.sign(samples.PERSON_KEY, MESSAGE, NAMESPACE)
    assert sshsig.dearmor("  " + armored.replace("\n", "\r\n") + "\n\n") == sshsig.dearmor(armored)
    for damaged in (
        "",
        armored[1:],
        armored.replace("-----END", "-----FIN"),
        armored.replace("\n", "\n!", 2),
        "A" * 9000,
    ):
        with pytest.raises(SshSigError):
            sshsig.dearmor(damaged)


def security_key_signature(message: bytes, flags: int, application: bytes = b"ssh:") -> tuple[sshsig.SshKey, str]:
    """What a FIDO key would produce, per PROTOCOL.u2f."""
    kind = b"sk-ssh-ed25519@openssh.com"
    pair = samples.PERSON_KEY
    blob = string(kind) + string(pair.public_key) + string(application)
    tail = bytes([flags]) + (7).to_bytes(4, "big")
    signed = sshsig.signed_data(message, NAMESPACE)
    value = pair.sign(hashlib.sha256(application).digest() + tail + hashlib.sha256(signed).digest())
    armored = sshsig.armor(
        b"SSHSIG" + (1).to_bytes(4, "big") + string(blob) + string(NAMESPACE.encode()) + string(b"") + string(b"sha512")
        + string(string(kind) + string(value) + tail)
    )  # fmt: skip
    return sshsig.parse_public_key(f"{kind.decode()} {b64(blob)} ada's key"), armored


@needs_ssh_keygen
def test_a_security_key_signature_verifies_here_and_in_ssh_keygen(tmp_path: Path) -> None:
    key, armored = security_key_signature(MESSAGE, 0x05)
    assert key.application == "ssh:"
    assert sshsig.verify(armored, MESSAGE, NAMESPACE, key)
    assert sshsig.parse(armored).user_verified
    assert not sshsig.verify(armored, MESSAGE + b" ", NAMESPACE, key)
    (tmp_path / "sig").write_text(armored)
    (tmp_path / "allowed").write_text(sshsig.allowed_signers_line("ada", key, [NAMESPACE]) + "\n")
    done = keygen(
        "-Y",
        "verify",
        "-f",
        tmp_path / "allowed",
        "-I",
        "ada",
        "-n",
        NAMESPACE,
        "-s",
        tmp_path / "sig",
        message=MESSAGE,
    )
    assert done.returncode == 0, done.stderr


def test_a_security_key_must_have_been_touched() -> None:
    key, armored = security_key_signature(MESSAGE, 0x00)
    with pytest.raises(SshSigError, match="touched"):
        sshsig.verify(armored, MESSAGE, NAMESPACE, key)


def test_a_security_key_signature_without_a_pin_is_not_user_verified() -> None:
    key, armored = security_key_signature(MESSAGE, 0x01)
    assert sshsig.verify(armored, MESSAGE, NAMESPACE, key)
    assert not sshsig.parse(armored).user_verified


def test_only_plain_ed25519_keys_are_accepted_and_the_refusal_says_what_to_do() -> None:
    blob = sshsig.public_key_blob(samples.PERSON_KEY.public_key)
    for line, words in {
        "ssh-rsa AAAAB3NzaC1yc2E= x": "ssh-keygen -t ed25519",
        "ecdsa-sha2-nistp256 AAAA x": "ssh-keygen -t ed25519",
        "ssh-ed25519-cert-v01@openssh.com AAAA x": "certificates",
        "hello world": "known type",
        "": "whole line",
        "ssh-ed25519": "whole line",
        "ssh-ed25519 ****": "base64",
        f"ssh-ed25519 {b64(blob)}\nssh-ed25519 {b64(blob)}": "one line",
        f"sk-ssh-ed25519@openssh.com {b64(blob)}": "disagree",
        f"ssh-ed25519 {b64(blob + b'x')}": "stray",
        f"ssh-ed25519 {b64(blob[:-1])}": "cut short",
        f"ssh-ed25519 {b64(string(b'ssh-ed25519') + string(b'k' * 31))}": "unusable",
        f"ssh-ed25519 {b64(string(b'ssh-ed25519') + string(bytes(32)))}": "unusable",
        f'namespaces="*" ssh-ed25519 {b64(blob)}': "known type",
    }.items():
        with pytest.raises(SshSigError, match=words):
            sshsig.parse_public_key(line)


@pytest.mark.parametrize("principal", ["", "*", "a b", "a,b", "!ada", "#ada", 'a"b', "ada\nbob", "ad?"])
def test_a_principal_that_would_be_a_pattern_is_refused(principal: str) -> None:
    key = sshsig.parse_public_key(samples.ssh_line(samples.PERSON_KEY))
    with pytest.raises(SshSigError, match="principal"):
        sshsig.allowed_signers_line(principal, key, [NAMESPACE])


@pytest.mark.parametrize("namespaces", [[], ["*"], ['a"'], ["a,b"], ["a\nb"], [""]])
def test_a_signer_is_never_allowed_for_every_purpose(namespaces: list[str]) -> None:
    key = sshsig.parse_public_key(samples.ssh_line(samples.PERSON_KEY))
    with pytest.raises(SshSigError, match="namespace"):
        sshsig.allowed_signers_line("ada", key, namespaces)
