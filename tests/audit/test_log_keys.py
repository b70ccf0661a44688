"""The keys of the log change while it runs: decision keys one after the other, log keys side by side."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from audit import fsck, keyring, log, mirrors, proofs, publisher, recovery, signer
from audit.errors import LogFrozen, PublishRefused, SignerUnavailable
from audit.evidence import anchors, bundle
from audit.models import Entry, LogHead, LogKey
from audit.publisher import Publisher
from imprimatur.formats import canonical, dsse, note, trust
from imprimatur.formats.checkpoint import open_checkpoint, signed_by_all
from imprimatur.formats.cosignature import Cosigner
from imprimatur.formats.encoding import b64
from imprimatur.formats.keys import KeyPair, dsse_keyid
from imprimatur.formats.pem import public_pem
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import INVALID, VALID, Report
from imprimatur.verify.history import History
from imprimatur.verify.report import human
from imprimatur.witness.mirror import Mirror, from_folder
from imprimatur.witness.protocol import Witness
from imprimatur.witness.state import State
from tests.append_only import lifted
from tests.conftest import World
from tests.installation import eventually

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def begun(db: None, folders: Path) -> None:
    """An installation with its first admin, tools and policy."""
    call_command("begin", stdout=StringIO())


def turned_away(writer: log.Writer, key: str) -> log.Appended:
    body = {"key": key, "minute": "2026-03-01T09:00:00.000Z", "codes": {"signature": 1}}
    return writer.append("door.rejected", subject=f"key:{key}", actor=log.SYSTEM, body=body)


def append(count: int, key: str = "unknown") -> None:
    """This many entries of the simplest sort."""
    for _ in range(count):
        log.commit(turned_away, key)


def run(*words: str) -> str:
    out = StringIO()
    call_command("log_keys", *words, stdout=out)
    return out.getvalue()


def make(role: str) -> str:
    """A further key; its name."""
    return run(f"new-{role}").split(" ", 1)[0]


def change_decision_key() -> str:
    name = make("decision")
    run("use-decision", name, "--reason", "yearly")
    return name


def add_log_key() -> str:
    name = make("log")
    run("use-log", name, "--reason", "yearly")
    return name


def vkey(name: str) -> note.Vkey:
    return note.Vkey(LogHead.objects.get().realm, signer.public_key(name))


def envelope(index: int) -> dsse.Envelope:
    return dsse.open_envelope(bytes(Entry.objects.get(index=index).envelope))


def signed_by(index: int, name: str) -> bool:
    return dsse.verify(envelope(index), signer.public_key(name))


def newest() -> int:
    return LogHead.objects.get().size - 1


def shown(folders: Path) -> str:
    return (folders / "log" / "checkpoint").read_text(encoding="utf-8")


def checked(path: Path, document: dict[str, Any]) -> Report:
    return verify_bundle(path, trust.parse(canonical.dumps(document)))


def destroy(folders: Path, *names: str) -> None:
    """Do with private halves what the command says."""
    for name in names:
        (folders / "keys" / f"{name}.key").unlink()
    signer.forget()


def test_every_entry_after_the_change_is_signed_with_the_new_decision_key(begun, folders) -> None:
    append(1)
    assert "signs nothing yet" in run("new-decision")
    assert run("list").count("nothing yet") == 1
    append(1, "still_")
    name = change_decision_key()
    introduced = newest()
    append(1, "then_")
    assert [signed_by(index, "decision") for index in range(introduced + 2)] == [True] * (introduced + 1) + [False]
    assert signed_by(introduced + 1, name)
    assert Publisher().publish_once() == introduced + 2
    said = run("list")
    assert f"entries 0 to {introduced}" in said
    assert f"entries {introduced + 1} to now" in said


def test_entries_of_the_same_batch_are_signed_with_the_key_of_their_place(begun, folders) -> None:
    from audit.actions import change_decision_key as action

    name = make("decision")
    change = (action.apply, action.Command(signer.load(name), "now"))
    size = newest() + 1
    log.run_batch([(turned_away, "a"), change, (turned_away, "b")])
    assert [signed_by(index, "decision") for index in (size, size + 1, size + 2)] == [True, True, False]
    Publisher().publish_once()


def test_a_history_is_read_again_by_the_notary_after_changes_and_without_the_old_private_key(begun, folders) -> None:
    Publisher().publish_once()
    for _ in range(3):
        last = change_decision_key()
        append(1, f"{last}_")
    Publisher().publish_once()
    first_three = [name for name in signer.names("decision") if name != last]
    destroy(folders, *first_three)
    (folders / "notary.json").unlink(missing_ok=True)
    append(1, "later_")
    assert Publisher().publish_once() == LogHead.objects.get().size
    history = History("test.imprimatur", [signer.public_key("decision")])
    for entry in Entry.objects.order_by("index"):
        history.feed(entry.index, bytes(entry.envelope))
    assert history.decision_key == signer.public_key(last)


def test_without_the_private_key_in_force_nothing_is_decided_and_nothing_lost(begun, folders) -> None:
    name = change_decision_key()
    key = folders / "keys" / f"{name}.key"
    key.rename(folders / "away")
    signer.forget()
    size = LogHead.objects.get().size
    with pytest.raises(SignerUnavailable, match="restore it from a backup"):
        append(1)
    assert LogHead.objects.get().size == size
    (folders / "away").rename(key)
    append(1)
    assert signed_by(newest(), name)


def test_what_the_old_key_signs_after_the_change_is_refused_by_the_notary(begun, folders) -> None:
    change_decision_key()
    Publisher().publish_once()
    LogKey.objects.all().delete()  # whoever owns the database makes the writer believe that nothing changed
    append(1)
    with pytest.raises(PublishRefused, match="did not sign"):
        Publisher().publish_once()
    with pytest.raises(LogFrozen):
        append(1, "more_")


def test_a_row_that_says_no_log_key_signs_does_not_publish_what_nobody_signed(begun, folders) -> None:
    Publisher().publish_once()
    before = publisher.Checkpoint.objects.count()
    append(1)
    # Whoever may write beside the log makes the publisher believe that its key is over.
    row = LogKey.objects.create(key=next(iter(keyring.in_use())), role=LogKey.LOG, since=0, until=0)
    with pytest.raises(SignerUnavailable, match="audit_fsck"):
        Publisher().publish_once()
    assert publisher.Checkpoint.objects.count() == before
    row.delete()
    assert Publisher().publish_once() == LogHead.objects.get().size
    assert LogHead.objects.get().state == LogHead.OPEN


def test_keys_are_taken_up_once_and_by_one_role(begun, folders) -> None:
    Publisher().publish_once()
    name = change_decision_key()
    for again in (name, "decision"):
        with pytest.raises(CommandError, match="already"):
            run("use-decision", again, "--reason", "again")
    keys = folders / "keys"
    (keys / f"log-{name.removeprefix('decision-')}.key").write_bytes((keys / f"{name}.key").read_bytes())
    (keys / f"log-{name.removeprefix('decision-')}.key").chmod(0o600)
    with pytest.raises(CommandError, match="already"):
        run("use-log", f"log-{name.removeprefix('decision-')}", "--reason", "both")
    with pytest.raises(CommandError, match="no log key called"):
        run("use-log", "../log", "--reason", "elsewhere")
    with pytest.raises(CommandError, match="only log key"):
        run("retire-log", "log", "--reason", "the last")


def test_checkpoints_carry_the_signature_of_every_log_key_in_use(begun, folders) -> None:
    Publisher().publish_once()
    assert len(note.parse_note(shown(folders))[1]) == 1
    name = add_log_key()
    Publisher().publish_once()
    for known in ([vkey("log")], [vkey(name)]):
        open_checkpoint(shown(folders), known)
    signed_by_all(shown(folders), [vkey("log"), vkey(name)])
    run("retire-log", "log", "--reason", "old")
    Publisher().publish_once()
    assert [line.key_id for line in note.parse_note(shown(folders))[1]] == [vkey(name).id]
    append(1)
    destroy(folders, "log")
    assert Publisher().publish_once() == LogHead.objects.get().size
    signed_by_all(shown(folders), [vkey(name)])


def test_while_a_log_key_in_use_cannot_sign_nothing_is_published_and_the_log_stays_open(begun, folders) -> None:
    Publisher().publish_once()
    name = add_log_key()
    Publisher().publish_once()
    before, mark = shown(folders), publisher.mark_path().read_bytes()
    (folders / "keys" / f"{name}.key").rename(folders / "away")
    signer.forget()
    append(2)
    with pytest.raises(SignerUnavailable, match="log key"):
        Publisher().publish_once()
    assert (shown(folders), publisher.mark_path().read_bytes()) == (before, mark)
    assert LogHead.objects.get().state == LogHead.OPEN
    (folders / "away").rename(folders / "keys" / f"{name}.key")
    assert Publisher().publish_once() == LogHead.objects.get().size


def test_witness_and_mirror_follow_through_the_overlap(begun, folders, tmp_path) -> None:
    Publisher().publish_once()
    old, cosigner = vkey("log"), Cosigner("w.example", b"w" * 32)
    kept = Mirror(tmp_path / "mirror", from_folder(folders / "log"), [old])
    watching = Witness(cosigner, State.create(tmp_path / "state", cosigner.vkey), [old], keep=kept.keep)

    def ask(size: int) -> int:
        """Ask for a cosignature of what is shown, from this size on, and return the answer's status."""
        head = proofs.latest_checkpoint()
        reader = publisher.tiles.HashReader(publisher.read_tile, head.size)
        path = reader.consistency_proof(size) if size else []
        lines = "".join(f"{b64(item)}\n" for item in path)
        return watching.add_checkpoint(f"old {size}\n{lines}\n{shown(folders)}".encode()).status

    assert ask(0) == 200
    size = proofs.latest_checkpoint().size
    name = add_log_key()
    Publisher().publish_once()
    assert ask(size) == 200
    size = proofs.latest_checkpoint().size
    both = [old, vkey(name)]
    kept = Mirror(tmp_path / "mirror", from_folder(folders / "log"), both)
    watching = Witness(cosigner, State(tmp_path / "state", cosigner.vkey), both, keep=kept.keep)
    run("retire-log", "log", "--reason", "old")
    Publisher().publish_once()
    assert ask(size) == 200
    assert kept.size == LogHead.objects.get().size


