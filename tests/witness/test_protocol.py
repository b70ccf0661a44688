"""What a witness answers: the wire vectors of others, the statuses of the specification, and no way back or aside."""

from __future__ import annotations

import json
import random
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprimatur.formats import cosignature, note
from imprimatur.formats.cosignature import Cosigner
from imprimatur.witness.protocol import MAX_BODY, PLAIN, SIZE, Request, RequestError, Witness, parse_request
from imprimatur.witness.state import Seen, State, StateError
from tests.vectors import vectors
from tests.witness.log import COSIGNER, ORIGIN, VKEY, Log

LOG = Log()
FORK = Log("fork", same=5)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.create(tmp_path / "witness.state", COSIGNER.vkey)


@pytest.fixture
def witness(state: State) -> Witness:
    return Witness(COSIGNER, state, [VKEY], clock=lambda: 1_700_000_000)


def cosigned(answer: Any, log: Log, size: int) -> int:
    assert answer.status == 200, answer
    return cosignature.verify(log.checkpoint(size).text(), answer.body, COSIGNER.vkey).time


def test_the_wire_vectors_of_litewitness(tmp_path: Path) -> None:
    vector = json.loads((vectors() / "witness" / "litewitness_add_checkpoint.json").read_text())
    # The vector gives a public key only; whose key the answer is made with does not matter to it.
    cosigner = Cosigner(vector["witness_name"], bytes(32))
    log = note.Vkey(vector["log_origin"], bytes.fromhex(vector["log_ed25519_pub_hex"]))
    witness = Witness(cosigner, State.create(tmp_path / "state", cosigner.vkey), [log])
    statuses = []
    for case in vector["cases_in_order"]:
        answer = witness.add_checkpoint(case["body"].encode())
        unknown = 'body contains "unknown log"' in case["asserts"]
        # The vector is older than the sentence of the specification that wants 404 here.
        assert answer.status == (404 if unknown else case["want_status"])
        for wanted in case["asserts"]:
            how, _, quoted = wanted.partition(' "')
            text = quoted[:-1].replace("\\n", "\n")
            assert text in answer.body if how == "body contains" else text == answer.body
        assert answer.content_type == (SIZE if answer.status == 409 else PLAIN)
        statuses.append(answer.status)
    assert statuses == [200, 403, 404, 422, 422, 200, 409, 200, 409]


def test_a_log_is_followed_from_its_first_checkpoint_on(witness: Witness, state: State) -> None:
    for old, size in ((0, 1), (1, 7), (7, 7), (7, 256), (256, 600)):
        assert cosigned(witness.add_checkpoint(LOG.request(old, size)), LOG, size) == 1_700_000_000
        seen = state.seen(ORIGIN)
        assert seen is not None and (seen.size, seen.root) == (size, LOG.checkpoint(size).root)


def test_an_empty_log_may_be_cosigned_and_grow(witness: Witness) -> None:
    cosigned(witness.add_checkpoint(LOG.request(0, 0)), LOG, 0)
    cosigned(witness.add_checkpoint(LOG.request(0, 0)), LOG, 0)
    cosigned(witness.add_checkpoint(LOG.request(0, 3)), LOG, 3)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"old 0\n", 400),
        (b"old 00\n\n" + LOG.request(0, 5)[7:], 400),
        (b"old -1\n\n" + LOG.request(0, 5)[7:], 400),
        ("old ١\n\n".encode() + LOG.request(0, 5)[7:], 400),
        (b"new 0\n\n" + LOG.request(0, 5)[7:], 400),
        (b"old 9223372036854775808\n\n" + LOG.request(0, 5)[7:], 400),
        (b"old 0\nAAAA\n\n" + LOG.request(0, 5)[7:], 400),
        (b"old 0\n" + b"A" * 43 + b"=\n" * 64 + b"\n" + LOG.request(0, 5)[7:], 400),
        (Request(0, (bytes(32),) * 64, LOG.checkpoint(5).sign(bytes(32))).encode(), 400),
        (LOG.request(0, 5) + b"\xff", 400),
        (LOG.request(0, 5)[:-1], 403),
        (LOG.request(0, 5).rpartition(b"\n\n")[0] + b"\n\n", 403),
        (LOG.request(0, 5).rpartition(b"\n\n")[0], 400),
        (LOG.request(0, 5).replace(b"\n5\n", b"\n05\n"), 400),
        (b"old 6" + LOG.request(0, 5)[5:], 400),
        (LOG.request(0, 5).replace(b"log.example", b"log.elsewhere"), 404),
        (LOG.request(0, 5, seed=bytes(32)), 403),
        (LOG.request(0, 5).replace(b"\n5\n", b"\n6\n"), 403),
        (b"old 1" + LOG.request(0, 5)[5:], 409),
        (b"old 5" + LOG.request(0, 5)[5:], 409),
        (Request(0, (bytes(32),), LOG.request(0, 5)[7:].decode()).encode(), 422),
        (b"old 0\n\n" + b"x" * MAX_BODY, 400),
    ],
)
def test_each_wrong_request_has_its_status_and_changes_nothing(
    witness: Witness, state: State, body: bytes, status: int
) -> None:
    assert witness.add_checkpoint(body).status == status
    assert state.seen(ORIGIN) is None


