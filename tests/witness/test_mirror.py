"""Mirror mode: the entries are on the disk and checked before the checkpoint is cosigned."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imprimatur.formats import merkle, tiles
from imprimatur.witness import mirror
from imprimatur.witness.mirror import Mirror, MirrorError
from imprimatur.witness.protocol import Witness
from imprimatur.witness.state import State
from tests.witness.log import COSIGNER, ORIGIN, VKEY, Log

LOG = Log(size=70_000)


class Kept:
    """A witness that keeps what a log of this machine shows."""

    def __init__(self, folder: Path) -> None:
        self.source, self.folder = folder / "log", folder / "mirror"
        self.state = State.create(folder / "state", COSIGNER.vkey)
        self.start()

    def start(self) -> None:
        self.mirror = Mirror(self.folder, mirror.from_folder(self.source), [VKEY])
        self.witness = Witness(COSIGNER, self.state, [VKEY], keep=self.mirror.keep)

    def ask(self, old: int, size: int, log: Log = LOG) -> int:
        return self.witness.add_checkpoint(log.request(old, size)).status

    def holds(self, size: int, log: Log = LOG) -> None:
        """The folder is exactly the tree of this size, by its files alone."""
        wanted = {"checkpoint"} if size else set()
        read: list[bytes] = []
        for index, width in tiles.bundles_for(0, size):
            wanted.add(tiles.entries_path(index, width))
            read += tiles.bundle_decode((self.folder / tiles.entries_path(index, width)).read_bytes())
        wanted |= {tiles.tile_path(*tile) for tile in tiles.tiles_for(0, size)}
        assert {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file()} == wanted
        assert read == log.entries[:size]
        reader = tiles.HashReader(lambda path: (self.folder / path).read_bytes(), size)
        assert reader.root() == log.checkpoint(size).root


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_entries_are_kept_before_they_are_cosigned(kept: Kept) -> None:
    old = 0
    for size in (1, 5, 256, 300, 600, 70_000):
        LOG.write(kept.source, size)
        assert kept.ask(old, size) == 200
        kept.holds(size)
        old = size
        if size != 600:
            kept.start()


def test_without_the_entries_nothing_is_cosigned(kept: Kept) -> None:
    assert kept.ask(0, 300) == 503
    assert kept.state.seen(ORIGIN) is None
    kept.holds(0)
    LOG.write(kept.source, 300)
    assert kept.ask(0, 300) == 200


def test_a_log_that_shows_other_entries_than_it_signed_leaves_nothing_behind(kept: Kept) -> None:
    LOG.write(kept.source, 300)
    assert kept.ask(0, 300) == 200
    Log("other", same=299, size=400).write(kept.source, 400)
    assert kept.ask(300, 400) == 422
    path = kept.source / tiles.entries_path(1, 144)
    path.write_bytes(path.read_bytes()[:-1])
    assert kept.ask(300, 400) == 422
    seen = kept.state.seen(ORIGIN)
    assert seen is not None and seen.size == 300
    LOG.write(kept.source, 400)
    assert kept.ask(300, 400) == 200
    kept.holds(400)


def test_a_fork_is_refused_with_or_without_its_entries(kept: Kept) -> None:
    LOG.write(kept.source, 300)
    assert kept.ask(0, 300) == 200
    fork = Log("fork", same=10, size=400)
    fork.write(kept.source, 400)
    assert kept.ask(300, 400, fork) == 422
    assert kept.ask(0, 300, fork) == 409
    kept.holds(300)


def test_requests_that_are_refused_anyway_fetch_nothing(tmp_path: Path) -> None:
    asked: list[str] = []

    def source(path: str) -> bytes:
        asked.append(path)
        raise FileNotFoundError(path)

    keep = Mirror(tmp_path / "mirror", source, [VKEY]).keep
    witness = Witness(COSIGNER, State.create(tmp_path / "state", COSIGNER.vkey), [VKEY], keep=keep)
    assert witness.add_checkpoint(LOG.request(5, 9)).status == 409
    assert witness.add_checkpoint(LOG.request(0, 9, seed=bytes(32))).status == 403
    assert asked == []
    assert witness.add_checkpoint(LOG.request(0, 9)).status == 503
    assert asked


def test_what_was_left_of_a_copy_that_was_cut_off_does_no_harm(kept: Kept) -> None:
    LOG.write(kept.source, 300)
    assert kept.ask(0, 300) == 200
    (kept.folder / "incoming" / "tile").mkdir(parents=True)
    (kept.folder / "incoming" / "tile" / "x").write_bytes(b"half")
    stray = kept.folder / tiles.tile_path(0, 1, 100)  # moved into its place, and then the power went
    stray.write_bytes(bytes(3200))
    kept.start()
    LOG.write(kept.source, 356)
    assert kept.ask(300, 356) == 200
    kept.holds(356)


def test_a_copy_in_progress_sends_others_away(kept: Kept) -> None:
    LOG.write(kept.source, 300)
    with kept.mirror._lock:
        assert kept.ask(0, 300) == 503
    assert kept.ask(0, 300) == 200


def test_a_damaged_mirror_does_not_start(kept: Kept) -> None:
    LOG.write(kept.source, 300)
    assert kept.ask(0, 300) == 200
    path = kept.folder / tiles.tile_path(0, 1, 44)
    good = path.read_bytes()
    for wrong in (good[:-1] + b"\0", good[:-1]):
        path.write_bytes(wrong)
        with pytest.raises(MirrorError, match="damaged"):
            kept.start()
    path.write_bytes(good)
    (kept.folder / "checkpoint").write_bytes(b"hello")
    with pytest.raises(MirrorError, match="damaged"):
        kept.start()


@contextmanager
def shown(folder: Path, token: str) -> Iterator[str]:
    """The files of a folder, for whoever brings the token."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Authorization") != f"Bearer {token}":
                self.send_error(401)
                return
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_address[1]}/log"
    finally:
        listening.shutdown()
        thread.join(10)
        listening.server_close()


def test_entries_come_over_http_with_a_token(tmp_path: Path) -> None:
    LOG.write(tmp_path / "log", 256)
    with shown(tmp_path, "secret") as url:
        source = mirror.from_url(url, "secret")
        assert tiles.bundle_decode(source("tile/entries/000")) == LOG.entries[:256]
        with pytest.raises(FileNotFoundError):
            source("tile/entries/001")
        with pytest.raises(OSError, match="answered 401"):
            mirror.from_url(url)("tile/entries/000")
        # A partial bundle that was replaced by the full one is cut from that.
        keep = Mirror(tmp_path / "mirror", source, [VKEY])
        keep.keep(LOG.checkpoint(200), LOG.checkpoint(200).sign(bytes(range(32))))
        assert keep.size == 200
        assert merkle.root_of(LOG.leaves[:200]) == LOG.checkpoint(200).root


def test_a_token_travels_over_https_only() -> None:
    with pytest.raises(MirrorError, match="https only"):
        mirror.from_url("http://log.example/log", "secret")
