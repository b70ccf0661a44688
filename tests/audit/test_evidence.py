from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

from audit import inbox, kinds, log, outbox, proofs, publisher, signer
from audit.actions import ask_bundle, issue_bundle
from audit.errors import NotPublished
from audit.evidence import anchors, bundle, jobs, sections
from audit.models import Bundle, Entry, Opening
from audit.publisher import Publisher
from imprimatur.formats import canonical, commitments, digests, dsse, evidence_zip, merkle, note, tiles, tlog_proof
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time


def comment(writer: log.Writer, text: str) -> str:
    """An entry with a commitment, and its opening beside the log."""
    commitment, opening = commitments.commit(b"s" * 32, "comment", text)
    request = "act_" + "0" * 26
    value = canonical.dumps_json(text)
    writer.keep_opening(Opening(commitment=commitment, subject=request, name="comment", key=opening.key, value=value))
    body = {"request": request, "comment": commitment}
    writer.append("comment.added", subject=request, actor=log.SYSTEM, body=body)
    return commitment


def append_log(note_text: str = "hello") -> str:
    return log.commit(comment, note_text)


@pytest.fixture
def lenient(monkeypatch) -> None:
    """Comments about requests that never were keep these logs small; the notary is tested elsewhere."""
    monkeypatch.setattr("audit.notary.Notary.feed", lambda self, index, envelope: setattr(self, "size", index + 1))


@pytest.fixture
def published(world, lenient) -> None:
    world.delegate("twin", purpose="A second one")
    append_log()
    Publisher().publish_once()


def unzipped(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder


def commands(folder: Path, heading: str) -> str:
    """The commands of one section of README.txt, as they stand."""
    text = (folder / "README.txt").read_text(encoding="utf-8")
    section = text.split(heading)[1].split("\n\n\n")[0]
    return "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, timeout=180, check=False
    )


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")


def test_the_same_log_and_openings_give_the_same_bytes(published, tmp_path) -> None:
    checkpoint = proofs.latest_checkpoint()
    first = bundle.build(tmp_path / "1.zip")
    for number in range(300):
        append_log(f"later {number}")
    Publisher().publish_once()
    second = bundle.build(tmp_path / "2.zip", checkpoint)
    assert first.path.read_bytes() == second.path.read_bytes()
    assert (first.manifest, first.size, first.bytes) == (second.manifest, second.size, first.path.stat().st_size)
    third = bundle.build(tmp_path / "3.zip")
    assert third.size == first.size + 300
    assert [path.name for path in tmp_path.glob(".bundle*")] == []


def test_the_bundle_is_one_exact_zip_whose_manifest_lists_every_file(published, tmp_path) -> None:
    built = bundle.build(tmp_path / "b.zip")
    with evidence_zip.Reader(built.path) as reader:
        hashes = reader.check_contents()
        listing = reader.read(bundle.MANIFEST)
        statement = dsse.open_envelope(reader.read(bundle.STATEMENT))
    listed = dict(reversed(line.split("  ")) for line in listing.decode().splitlines())
    assert listed == {name: hashes[name] for name in hashes if not name.startswith("MANIFEST.")}
    assert digests.sha256(listing) == built.manifest
    assert dsse.verify(statement, signer.decision_key().public_key)
    document = canonical.loads_canonical(statement.payload)
    subjects = {item["name"]: item["digest"]["sha256"] for item in document["subject"]}
    assert subjects == {name: hashes[name] for name in hashes if name != bundle.STATEMENT}


def test_the_bundle_holds_the_complete_log_with_proofs(published, tmp_path) -> None:
    folder = unzipped(bundle.build(tmp_path / "b.zip").path, tmp_path / "out") / "log"
    size = proofs.latest_checkpoint().size
    read: list[bytes] = []
    for index, width in tiles.bundles_for(0, size):
        read += tiles.bundle_decode((folder / tiles.entries_path(index, width)).read_bytes())
    assert read == [bytes(row.envelope) for row in Entry.objects.order_by("index")]
    root = merkle.root_of(merkle.leaf_hash(raw) for raw in read)
    assert tiles.HashReader(lambda path: (folder / path).read_bytes(), size).root() == root
    vkey = note.Vkey.parse((folder.parent / "trust" / "log.vkey").read_text().strip())
    issued = Entry.objects.filter(kind="delegation.issued")
    assert len(issued) == 2
    for row in issued:
        proof = tlog_proof.parse((folder / "proofs" / f"{row.index}.tlog-proof").read_text())
        checkpoint, _ = tlog_proof.verify(proof, bytes(row.envelope), [vkey])
        assert checkpoint.root == root