def test_fsck_knows_the_keys_and_sees_a_row_that_lies(begun, folders, monkeypatch) -> None:
    monkeypatch.setattr(mirrors, "_registered", {})
    Publisher().publish_once()
    change_decision_key()
    add_log_key()
    Publisher().publish_once()
    run("retire-log", "log", "--reason", "old")
    Publisher().publish_once()
    assert fsck.run().findings == []
    LogKey.objects.filter(until=None, role=LogKey.DECISION).update(since=1)
    assert [finding.where.split(" ")[0] for finding in fsck.run().findings] == ["decision", "decision"]


def test_what_log_recover_brings_back_includes_the_key_in_force(begun, folders) -> None:
    append(2)
    Publisher().publish_once()
    backup = LogHead.objects.get().size
    name = change_decision_key()
    add_log_key()
    append(1, "lost_")
    Publisher().publish_once()
    with lifted():
        last = Entry.objects.get(index=backup - 1)
        Entry.objects.filter(index__gte=backup).delete()
        publisher.Checkpoint.objects.filter(size__gt=backup).delete()
        LogHead.objects.update(size=backup, last_leaf=last.leaf, last_time=last.time)
    LogKey.objects.all().delete()
    with pytest.raises(PublishRefused):
        Publisher().publish_once()
    recovery.recover()
    recovery.reopen()
    append(1, "after_")
    assert signed_by(newest(), name)
    Publisher().publish_once()
    assert LogHead.objects.get().state == LogHead.OPEN
    assert len(keyring.in_use()) == 2


