"""A bundle made by the real build, verified by programs that share no code with it, and refused by them when changed.

Go's `sumdb/note` and `sumdb/tlog` (in `verify.go`), OpenSSL, OpenSSH, securesystemslib and sha256sum. That the very
commands of the documentation and of a bundle's README work is tested in `tests/docs/test_bundle_commands` and
`tests/audit/test_evidence`; our own verifier in `tests/verify`.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined]  # public, but not in an __all__

from tests.installation import ROOT
from tests.interop.make_bundle import COMMENTS
from tests.programs import GO_SOURCES, program
from tests.vectors import vectors


@dataclass
class Evidence:
    """A bundle, unzipped."""

    path: Path
    folder: Path

    @property
    def vkey(self) -> str:
        return (self.folder / "trust" / "log.vkey").read_text(encoding="utf-8").strip()

    @property
    def decision_key(self) -> bytes:
        key = load_pem_public_key((self.folder / "trust" / "decision.pub.pem").read_bytes())
        assert isinstance(key, Ed25519PublicKey)
        return key.public_bytes_raw()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """The bundle, made in a process of its own."""
    work = tmp_path_factory.mktemp("interop")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("IMPRIMATUR_")},
        "IMPRIMATUR_DATA": str(work / "data"),
        "IMPRIMATUR_REALM": "test.imprimatur",
        "IMPRIMATUR_REDIS_URL": f"unix://{work}/none.sock",
        "DJANGO_SETTINGS_MODULE": "server.settings",
    }
    done = run([sys.executable, "-m", "tests.interop.make_bundle", str(work)], ROOT, environment)
    assert done.returncode == 0, done.stderr[-3000:]
    with zipfile.ZipFile(work / "bundle.zip") as archive:
        archive.extractall(work / "bundle")
    return Evidence(work / "bundle.zip", work / "bundle")


@pytest.fixture
def evidence(made: Evidence, tmp_path: Path) -> Evidence:
    """A copy of it, to be changed."""
    shutil.copytree(made.folder, tmp_path / "bundle")
    return Evidence(made.path, tmp_path / "bundle")


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> str:
    """`verify.go`, built from Debian's sources alone: nothing is fetched."""
    work = tmp_path_factory.mktemp("go")
    (work / "home").mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(work / "home"),
        "GO111MODULE": "off",
        "GOFLAGS": "",
        "GOPROXY": "off",
        "GOPATH": f"{work / 'path'}:{GO_SOURCES}",
        "GOCACHE": str(work / "cache"),
    }
    source, built = Path(__file__).with_name("verify.go"), work / "verify"
    done = run([program("go"), "build", "-o", str(built), str(source)], work, environment)
    assert done.returncode == 0, done.stderr
    return str(built)


