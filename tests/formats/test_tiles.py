"""Tiles against the specification's own examples, a whole log made by Tessera, and the tree itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imprimatur.formats import checkpoint, merkle, note, tiles
from tests.vectors import vectors

LEAVES = [merkle.leaf_hash(number.to_bytes(4, "big")) for number in range(70_000)]


class Shelf:
    """Tiles in memory, written as a publisher would, counting what is read."""

    def __init__(self, sizes: list[int]) -> None:
        self.files: dict[str, bytes] = {}
        self.read: Counter[str] = Counter()
        old = 0
        for new in sizes:
            for level, index, width in tiles.tiles_for(old, new):
                self.files[tiles.tile_path(level, index, width)] = self.tile(level, index, width)
            old = new

    def tile(self, level: int, index: int, width: int) -> bytes:
        if level == 0:
            return b"".join(LEAVES[256 * index : 256 * index + width])
        below = [self.files[tiles.tile_path(level - 1, 256 * index + place)] for place in range(width)]
        return b"".join(merkle.root_of(hashes_of(raw)) for raw in below)

    def get(self, path: str) -> bytes:
        self.read[path] += 1
        return self.files[path]


def hashes_of(raw: bytes) -> list[bytes]:
    return [raw[start : start + 32] for start in range(0, len(raw), 32)]


def expected_files(size: int) -> set[tuple[int, int, int]]:
    """Return the file set of a size straight from the wording of tlog-tiles."""
    wanted = set()
    for level in range(8):
        full, partial = size // 256 ** (level + 1), size // 256**level % 256
        wanted |= {(level, index, 256) for index in range(full)}
        if partial:
            wanted.add((level, full, partial))
    return wanted


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf([70_000])


@pytest.mark.parametrize(
    ("index", "width", "path"),
    [
        (0, 256, "000"),
        (7, 256, "007"),
        (999, 256, "999"),
        (1000, 256, "x001/000"),
        (1234067, 256, "x001/x234/067"),
        (273, 112, "273.p/112"),
        (1234067, 1, "x001/x234/067.p/1"),
    ],
)
def test_paths_follow_the_specification(index: int, width: int, path: str) -> None:
    assert tiles.tile_path(0, index, width) == f"tile/0/{path}"
    assert tiles.tile_path(3, index, width) == f"tile/3/{path}"
    assert tiles.entries_path(index, width) == f"tile/entries/{path}"


@pytest.mark.parametrize(("level", "index", "width"), [(-1, 0, 1), (8, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257)])
def test_a_path_that_cannot_exist_is_refused(level: int, index: int, width: int) -> None:
    with pytest.raises(tiles.TileError):
        tiles.tile_path(level, index, width)


def test_the_file_set_of_70000_entries_is_the_specifications_example() -> None:
    counts = Counter((level, width) for level, _, width in tiles.tiles_for(0, 70_000))
    assert counts == {(0, 256): 273, (0, 112): 1, (1, 256): 1, (1, 17): 1, (2, 1): 1}
    assert len(list(tiles.bundles_for(0, 70_000))) == 274


@given(st.integers(0, 2**30).map(lambda size: size % 300_000))
@settings(max_examples=50)
def test_the_file_set_from_nothing_is_that_of_the_size(size: int) -> None:
    written = list(tiles.tiles_for(0, size))
    assert set(written) == expected_files(size)
    assert len(written) == len(set(written))


@given(st.lists(st.integers(0, 140_000), max_size=6).map(sorted))
@settings(max_examples=50)
def test_growing_in_steps_writes_full_tiles_once_and_each_size_completely(sizes: list[int]) -> None:
    old, written = 0, Counter[tuple[int, int, int]]()
    for new in sizes:
        step = list(tiles.tiles_for(old, new))
        assert set(step) <= expected_files(new)
        written.update(step)
        assert expected_files(new) <= set(written)
        old = new
    assert all(count == 1 for (_, _, width), count in written.items() if width == 256)
    assert not list(tiles.tiles_for(old, old))


def test_a_tree_cannot_shrink() -> None:
    with pytest.raises(tiles.TileError):
        list(tiles.tiles_for(2, 1))


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_bundles_round_trip_and_refuse_every_cut(entries: list[bytes]) -> None:
    raw = tiles.bundle_encode(entries)
    assert tiles.bundle_decode(raw) == entries
    with pytest.raises(tiles.TileError):
        tiles.bundle_decode(raw[:-1])
    with pytest.raises(tiles.TileError):
        tiles.bundle_decode(raw + b"\0")


def test_bundles_have_limits() -> None:
    assert tiles.bundle_decode(tiles.bundle_encode([b"x" * 65_535])) == [b"x" * 65_535]
    for bad in ([], [b"x" * 65_536], [b""] * 257):
        with pytest.raises(tiles.TileError):
            tiles.bundle_encode(bad)
    for raw in (b"", b"\0\0" * 257, b"\0"):
        with pytest.raises(tiles.TileError):
            tiles.bundle_decode(raw)


@settings(max_examples=60)
@given(data=st.data())
def test_proofs_read_from_tiles_equal_those_of_the_tree(shelf: Shelf, data: st.DataObject) -> None:
    reader = tiles.HashReader(shelf.get, 70_000)
    new = data.draw(st.sampled_from([1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000]) | st.integers(1, 70_000))
    old = data.draw(st.integers(1, new))
    index = data.draw(st.integers(0, new - 1))
    root, old_root = reader.root(new), reader.root(old)
    assert merkle.verify_inclusion(LEAVES[index], index, new, reader.inclusion_proof(index, new), root)
    assert merkle.verify_consistency(old, new, old_root, root, reader.consistency_proof(old, new))


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 1000, 65_536, 65_793])
def test_roots_read_from_tiles_equal_those_of_the_leaves(shelf: Shelf, size: int) -> None:
    assert tiles.HashReader(shelf.get, 70_000).root(size) == merkle.root_of(LEAVES[:size])


def test_a_proof_reads_only_a_few_tiles_and_each_once(shelf: Shelf) -> None:
    shelf.read.clear()
    reader = tiles.HashReader(shelf.get, 70_000)
    reader.inclusion_proof(12_345)
    reader.inclusion_proof(12_345)
    assert sum(shelf.read.values()) <= 6
    assert set(shelf.read.values()) == {1}


def test_a_full_tile_stands_in_for_a_partial_one_that_was_removed() -> None:
    shelf = Shelf([300, 600])
    del shelf.files["tile/0/001.p/44"]
    assert tiles.HashReader(shelf.get, 300).root() == merkle.root_of(LEAVES[:300])
    assert shelf.read["tile/0/001"] == 1


def test_a_missing_or_damaged_tile_is_an_error() -> None:
    shelf = Shelf([300])
    raw = shelf.files.pop("tile/0/000")
    with pytest.raises(tiles.TileError, match="missing"):
        tiles.HashReader(shelf.get, 300).inclusion_proof(3)
    shelf.files["tile/0/000"] = raw[:-1]
    with pytest.raises(tiles.TileError, match="bytes"):
        tiles.HashReader(shelf.get, 300).inclusion_proof(3)


def test_nothing_outside_the_tree_is_read() -> None:
    reader = tiles.HashReader(Shelf([300]).get, 300)
    for level, index in ((0, 300), (8, 1), (9, 0), (-1, 0), (0, -1)):
        with pytest.raises(tiles.TileError):
            reader.node(level, index)
    with pytest.raises(tiles.TileError):
        reader.root(301)
    with pytest.raises(merkle.MerkleError):
        reader.inclusion_proof(300)


@pytest.fixture
def tessera() -> Path:
    return vectors() / "tessera_log"


def test_all_checkpoints_of_a_tessera_log_verify_and_match_entries_and_tiles(tessera: Path) -> None:
    vkey = note.Vkey.parse((tessera / "vkey.txt").read_text().strip())
    roots: list[bytes] = []
    for size in range(16):
        raw = (tessera / f"checkpoint.{size}").read_bytes()
        found, _ = checkpoint.open_checkpoint(raw, [vkey], origin="example.com/log/testdata")
        assert found.size == size
        reader = tiles.HashReader(lambda path: (tessera / path).read_bytes(), size)
        assert reader.root() == found.root
        roots.append(found.root)
        if size:
            entries = tiles.bundle_decode((tessera / tiles.entries_path(0, size)).read_bytes())
            leaves = [merkle.leaf_hash(entry) for entry in entries]
            assert merkle.root_of(leaves) == found.root
            assert tiles.bundle_encode(entries) == (tessera / tiles.entries_path(0, size)).read_bytes()
            assert b"".join(leaves) == (tessera / tiles.tile_path(0, 0, size)).read_bytes()
            for index, leaf in enumerate(leaves):
                assert merkle.verify_inclusion(leaf, index, size, reader.inclusion_proof(index), found.root)
            for old in range(1, size):
                proof = reader.consistency_proof(old)
                assert merkle.verify_consistency(old, size, roots[old], found.root, proof)
    latest, _ = checkpoint.open_checkpoint((tessera / "checkpoint").read_bytes(), [vkey])
    assert latest.root == roots[latest.size]


def test_the_tessera_log_has_exactly_the_files_we_would_write(tessera: Path) -> None:
    present = {str(path.relative_to(tessera)) for path in (tessera / "tile").rglob("*") if path.is_file()}
    wanted = set()
    for size in range(15):
        wanted |= {tiles.tile_path(*tile) for tile in tiles.tiles_for(size, size + 1)}
        wanted |= {tiles.entries_path(*bundle) for bundle in tiles.bundles_for(size, size + 1)}
    assert present == wanted
