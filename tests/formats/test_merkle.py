"""The tree against third-party vectors and against the definitions of RFC 9162 written out naively."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprimatur.formats import merkle
from tests.vectors import vectors

Leaves = list[bytes]

leaf_lists = st.integers(1, 70).flatmap(
    lambda count: st.binary(min_size=4, max_size=4).map(
        lambda seed: [merkle.leaf_hash(seed + bytes([number])) for number in range(count)]
    )
)


def naive_root(leaves: Leaves) -> bytes:
    if not leaves:
        return merkle.EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = naive_split(len(leaves))
    return merkle.node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


def naive_split(count: int) -> int:
    split = 1
    while split * 2 < count:
        split *= 2
    return split


def naive_inclusion(index: int, leaves: Leaves) -> Leaves:
    if len(leaves) == 1:
        return []
    split = naive_split(len(leaves))
    if index < split:
        return [*naive_inclusion(index, leaves[:split]), naive_root(leaves[split:])]
    return [*naive_inclusion(index - split, leaves[split:]), naive_root(leaves[:split])]


def naive_consistency(old: int, leaves: Leaves, complete: bool = True) -> Leaves:
    if old == len(leaves):
        return [] if complete else [naive_root(leaves)]
    split = naive_split(len(leaves))
    if old <= split:
        return [*naive_consistency(old, leaves[:split], complete), naive_root(leaves[split:])]
    return [*naive_consistency(old - split, leaves[split:], False), naive_root(leaves[:split])]


def flips(raw: bytes) -> list[bytes]:
    return [
        (int.from_bytes(raw, "big") ^ (1 << position)).to_bytes(len(raw), "big") for position in range(8 * len(raw))
    ]


def unpack(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def load(name: str) -> Any:
    return json.loads((vectors() / name).read_text())


def test_the_empty_root_is_the_hash_of_nothing() -> None:
    assert merkle.root_of([]) == merkle.EMPTY_ROOT == merkle.CompactRange().root()
    assert merkle.EMPTY_ROOT.hex().startswith("e3b0c44298fc1c14")


def test_the_reference_tree_has_its_published_nodes_and_roots() -> None:
    reference = load("merkle/reference_tree.json")
    leaves = [merkle.leaf_hash(bytes.fromhex(item)) for item in reference["leaf_inputs_hex"]]
    for level, wanted in enumerate(reference["node_hashes_hex_by_level"]):
        width = 1 << level
        for index, node in enumerate(wanted):
            assert merkle.root_of(leaves[index * width : (index + 1) * width]).hex() == node
    tree = merkle.CompactRange()
    for leaf, wanted in zip(leaves, reference["root_hashes_hex_by_size"], strict=True):
        tree.append(leaf)
        assert tree.root().hex() == wanted == merkle.root_at(leaves, tree.size).hex()


def test_every_inclusion_vector_is_judged_as_upstream_judges_it() -> None:
    cases = load("merkle/inclusion.json")
    assert len(cases) == 98
    for name, case in cases.items():
        verdict = merkle.verify_inclusion(
            unpack(case["leafHash"]),
            case["leafIdx"],
            case["treeSize"],
            [unpack(item) for item in case["proof"] or []],
            unpack(case["root"]),
        )
        assert verdict is not case["wantErr"], name


def test_every_consistency_vector_is_judged_as_upstream_judges_it() -> None:
    cases = load("merkle/consistency.json")
    assert len(cases) == 98
    # Upstream compares the roots of equal sizes without looking at their length; here a root is 32 bytes, always.
    short_roots = cases.pop("consistency/additional/sizes-are-equal-one-and-proof-is-empty.json")
    root = unpack(short_roots["root1"])
    assert len(root) == 12
    assert not merkle.verify_consistency(1, 1, root, root, [])
    for name, case in cases.items():
        verdict = merkle.verify_consistency(
            case["size1"],
            case["size2"],
            unpack(case["root1"]),
            unpack(case["root2"]),
            [unpack(item) for item in case["proof"] or []],
        )
        assert verdict is not case["wantErr"], name


def test_the_proofs_of_a_real_certificate_log_verify() -> None:
    head = load("ct_argon2020/sth.json")
    size, root = head["tree_size"], unpack(head["sha256_root_hash"])
    entry = unpack(load("ct_argon2020/entries.json")["entries"][0]["leaf_input"])
    proof = load("ct_argon2020/proof.json")
    path = [unpack(item) for item in proof["audit_path"]]
    assert merkle.verify_inclusion(merkle.leaf_hash(entry), proof["leaf_index"], size, path, root)
    assert not merkle.verify_inclusion(merkle.leaf_hash(entry + b"\0"), proof["leaf_index"], size, path, root)
    assert not merkle.verify_inclusion(merkle.leaf_hash(entry), proof["leaf_index"] + 1, size, path, root)

    old_root = unpack("AuIZ5V6sDUj1vn3Y1K85oOaQ7y+FJJKtyRTl1edIKBQ=")
    steps = [unpack(item) for item in load("ct_argon2020/consistency.json")["consistency"]]
    assert merkle.verify_consistency(3654490, size, old_root, root, steps)
    assert not merkle.verify_consistency(3654491, size, old_root, root, steps)


@given(leaf_lists)
def test_roots_agree_with_the_definition(leaves: Leaves) -> None:
    assert merkle.root_of(leaves) == naive_root(leaves) == merkle.root_at(leaves, len(leaves))


@given(leaf_lists, st.data())
def test_a_range_stored_and_restored_goes_on_as_if_never_stored(leaves: Leaves, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(leaves)))
    first = merkle.CompactRange()
    for leaf in leaves[:cut]:
        first.append(leaf)
    second = merkle.CompactRange.from_hashes(first.size, first.hashes)
    for leaf in leaves[cut:]:
        second.append(leaf)
    assert second.size == len(leaves)
    assert second.root() == naive_root(leaves)
    assert first.root() == naive_root(leaves[:cut])


def test_appending_hashes_less_than_once_per_leaf_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    real = merkle.node_hash

    def counted(left: bytes, right: bytes) -> bytes:
        nonlocal calls
        calls += 1
        return real(left, right)

    monkeypatch.setattr(merkle, "node_hash", counted)
    tree = merkle.CompactRange()
    for number in range(5000):
        tree.append(merkle.leaf_hash(number.to_bytes(4, "big")))
    assert calls < 5000
    assert len(tree.hashes) == (5000).bit_count()


@given(leaf_lists, st.data())
def test_inclusion_proofs_follow_the_definition_and_verify(leaves: Leaves, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(leaves)))
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(leaves, index, size)
    assert proof == naive_inclusion(index, leaves[:size])
    root = naive_root(leaves[:size])
    assert merkle.verify_inclusion(leaves[index], index, size, proof, root)
    # The tree size itself is not bound by the path alone, but the place in the tree is.
    for other in range(size):
        assert merkle.verify_inclusion(leaves[index], other, size, proof, root) is (other == index)
    assert not merkle.verify_inclusion(leaves[index], index, size, [*proof, root], root)
    assert not merkle.verify_inclusion(leaves[index], index, size, proof[:-1], root) or not proof


@given(leaf_lists, st.data())
def test_consistency_proofs_follow_the_definition_and_verify(leaves: Leaves, data: st.DataObject) -> None:
    new = data.draw(st.integers(1, len(leaves)))
    old = data.draw(st.integers(1, new))
    proof = merkle.consistency_proof(leaves, old, new)
    assert proof == naive_consistency(old, leaves[:new])
    old_root, new_root = naive_root(leaves[:old]), naive_root(leaves[:new])
    assert merkle.verify_consistency(old, new, old_root, new_root, proof)
    assert not merkle.verify_consistency(old, new, old_root, new_root, [*proof, new_root])
    if proof:
        assert not merkle.verify_consistency(old, new, old_root, new_root, proof[:-1])
        assert not merkle.verify_consistency(old, new, old_root, new_root, proof[1:])
        assert not merkle.verify_consistency(old, new, new_root, old_root, proof)


@settings(max_examples=10)
@given(leaf_lists, st.data())
def test_every_flipped_bit_of_an_inclusion_proof_is_refused(leaves: Leaves, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof, root, size = merkle.inclusion_proof(leaves, index), naive_root(leaves), len(leaves)
    for place, item in enumerate(proof):
        for flipped in flips(item):
            changed = [*proof[:place], flipped, *proof[place + 1 :]]
            assert not merkle.verify_inclusion(leaves[index], index, size, changed, root)
    for flipped in flips(root):
        assert not merkle.verify_inclusion(leaves[index], index, size, proof, flipped)
    for flipped in flips(leaves[index]):
        assert not merkle.verify_inclusion(flipped, index, size, proof, root)


@settings(max_examples=10)
@given(leaf_lists, st.data())
def test_every_flipped_bit_of_a_consistency_proof_is_refused(leaves: Leaves, data: st.DataObject) -> None:
    old, new = data.draw(st.integers(1, len(leaves))), len(leaves)
    proof = merkle.consistency_proof(leaves, old)
    old_root, new_root = naive_root(leaves[:old]), naive_root(leaves)
    for place, item in enumerate(proof):
        for flipped in flips(item):
            changed = [*proof[:place], flipped, *proof[place + 1 :]]
            assert not merkle.verify_consistency(old, new, old_root, new_root, changed)
    for flipped in flips(old_root):
        assert not merkle.verify_consistency(old, new, flipped, new_root, proof)
    for flipped in flips(new_root):
        assert not merkle.verify_consistency(old, new, old_root, flipped, proof)


def test_hashes_of_another_length_are_never_accepted() -> None:
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(3)]
    root = merkle.root_of(leaves)
    assert not merkle.verify_inclusion(b"", 0, 1, [], b"")
    assert not merkle.verify_consistency(1, 1, b"", b"", [])
    proof = merkle.inclusion_proof(leaves, 0)
    assert merkle.verify_inclusion(leaves[0], 0, 3, proof, root)
    assert not merkle.verify_inclusion(leaves[0], 0, 3, [proof[0] + b"\0", proof[1]], root)
    tree = merkle.CompactRange()
    with pytest.raises(merkle.MerkleError):
        tree.append(b"short")
    assert tree.size == 0


def test_a_consistency_proof_from_the_empty_tree_is_an_error_on_both_sides() -> None:
    leaves = [merkle.leaf_hash(b"one")]
    assert not merkle.verify_consistency(0, 1, merkle.EMPTY_ROOT, leaves[0], [])
    assert not merkle.verify_consistency(0, 0, merkle.EMPTY_ROOT, merkle.EMPTY_ROOT, [])
    with pytest.raises(merkle.MerkleError):
        merkle.consistency_proof(leaves, 0, 1)


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0), (0, 4)])
def test_a_proof_outside_the_tree_is_refused(index: int, size: int) -> None:
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(3)]
    with pytest.raises(merkle.MerkleError):
        merkle.inclusion_proof(leaves, index, size)
    assert not merkle.verify_inclusion(leaves[0], index, size, [], leaves[0])


@pytest.mark.parametrize(("size", "count"), [(-1, 0), (1, 0), (2, 2), (3, 1)])
def test_a_range_with_the_wrong_number_of_hashes_is_refused(size: int, count: int) -> None:
    with pytest.raises(merkle.MerkleError):
        merkle.CompactRange.from_hashes(size, [bytes(32)] * count)