def run(
    command: list[str], folder: Path, environment: dict[str, str] | None = None, given: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, with a file as its input."""
    raw = given.read_text(encoding="utf-8") if given else ""
    return subprocess.run(
        command, cwd=folder, env=environment, input=raw, capture_output=True, text=True, timeout=220, check=False
    )


def flip(path: Path, place: int) -> None:
    raw = bytearray(path.read_bytes() or b"\0")  # a list of nothing has no byte to change, but one to add
    raw[place] ^= 1
    path.write_bytes(raw)


def read_by_go(go: str, evidence: Evidence, vkey: str = "") -> subprocess.CompletedProcess[str]:
    key = base64.b64encode(evidence.decision_key).decode()
    return run([go, vkey or evidence.vkey, str(evidence.folder / "log"), key], evidence.folder)


def test_go_reads_the_log_and_proves_every_record_and_checkpoint(go: str, made: Evidence) -> None:
    done = read_by_go(go, made)
    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout)
    _, size, root = (made.folder / "log" / "checkpoint").read_text(encoding="utf-8").splitlines()[:3]
    assert (str(counted["size"]), counted["root"]) == (size, root)
    assert counted["size"] > sum(COMMENTS) > 2 * 256
    assert counted["inclusion"] == counted["entries"] == counted["signatures"] == counted["size"]
    earlier = len(list((made.folder / "log" / "checkpoints").iterdir()))
    assert earlier >= len(COMMENTS)
    assert (counted["checkpoints"], counted["consistency"]) == (earlier + 1, 2 * earlier)
    assert counted["proofs"] == len(list((made.folder / "log" / "proofs").iterdir())) > 20


CHANGES = (
    ("checkpoint", 0),
    ("checkpoint", 20),
    ("checkpoint", -20),
    ("checkpoints/*", 20),
    ("proofs/*", 60),
    ("proofs/*", -20),
    ("tile/0/000", 33),
    ("tile/0/001", 8191),
    ("tile/0/002.p/*", 0),
    ("tile/1/000.p/2", 40),
    ("tile/entries/000", 0),
    ("tile/entries/001", 4000),
    ("tile/entries/002.p/*", -1),
)


@pytest.mark.parametrize(("pattern", "place"), CHANGES)
def test_go_refuses_a_log_of_which_one_byte_changed(go: str, evidence: Evidence, pattern: str, place: int) -> None:
    path = min((evidence.folder / "log").glob(pattern))
    flip(path, place)
    done = read_by_go(go, evidence)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    flip(path, place)
    assert read_by_go(go, evidence).returncode == 0


def test_go_refuses_the_log_under_another_key(go: str, made: Evidence) -> None:
    other = (vectors() / "tessera_log" / "vkey.txt").read_text(encoding="utf-8").strip()
    assert read_by_go(go, made, other).returncode == 1


def test_the_same_program_reads_a_log_that_is_not_ours(go: str) -> None:
    tessera = vectors() / "tessera_log"
    done = run([go, (tessera / "vkey.txt").read_text(encoding="utf-8").strip(), str(tessera)], tessera)
    assert done.returncode == 0, done.stderr
    counted = json.loads(done.stdout)
    # 16 numbered checkpoints and the newest again; the first is of an empty tree, which proves nothing.
    assert (counted["size"], counted["inclusion"], counted["checkpoints"]) == (15, 15, 17)
    assert counted["consistency"] == 30


def test_openssl_verifies_every_checkpoint_and_refuses_a_changed_one(evidence: Evidence, tmp_path: Path) -> None:
    openssl = program("openssl")

    def verified(path: Path) -> bool:
        text, _, signatures = path.read_text(encoding="utf-8").partition("\n\n")
        (tmp_path / "body").write_text(f"{text}\n", encoding="utf-8")
        (tmp_path / "sig").write_bytes(base64.b64decode(signatures.splitlines()[0].split(" ")[2])[4:])
        key = str(evidence.folder / "trust" / "log.pub.pem")
        command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", "-in", "body", "-sigfile", "sig"]
        return run(command, tmp_path).returncode == 0

    paths = [evidence.folder / "log" / "checkpoint", *(evidence.folder / "log" / "checkpoints").iterdir()]
    assert len(paths) > len(COMMENTS)
    assert all(verified(path) for path in paths)
    for path in paths:
        flip(path, 20)
    assert not any(verified(path) for path in paths)


def test_openssl_verifies_every_entry_and_refuses_a_changed_one(evidence: Evidence, tmp_path: Path) -> None:
    """A sample of entries: each signs "DSSEv1", type and payload with their lengths."""
    openssl = program("openssl")
    key = str(evidence.folder / "trust" / "decision.pub.pem")
    for envelope in list(envelopes(evidence.folder))[::100]:
        payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
        (tmp_path / "sig").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
        command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", key, "-rawin", "-in", "body", "-sigfile", "sig"]
        for said, status in ((payload, 0), (payload[:-1] + b"]", 1)):
            (tmp_path / "body").write_bytes(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(said), said))
            assert run(command, tmp_path).returncode == status


def test_ssh_keygen_verifies_every_ssh_signature_and_refuses_a_changed_statement(evidence: Evidence) -> None:
    ssh_keygen = program("ssh-keygen")
    signatures = sorted([*evidence.folder.glob("votes/*.sig"), *evidence.folder.glob("delegations/*.sig")])
    seen: set[str] = set()
    for signature in signatures:
        document = signature.with_suffix(".json")
        said = json.loads(document.read_bytes())
        who = said.get("reviewer") or said.get("person") or said["issuer"]
        namespace = said["typ"].replace("/", "-")
        seen.add(namespace)
        command = [ssh_keygen, "-Y", "verify", "-f", "trust/allowed_signers", "-I", who, "-n", namespace, "-s"]
        command.append(str(signature.relative_to(evidence.folder)))
        done = run(command, evidence.folder, given=document)
        assert done.returncode == 0, f"{document}: {done.stdout}{done.stderr}"
        document.write_bytes(document.read_bytes().replace(b"test.imprimatur", b"best.imprimatur"))
        assert run(command, evidence.folder, given=document).returncode != 0
    assert seen >= {"imprimatur-decision-v1", "imprimatur-delegation-v1", "imprimatur-enrolment-v1"}


def test_securesystemslib_verifies_every_entry_and_the_manifest(made: Evidence) -> None:
    key = SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(made.decision_key))
    manifest = json.loads((made.folder / "MANIFEST.dsse.json").read_bytes())
    checked = 0
    for document in [manifest, *envelopes(made.folder)]:
        assert Envelope.from_dict(copy.deepcopy(document)).verify([key], 1)  # it changes what it is given
        checked += 1
    assert checked > sum(COMMENTS)
    changed = base64.b64encode(base64.b64decode(manifest["payload"])[:-1] + b" ").decode()
    with pytest.raises(VerificationError):
        Envelope.from_dict({**manifest, "payload": changed}).verify([key], 1)


def test_sha256sum_finds_every_file_as_listed_and_no_changed_one(evidence: Evidence) -> None:
    command = [program("sha256sum"), "--quiet", "--strict", "-c", "MANIFEST.sha256"]
    done = run(command, evidence.folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    listed = {line.split("  ", 1)[1] for line in (evidence.folder / "MANIFEST.sha256").read_text().splitlines()}
    files = {str(path.relative_to(evidence.folder)) for path in evidence.folder.rglob("*") if path.is_file()}
    assert files - listed == {"MANIFEST.sha256", "MANIFEST.dsse.json"}
    for name in sorted(listed):
        flip(evidence.folder / name, -1)
    assert run(command, evidence.folder).stdout.splitlines() == [
        f"{line.split('  ', 1)[1]}: FAILED" for line in (evidence.folder / "MANIFEST.sha256").read_text().splitlines()
    ]


def envelopes(folder: Path) -> Iterator[dict[str, Any]]:
    """The entries of a bundle, read as tlog-tiles says: two bytes of length before each."""
    for path in sorted(path for path in (folder / "log" / "tile" / "entries").rglob("*") if path.is_file()):
        raw = path.read_bytes()
        while raw:
            length = int.from_bytes(raw[:2], "big")
            yield json.loads(raw[2 : 2 + length])
            raw = raw[2 + length :]
