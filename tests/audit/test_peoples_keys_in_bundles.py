"""What a bundle and trust.json say of people's own keys, and that a stranger's plain Python checks what they signed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from audit import trust
from audit.evidence import anchors, bundle
from audit.log import commit
from audit.models import LogHead
from audit.publisher import Publisher
from governance import standing
from governance.actions import issue_delegation, revoke_person_key
from imprimatur.formats import sshsig
from imprimatur.formats.encoding import b64u
from imprimatur.formats.timestamps import format_time
from tests.conftest import World


@pytest.fixture
def signed(world: World) -> dict[str, Any]:
    """Ada signs with a passkey, Rui with an SSH key; a root delegation by passkey; one key revoked, one that waits."""
    passkey, terminal = world.signing("ada", "EdDSA", device_bound=False), world.ssh_signing("rui")
    lost = world.vouch(world.enrolled("rosa"), by="rui")
    waiting = world.enrolled("rosa")
    made = world.signed("ada", world.document("twin"), kept={"key": passkey.fingerprint})
    row = commit(issue_delegation.apply, issue_delegation.signed_at_desk(made, world.ada)).delegation
    commit(revoke_person_key.apply, revoke_person_key.Command(lost.fingerprint, "lost", by=world.rosa, stolen=True))
    assert standing.fault([row]) is None
    Publisher().publish_once()
    return {"passkey": passkey, "terminal": terminal, "lost": lost, "waiting": waiting, "delegation": row}


def test_the_bundle_with_signed_keys_verifies_offline_with_plain_python(signed, tmp_path) -> None:
    built, pinned = bundle.build(tmp_path / "b.zip"), anchors.document()
    with zipfile.ZipFile(built.path) as archive:
        archive.extractall(tmp_path / "out")
    code, report = _verify(tmp_path / "out", built.path, pinned)
    assert code == 0, report
    without = [one for one in pinned["people"] if one["key"] != b64u(bytes(signed["passkey"].public_key))]
    assert _verify(tmp_path / "out", built.path, {**pinned, "people": without})[0] != 0
    elsewhere = {**pinned, "origins": ["https://elsewhere.example"]}
    assert _verify(tmp_path / "out", built.path, elsewhere)[0] != 0


def test_trust_json_pins_the_keys_that_count_of_both_kinds_and_the_pages(signed, world) -> None:
    out = io.StringIO()
    call_command("trust", stdout=out)
    printed = json.loads(out.getvalue())

    assert printed["origins"] == ["http://localhost:8000"]  # not http://testserver: no key of ours signs there
    assert printed == anchors.document()
    assert {**trust.document(), "policy": sorted(printed["policy"])} == printed
    named = {one["key"]: one for one in printed["people"]}
    passkey, ssh = named[b64u(bytes(signed["passkey"].public_key))], named[signed["terminal"].line]
    assert (passkey["person"], passkey["kind"], "to" in passkey) == (world.ada.id, "webauthn", False)
    assert (ssh["person"], ssh["kind"]) == (world.rui.id, "ssh")
    assert "to" in named[b64u(bytes(signed["lost"].public_key))]
    assert b64u(bytes(signed["waiting"].public_key)) not in named


def test_what_a_stolen_key_signed_before_that_was_known_is_cannot_tell_under_our_own_trust_json(
    world: World, tmp_path: Path
) -> None:
    world.signing("ada")
    stolen = world.ssh_signing("rui")
    before = LogHead.objects.get().last_time
    assert before is not None
    world.vouch(world.enrolled("rosa"), by="rui")
    commit(
        revoke_person_key.apply,
        revoke_person_key.Command(stolen.fingerprint, "stolen", since=before, by=world.rui, stolen=True),
    )
    Publisher().publish_once()
    built, pinned = bundle.build(tmp_path / "b.zip"), anchors.document()
    ends = {one["key"]: one.get("to") for one in pinned["people"]}
    assert ends[stolen.line] == format_time(before)
    with zipfile.ZipFile(built.path) as archive:
        archive.extractall(tmp_path / "out")
    _, report = _verify(tmp_path / "out", built.path, pinned)
    people = next(claim for claim in report["claims"] if claim["name"] == "people")
    assert (report["verdict"], people["verdict"]) == ("cannot tell", "cannot tell")
    assert f"{stolen.fingerprint} of {world.rui.id} was revoked from before that time" in people["detail"]


def test_allowed_signers_say_what_each_ssh_key_signs(signed, world, tmp_path) -> None:
    built = bundle.build(tmp_path / "b.zip")
    with zipfile.ZipFile(built.path) as archive:
        lines = archive.read("trust/allowed_signers").decode().splitlines()
        keys = [json.loads(line) for line in archive.read("trust/keys.jsonl").splitlines()]
        stated = [json.loads(line) for line in archive.read("votes/index.jsonl").splitlines()]
        vouch = next(line for line in stated if line["kind"] == "person.key_vouched" and "file" in line)
        raw = archive.read(vouch["file"])

    by_person = {line.split(" ")[0]: line for line in lines}
    assert 'namespaces="imprimatur-delegation-v1,imprimatur-config-v1"' in by_person[world.ada.id]
    assert "imprimatur-decision-v1" in by_person[world.rui.id] and "imprimatur-vouch-v1" in by_person[world.rui.id]
    people = {key["id"]: key for key in keys if key["role"] == "person"}
    assert people[signed["passkey"].fingerprint]["kind"] == "webauthn"
    assert people[signed["lost"].fingerprint]["ended_by"] > people[signed["lost"].fingerprint]["index"]
    assert signed["waiting"].fingerprint not in people
    assert json.loads(raw)["typ"] == "imprimatur/vouch/v1"


def test_a_signature_file_beside_a_statement_is_what_openssh_made(signed, world, tmp_path) -> None:
    built = bundle.build(tmp_path / "b.zip")
    with zipfile.ZipFile(built.path) as archive:
        [name] = [
            name
            for name in archive.namelist()
            if name.startswith("votes/") and name.endswith(".sig") and b"vouch" in archive.read(name[:-3] + "json")
        ]
        armored, raw = archive.read(name).decode(), archive.read(name[:-3] + "json")
    key = sshsig.parse_public_key(signed["terminal"].line)

    assert sshsig.verify(armored, raw, "imprimatur-vouch-v1", key)


def _verify(folder: Path, path: Path, pinned: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    (folder / "trust.json").write_text(json.dumps(pinned))
    command = [sys.executable, "-I", "-S", "verify.pyz", str(path), "--json", "--trust", "trust.json"]
    clean = {"PATH": os.environ["PATH"]}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
