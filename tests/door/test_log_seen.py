"""What an agent was handed is held against the log: a log that was put back, or forked, is frozen by its own signature."""

from __future__ import annotations

import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from audit import keyring, log, publisher, signer
from audit.errors import LogFrozen
from audit.models import Checkpoint, Cosignature, Entry, LogHead
from imprimatur.formats import dsse
from imprimatur.formats.encoding import b64
from imprimatur.formats.keys import KeyPair
from tests.append_only import lifted
from tests.conftest import World
from tests.door.agent import AgentUnderTest, Answer


def newest(agent: AgentUnderTest) -> str:
    """The envelope that the agent is handed for a wish."""
    text: str = agent.read().json["receipt"]["envelope"]
    return text


def present(agent: AgentUnderTest, envelope: Any) -> Answer:
    return agent.post("/log/seen", {"envelope": envelope})


def state() -> str:
    return LogHead.objects.get().state


def assert_frozen(agent: AgentUnderTest, envelope: str, reason: str) -> None:
    """Presenting it freezes the log, and from then on nothing is decided."""
    answer = present(agent, envelope)
    assert (answer.status, answer.code) == (503, "log-frozen")
    head = LogHead.objects.get()
    assert head.state == LogHead.FROZEN
    assert reason in head.frozen_reason
    assert agent.key.thumbprint not in head.frozen_reason
    assert agent.read().code == "log-frozen"
    with pytest.raises(LogFrozen):
        log.commit(lambda writer, _: None, None)


class Backup:
    """Everything of an installation that a careful operator backs up together: database, mark and published files."""

    def __init__(self, folder: Path) -> None:
        self.size = LogHead.objects.get().size
        self.folder, self.kept = folder, folder.with_name(f"{folder.name}.backup")
        shutil.copytree(folder, self.kept)

    def restore(self) -> None:
        with lifted():
            last = Entry.objects.get(index=self.size - 1)
            Entry.objects.filter(index__gte=self.size).delete()
            Checkpoint.objects.filter(size__gt=self.size).delete()
            Cosignature.objects.filter(size__gt=self.size).delete()
            LogHead.objects.update(size=self.size, last_leaf=last.leaf, last_time=last.time)
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept, self.folder)


@pytest.fixture
def backup(world: World, folders: Path) -> Backup:
    world.publish()
    return Backup(folders)


def test_an_entry_of_the_log_is_known_and_changes_nothing(world: World, robo: AgentUnderTest) -> None:
    envelope = newest(robo)
    before = Entry.objects.count()
    answer = present(robo, envelope)
    assert (answer.status, answer.json) == (200, {"index": before - 1, "published": False})
    world.publish()
    assert present(robo, envelope).json["published"] is True
    assert Entry.objects.count() == before
    assert state() == LogHead.OPEN


def test_invariant_6_a_backup_of_everything_is_noticed_by_the_holder_of_a_receipt(
    world: World, robo: AgentUnderTest, backup: Backup
) -> None:
    envelope = newest(robo)
    world.publish()
    backup.restore()
    publisher.Publisher().publish_once()
    assert state() == LogHead.OPEN, "nothing here can know: database, mark and tiles agree"
    assert_frozen(robo, envelope, "has no such entry")


def test_invariant_6_another_entry_in_its_place_is_a_fork_and_freezes_the_log(
    world: World, robo: AgentUnderTest, backup: Backup
) -> None:
    envelope = newest(robo)
    backup.restore()
    robo.read("/project/src/other.py")
    world.publisher = publisher.Publisher()
    world.publish()
    assert state() == LogHead.OPEN
    assert_frozen(robo, envelope, "has another one there")


def test_a_first_reason_for_freezing_is_not_overwritten(robo: AgentUnderTest, backup: Backup) -> None:
    envelope = newest(robo)
    backup.restore()
    log.freeze("by hand")
    assert present(robo, envelope).code == "log-frozen"
    assert LogHead.objects.get().frozen_reason == "by hand"


