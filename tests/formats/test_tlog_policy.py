"""Policies: the cases of transparency-dev's own test, the example of the C2SP text, and the arithmetic of quorums."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imprimatur.formats import cosignature, ed25519, merkle, note, tlog_policy
from imprimatur.formats.checkpoint import Checkpoint
from imprimatur.formats.cosignature import Cosigner
from imprimatur.formats.tlog_policy import Policy, PolicyError

ORIGIN = "example.com/log"
LOG_SEED = bytes(range(32))
LOG = note.Vkey(ORIGIN, ed25519.public_key(LOG_SEED))
COSIGNERS = [Cosigner(f"Wit{place}", bytes([place]) * 32) for place in range(1, 7)]
W1, W2, W3, W4, W5, W6 = (each.vkey for each in COSIGNERS)
PLAIN = note.Vkey("Wit1", W1.public_key)

EXAMPLE = f"""log {LOG}

witness X1 {W1}
witness X2 {W2}
witness X3 {W3}
group X-witnesses 2 X1 X2 X3

witness Y1 {W4}
witness Y2 {W5}
witness Y3 {W6}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def test_the_example_of_the_specification_means_what_it_says() -> None:
    policy = tlog_policy.parse(EXAMPLE)
    assert [group.threshold for group in policy.groups] == [2, 1, 2]
    xs, ys = [W1, W2, W3], [W4, W5, W6]
    for size in range(7):
        for some in combinations([*xs, *ys], size):
            wanted = len(set(some) & set(xs)) >= 2 and bool(set(some) & set(ys))
            assert policy.satisfied_by(some) is wanted
    assert policy.flat() is None


def test_without_witnesses_everything_satisfies() -> None:
    assert tlog_policy.parse("quorum none\n") == Policy()
    assert Policy().satisfied_by([])


def test_space_comments_urls_and_odd_names_are_allowed() -> None:
    policy = tlog_policy.parse(
        f"\n# comment\n\t # another\n\twitness \t all  {W1}   https://w1.example.com/  \n\n"
        f"witness any {W2}\ngroup group 2 all any\n  quorum\tgroup"
    )
    assert [(each.name, each.url) for each in policy.witnesses] == [("all", "https://w1.example.com/"), ("any", "")]
    assert policy.flat() == 2