# --- bundles ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def rotated(world: World, folders: Path, tmp_path: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A bundle whose keys changed, the trust.json from before, and the one from after."""
    Publisher().publish_once()
    before = anchors.document()
    change_decision_key()
    add_log_key()
    world.enrol("second")
    Publisher().publish_once()
    run("retire-log", "log", "--reason", "old")
    change_decision_key()
    Publisher().publish_once()
    path = tmp_path / "bundle.zip"
    bundle.build(path)
    return path, before, anchors.document()


def test_a_bundle_verifies_across_changes_of_every_key(rotated) -> None:
    path, before, after = rotated
    report = checked(path, after)
    assert report.ok, human(report)
    assert len(after["decision"]) == 3
    assert [("to" in key) for key in after["decision"]] == [True, True, False]
    assert len(after["log"]) == 1
    assert "changed 2 times" in report.claim("history").detail
    # The first decision key leads to the later ones. The log key has to be known.
    first = {**after, "decision": before["decision"]}
    assert checked(path, first).ok
    assert checked(path, {**before, "people": after["people"]}).claim("checkpoint").verdict == INVALID


@pytest.mark.parametrize("ends", [-1, 0])
def test_a_first_key_that_ended_before_it_introduced_the_next_leads_nowhere(rotated, ends) -> None:
    path, _, after = rotated
    first = after["decision"][0]
    short = {**after, "decision": [{**first, "to": first["to"] + ends}]}
    verdict = checked(path, short).claim("history")
    assert verdict.verdict == (INVALID if ends else VALID), verdict.detail