def test_neither_backwards_nor_sideways(witness: Witness, state: State) -> None:
    witness.add_checkpoint(LOG.request(0, 10))
    for body, status in (
        (LOG.request(0, 4), 409),  # backwards
        (LOG.request(4, 10), 409),  # from somewhere else
        (FORK.request(0, 10), 409),  # another history of the same size
        (FORK.request(10, 10), 409),
        (FORK.request(10, 20), 422),  # another history that grew
        (Log("other").request(10, 11), 422),
        (Request(10, (bytes(32),), LOG.checkpoint(10).sign(bytes(range(32)))).encode(), 422),
    ):
        answer = witness.add_checkpoint(body)
        assert answer.status == status
        assert answer.content_type == (SIZE if status == 409 else PLAIN)
        assert answer.body == "10\n" or status != 409
    seen = state.seen(ORIGIN)
    assert seen is not None and (seen.size, seen.root) == (10, LOG.checkpoint(10).root)
    cosigned(witness.add_checkpoint(LOG.request(10, 20)), LOG, 20)


def test_a_client_that_knows_nothing_learns_the_size_and_goes_on(witness: Witness) -> None:
    witness.add_checkpoint(LOG.request(0, 10))
    told = witness.add_checkpoint(LOG.request(0, 30))
    assert (told.status, told.content_type) == (409, SIZE)
    cosigned(witness.add_checkpoint(LOG.request(int(told.body), 30)), LOG, 30)


def test_a_restart_forgets_nothing(witness: Witness, tmp_path: Path) -> None:
    witness.add_checkpoint(LOG.request(0, 10))
    again = Witness(COSIGNER, State(tmp_path / "witness.state", COSIGNER.vkey), [VKEY])
    assert again.add_checkpoint(FORK.request(0, 12)).status == 409
    assert again.add_checkpoint(FORK.request(10, 12)).status == 422
    cosigned(again.add_checkpoint(LOG.request(10, 12)), LOG, 12)


def test_a_clock_that_is_set_back_makes_no_older_statement(state: State) -> None:
    times = iter([2_000, 1_000, 3_000])
    witness = Witness(COSIGNER, state, [VKEY], clock=lambda: next(times))
    found = [cosigned(witness.add_checkpoint(LOG.request(old, old + 1)), LOG, old + 1) for old in range(3)]
    assert found == [2_000, 2_000, 3_000]


def test_a_log_may_sign_with_an_old_and_a_new_key(state: State) -> None:
    new = Cosigner("x", bytes(range(5, 37)))
    witness = Witness(COSIGNER, state, [VKEY, note.Vkey(ORIGIN, new.vkey.public_key)])
    cosigned(witness.add_checkpoint(LOG.request(0, 1)), LOG, 1)
    cosigned(witness.add_checkpoint(LOG.request(1, 2, seed=bytes(range(5, 37)))), LOG, 2)


def test_a_witness_is_no_log_and_watches_no_witness(state: State) -> None:
    for wrong in (note.Vkey(ORIGIN, COSIGNER.vkey.public_key), Cosigner("x", bytes(32)).vkey):
        with pytest.raises(note.NoteError, match="another's log"):
            Witness(COSIGNER, state, [wrong])


# --- at once --------------------------------------------------------------------------------------------------------