def test_openings_are_held_erased_or_were_never_given(published, tmp_path) -> None:
    kept = append_log("kept")
    gone, never = append_log("gone"), append_log("never")
    Opening.objects.filter(pk=gone).update(value=None, erased_at=log.utc_now())
    Opening.objects.filter(pk=never).delete()
    Publisher().publish_once()
    folder = unzipped(bundle.build(tmp_path / "b.zip").path, tmp_path / "out")
    lines = [json.loads(line) for line in (folder / "openings" / "openings.jsonl").read_text().splitlines()]
    by_commitment = {line["commitment"]: line for line in lines}
    assert [by_commitment[item]["state"] for item in (kept, gone, never)] == ["held", "erased", "never held"]
    line = by_commitment[kept]
    opening = commitments.Opening(line["name"], un_b64u(line["key"]), line["value"])
    assert commitments.commitment_of(opening) == kept
    assert "value" not in by_commitment[gone]


def test_the_manifest_checks_with_sha256sum(published, tmp_path) -> None:
    folder = unzipped(bundle.build(tmp_path / "b.zip").path, tmp_path / "out")
    script = commands(folder, "1. The files")
    assert script == "sha256sum -c MANIFEST.sha256"
    done = run(folder, script)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "votes" / "index.jsonl").write_bytes(b"{}\n")
    assert run(folder, script).returncode != 0


