from __future__ import annotations

import queue
import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection, transaction

from audit import genesis, log, signer
from audit import writer as writer_thread
from audit.errors import ClockBehind, LogAlreadyBegun, LogFrozen, LogNotBegun
from audit.models import Entry, LogHead, Outbox
from imprimatur.formats import dsse, entries, merkle
from tests.audit.acts import AddPerson, Poison, add_person, append, poison
from tests.audit.conftest import REALM


def test_the_log_begins_with_its_realm_keys_people_and_policy(begun) -> None:
    row = Entry.objects.get()
    envelope = dsse.open_envelope(bytes(row.envelope))
    assert dsse.verify(envelope, signer.decision_key().public_key)
    entry = entries.parse(envelope.payload)
    assert (entry["kind"], entry["index"], entry["realm"]) == ("log.genesis", 0, REALM)
    assert entry["body"]["decision_key"]["keyid"] == signer.decision_key().keyid
    assert entry["body"]["log_vkey"].startswith(f"{REALM}+")


def test_the_log_begins_once(begun) -> None:
    with pytest.raises(LogAlreadyBegun):
        genesis.begin(realm="other", roster=[], policy_digest="sha256:" + "0" * 64, software="x")
    assert LogHead.objects.get().realm == REALM


def test_nothing_is_written_before_the_log_has_begun(db, folders) -> None:
    with pytest.raises(LogNotBegun):
        append(1)


def test_nothing_is_written_while_the_log_is_frozen(begun) -> None:
    log.freeze("a restored backup")
    log.freeze("another reason")
    with pytest.raises(LogFrozen, match="a restored backup"):
        append(1)
    assert Entry.objects.count() == 1


def test_entries_are_chained_contiguous_and_never_go_back_in_time(begun) -> None:
    append(5)
    rows = list(Entry.objects.all())
    assert [row.index for row in rows] == list(range(6))
    payloads = [entries.parse(dsse.open_envelope(bytes(row.envelope)).payload) for row in rows]
    for earlier, later, row in zip(payloads, payloads[1:], rows, strict=False):
        assert later["prev"] == row.leaf == merkle.leaf_hash(bytes(row.envelope)).hex()
        assert later["time"] >= earlier["time"]
    head = LogHead.objects.get()
    assert (head.size, head.last_leaf) == (6, rows[-1].leaf)


def test_a_clock_that_was_set_back_a_little_is_held_and_a_lot_is_refused(begun) -> None:
    ahead = log.utc_now() + timedelta(seconds=30)
    LogHead.objects.update(last_time=ahead)
    [entry] = append(1)
    assert entry.time == ahead
    LogHead.objects.update(last_time=log.utc_now() + timedelta(minutes=5))
    with pytest.raises(ClockBehind, match="Set the clock"):
        append(1)


def test_writing_does_not_nest_and_opens_its_own_transaction(begun) -> None:
    with log.writing(), pytest.raises(RuntimeError, match="does not nest"), log.writing():
        pass
    with transaction.atomic(), pytest.raises(RuntimeError, match="durable"), log.writing():
        pass


def test_invariant_6_a_batch_is_one_transaction_and_only_the_poisonous_command_fails(begun) -> None:
    commands = [(add_person, AddPerson(f"pe_{number}")) for number in range(6)]
    commands.insert(3, (poison, Poison()))
    results = log.run_batch(commands)
    assert [type(result) for result in results].count(ValueError) == 1
    assert isinstance(results[3], ValueError)
    kept = list(Entry.objects.filter(index__gt=0).values_list("subject", flat=True))
    assert kept == [f"pe_{number}" for number in range(6)]
    assert [result.index for result in results if not isinstance(result, ValueError)] == [1, 2, 3, 4, 5, 6]


def test_a_batch_whose_commit_is_in_doubt_is_not_replayed(begun, monkeypatch) -> None:
    def gone(*_: object) -> None:
        raise OperationalError("the server closed the connection")

    monkeypatch.setattr(log.Writer, "finish", gone)
    calls: list[str] = []

    def noted(writer: log.Writer, command: str) -> None:
        calls.append(command)

    results = log.run_batch([(noted, "a"), (noted, "b")])
    assert [type(result) for result in results] == [OperationalError, OperationalError]
    assert calls == ["a", "b"]


def test_effects_and_outbox_belong_to_the_transaction(begun, django_capture_on_commit_callbacks) -> None:
    seen: list[str] = []

    def announce(writer: log.Writer, fail: bool) -> None:
        writer.publish("mail", {"to": "rui"})
        writer.after_commit(lambda: seen.append("woken"))
        if fail:
            raise ValueError("no")

    with django_capture_on_commit_callbacks(execute=True):
        with pytest.raises(ValueError, match="no"):
            log.commit(announce, True)
        log.commit(announce, False)
    assert seen == ["woken"]
    assert Outbox.objects.count() == 1


def test_the_writer_thread_answers_every_command_even_when_it_stops(monkeypatch) -> None:
    entered, leave = threading.Event(), threading.Event()
    batches: queue.SimpleQueue[int] = queue.SimpleQueue()

    def fake_batch(commands):
        batches.put(len(commands))
        entered.set()
        assert leave.wait(60)
        return [command for _, command in commands]

    monkeypatch.setattr(log, "run_batch", fake_batch)
    monkeypatch.setattr(writer_thread, "close_old_connections", lambda: None)
    thread = writer_thread.WriterThread()
    thread.start()
    first = thread.submit(add_person, 1)  # type: ignore[arg-type]  # the fake batch applies nothing
    assert entered.wait(60)
    others = [thread.submit(add_person, number) for number in range(2, 6)]  # type: ignore[arg-type]
    assert others[0].cancel()
    leave.set()
    assert first.result(60) == 1
    assert [future.result(60) for future in others[1:]] == [3, 4, 5]
    thread.stop()
    assert not thread.is_alive()
    assert [batches.get(), batches.get()] == [1, 3]
    with pytest.raises(RuntimeError, match="stopping"):
        thread.submit(add_person, 9).result(60)  # type: ignore[arg-type]


def test_commit_inside_a_transaction_is_refused_while_a_writer_runs(begun, monkeypatch) -> None:
    monkeypatch.setattr(writer_thread, "running", writer_thread.WriterThread)
    assert connection.in_atomic_block
    with pytest.raises(RuntimeError, match="inside a transaction"):
        append(1)
