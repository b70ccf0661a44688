"""The Merkle tree of RFC 6962 and RFC 9162 over SHA-256: roots, proofs and their verification.

All hashes are 32 raw bytes. Sizes and indexes count leaves. A *node* `(level, index)` is the root of the complete
subtree over leaves `index * 2**level` up to `(index + 1) * 2**level - 1`; nodes never change once their leaves exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

HASH_SIZE = 32
MAX_TREE_SIZE = 2**63 - 1

EMPTY_ROOT = hashlib.sha256(b"").digest()

NodeGetter = Callable[[int, int], bytes]
"""Returns the hash of the node `(level, index)`."""


class MerkleError(ValueError):
    """A tree was asked for something it cannot give: a bad size, index or hash length."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf, SHA-256(0x00 || data) (RFC 9162, 2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node, SHA-256(0x01 || left || right) (RFC 9162, 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The right edge of a tree: enough to append leaves and to know the root, in log2(size) hashes.

    `hashes` holds the roots of the complete subtrees that make up the tree, largest (leftmost) first: one for each
    bit set in `size`. Appending is amortised O(1).
    """

    __slots__ = ("_hashes", "_size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """Start from a stored range, or empty. Raises MerkleError when size and hashes do not belong together."""
        stack = [bytes(item) for item in hashes]
        if not 0 <= size <= MAX_TREE_SIZE:
            raise MerkleError("tree size out of range")
        if len(stack) != size.bit_count():
            raise MerkleError(f"a tree of {size} leaves has {size.bit_count()} subtree hashes, not {len(stack)}")
        if any(len(item) != HASH_SIZE for item in stack):
            raise MerkleError("a tree hash must be 32 bytes")
        self._size = size
        self._hashes = stack

    @classmethod
    def from_hashes(cls, size: int, hashes: Iterable[bytes]) -> CompactRange:
        """Restore a range from what `size` and `hashes` gave. Raises MerkleError when they do not fit."""
        return cls(size, hashes)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    @property
    def hashes(self) -> list[bytes]:
        """Roots of the complete subtrees, largest first (a copy)."""
        return list(self._hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash. Raises MerkleError unless it is 32 bytes."""
        if len(leaf) != HASH_SIZE:
            raise MerkleError("a tree hash must be 32 bytes")
        carry, bits, stack = bytes(leaf), self._size, self._hashes
        while bits & 1:
            carry = node_hash(stack.pop(), carry)
            bits >>= 1
        stack.append(carry)
        self._size += 1

    def root(self) -> bytes:
        """Return the root of the whole tree; EMPTY_ROOT when there are no leaves."""
        return _fold(self._hashes)

    def copy(self) -> CompactRange:
        """Return an independent copy."""
        return CompactRange(self._size, self._hashes)


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root of the tree over these leaf hashes; EMPTY_ROOT when there are none."""
    tree = CompactRange()
    for item in leaf_hashes:
        tree.append(item)
    return tree.root()


def root_at(source: Sequence[bytes] | NodeGetter, size: int) -> bytes:
    """Return the root that the tree had when it had `size` leaves."""
    node, size = _source(source, size)
    return _range_root(node, 0, size) if size else EMPTY_ROOT


def inclusion_proof(source: Sequence[bytes] | NodeGetter, index: int, size: int | None = None) -> list[bytes]:
    """Prove that leaf `index` is in the tree of `size` leaves (RFC 9162, 2.1.3.1), leaf to root.

    `source` is either all leaf hashes or a NodeGetter. `size` may be left out for a sequence: then it is its length.
    Raises MerkleError when the index is not in the tree.
    """
    node, size = _source(source, size)
    if not 0 <= index < size:
        raise MerkleError(f"leaf {index} is not in a tree of {size} leaves")
    low, high = 0, size
    proof: list[bytes] = []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(_range_root(node, middle, high))
            high = middle
        else:
            proof.append(_range_root(node, low, middle))
            low = middle
    proof.reverse()
    return proof


def consistency_proof(source: Sequence[bytes] | NodeGetter, old_size: int, new_size: int | None = None) -> list[bytes]:
    """Prove that the tree of `old_size` leaves is a prefix of the one of `new_size` (RFC 9162, 2.1.4.1).

    Empty when the sizes are equal. Raises MerkleError unless 1 <= old_size <= new_size: about the empty tree there
    is nothing to prove.
    """
    node, new_size = _source(source, new_size)
    if not 1 <= old_size <= new_size:
        raise MerkleError(f"no consistency proof from {old_size} to {new_size} leaves")
    low, high = 0, new_size
    proof: list[bytes] = []
    while old_size != high:
        middle = low + _split(high - low)
        if old_size <= middle:
            proof.append(_range_root(node, middle, high))
            high = middle
        else:
            proof.append(_range_root(node, low, middle))
            low = middle
    if low:
        # The old root is not itself a subtree on this path, so the verifier needs the part they share.
        proof.append(_range_root(node, low, high))
    proof.reverse()
    return proof


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether `proof` shows that the leaf hash is leaf `index` of the tree (RFC 9162, 2.1.3.2).

    Anything malformed, hashes that are not 32 bytes included, is False.
    """
    if not 0 <= index < size <= MAX_TREE_SIZE or not _all_hashes(leaf, root, *proof):
        return False
    position, last, computed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and computed == root


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Tell whether `proof` shows that the new tree only appended to the old one (RFC 9162, 2.1.4.2).

    Anything malformed is False, and so is an old size of 0: such a proof would say nothing about the old tree.
    """
    if not 1 <= old_size <= new_size <= MAX_TREE_SIZE or not _all_hashes(old_root, new_root, *proof):
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    if not proof:
        return False
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while position and not position & 1:
                position >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and old == old_root and new == new_root


def _all_hashes(*items: bytes) -> bool:
    return all(isinstance(item, bytes) and len(item) == HASH_SIZE for item in items)


def _split(count: int) -> int:
    """Return the largest power of two below `count` (which is at least 2)."""
    return 1 << ((count - 1).bit_length() - 1)


def _fold(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return EMPTY_ROOT
    result = hashes[-1]
    for left in reversed(hashes[:-1]):
        result = node_hash(left, result)
    return result


def _range_root(node: NodeGetter, low: int, high: int) -> bytes:
    """Return the root over leaves low..high-1, where low is a multiple of the largest power of two in high-low."""
    parts: list[bytes] = []
    while low < high:
        level = (high - low).bit_length() - 1
        parts.append(node(level, low >> level))
        low += 1 << level
    return _fold(parts)


def _source(source: Sequence[bytes] | NodeGetter, size: int | None) -> tuple[NodeGetter, int]:
    if callable(source):
        if size is None:
            raise MerkleError("say the tree size when reading nodes through a function")
        node: NodeGetter = source
    else:
        leaves = source
        size = len(leaves) if size is None else size
        if size > len(leaves):
            raise MerkleError(f"a tree of {size} leaves was asked for, but only {len(leaves)} are given")

        def node(level: int, index: int) -> bytes:
            return root_of(leaves[index << level : (index + 1) << level])

    if not 0 <= size <= MAX_TREE_SIZE:
        raise MerkleError("tree size out of range")
    return node, size