def together(*work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=each) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_of_requests_at_once_none_rolls_the_others_back(tmp_path: Path, state: State) -> None:
    order: list[int] = []

    def client(number: int) -> None:
        # A state of its own each: as if they were processes of their own.
        witness = Witness(COSIGNER, State(tmp_path / "witness.state", COSIGNER.vkey), [VKEY])
        dice, old = random.Random(number), 0
        for _ in range(12):
            size = old + dice.randrange(1, 8)
            answer = witness.add_checkpoint(LOG.request(old, size))
            if answer.status == 409:
                assert int(answer.body) >= old
                old = int(answer.body)
            else:
                cosigned(answer, LOG, size)
                order.append(size)
                old = size

    together(*(lambda number=number: client(number) for number in range(6)))
    seen = state.seen(ORIGIN)
    assert seen is not None and seen.size == max(order)
    assert len(order) == len(set(order))


def test_a_request_between_check_and_store_of_another_waits_for_it(state: State) -> None:
    inside, go_on = threading.Event(), threading.Event()
    answers: dict[str, Any] = {}

    def stall(step: str) -> None:
        if step == "checked":
            inside.set()
            assert go_on.wait(60)

    slow = Witness(COSIGNER, state, [VKEY], at_step=stall)
    fast = Witness(COSIGNER, state, [VKEY], at_step=lambda step: go_on.set() if step == "opened" else None)
    first = threading.Thread(target=lambda: answers.update(slow=slow.add_checkpoint(LOG.request(0, 5))))
    first.start()
    assert inside.wait(60)
    answers["fast"] = fast.add_checkpoint(LOG.request(0, 9))
    first.join(60)
    cosigned(answers["slow"], LOG, 5)
    assert (answers["fast"].status, answers["fast"].body) == (409, "5\n")


@pytest.mark.parametrize("size", [1, 8, 100])
def test_two_histories_at_once_get_one_cosignature(state: State, size: int) -> None:
    statuses: list[int] = []
    barrier = threading.Barrier(2)

    def ask(log: Log) -> None:
        witness = Witness(COSIGNER, state, [VKEY])
        barrier.wait(60)
        statuses.append(witness.add_checkpoint(log.request(0, size)).status)

    together(lambda: ask(LOG), lambda: ask(Log("fork")))
    assert sorted(statuses) == [200, 409]


# --- what it remembers ------------------------------------------------------------------------------------------------


def test_a_state_that_is_missing_is_never_made_anew(witness: Witness, tmp_path: Path) -> None:
    (tmp_path / "witness.state").unlink()
    with pytest.raises(StateError, match="must not sign with this key again"):
        State(tmp_path / "witness.state", COSIGNER.vkey)
    with pytest.raises(StateError, match="is missing"):
        witness.add_checkpoint(LOG.request(0, 1))


def test_a_state_belongs_to_one_key_and_is_never_overwritten(state: State, tmp_path: Path) -> None:
    other = Cosigner(COSIGNER.vkey.name, bytes(32))
    with pytest.raises(StateError, match="another witness's key"):
        State(tmp_path / "witness.state", other.vkey)
    with pytest.raises(StateError, match="never overwritten"):
        State.create(tmp_path / "witness.state", COSIGNER.vkey)
    (tmp_path / "text").write_text("x" * 5000)
    with pytest.raises(StateError, match="not the state of a witness"):
        State(tmp_path / "text", COSIGNER.vkey)


def test_the_file_itself_refuses_to_remember_less(state: State, tmp_path: Path) -> None:
    root = LOG.checkpoint(5).root
    with state.changing() as change:
        change.remember(ORIGIN, Seen(5, root, 100, "note"))
    for less in (Seen(4, root, 100, ""), Seen(5, bytes(32), 100, ""), Seen(6, root, 99, "")):
        with pytest.raises(StateError, match="backwards or sideways"), state.changing() as change:
            change.remember(ORIGIN, less)
    with sqlite3.connect(tmp_path / "witness.state") as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute("DELETE FROM seen")
    assert state.seen(ORIGIN) == Seen(5, root, 100, "note")


def test_an_error_before_the_end_changes_nothing(state: State) -> None:
    def fail(step: str) -> None:
        if step == "written":
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        Witness(COSIGNER, state, [VKEY], at_step=fail).add_checkpoint(LOG.request(0, 5))
    assert state.seen(ORIGIN) is None


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=400) | st.builds(lambda head, rest: b"old 0\n" + head + b"\n\n" + rest, st.binary(), st.binary())
)
def test_no_bytes_do_more_than_be_refused(body: bytes) -> None:
    try:
        request = parse_request(body)
    except RequestError:
        return
    assert request.encode() == body
