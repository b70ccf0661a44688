"""The server asks real witnesses, one of them dead, and none of what they do holds up the log."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.template.loader import render_to_string

from audit import fsck, mirrors, proofs, publisher, signer, wire, witnesses
from audit.evidence import anchors, bundle
from audit.models import Checkpoint, Cosignature, LogHead, WitnessState
from audit.publisher import Publisher
from audit.views.log import standing
from imprimatur.cli import main
from imprimatur.formats import note, tiles, tlog_policy, tlog_proof, trust
from imprimatur.formats.cosignature import Cosigner
from imprimatur.verify.bundle import verify_bundle
from imprimatur.witness.mirror import Mirror, from_folder
from imprimatur.witness.protocol import Witness
from imprimatur.witness.state import State
from server import checks, metrics
from tests.append_only import lifted
from tests.audit.acts import append, append_together
from tests.audit.conftest import REALM
from tests.installation import eventually, free_port
from tests.witness.test_server import Place, running, serving

NAMES = ("one", "two")


def log_vkey() -> note.Vkey:
    return note.Vkey(REALM, signer.log_key().public_key)


def configure(settings: Any, folder: Path, quorum: int, urls: dict[str, str], keys: dict[str, note.Vkey]) -> None:
    lines = [f"log {log_vkey()}", *(f"witness {name} {keys[name]} {urls[name]}" for name in urls)]
    lines += [f"group enough {quorum} {' '.join(urls)}", "quorum enough"]
    # The policy is read once per path, as it is once per process.
    path = folder / f"policy-{len(list(folder.glob('policy-*')))}.tlog"
    path.write_text("".join(f"{line}\n" for line in lines))
    settings.WITNESSES = str(path)


@contextmanager
def asking() -> Iterator[Publisher]:
    """A publisher that asks the configured witnesses. Rounds are run by hand, so the test's database does for both."""
    client = witnesses.Client(publisher.read_tile, lambda: None)
    client.start()
    try:
        yield Publisher(asking=client)
    finally:
        client.stop()


def rounds_until(one: Publisher, look: Callable[[], Any]) -> Any:
    def once() -> Any:
        one.publish_once()
        return look()

    return eventually(once)


def cosigners(text: str, keys: dict[str, note.Vkey]) -> set[str]:
    opened = note.open_note(text, [log_vkey(), *keys.values()])
    return {key.name for key in opened.verified_by} - {REALM}


@pytest.fixture
def places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Place]:
    found = {}
    for name in NAMES:
        key, state = tmp_path / f"{name}.key", tmp_path / f"{name}.state"
        words = ["witness", "keygen", "--name", f"{name}.example", "--key", str(key), "--state", str(state)]
        assert main(words) == 0
        found[name] = Place(key, state, free_port())
    capsys.readouterr()
    return found


@pytest.fixture
def keys(places: dict[str, Place]) -> dict[str, note.Vkey]:
    return {name: place.cosigner.vkey for name, place in places.items()}


@contextmanager
def alive(places: dict[str, Place], *names: str) -> Iterator[None]:
    with ExitStack() as stack:
        for name in names:
            command = [str(log_vkey()) if word.startswith("log.example+") else word for word in places[name].command()]
            stack.enter_context(running(command, places[name]))
        yield


def urls(places: dict[str, Place]) -> dict[str, str]:
    return {name: f"http://127.0.0.1:{place.port}" for name, place in places.items()}


def test_one_of_two_witnesses_is_dead_and_the_bundle_has_a_quorum_of_one(
    begun, folders, settings, places, keys, tmp_path, capsys
) -> None:
    configure(settings, tmp_path, 1, urls(places), keys)
    append(3)
    with alive(places, "one"), asking() as one:
        assert one.publish_once() == 4
        rounds_until(one, lambda: witnesses.newest_cosigned() == 4)
        append(300, "more_")
        rounds_until(one, lambda: witnesses.newest_cosigned() == 304)
        failing = rounds_until(one, lambda: WitnessState.objects.filter(witness=str(keys["two"]), size=0).first())
    assert "does not answer" in failing.error and failing.failing_since is not None

    shown = (folders / "log" / "checkpoint").read_text()
    assert cosigners(shown, keys) == {"one.example"}
    assert shown == witnesses.cosigned(proofs.latest_checkpoint())
    assert Checkpoint.objects.order_by("-size")[0].note == shown[: len(Checkpoint.objects.order_by("-size")[0].note)]
    proof = tlog_proof.parse(proofs.proof_for(7))
    assert cosigners(proof.checkpoint, keys) == {"one.example"}

    built = bundle.build(tmp_path / "bundle.zip", witnesses.await_quorum(5))
    assert built.size == 304
    document = {name: part for name, part in anchors.document().items() if name != "people"}
    assert document["witness"] == {"keys": [str(keys["one"]), str(keys["two"])], "quorum": 1}
    for quorum, verdict in ((1, "valid"), (2, "invalid")):
        document["witness"]["quorum"] = quorum
        believed = trust.parse(json.dumps(document).encode())
        claim = verify_bundle(built.path, believed).claim("witnesses")
        assert (claim.verdict, claim.detail.startswith("1 of the 2 witnesses")) == (verdict, True)
    assert set(claim.evidence["cosigned_at"]) == {"one.example"}

    capsys.readouterr()
    call_command("trust", "--tlog-policy")
    policy = tlog_policy.parse(capsys.readouterr().out)
    assert policy.open(shown, origin=REALM)[0].size == 304
    assert all(not witness.url for witness in policy.witnesses)