@needs_openssl
def test_the_checkpoint_verifies_with_openssl(published, tmp_path) -> None:
    folder = unzipped(bundle.build(tmp_path / "b.zip").path, tmp_path / "out")
    script = commands(folder, "2. The log signed")
    done = run(folder, script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Verified Successfully" in done.stdout
    checkpoint = folder / "log" / "checkpoint"
    checkpoint.write_text(
        re.sub(r"\n(\d+)\n", lambda found: f"\n{int(found[1]) + 1}\n", checkpoint.read_text(), count=1)
    )
    assert run(folder, script).returncode != 0


@needs_ssh
def test_a_delegation_verifies_with_ssh_keygen(published, world, tmp_path) -> None:
    folder = unzipped(bundle.build(tmp_path / "b.zip").path, tmp_path / "out")
    script = commands(folder, "4. A person signed")
    done = run(folder, script)
    assert done.returncode == 0, done.stdout + done.stderr
    assert world.ada.id in done.stdout
    [file] = re.findall(r"delegations/[0-9a-f]{64}\.json", script)
    (folder / file).write_bytes((folder / file).read_bytes().replace(b"150.00", b"950.00"))
    assert run(folder, script).returncode != 0
    assert run(folder, script.replace("delegation-v1", "decision-v1")).returncode != 0


@needs_ssh
def test_a_revoked_key_signs_nothing_after_its_revocation(published, world, tmp_path) -> None:
    from governance.actions import revoke_person_key

    fingerprint = world.ada.keys.get().fingerprint
    log.commit(revoke_person_key.apply, revoke_person_key.Command(fingerprint, "lost", by=world.ada))
    Publisher().publish_once()
    folder = unzipped(bundle.build(tmp_path / "b.zip").path, tmp_path / "out")
    script = commands(folder, "4. A person signed")
    late = re.sub(r"verify-time=\d+Z", "verify-time=20991231000000Z", script)
    assert run(folder, late).returncode != 0


@needs_ssh
def test_a_key_revoked_from_its_beginning_is_no_example_and_verifies_nothing(published, world, tmp_path) -> None:
    from governance.actions import revoke_person_key

    key = world.ada.keys.get()
    command = revoke_person_key.Command(key.fingerprint, "stolen", since=key.added_at, by=world.ada)
    log.commit(revoke_person_key.apply, command)
    Publisher().publish_once()
    folder = unzipped(bundle.build(tmp_path / "b.zip").path, tmp_path / "out")
    assert "No delegation in this log" in (folder / "README.txt").read_text()
    [line] = (folder / "trust" / "allowed_signers").read_text().splitlines()
    assert "valid-before=" in line


def test_the_verifier_is_one_file_that_needs_nothing_but_python(published, tmp_path) -> None:
    folder = unzipped(bundle.build(tmp_path / "b.zip").path, tmp_path / "out")
    with zipfile.ZipFile(folder / "verify.pyz") as archive:
        names = archive.namelist()
    assert "__main__.py" in names
    assert "imprimatur/formats/canonical.py" in names
    assert not any("django" in name or "/client/" in name for name in names)
    clean = {"PATH": os.environ["PATH"]}
    code = "import sys; sys.path.insert(0, 'verify.pyz'); import imprimatur.verify.history as h; print(h.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=folder, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "verify.pyz" in done.stdout


def test_invariant_11_no_private_key_is_in_the_bundle(published, world, tmp_path) -> None:
    raw = bundle.build(tmp_path / "b.zip").path.read_bytes()
    keys = [signer.decision_key(), signer.log_key(), *world.keys.values(), *world.ssh.values()]
    for key in keys:
        for form in (key.seed, key.seed.hex().encode(), json.dumps(list(key.seed)).encode()):
            assert form not in raw


def test_invariant_4_no_agents_key_and_no_servers_key_is_an_allowed_signer(published, world, tmp_path) -> None:
    folder = unzipped(bundle.build(tmp_path / "b.zip").path, tmp_path / "out")
    lines = (folder / "trust" / "allowed_signers").read_text().splitlines()
    assert [line.split(" ")[0] for line in lines] == [world.ada.id]
    assert all('namespaces="imprimatur-delegation-v1,imprimatur-config-v1"' in line for line in lines)
    keys = [json.loads(line) for line in (folder / "trust" / "keys.jsonl").read_text().splitlines()]
    assert sorted({key["role"] for key in keys}) == ["agent", "decision", "log", "person"]


def test_other_rooms_add_sections_of_their_own(published, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sections, "_sections", {})

    def fill(section: sections.Section) -> None:
        section.add_lines("list.jsonl", ({"index": entry.index} for entry in section.entries("agent.enrolled")))

    sections.register_section("starts", fill, "what was started")
    for taken in ("log", "launches"):
        with pytest.raises(ValueError, match="cannot be a section"):
            sections.register_section(taken, fill)
    folder = unzipped(bundle.build(tmp_path / "b.zip").path, tmp_path / "out")
    assert len((folder / "starts" / "list.jsonl").read_text().splitlines()) == 2
    assert "starts/       what was started" in (folder / "README.txt").read_text()


def test_there_is_no_bundle_before_the_first_checkpoint(begun, tmp_path) -> None:
    with pytest.raises(NotPublished):
        bundle.build(tmp_path / "b.zip")
    assert list(tmp_path.glob("*.zip")) == []


class Queue:
    """A stand-in for the RQ queue that runs nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def enqueue(self, job, bundle_id: str, **_: object) -> None:
        assert job is jobs.build_bundle
        self.asked.append(bundle_id)


@pytest.fixture
def asked(published, world, monkeypatch) -> Bundle:
    queue = Queue()
    monkeypatch.setattr("audit.evidence.jobs.django_rq.get_queue", lambda: queue)
    command = ask_bundle.Command(world.people["audra"].user_id, world.people["audra"].id)
    wish = log.commit(ask_bundle.apply, command)
    assert log.commit(ask_bundle.apply, command).pk == wish.pk
    while outbox.deliver():
        pass
    assert queue.asked == [wish.pk]
    return wish


def test_asking_for_a_bundle_ends_in_a_logged_zip_whose_entry_can_be_proved(asked, world) -> None:
    jobs.build_bundle(asked.pk)
    inbox.drain()
    asked.refresh_from_db()
    assert asked.state == Bundle.READY
    assert asked.bytes == jobs.path_of(asked.pk).stat().st_size
    detail = canonical.loads(dsse.open_envelope(bytes(Entry.objects.get(index=asked.issued_index).envelope)).payload)
    assert detail["kind"] == "bundle.issued"
    assert detail["actor"] == {"type": "person", "id": world.people["audra"].id}
    assert detail["body"]["manifest"] == asked.manifest
    assert asked.shown == asked.size
    assert f"first {asked.size} entries" in kinds.sentence(detail)
    Publisher().publish_once()
    assert proofs.proof_for(asked.issued_index).startswith("c2sp.org/tlog-proof@v1")
    again = issue_bundle.Command(asked.pk, asked.manifest, asked.size, asked.shown, asked.bytes)
    assert log.commit(issue_bundle.apply, again) is None


def test_a_bundle_that_cannot_be_built_says_why(asked, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle, "build", full)
    with pytest.raises(OSError, match="No space"):
        jobs.build_bundle(asked.pk)
    inbox.drain()
    asked.refresh_from_db()
    assert asked.state == Bundle.FAILED
    assert "No space left" in asked.error


def test_a_bundle_is_never_looked_for_outside_its_folder() -> None:
    for bad in ("../x", "a/b", "", "bdl_ü"):
        with pytest.raises(ValueError, match="not the id"):
            jobs.path_of(bad)


def test_a_tile_replaced_by_a_wider_one_is_cut_to_what_the_checkpoint_covers(published, monkeypatch, tmp_path) -> None:
    checkpoint = proofs.latest_checkpoint()
    before = bundle.build(tmp_path / "1.zip").path.read_bytes()
    monkeypatch.setattr(publisher, "PARTIALS_KEPT", 1)
    append_log("one more")
    Publisher().publish_once()
    assert bundle.build(tmp_path / "2.zip", checkpoint).path.read_bytes() == before


@pytest.fixture
def real(world) -> dict:
    """A published log that keeps every rule, and the trust anchors that its auditor was given."""
    later = format_time(log.utc_now() + timedelta(hours=3))
    parent = world.delegate("robo", max_depth=1, not_after=later, purpose="May pass on")
    world.pass_on(parent, "robo", "twin")
    Publisher().publish_once()
    return anchors.document()


def verify(folder: Path, bundle_path: Path, trust: dict | None) -> tuple[int, dict]:
    """Run the bundle's own verifier as a stranger would: plain Python, no packages, no environment."""
    command = [sys.executable, "-I", "-S", "verify.pyz", str(bundle_path), "--json"]
    if trust is not None:
        (folder / "trust.json").write_text(json.dumps(trust))
        command += ["--trust", "trust.json"]
    done = subprocess.run(
        command, cwd=folder, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_verifier_in_the_bundle_finds_it_valid_with_the_right_anchors_only(real, tmp_path) -> None:
    built = bundle.build(tmp_path / "b.zip")
    folder = unzipped(built.path, tmp_path / "out")
    code, report = verify(folder, built.path, real)
    assert code == 0, report
    assert verify(folder, built.path, None)[0] == 2
    assert verify(folder, built.path, {**real, "realm": "staging.imprimatur"})[0] == 1
    stranger = note.Vkey(real["realm"], KeyPair.generate().public_key).format()
    assert verify(folder, built.path, {**real, "log": [stranger]})[0] == 1


def test_invariant_7_changed_bytes_anywhere_in_the_bundle_fail_verification(real, tmp_path) -> None:
    from imprimatur.formats import trust as trust_format
    from imprimatur.verify.bundle import verify_bundle

    raw = bundle.build(tmp_path / "b.zip").path.read_bytes()
    anchored = trust_format.parse(canonical.dumps(real))
    changed = tmp_path / "changed.zip"
    step = max(1, len(raw) // 40)
    for place in [0, *range(7, len(raw), step), len(raw) - 1]:
        changed.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        assert verify_bundle(changed, anchored).verdict == "invalid", f"byte {place}"
