"""Sinks as the publisher drives them: nothing waits for them, what differs is an alarm, and people see how they are."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
import zipfile
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client as Browser

from audit import log
from audit.actions import note_shipped
from audit.evidence import bundle
from audit.models import Checkpoint, Entry, SinkState
from audit.sinks import configured, http, shipping, standing, states
from audit.sinks.file import FileSink
from audit.sinks.http import HttpSink
from audit.sinks.reconcile import NotOffered, Reading
from audit.sinks.s3 import S3Sink
from audit.sinks.sink import Differs, SinkError
from server import checks, metrics
from tests.audit.acts import append, append_together
from tests.audit.sinking import (
    collecting,
    deliver,
    entries_in,
    envelopes,
    published,
    rounds_until,
    shipping_to,
    state,
)
from tests.installation import eventually


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tmp_path_factory.mktemp("elsewhere") / "archive.jsonl"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(shipping, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(shipping, "READ_EVERY", 0.1)
    monkeypatch.setattr(HttpSink, "every", 0.0)


# --- a collector behind HTTP --------------------------------------------------------------------------------------------


def test_a_collector_gets_lines_and_is_believed_only_so_far(begun) -> None:
    append_together(600)
    log_ = published()
    with collecting() as known:
        sink = HttpSink("copy", known.url, "t0ken")
        deliver(sink, log_)
        assert known.entries == envelopes(601)
        assert known.checkpoints == [log_.signed]
        assert [(post["imprimatur-first"], post["imprimatur-count"]) for post in known.posts] == [
            ("0", "256"),
            ("256", "256"),
            ("512", "89"),
            ("601", "0"),
        ]
        assert {post["authorization"] for post in known.posts} == {"Bearer t0ken"}
        agreed = Reading(sink, log_, 601).finish()
        assert (agreed.size, agreed.root, agreed.seen) == (601, log_.root, False)
        known.offers_state = False
        with pytest.raises(NotOffered):
            Reading(sink, log_, 601).finish()


def test_a_collector_says_where_to_go_on(begun, monkeypatch) -> None:
    monkeypatch.setattr(http, "MOST_IN_A_POST", 4000)
    append_together(40)
    log_ = published()
    with collecting(entries=envelopes(7), offers_state=False) as known:
        sink = HttpSink("copy", known.url)
        assert sink.where(log_, 0) == 0
        assert sink.take(log_, 0, 41) == 7
        deliver(sink, log_)
        assert known.entries == envelopes(41)
        assert len(known.posts) > 5


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ((500, b"no\x07"), "answered 500"),
        ((302, b""), "answered 302"),
        ((409, b"x"), "no JSON"),
        ((409, b"[1]"), "no JSON object"),
        ((409, b'{"size":-1}'), "does not say how many"),
        ((409, b'{"size":true}'), "does not say how many"),
        ((409, b'{"size":0}'), "exactly the 0 entries"),
        ((200, b"x" * 20_000), "too long"),
    ],
)
def test_what_a_collector_answers_instead_is_an_error_in_words(begun, said, words) -> None:
    append(1)
    log_ = published()
    answering = collecting(says=lambda method: said if method == "POST" else None)
    with answering as known, pytest.raises(SinkError, match=words):
        deliver(HttpSink("copy", known.url), log_)


def test_what_a_collector_says_is_kept_and_shown_without_tricks_and_without_secrets(begun, quick) -> None:
    """PostgreSQL refuses a text with NUL: the publisher, which keeps the state, would fail in every round."""
    append(1)
    log_ = published()
    hostile = "no\x00\x1b[2J\u202e: Authorization: Bearer t0ken".encode()
    with collecting(says=lambda method: (400, hostile) if method == "POST" else None) as known:
        sink = HttpSink("copy", f"{known.url}?key=s3cret", "t0ken")
        with pytest.raises(SinkError) as error:
            deliver(sink, log_)
    assert sink.place == known.url
    assert "answered 400 (no" in str(error.value) and str(error.value).isprintable()
    assert "t0ken" not in str(error.value) and "s3cret" not in str(error.value)


@pytest.mark.parametrize("root", ["00" * 32, "11" * 31, "zz"])
def test_a_collector_that_states_another_root_is_found(begun, root) -> None:
    append(1)
    log_ = published()
    with collecting() as known:
        deliver(HttpSink("copy", known.url), log_)
        known.root = root
        with pytest.raises(Differs if root == "00" * 32 else SinkError):
            Reading(HttpSink("copy", known.url), log_, 2).finish()


# --- threads ------------------------------------------------------------------------------------------------------------


def test_a_sink_that_never_answers_holds_up_nobody(begun, settings, path, quick, monkeypatch) -> None:
    monkeypatch.setattr(http, "GET_WITHIN", 30.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()  # it accepts, and never answers
        words = [f"hung@http://127.0.0.1:{silent.getsockname()[1]}/x", f"copy@file://{path}"]
        before = threading.active_count()
        with shipping_to(settings, *words) as one:
            for count in range(1, 4):
                append(1, f"p{count}_")
                assert one.publish_once() == count + 1
            rounds_until(one, lambda: state().sent == 4 and state().held == 4)
            assert not SinkState.objects.filter(name="hung", sent__gt=0).exists()
            began = time.monotonic()
        assert time.monotonic() - began < 20, "stopping waits for no sink"
        assert Checkpoint.objects.filter(size=4).exists()
        assert entries_in(path) == envelopes(4)
    eventually(lambda: threading.active_count() <= before + 1)


def test_a_sink_that_refuses_and_comes_back_catches_up(begun, settings, quick) -> None:
    refused: Any = (503, b"later")
    with collecting() as known:
        known.says = lambda method: refused
        with shipping_to(settings, f"copy@{known.url}") as one:
            append(2)
            row = rounds_until(one, lambda: state().failures > 2 and state())
            assert "answered 503 (later)" in row.error and row.failing_since is not None
            append_together(300)
            known.says = lambda method: None
            rounds_until(one, lambda: state().held == 303)
            assert (state().error, state().failing_since, state().failures > 2) == ("", None, True)
        assert known.entries == envelopes(303)
    assert not Entry.objects.filter(kind="log.shipped").exists()


def test_a_changed_byte_is_an_alarm_until_everything_was_read_back(
    begun, settings, path, quick, caplog, monkeypatch
) -> None:
    monkeypatch.setattr("audit.sinks.file.TAIL", 2500)  # so that the end of the file is not all of it
    with shipping_to(settings, f"copy@file://{path}") as one:
        append(2)
        rounds_until(one, lambda: state().held == 3)
    good = path.read_bytes()
    place = good.index(b'"index":1') - 9  # in the signature, which is another one each time
    wrong = good[:place] + (b"B" if good[place : place + 1] == b"A" else b"A")
    path.write_bytes(wrong + good[place + 1 :])
    SinkState.objects.update(held_at=None)
    with caplog.at_level(logging.CRITICAL), shipping_to(settings, f"copy@file://{path}") as one:
        row = rounds_until(one, lambda: state().error and state())
        assert row.error.startswith("does not hold what was published: ")
        assert "the sink copy does not hold what was published" in caplog.text
        append(1, "later_")
        rounds_until(one, lambda: state().sent == 4)  # what comes is still sent
        assert state().error == row.error
    changed = path.read_bytes()
    assert changed.startswith(wrong), "never repaired in silence"
    with shipping_to(settings, f"copy@file://{path}") as one:
        rounds_until(one, lambda: state().failures > row.failures)
        assert state().error == row.error
        path.write_bytes(good + changed[len(good) :])
        rounds_until(one, lambda: not state().error)
    assert state().held == 4


@pytest.mark.parametrize("held", [0, 2])
def test_a_sink_that_lost_entries_is_an_alarm_and_is_not_filled_again(begun, settings, path, quick, held) -> None:
    append(3)
    with shipping_to(settings, f"copy@file://{path}") as one:
        rounds_until(one, lambda: state().sent == 4)
    left = b"".join(path.read_bytes().splitlines(keepends=True)[:held])
    path.write_bytes(left)
    with shipping_to(settings, f"copy@file://{path}") as one:
        rounds_until(one, lambda: f"it accepted 4 entries and holds {held}" in state().error)
    assert path.read_bytes() == left


def test_a_sink_with_more_than_was_published_is_an_alarm(begun, settings, path, quick, tmp_path) -> None:
    append(3)
    log_ = published()
    deliver(FileSink("copy", path), log_)
    old = shipping.Published(log_.folder, 2, log_.root_at(2), log_.signed)
    sink = FileSink("copy", path)
    said: list[Any] = []
    shipper = shipping.Shipper(sink, states.State("copy"), lambda state, agreed: said.append(state))
    shipper.ship(old)  # another process of ours published and shipped more by now: that is no alarm
    assert said[-1].sent == 4
    (log_.folder / "checkpoint").unlink()
    with pytest.raises(Differs, match="holds 4 entries, more than the 2"):
        shipping.Shipper(sink, states.State("copy"), lambda state, agreed: None).ship(old)


def test_damaged_files_of_our_own_are_not_shipped(begun, settings, path, quick) -> None:
    append(3)
    log_ = published()
    tile = log_.folder / "tile" / "entries" / "000.p" / "4"
    tile.write_bytes(tile.read_bytes().replace(b"payload", b"pAyload", 1))
    with shipping_to(settings, f"copy@file://{path}") as one:
        rounds_until(one, lambda: "the published files of this server cannot be read" in state().error)
    assert entries_in(path) == []


def test_an_older_tree_is_read_from_wider_tiles(begun, settings) -> None:
    append(5)
    old = published()
    for number in range(12):
        append(1, f"p{number}_")
        published()
    assert not (old.folder / "tile" / "0" / "000.p" / "6").exists()
    old.check()
    assert old.entries(0, 6) == envelopes(6)
    append_together(300)
    published()
    old.check()
    assert old.entries(2, 6) == envelopes(6)[2:]


# --- what is kept and noted ---------------------------------------------------------------------------------------------


def test_a_difference_found_by_hand_makes_the_thread_read_everything(begun, settings, path, quick, monkeypatch) -> None:
    monkeypatch.setattr(shipping, "READ_EVERY", 3600.0)
    append(2)
    with shipping_to(settings, f"copy@file://{path}") as one:
        rounds_until(one, lambda: state().held == 3)
        good = path.read_bytes()
        path.write_bytes(good.replace(b'"index":1', b'"index":7'))
        with pytest.raises(CommandError, match="Change nothing"):
            call_command("sinks", "--check")
        assert state().error.startswith("does not hold")
        append(1, "more_")
        rounds_until(one, lambda: "copy" in one._shipping._shippers and one._shipping._shippers["copy"]._differs)  # type: ignore[union-attr]
        assert state().error.startswith("does not hold")


def test_the_log_says_that_a_copy_was_read_back_and_does_not_feed_itself(world, monkeypatch) -> None:
    def note(name: str = "copy") -> Any:
        published()
        newest = Checkpoint.objects.order_by("-size")[0]
        return log.commit(note_shipped.apply, note_shipped.Command(name, newest.size, newest.root))

    size = published().size
    first = note()
    root = Checkpoint.objects.get(size=size).root
    assert (first.index, first.body) == (size, {"sink": "copy", "size": size, "root": f"sha256:{root}"})
    assert note() is None  # within the hour
    now = log.utc_now()
    monkeypatch.setattr("audit.log.utc_now", lambda: now + timedelta(hours=2))
    assert note() is None  # nothing but that entry came since
    assert note("other") is not None
    monkeypatch.setattr("audit.log.utc_now", lambda: now + timedelta(hours=4))
    assert note() is None and note("other") is None
    world.enrol("later")
    more = published().size
    assert note().body["size"] == more > size + 2
    assert log.commit(note_shipped.apply, note_shipped.Command("third", size, "00" * 32)) is None
    assert published().size == more + 1  # and the notary found nothing wrong with them


def test_what_was_accepted_and_read_back_never_becomes_less(db) -> None:
    now = log.utc_now()
    states.keep(states.State("copy", sent=9, sent_at=now, held=7, held_root="aa", held_at=now))
    states.keep(states.State("copy", sent=5, held=3, held_root="bb", error="x", failing_since=now, failures=2))
    row = state()
    assert (row.sent, row.held, row.held_root, row.error, row.failures) == (9, 7, "aa", "x", 2)


def test_a_bundle_says_what_the_log_says_about_copies(world, tmp_path) -> None:
    size = published().size
    row = Checkpoint.objects.get(size=size)
    log.commit(note_shipped.apply, note_shipped.Command("copy", size, row.root))
    published()
    built = bundle.build(tmp_path / "bundle.zip")
    with zipfile.ZipFile(built.path) as archive:
        lines = [json.loads(line) for line in archive.read("shipping/shipped.jsonl").splitlines()]
        assert "its own claim" in archive.read("README.txt").decode()
    assert [(line["index"], line["sink"], line["size"], line["root"]) for line in lines] == [
        (size, "copy", size, f"sha256:{row.root}")
    ]


# --- settings, pages, numbers -------------------------------------------------------------------------------------------


def test_settings_name_each_kind(settings, path) -> None:
    settings.SINKS = [
        f"a@file://{path}",
        "b@s3://bucket/some/prefix?endpoint=https://s3.example.org&mode=governance&days=90&region=eu",
        "c@https://collect.example.org/log?tenant=7",
        "d@http://localhost:9999/",
    ]
    found = configured()
    assert [type(sink) for sink in found] == [FileSink, S3Sink, HttpSink, HttpSink]
    assert [sink.name for sink in found] == list("abcd")
    assert checks.known_sinks(None) == []
    settings.SINKS = []
    assert configured() == standing() == []


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("file:///a", "needs a name"),
        ("A@file:///a", "needs a name"),
        ("a@ftp://x/y", "begins with file://"),
        ("a@file://host/a", "file:///absolute/path"),
        ("a@http://collect.example.org/", "https only"),
        ("a@https://user:secret@collect.example.org/", "password does not belong"),
        ("a@https://x.example/#y", "fragment"),
        ("a@s3:///prefix", "name of a bucket"),
        ("a@s3://bucket/p?days=0", "days is a whole number"),
        ("a@s3://bucket/p?mode=none", "the mode is"),
        ("a@s3://bucket/p?lock=no", "behind the ? stand"),
        ("a@s3://bucket/p?days=1&days=2", "at most once"),
        ("a@s3://bucket/p?endpoint=http://s3.example.org", "the endpoint is"),
    ],
)
def test_bad_settings_say_what_to_do(settings, word, said) -> None:
    settings.SINKS = [word]
    [problem] = checks.known_sinks(None)
    assert problem.id == "imprimatur.E007"
    assert said in problem.msg and "secret" not in problem.msg
    with pytest.raises(ImproperlyConfigured):
        shipping.Client()


def test_a_copy_in_the_data_folder_two_of_a_name_and_a_missing_boto3_are_refused(
    settings, folders, path, monkeypatch
) -> None:
    for words, said in (
        ([f"a@file://{folders}/log/archive.jsonl"], "goes the way of the data folder"),
        ([f"a@file://{path}", f"a@file://{path}2"], "two sinks have this name"),
    ):
        settings.SINKS = words
        assert said in checks.known_sinks(None)[0].msg
    monkeypatch.setattr("audit.sinks.configuration.find_spec", lambda name: None)
    settings.SINKS = ["only-here@s3://bucket/prefix"]
    assert "install imprimatur-server[s3]" in checks.known_sinks(None)[0].msg


def test_the_page_counts_what_was_sent_and_read_back(world, settings, path) -> None:
    audra = Browser()
    audra.force_login(world.people["audra"].user)
    before = audra.get("/log/integrity/").content.decode() if audra.get("/log/integrity/").status_code == 200 else ""
    assert "Copies on other systems" not in before
    settings.SINKS = [f"copy@file://{path}", "gone@http://127.0.0.1:1/x"]
    log_ = published()
    sink = FileSink("copy", path)
    deliver(sink, log_)
    now = log.utc_now()
    states.keep(states.State("copy", sent=log_.size, sent_at=now, held=log_.size, held_at=now))
    since = now - timedelta(hours=1)
    states.keep(states.State("gone", error="does not answer (refused)", failing_since=since, failures=3))
    page = audra.get("/log/").content.decode()
    assert "Copies on other systems" in page
    assert "the same as here" in page and "does not answer (refused)" in page
    assert "has not worked since" in page
    metrics.refresh()
    assert metrics.SINK_BEHIND.labels("gone")._value.get() == log_.size
    assert metrics.SINK_BEHIND.labels("copy")._value.get() == 0
    states.keep(states.State("copy", error="does not hold what was published: x", failing_since=now))
    assert "Either this log or the copy was changed" in audra.get("/log/").content.decode()
    metrics.refresh()
    assert metrics.SINK_DIFFERS.labels("copy")._value.get() == 1


def test_the_command_lists_and_reads_back(begun, settings, path, capsys) -> None:
    call_command("sinks")
    assert "No sinks are set" in capsys.readouterr().out
    settings.SINKS = [f"copy@file://{path}"]
    append(2)
    log_ = published()
    deliver(FileSink("copy", path), log_)
    call_command("sinks", "--check")
    assert "copy: 3 entries read back, the same as here; 3 are published" in capsys.readouterr().out
    assert Entry.objects.filter(kind="log.shipped").count() == 1
    call_command("sinks")
    assert "copy: 0 of 3 sent, 3 read back" in capsys.readouterr().out
    settings.SINKS = [f"copy@file://{path}", "gone@http://127.0.0.1:1/x"]
    with pytest.raises(CommandError, match="not confirmed"):
        call_command("sinks", "--check")