def test_a_witness_that_comes_back_catches_up_and_completes_the_quorum(
    begun, folders, settings, places, keys, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(witnesses, "LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(witnesses, "FIRST_PAUSE", 0.1)
    configure(settings, tmp_path, 2, urls(places), keys)
    with asking() as one:
        with alive(places, "one", "two"):
            append(2)
            rounds_until(one, lambda: witnesses.newest_cosigned() == 3)
        with alive(places, "one"):
            append(2, "alone_")
            rounds_until(one, lambda: Cosignature.objects.filter(size=5).count() == 1)
            assert witnesses.newest_cosigned() == 3
        with alive(places, "one", "two"):
            rounds_until(one, lambda: witnesses.newest_cosigned() == 5)
    assert cosigners((folders / "log" / "checkpoint").read_text(), keys) == {"one.example", "two.example"}
    state = witnesses.standing()
    assert state is not None and [each.error for each in state.witnesses] == ["", ""]


def test_the_size_that_a_witness_names_is_where_the_proof_starts(
    begun, folders, settings, places, keys, tmp_path
) -> None:
    configure(settings, tmp_path, 1, {"one": urls(places)["one"]}, keys)
    with alive(places, "one"):
        append(2)
        with asking() as one:
            rounds_until(one, lambda: witnesses.newest_cosigned() == 3)
        WitnessState.objects.all().delete()  # this server knows nothing of it any more
        with lifted():
            Cosignature.objects.all().delete()
        append(5, "later_")
        with asking() as one:
            rounds_until(one, lambda: witnesses.newest_cosigned() == 8)


# --- witnesses that hang and lie ----------------------------------------------------------------------------------------


@contextmanager
def answering(answer: Callable[[bytes], tuple[int, str, str]]) -> Iterator[str]:
    """A witness that says what the test wants."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, kind, text = answer(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text.encode())))
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}"
    finally:
        listening.shutdown()
        thread.join(10)
        listening.server_close()


LIAR = Cosigner("liar.example", bytes(range(7, 39)))
PLAIN, SIZE = "text/plain", "text/x.tlog.size"


def own_text(body: bytes) -> str:
    return body.decode().split("\n\n")[1] + "\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda body: (200, PLAIN, "ok\n"), "something else than its cosignature"),
        (lambda body: (200, PLAIN, Cosigner("liar.example", bytes(32)).cosign(own_text(body), 1)), "something else"),
        (lambda body: (200, PLAIN, LIAR.cosign(own_text(body).replace("\n4\n", "\n5\n"), 1)), "something else"),
        (lambda body: (200, PLAIN, LIAR.cosign(own_text(body), 1_000_000_000)), "states a time"),
        (lambda body: (200, PLAIN, "x" * 20_000), "answer is too long"),
        (lambda body: (409, PLAIN, "3\n"), "without saying which size"),
        (lambda body: (409, SIZE, "-3\n"), "without saying which size"),
        (lambda body: (409, SIZE, "9" * 30 + "\n"), "without saying which size"),
        (lambda body: (409, SIZE, "9\n"), "more than the 4 we published"),
        (lambda body: (409, SIZE, "4\n"), "another tree of 4 entries"),
        (lambda body: (409, SIZE, "2\n" if body.startswith(b"old 0") else "0\n"), "another size each time"),
        (lambda body: (422, PLAIN, "no\n"), "one of two histories is a fork"),
        (lambda body: (404, PLAIN, "unknown log\n"), "does not know this log"),
        (lambda body: (403, PLAIN, "invalid signature\n"), "does not accept this log's signature"),
        (lambda body: (302, PLAIN, ""), "something unexpected"),
        (lambda body: (500, PLAIN, "\u202e" * 999), "something unexpected"),
        (lambda body: (400, PLAIN, "no\x00\x1b[2J\n"), "malformed (400: no"),
    ],
)
def test_what_a_lying_witness_says_is_never_believed(begun, folders, settings, tmp_path, answer, said) -> None:
    append(3)
    with answering(answer) as url:
        configure(settings, tmp_path, 1, {"liar": url}, {"liar": LIAR.vkey})
        with asking() as one:
            assert one.publish_once() == 4
            row = rounds_until(one, WitnessState.objects.first)
    assert said in row.error and row.error.isprintable()  # PostgreSQL would refuse to keep NUL, in every round
    assert not Cosignature.objects.exists()
    assert LogHead.objects.get().state == LogHead.OPEN
    assert (folders / "log" / "checkpoint").read_text() == proofs.latest_checkpoint().note


def test_a_witness_that_hangs_holds_up_neither_the_log_nor_the_other(
    begun, folders, settings, places, keys, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(wire, "ANSWER_WITHIN", 2.0)  # long enough for the other, which answers
    go_on = threading.Event()

    def hang(body: bytes) -> tuple[int, str, str]:
        go_on.wait(30)
        return 200, PLAIN, ""

    with answering(hang) as url, alive(places, "one"):
        configure(
            settings, tmp_path, 1, {"liar": url, "one": urls(places)["one"]}, {"liar": LIAR.vkey, "one": keys["one"]}
        )
        with asking() as one:
            for count in range(1, 4):
                append(1, f"p{count}_")
                assert one.publish_once() == count + 1  # at once, whatever the witnesses do
            rounds_until(one, lambda: witnesses.newest_cosigned() == 4)
            row = rounds_until(one, lambda: WitnessState.objects.filter(witness=str(LIAR.vkey)).first())
            assert "does not answer" in row.error
        go_on.set()


def test_an_answer_that_comes_byte_by_byte_is_cut_off(monkeypatch) -> None:
    monkeypatch.setattr(wire, "ANSWER_WITHIN", 0.5)
    ended = threading.Event()

    class Dripping(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            try:
                while not ended.wait(0.05):
                    self.wfile.write(b"H")
            except OSError:
                ended.set()

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Dripping)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    try:
        with pytest.raises(OSError):
            wire.post(f"http://127.0.0.1:{listening.server_address[1]}/add-checkpoint", b"x")
    finally:
        ended.set()
        listening.shutdown()
        thread.join(10)
        listening.server_close()


def test_a_cosignature_that_comes_after_the_publisher_died_is_asked_for_again(
    begun, folders, settings, tmp_path
) -> None:
    witness = Witness(LIAR, State.create(tmp_path / "state", LIAR.vkey), [log_vkey()])
    append(3)
    with serving(witness) as place:
        configure(settings, tmp_path, 1, {"w": f"http://127.0.0.1:{place.port}"}, {"w": LIAR.vkey})
        with asking() as one:
            one.publish_once()
            eventually(lambda: one._asking is not None and one._asking._said)
        assert not Cosignature.objects.exists()  # it was answered, and never kept
        with asking() as one:
            rounds_until(one, lambda: witnesses.newest_cosigned() == 4)


def test_a_mirror_holds_the_published_log_before_it_cosigns(begun, folders, settings, tmp_path) -> None:
    kept = Mirror(tmp_path / "mirror", from_folder(folders / "log"), [log_vkey()])
    state = State.create(tmp_path / "state", LIAR.vkey)
    with serving(Witness(LIAR, state, [log_vkey()], keep=kept.keep)) as place:
        configure(settings, tmp_path, 1, {"w": f"http://127.0.0.1:{place.port}"}, {"w": LIAR.vkey})
        with asking() as one:
            for count, size in ((2, 3), (300, 303)):
                append_together(count, f"p{count}_")
                rounds_until(one, lambda size=size: witnesses.newest_cosigned() == size)
                assert kept.size == size
    reader = tiles.HashReader(lambda path: (tmp_path / "mirror" / path).read_bytes(), 303)
    assert reader.root().hex() == proofs.latest_checkpoint().root


def test_fsck_knows_cosignatures_and_nothing_else_below_a_checkpoint(
    begun, folders, settings, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(mirrors, "_registered", {})
    shown = folders / "log" / "checkpoint"
    with serving(Witness(LIAR, State.create(tmp_path / "state", LIAR.vkey), [log_vkey()])) as place:
        configure(settings, tmp_path, 1, {"w": f"http://127.0.0.1:{place.port}"}, {"w": LIAR.vkey})
        with asking() as one:
            rounds_until(one, lambda: LIAR.vkey.name in shown.read_text() if shown.exists() else False)
    assert fsck.run().findings == []
    good = shown.read_text()
    for more in ("x", "\n", LIAR.cosign(own_text(b"\n\n" + good.encode()), 5).replace("liar", "other")):
        shown.write_text(good + more)
        assert [finding.where for finding in fsck.run().findings] == ["file checkpoint"]


def test_only_who_brings_the_token_of_mirrors_reads_entries(begun, folders, settings, client) -> None:
    Publisher().publish_once()
    path, token = "/log/tile/entries/000.p/1", "t" * 32
    for known, given, status in (
        ("", "", 401),
        ("", "Bearer ", 401),
        (token, "", 401),
        (token, f"Bearer {token}x", 401),
        (token, token, 401),
        (token[1:], f"Bearer {token[1:]}", 401),  # too short to be a secret
        (token, f"Bearer {token}", 200),
    ):
        settings.MIRROR_TOKEN = known
        answer = client.get(path, headers={"Authorization": given})
        assert answer.status_code == status
        assert (answer.content == publisher.read_tile(path.removeprefix("/log/"))) is (status == 200)
    ours = {"Authorization": f"Bearer {token}"}
    assert client.get("/log/tile/0/000.p/1", headers=ours).status_code == 200
    for wrong in ("entries/001", "../checkpoint", "../../keys/log.key", "entries/000.p/2"):
        assert client.get(f"/log/tile/{wrong}", headers=ours).status_code == 404
    assert client.post(path, headers=ours).status_code == 405
    settings.MIRROR_TOKEN = "short"
    assert [problem.id for problem in checks.known_witnesses(None)] == ["imprimatur.E006"]


# --- settings, numbers, alarm -------------------------------------------------------------------------------------------


def test_without_witnesses_nothing_changes(begun, folders, settings) -> None:
    settings.WITNESSES = ""
    Publisher(asking=witnesses.Client(publisher.read_tile, lambda: None)).publish_once()
    assert witnesses.standing() is None and standing()["witnesses"] is None
    assert witnesses.anchor() == {}
    assert witnesses.await_quorum(0).size == 1
    assert (folders / "log" / "checkpoint").read_text() == proofs.latest_checkpoint().note


def test_a_bundle_does_not_wait_for_witnesses_for_ever(begun, folders, settings, tmp_path) -> None:
    configure(settings, tmp_path, 1, {"w": "http://127.0.0.1:1"}, {"w": LIAR.vkey})
    Publisher().publish_once()
    waited: list[float] = []
    assert witnesses.await_quorum(0.01, lambda pause: (waited.append(pause), time.sleep(0.02))).size == 1
    assert len(waited) <= 2


def test_a_quorum_that_stays_away_is_an_alarm_and_a_number(begun, folders, settings, tmp_path, monkeypatch) -> None:
    configure(settings, tmp_path, 1, {"w": "http://127.0.0.1:1"}, {"w": LIAR.vkey})
    Publisher().publish_once()
    now = witnesses.utc_now()
    for later, alarm in ((timedelta(minutes=1), False), (timedelta(minutes=6), True)):
        monkeypatch.setattr(witnesses, "utc_now", lambda later=later: now + later)
        found = witnesses.standing()
        assert found is not None
        assert (found.alarm, found.size, found.witnesses[0].error) == (alarm, 0, "not asked yet")
        panel = render_to_string("audit/_integrity.html", standing())
        assert ("No quorum of witnesses" in panel, "not asked yet" in panel) == (alarm, True)
    metrics.refresh()
    assert metrics.UNWITNESSED._value.get() >= 300
    assert metrics.WITNESSED._value.get() == 0


@pytest.mark.parametrize(
    "text",
    [
        f"witness w {LIAR.vkey}\nquorum w\n",
        f"witness w {LIAR.vkey} ftp://w.example\nquorum w\n",
        f"witness w {LIAR.vkey} https://w.example/?a=b\nquorum w\n",
        "quorum w\n",
    ],
)
def test_a_file_that_cannot_be_used_is_said_at_start(settings, tmp_path, text) -> None:
    path = tmp_path / "policy.tlog"
    path.write_text(text)
    settings.WITNESSES = str(path)
    with pytest.raises(ImproperlyConfigured, match="IMPRIMATUR_WITNESSES"):
        witnesses.policy()
    assert [problem.id for problem in checks.known_witnesses(None)] == ["imprimatur.E005"]
    settings.WITNESSES = str(tmp_path / "none")
    assert [problem.id for problem in checks.known_witnesses(None)] == ["imprimatur.E005"]