def test_a_bundle_is_not_valid_under_a_later_key_alone_or_under_one_named_too_late(rotated) -> None:
    path, _, after = rotated
    alone = {**after, "decision": after["decision"][1:]}
    assert checked(path, alone).claim("history").verdict == INVALID
    late = [dict(key) for key in after["decision"]]
    late[1]["from"] += 1
    report = checked(path, {**after, "decision": late})
    assert report.claim("history").verdict == INVALID
    assert "before the first or after the last" in report.claim("history").detail


def test_trust_names_only_keys_that_are_in_the_folder_of_keys(begun, folders) -> None:
    Publisher().publish_once()
    name = change_decision_key()
    Publisher().publish_once()
    (folders / "keys" / f"{name}.key").unlink()
    signer.forget()
    with pytest.raises(CommandError, match="not in the folder of keys"):
        call_command("trust", stdout=StringIO())


def test_policy_tlog_lists_every_log_key_in_use(begun, folders) -> None:
    Publisher().publish_once()
    name = add_log_key()
    Publisher().publish_once()
    out = StringIO()
    call_command("trust", "--tlog-policy", stdout=out)
    assert [line for line in out.getvalue().splitlines() if line.startswith("log ")] == [
        f"log {vkey('log')}",
        f"log {vkey(name)}",
    ]


def test_keys_are_named_after_the_log_whatever_the_settings_of_the_shell_say(begun, folders, settings) -> None:
    Publisher().publish_once()
    name = add_log_key()
    realm, settings.REALM = settings.REALM, "elsewhere.example"
    printed = run("new-log")
    assert f"{realm}+" in printed and "elsewhere" not in printed
    assert "signs no checkpoint" in run("retire-log", name, "--reason", "not this one")


# --- a signer elsewhere ----------------------------------------------------------------------------------------------


@pytest.fixture
def hsm(folders: Path, settings: Any) -> Path:
    """Private keys in a folder of their own, and the example's command to sign with them."""
    folder = folders / "hsm"
    folder.mkdir()
    settings.SIGNER = f"{ROOT / 'examples' / 'signer' / 'openssl-signer'} {folder}"
    return folder


def openssl_key(hsm: Path, name: str) -> str:
    made = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(hsm / f"{name}.pem")]
    subprocess.run(made, check=True, capture_output=True)
    shown = ["openssl", "pkey", "-in", str(hsm / f"{name}.pem"), "-pubout"]
    return subprocess.run(shown, check=True, capture_output=True, text=True).stdout


def test_keys_that_never_were_in_the_folder_sign_by_a_command(begun, folders, hsm) -> None:
    Publisher().publish_once()
    for role, use in (("decision", "use-decision"), ("log", "use-log")):
        pem = openssl_key(hsm, "made")
        (folders / "made.pub").write_text(pem)
        name = run(f"new-{role}", "--public", str(folders / "made.pub")).split(" ", 1)[0]
        assert (folders / "keys" / f"{name}.pub").read_text() == pem
        (hsm / "made.pem").rename(hsm / f"{name}.pem")
        run(use, name, "--reason", "moved into the safe")
    append(2)
    Publisher().publish_once()
    assert signed_by(newest(), signer.names("decision")[-1])
    signed_by_all(shown(folders), [vkey(found) for found in signer.names("log")])
    assert LogHead.objects.get().state == LogHead.OPEN