def test_names_are_opaque_octets() -> None:
    raw = b"witness K-\x80 %s\nwitness \xe2\x84\xaa %s\nwitness K %s\nquorum K-\x80\n" % tuple(
        str(key).encode() for key in (W1, W2, W3)
    )
    policy = tlog_policy.parse(raw)
    assert policy.encode() == raw
    assert policy.satisfied_by([W1]) and not policy.satisfied_by([W2, W3])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quorum none\n\x01", "invalid octet 0x01"),
        ("quorum none\r\n", "invalid octet 0x0d"),
        ("quorum none\x7f\n", "invalid octet 0x7f"),
        ("quibble w1\nquorum none\n", "unknown keyword"),
        (f"witness w1 {W1} https://w1.example.com/ # comment\nquorum w1\n", "invalid witness definition"),
        ("log\nquorum none\n", "invalid log definition"),
        ("log garbage\nquorum none\n", "line 1: a verifier key looks like"),
        (f"log {LOG}\nlog {LOG} https://log.example.com/\nquorum none\n", "duplicate public key"),
        (f"log {W1}\nquorum none\n", "not a log's"),
        ("witness w1\nquorum none\n", "invalid witness definition"),
        (f"witness w1 {PLAIN}\nquorum w1\n", "key type 0x01 is not a cosignature key type"),
        (f"witness w1 {str(W1).replace(W1.id.hex(), '00000000')}\nquorum w1\n", "does not belong to it"),
        (f"witness none {W1}\nquorum none\n", "reserved"),
        (f"witness w1 {W1}\nwitness w1 {W2}\nquorum w1\n", "line 2: duplicate name"),
        (f"witness w1 {W1}\ngroup w1 any w1\nquorum w1\n", "duplicate name"),
        (f"witness w1 {W1}\ngroup g1 1\nquorum w1\n", "invalid group definition"),
        (f"witness w1 {W1}\ngroup none any w1\nquorum none\n", "reserved"),
        (f"witness w1 {W1}\ngroup g1 0 w1\nquorum g1\n", "outside 1 to 1"),
        (f"witness w1 {W1}\ngroup g1 -1 w1\nquorum g1\n", "invalid threshold"),
        (f"witness w1 {W1}\ngroup g1 01 w1\nquorum g1\n", "invalid threshold"),
        (f"witness w1 {W1}\ngroup g1 ١ w1\nquorum g1\n", "invalid threshold"),
        (f"witness w1 {W1}\ngroup g1 2 w1\nquorum g1\n", "outside 1 to 1"),
        (f"witness w1 {W1}\ngroup g1 any w2\nquorum g1\n", "unknown member"),
        (f"group g1 any w1\nwitness w1 {W1}\nquorum g1\n", "unknown member"),
        (f"witness w1 {W1}\ngroup g1 any none w1\nquorum g1\n", "unknown member"),
        (f"witness w1 {W1}\ngroup g1 all w1 w1\nquorum g1\n", "more than once"),
        (f"witness w1 {W1}\nwitness w2 {W2}\ngroup g1 any w1 w2\ngroup g2 any w1\nquorum g1\n", "more than once"),
        (f"witness w1 {W1}\n", "exactly one quorum"),
        (f"witness w1 {W1}\nquorum w1\nquorum w1\n", "exactly one quorum"),
        ("quorum unknown\n", "not defined"),
        (f"quorum w1\nwitness w1 {W1}\n", "not defined"),
        ("quorum\n", "invalid quorum definition"),
        ("", "exactly one quorum"),
        ("#" * 300_000, "larger than"),
    ],
)
def test_what_the_specification_does_not_allow_is_refused(text: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        tlog_policy.parse(text)


def test_one_key_under_two_names_is_one_witness_and_a_log_never_its_own() -> None:
    impostor = note.Vkey("impostor.example.com", W1.public_key, note.COSIGNATURE)
    with pytest.raises(PolicyError, match="duplicate public key"):
        tlog_policy.parse(f"witness w1 {W1}\nwitness w2 {impostor}\nquorum w1\n")
    own = note.Vkey(ORIGIN, LOG.public_key, note.COSIGNATURE)
    with pytest.raises(PolicyError, match="duplicate public key"):
        tlog_policy.parse(f"log {LOG}\nwitness w1 {own}\nquorum w1\n")


def test_a_policy_is_written_in_one_form_and_comes_back() -> None:
    text = f"# A policy.\nlog {LOG} https://log.example/\nwitness w1 {W1} https://w1.example/\nwitness w2 {W2}\ngroup g any w1 w2\nquorum g\n"
    written = tlog_policy.parse(text).format()
    assert written == text.removeprefix("# A policy.\n").replace(" any ", " 1 ")
    assert tlog_policy.parse(written) == tlog_policy.parse(text)


def test_a_checkpoint_opens_when_its_quorum_cosigned_it() -> None:
    head = Checkpoint(ORIGIN, 42, merkle.leaf_hash(b""))
    policy = tlog_policy.parse(f"log {LOG}\nwitness w1 {W1}\nwitness w2 {W2}\ngroup g all w1 w2\nquorum g\n")
    signed = head.sign(LOG_SEED)
    for some, enough in ((COSIGNERS[:2], True), (COSIGNERS[:1], False), (COSIGNERS[1:3], False), ([], False)):
        raw = cosignature.attach(signed, [each.cosign(head.text(), 1) for each in some])
        if enough:
            assert policy.open(raw, origin=ORIGIN)[0] == head
        else:
            with pytest.raises(PolicyError, match="did not cosign"):
                policy.open(raw)


def test_thirty_two_of_everything_and_more_are_supported() -> None:
    keys = [Cosigner(f"w{place}", bytes([place]) * 32).vkey for place in range(100)]
    policy = Policy.at_least(60, keys, [LOG])
    assert tlog_policy.parse(policy.encode()) == policy
    assert policy.satisfied_by(keys[:60]) and not policy.satisfied_by(keys[:59])


@given(st.integers(1, 5), st.sets(st.integers(0, 4)))
def test_any_k_of_n_means_k_different_witnesses(threshold: int, some: set[int]) -> None:
    keys = [W1, W2, W3, W4, W5]
    policy = Policy.at_least(threshold, keys)
    assert policy.satisfied_by([keys[place] for place in some] * 2) is (len(some) >= threshold)