def change_decision_key(folder: Path) -> None:
    """Put another decision key in force and destroy the private half of the one before, as the command says."""
    out = StringIO()
    call_command("log_keys", "new-decision", stdout=out)
    call_command("log_keys", "use-decision", out.getvalue().split(" ", 1)[0], "--reason", "yearly", stdout=out)
    (folder / "keys" / "decision.key").unlink()
    signer.forget()


def test_what_a_retired_key_signed_is_known_when_its_private_half_is_gone(
    world: World, robo: AgentUnderTest, folders: Path
) -> None:
    before = newest(robo)
    change_decision_key(folders)
    for envelope in (before, newest(robo)):
        assert present(robo, envelope).status == 200
    assert state() == LogHead.OPEN


def test_invariant_6_a_backup_from_before_a_key_came_in_force_is_noticed_by_what_that_key_signed(
    world: World, robo: AgentUnderTest, folders: Path
) -> None:
    world.publish()
    keys = {path.name: path.read_bytes() for path in (folders / "keys").iterdir()}
    backup = Backup(folders)
    change_decision_key(folders)
    envelope = newest(robo)
    keys |= {path.name: path.read_bytes() for path in (folders / "keys").iterdir()}
    backup.restore()
    keyring.write_rows()
    for name, raw in keys.items():  # keys are kept apart from backups
        (folders / "keys" / name).write_bytes(raw)
        (folders / "keys" / name).chmod(0o600)
    signer.forget()
    assert_frozen(robo, envelope, "has no such entry")


def resealed(envelope: str, key: KeyPair, payload: bytes | None = None, kind: str = dsse.PAYLOAD_TYPE) -> str:
    opened = dsse.open_envelope(envelope.encode())
    return dsse.seal(payload or opened.payload, key.sign, key.keyid, kind).decode()


def forgeries(envelope: str) -> dict[str, str]:
    opened = dsse.open_envelope(envelope.encode())
    ours, theirs = signer.decision_key(), KeyPair.generate()
    ahead = opened.payload.replace(b'"index":', b'"index":9')
    keyid = dsse.Envelope(ahead, dsse.PAYLOAD_TYPE, ours.keyid, theirs.sign(dsse.pae(dsse.PAYLOAD_TYPE, ahead)))
    return {
        "another key": resealed(envelope, theirs, ahead),
        "another key under our id": keyid.to_bytes().decode(),
        "the payload changed": envelope.replace(b64(opened.payload), b64(ahead)),
        "another realm": resealed(envelope, ours, ahead.replace(b"test.imprimatur", b"prod.imprimatur")),
        "another purpose": resealed(envelope, ours, ahead, "application/vnd.in-toto+json"),
        "no place": resealed(envelope, ours, b'{"index":-1,"realm":"test.imprimatur"}'),
        "a place that is no number": resealed(envelope, ours, b'{"index":true,"realm":"test.imprimatur"}'),
        "no object": resealed(envelope, ours, b"[]"),
        "not canonical": resealed(envelope, ours, b'{ "index":99,"realm":"test.imprimatur"}'),
        "another spelling": envelope.replace("{", "{ ", 1),
        "no envelope": "hello",
        "the log's other key": resealed(envelope, signer.log_key(), ahead),
    }


def test_what_no_decision_key_of_this_log_signed_freezes_nothing(robo: AgentUnderTest) -> None:
    for name, forged in forgeries(newest(robo)).items():
        answer = present(robo, forged)
        assert (answer.status, answer.code) == (422, "malformed"), name
        assert state() == LogHead.OPEN, name


@pytest.mark.parametrize("envelope", ["", None, 7, ["x"], "x" * 65_536])
def test_what_is_no_text_of_an_envelope_cannot_be_read(robo: AgentUnderTest, envelope: Any) -> None:
    assert present(robo, envelope).status == 422
    assert state() == LogHead.OPEN


def test_only_an_agent_with_a_key_presents_anything(robo: AgentUnderTest, backup: Backup) -> None:
    envelope = newest(robo)
    backup.restore()
    robo.key = KeyPair.generate()
    assert present(robo, envelope).code == "key-unknown"
    assert state() == LogHead.OPEN