def test_a_whole_installation_begins_with_keys_that_only_the_command_has(db, folders, hsm) -> None:
    (folders / "keys").mkdir()
    for name in ("decision", "log"):
        (folders / "keys" / f"{name}.pub").write_text(openssl_key(hsm, name))
    call_command("begin", "--realm", "test.imprimatur", stdout=StringIO())
    Publisher().publish_once()
    assert not list((folders / "keys").glob("*.key"))
    signed_by_all(shown(folders), [vkey("log")])
    assert anchors.document()["log"] == [vkey("log").format()]


LIES = {
    "nothing": "pass",
    "an error": "sys.exit(3)",
    "noise": "print('x' * 99)",
    "another's signature": "print(base64.b64encode(bytes(64)).decode())",
    "a long wait": "time.sleep(60)",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_command_that_gives_no_signature_leaves_nothing_behind(begun, folders, settings, monkeypatch, lie) -> None:
    monkeypatch.setattr(signer, "PATIENCE", 0.5)
    script = folders / "liar.py"
    script.write_text(f"import base64, sys, time\nsys.stdin.buffer.read()\n{LIES[lie]}\n")
    settings.SIGNER = f"{sys.executable} {script}"
    (folders / "keys" / "decision.pub").write_text(public_pem(signer.decision_key().public_key))
    (folders / "keys" / "decision.key").unlink()
    signer.forget()
    size = LogHead.objects.get().size
    with pytest.raises(SignerUnavailable, match="signer"):
        append(1)
    assert LogHead.objects.get().size == size
    settings.SIGNER = ""
    with pytest.raises(SignerUnavailable, match="IMPRIMATUR_SIGNER"):
        append(1)
    settings.SIGNER = str(folders / "none")
    with pytest.raises(SignerUnavailable, match="cannot be run"):
        append(1)


def test_what_a_signer_began_ends_with_it_when_it_takes_too_long(begun, folders, settings, monkeypatch) -> None:
    """A script waits for a tool that hangs: every entry that is tried would leave one more of them."""
    script = folders / "hangs"
    script.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {folders}/pid\nwait\n")
    script.chmod(0o700)
    settings.SIGNER = str(script)
    (folders / "keys" / "decision.pub").write_text(public_pem(signer.decision_key().public_key))
    (folders / "keys" / "decision.key").unlink()
    signer.forget()
    pid = ""
    for patience in (0.5, 5.0, 50.0):  # long enough for the script to have begun something
        monkeypatch.setattr(signer, "PATIENCE", patience)
        with pytest.raises(SignerUnavailable, match="within"):
            append(1)
        if pid := (folders / "pid").read_text().strip() if (folders / "pid").exists() else "":
            break
    assert pid
    begun_by_it = Path(f"/proc/{pid}/stat")

    def ended() -> bool:
        try:
            return begun_by_it.read_text().rsplit(")", 1)[1].split()[0] in "ZX"
        except OSError:
            return True

    assert eventually(ended)


def test_a_note_that_was_published_stays_when_the_signer_answers_differently(begun, folders, monkeypatch) -> None:
    Publisher().publish_once()
    before = shown(folders)
    text = before.partition("\n\n")[0]

    def another(self: Any, signers: Any) -> str:
        return note.sign_note(self.text(), self.origin, KeyPair.generate().seed)

    monkeypatch.setattr(publisher.TreeHead, "sign_with", another)
    Publisher().publish_once()
    assert shown(folders) == before
    assert text in before
    assert proofs.latest_checkpoint().note == before


def test_the_key_of_an_entry_is_the_one_that_signs_a_bundle_of_all_before_it(begun, folders) -> None:
    change_decision_key()
    introduced = newest()
    assert keyring.decision_signer(introduced).keyid == dsse_keyid(signer.public_key("decision"))
    assert keyring.decision_signer(introduced + 1).keyid == keyring.in_force().keyid
    assert json.dumps(keyring.ring().trusted())
