"""The monitor's own parts: what it reads of /proc, when it speaks, and how it holds the log to what it saw."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imprimatur.formats import attestation, merkle, note, tiles
from imprimatur.formats.checkpoint import Checkpoint, open_checkpoint
from imprimatur.formats.cosignature import accept
from imprimatur.formats.shapes import check
from imprimatur.formats.trust import Trust
from imprimatur.monitor.following import Follower, LogProblem
from imprimatur.monitor.observing import Monitor
from imprimatur.monitor.own_log import OwnLog
from imprimatur.monitor.processes import Proc, Seen, Vanished, shorten
from imprimatur.rules.configuration import holds_a_secret
from imprimatur.service import folder as folders
from imprimatur.service.folder import Folder
from imprimatur.service.ledger import Ledger
from imprimatur.service.service import Service, Voice
from tests.runtime.desk import REALM, URL, FakeDesk
from tests.witness.log import ORIGIN, SEED, VKEY, Log

NODE = {"name": "host", "kernel": "Linux", "boot": "b"}
LAUNCH = "lau_" + "0" * 26


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    folders.create(tmp_path / "monitor", "monitor")
    return folders.load(tmp_path / "monitor", "monitor", REALM)


# --- /proc ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_process_is_read_in_the_shape_that_statements_have() -> None:
    found = Proc().read(os.getpid())

    check(found, attestation.PROCESS, "process")
    assert found["command"][0].endswith(Path(sys.orig_argv[0]).name)
    assert Path(found["executable"]["path"]) == Path(sys.executable).resolve()
    assert found["namespaces"] == Proc().host()
    assert "configuration" not in found


def test_a_process_that_is_gone_has_vanished() -> None:
    process = subprocess.Popen(["true"])
    process.wait()

    with pytest.raises(Vanished):
        Proc().read(process.pid)


class FakeProc:
    """A /proc of files, for what no real process of a test can be."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.namespaces(root / "self", pid=1)

    def namespaces(self, folder: Path, pid: int) -> None:
        (folder / "ns").mkdir(parents=True)
        for name in attestation.NAMESPACES:
            (folder / "ns" / name).symlink_to(f"{name}:[{pid if name == 'pid' else 7}]")

    def process(
        self, pid: int, *, claim: str | None = None, namespace: int = 1, started: int = 5, state: str = "S"
    ) -> Path:
        folder = self.root / str(pid)
        folder.mkdir()
        self.namespaces(folder, namespace)
        environ = b"A=1\0" + (b"" if claim is None else f"IMPRIMATUR_LAUNCH={claim}\0".encode())
        (folder / "environ").write_bytes(environ)
        rest = [state, "1", *["0"] * 17, str(started), *["0"] * 10]
        (folder / "stat").write_text(f"{pid} (a) b) {' '.join(rest)}\n")
        status = ["Name:\ta", "PPid:\t1", "Uid:\t5\t6\t7\t8", "Seccomp:\t2", "NoNewPrivs:\t1"]
        status += [f"{name}:\t{'0' * 16}" for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")]
        (folder / "status").write_text("\n".join(status) + "\n")
        (folder / "cmdline").write_bytes(b"prog\0-x\0\0")
        (folder / "cgroup").write_text("1:cpu:/a\n0::/b\n")
        (folder / "limits").write_text(
            "Limit                     Soft Limit           Hard Limit           Units     \n"
            "Max cpu time              10                   60                   seconds   \n"
            "Max file size             unlimited            unlimited            bytes     \n"
            "Max open files            64                   64                   files     \n"
        )
        (folder / "exe").symlink_to(sys.executable)
        (folder / "root" / "run" / "imprimatur").mkdir(parents=True)
        return folder

    def look(self) -> Seen:
        return Proc(self.root).look()


@pytest.fixture
def fake(tmp_path: Path) -> FakeProc:
    return FakeProc(tmp_path / "proc")


def pids(seen: Seen) -> dict[str, list[int]]:
    return {launch: [each["pid"] for each in processes] for launch, processes in seen.launches.items()}


def test_a_processs_numbers_are_the_ones_that_bind_it(fake: FakeProc) -> None:
    fake.process(10, claim=LAUNCH)

    (process,) = fake.look().launches[LAUNCH]

    check(process, attestation.PROCESS, "process")
    assert process["uid"] == 6  # the effective one
    assert process["limits"] == {"cpu_seconds": 60, "open_files": 64}  # hard, and only where there is one
    assert process["command"] == ["prog", "-x", ""]
    assert process["started"] == 5
    assert process["cgroup"] == "1:cpu:/a; 0::/b"


def test_a_process_in_the_namespace_of_a_launch_belongs_to_it_whatever_it_says(fake: FakeProc) -> None:
    fake.process(10, claim="lau_a", namespace=2, started=5)
    fake.process(11, namespace=2, started=6)  # cleared its environment
    fake.process(12, claim="lau_b", namespace=2, started=7)  # would like to be another's drift
    fake.process(13, claim="lau_b", namespace=3, started=4)
    fake.process(14, claim="lau_a", namespace=1, started=9)  # in the host's own namespace
    fake.process(15, namespace=1, started=9)

    assert pids(fake.look()) == {"lau_a": [10, 11, 12, 14], "lau_b": [13]}


def test_a_claim_that_no_launch_can_have_is_a_claim_too(fake: FakeProc) -> None:
    fake.process(10, claim="\x1b[2J")

    assert pids(fake.look()) == {"unreadable": [10]}


def test_the_dead_are_not_counted(fake: FakeProc) -> None:
    fake.process(10, claim=LAUNCH, state="Z")

    assert fake.look() == Seen({}, 0)


@pytest.mark.parametrize("name", ["stat", "environ", "status", "limits", "exe"])
def test_a_process_that_ends_while_it_is_read_ends_no_look(fake: FakeProc, name: str) -> None:
    (fake.process(10, claim=LAUNCH) / name).unlink()
    fake.process(11, claim=LAUNCH)

    seen = fake.look()

    assert 11 in pids(seen)[LAUNCH]
    assert seen.unread == 0


@pytest.mark.parametrize("name", ["stat", "status", "limits"])
def test_what_cannot_be_understood_is_counted_as_unread(fake: FakeProc, name: str) -> None:
    (fake.process(10, claim=LAUNCH) / name).write_bytes(b"\xff) S nonsense\nMax cpu time  x y z\n" * 3)

    assert fake.look().unread == 1


def test_no_link_in_a_sandbox_leads_into_the_monitors_own_files(fake: FakeProc, tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    (host / "config.json").write_text("{}")
    shown = {}
    for pid, what in enumerate(("file", "link", "folder is a link", "pipe", "folder"), 10):
        root = fake.process(pid, claim=what.replace(" ", "-")) / "root" / "run"
        target = root / "imprimatur" / "config.json"
        if what == "file":
            target.write_text("{}")
        elif what == "link":
            target.symlink_to(host / "config.json")
        elif what == "pipe":
            os.mkfifo(target)
        elif what == "folder":
            target.mkdir()
        else:
            shutil.rmtree(root / "imprimatur")
            (root / "imprimatur").symlink_to(host)
    for claim, processes in fake.look().launches.items():
        shown[claim] = processes[0].get("configuration")

    digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of {}
    assert shown == {"file": digest, "link": None, "folder-is-a-link": None, "pipe": None, "folder": None}


def test_a_command_line_of_any_length_and_bytes_fits_and_equals_nothing_else(fake: FakeProc) -> None:
    raws = [b"a\0" * 300, b"a\0" * 301, b"x" * 5000, b"x" * 5001, b"\xff\xfe\0", b"", b"\0\0"]
    for pid, raw in enumerate(raws, 10):
        (fake.process(pid, claim=LAUNCH) / "cmdline").write_bytes(raw)

    found = fake.look().launches[LAUNCH]

    for process in found:
        check(process, attestation.PROCESS, "process")
    commands = [tuple(process["command"]) for process in found]
    assert len(set(commands)) == len(raws)


def test_invariant_11_what_looks_like_a_secret_in_a_command_line_is_not_observed(fake: FakeProc) -> None:
    secrets = [
        "ghp_" + "Zq7Rk2Wm9Tx4Lp8" * 2,
        "--dsn=postgres://robo:hunter2@db/x",
        "Authorization: Bearer " + "b7" * 20,
    ]
    raw = b"\0".join(word.encode() for word in ["/usr/bin/curl", *secrets, "--silent"]) + b"\0"
    (fake.process(10, claim=LAUNCH) / "cmdline").write_bytes(raw)

    [process] = fake.look().launches[LAUNCH]
    first, *middle, last = process["command"]

    assert (first, last) == ("/usr/bin/curl", "--silent")
    assert not any(part in said for said in middle for part in ("Zq7", "hunter2", "b7b7"))
    assert len(middle) == 3 and all(holds_a_secret(said) for said in middle), "so it equals no command that is attested"


def test_a_large_program_is_hashed_again_when_it_changed(tmp_path: Path, fake: FakeProc) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"a" * 2_000_000)
    link = fake.process(10, claim=LAUNCH) / "exe"
    link.unlink()
    link.symlink_to(program)
    proc = Proc(fake.root)
    digests = [proc.look().launches[LAUNCH][0]["executable"]["digest"] for _ in range(2)]
    other = tmp_path / "other"
    other.write_bytes(b"b" * 2_000_000)
    other.replace(program)
    digests.append(proc.look().launches[LAUNCH][0]["executable"]["digest"])

    assert digests[0] == digests[1] != digests[2]


# --- when it speaks ---------------------------------------------------------------------------------------------------


class Stage:
    """A monitor over a fake /proc, a fake server and a log of its own; time is what the test says."""

    def __init__(self, folder: Folder, fake: FakeProc, files: Path) -> None:
        self.desk = FakeDesk(folder)
        self.proc = fake
        self.time = 1000.0
        self.log, self.files = Log(), files
        self.show(5)
        self.service = Service(
            folder, URL, self.desk.trust, transport=self.desk.transport, sleep=lambda seconds: None, retries=0
        )
        self.voice = Voice(self.service, Ledger(folder))
        self.voice.catch_up()
        trust = Trust(ORIGIN, (VKEY,), self.desk.trust.decision, None, None, None)
        self.follower = Follower(folder, trust, self.read, clock=lambda: self.time)
        self.own_log = OwnLog(folder, REALM, self.voice.ledger)
        self.monitor = Monitor(
            self.voice, Proc(fake.root), self.follower, self.own_log, NODE, monotonic=lambda: self.time
        )

    def read(self, path: str) -> bytes:
        return (self.files / path).read_bytes()

    def show(self, size: int, log: Log | None = None, seed: bytes = SEED) -> None:
        log = log or self.log
        shutil.rmtree(self.files, ignore_errors=True)
        self.files.mkdir()
        (self.files / "checkpoint").write_text(log.checkpoint(size).sign(seed))
        for level, index, width in tiles.tiles_for(0, size):
            first = (index * tiles.WIDTH) << (8 * level)
            step = 1 << (8 * level)
            parts = [merkle.root_of(log.leaves[first + n * step : first + (n + 1) * step]) for n in range(width)]
            path = self.files / tiles.tile_path(level, index, width)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(parts))

    def said(self) -> list[tuple[str, int]]:
        return [(each["launch"], len(each["processes"])) for each in self.desk.predicates()]


@pytest.fixture
def stage(folder: Folder, fake: FakeProc, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(folder, fake, tmp_path / "files")
    yield made
    made.service.close()


def predicate(name: str = "host") -> dict[str, Any]:
    return {"node": {"name": name, "kernel": "Linux"}}


def test_what_changes_is_said_at_once_and_the_rest_once_a_minute(stage: Stage) -> None:
    stage.proc.process(10, claim=LAUNCH)
    stage.monitor.round()
    stage.time += 30
    stage.monitor.round()
    assert stage.said() == [(LAUNCH, 1)]

    stage.proc.process(11, claim=LAUNCH)
    stage.monitor.round()
    assert stage.said() == [(LAUNCH, 1), (LAUNCH, 2)]

    stage.time += 60
    stage.monitor.round()
    assert stage.said() == [(LAUNCH, 1), (LAUNCH, 2), (LAUNCH, 2)]


def test_a_live_launch_without_a_process_is_said_after_the_grace_and_only_on_its_own_machine(stage: Stage) -> None:
    other = "lau_" + "1" * 26
    stage.desk.live = {LAUNCH: predicate(), other: predicate("another host")}
    stage.monitor.round()
    assert stage.said() == []

    stage.time += 10
    stage.monitor.round()
    assert stage.said() == [(LAUNCH, 0)]

    stage.desk.live = {}
    stage.time += 100
    stage.monitor.round()
    assert stage.said() == [(LAUNCH, 0)]


def test_a_launch_that_shows_a_process_in_time_was_never_missing(stage: Stage) -> None:
    stage.desk.live = {LAUNCH: predicate()}
    stage.monitor.round()
    stage.time += 9
    folder = stage.proc.process(10, claim=LAUNCH)
    stage.monitor.round()
    shutil.rmtree(folder)
    stage.time += 9
    stage.monitor.round()

    assert stage.said() == [(LAUNCH, 1)]


def test_while_the_server_is_away_what_is_seen_waits_in_order(stage: Stage) -> None:
    stage.desk.down = True
    stage.proc.process(10, claim=LAUNCH)
    first = stage.monitor.round()
    stage.proc.process(11, claim=LAUNCH)
    second = stage.monitor.round()
    assert (first.waiting, second.waiting) == (1, 2)
    assert any("waits to be sent" in problem for problem in second.problems)

    stage.desk.down = False
    stage.monitor.round()

    assert stage.said() == [(LAUNCH, 1), (LAUNCH, 2)]


def test_more_than_fits_is_shortened_and_counted_and_said_all_the_same(stage: Stage) -> None:
    for pid in range(10, 110):
        folder = stage.proc.process(pid, claim=LAUNCH, started=pid)
        (folder / "cmdline").write_bytes(b"\0".join([b"/usr/bin/prog", b"y" * 4000] * 20))

    stage.monitor.round()

    (said,) = stage.desk.predicates()
    assert said["unread"] + len(said["processes"]) == 100
    assert len(said["processes"]) > 10
    assert "sha256:" in said["processes"][0]["command"][1]


def test_many_alike_never_keep_the_one_that_differs_out(stage: Stage) -> None:
    for pid in range(10, 210):
        stage.proc.process(pid, claim=LAUNCH, started=pid)
    odd = stage.proc.process(900, claim=LAUNCH, started=900)
    (odd / "exe").unlink()
    (odd / "exe").symlink_to("/srv/other")

    stage.monitor.round()

    (said,) = stage.desk.predicates()
    assert [each["pid"] for each in said["processes"][:3]] == [10, 900, 11]
    assert said["unread"] + len(said["processes"]) == 201


def test_made_up_launches_never_keep_a_live_one_out(stage: Stage) -> None:
    stage.desk.live = {"lau_7" + "z" * 25: predicate()}
    for number in range(205):
        stage.proc.process(10 + number, claim=f"lau_{number:026d}")
    stage.proc.process(900, claim="lau_7" + "z" * 25)

    stage.monitor.round()

    said = stage.said()
    assert len(said) == 200
    assert ("lau_7" + "z" * 25, 1) in said
    assert stage.desk.predicates()[0]["unread"] == 6


def test_shortening_ends() -> None:
    processes = [{"command": ["a" * 200, "b" * 4000]}, {"command": ["c"]}, {"command": []}]

    assert shorten(processes)
    assert not shorten(processes)
    assert processes[1] == {"command": ["c"]}
    assert not shorten([])


def test_every_observation_names_the_newest_checkpoint_that_fits(stage: Stage) -> None:
    stage.proc.process(10, claim=LAUNCH)
    stage.monitor.round()
    stage.show(300)
    stage.time += 60
    stage.monitor.round()

    heads = [each["log"] for each in stage.desk.predicates()]
    roots = [merkle.root_at(stage.log.leaves, size).hex() for size in (5, 300)]
    assert heads == [{"size": size, "root": f"sha256:{root}"} for size, root in zip((5, 300), roots, strict=True)]


def test_the_monitors_own_log_is_one_that_anybody_can_verify(stage: Stage, folder: Folder) -> None:
    stage.proc.process(10, claim=LAUNCH)
    for _ in range(3):
        stage.time += 60
        stage.monitor.round()

    vkey = note.Vkey.parse(stage.own_log.vkey.format())
    assert vkey.name == f"{REALM}/monitor/{folder.service[3:11]}"
    checkpoint, _ = open_checkpoint((folder.path / "log" / "checkpoint").read_bytes(), [vkey])
    assert checkpoint.size == 3
    bundle = tiles.bundle_decode((folder.path / "log" / tiles.entries_path(0, 3)).read_bytes())
    assert bundle == Ledger(folder).envelopes() == stage.desk.statements
    assert merkle.root_of(map(merkle.leaf_hash, bundle)) == checkpoint.root


# --- following the log ------------------------------------------------------------------------------------------------


def test_a_log_that_grows_is_cosigned_and_remembered_before_that(stage: Stage, folder: Folder) -> None:
    stage.follower.follow()
    stage.show(400)
    head = stage.follower.follow()

    assert head["size"] == 400
    signed = (folder.path / "cosigned").read_text()
    text, _, lines = signed.partition("\n\n")
    mine = lines.split("\n", 1)[1]
    (cosigned,) = accept(f"{text}\n", mine, [folder.cosigner().vkey])
    assert cosigned.time == int(stage.time)
    seen = folder.seen().seen(ORIGIN)
    assert seen is not None
    assert seen.size == 400


@pytest.mark.parametrize("what", ["older", "forked", "same size", "foreign key", "gone", "no tiles"])
def test_a_log_that_does_not_continue_is_said_loudly_and_not_cosigned(stage: Stage, folder: Folder, what: str) -> None:
    stage.show(300)
    before = stage.follower.follow()
    kept = (folder.path / "cosigned").read_bytes()
    other = Log("other ", same=100)
    if what == "older":
        stage.show(299)
    elif what == "forked":
        stage.show(400, other)
    elif what == "same size":
        stage.show(300, other)
    elif what == "foreign key":
        stage.show(400, seed=bytes(32))
    elif what == "gone":
        shutil.rmtree(stage.files)
    else:
        stage.show(400)
        shutil.rmtree(stage.files / "tile")

    with pytest.raises(LogProblem):
        stage.follower.follow()

    assert stage.follower.head == before
    assert (folder.path / "cosigned").read_bytes() == kept
    done = stage.monitor.round()
    assert len(done.problems) == 1


def test_a_log_that_stands_still_is_cosigned_again_once_a_minute(stage: Stage, folder: Folder) -> None:
    stage.follower.follow()
    first = (folder.path / "cosigned").read_bytes()
    stage.time += 59
    stage.follower.follow()
    assert (folder.path / "cosigned").read_bytes() == first

    stage.time += 1
    stage.follower.follow()
    assert (folder.path / "cosigned").read_bytes() != first


def test_a_checkpoint_is_that_of_the_pinned_log(stage: Stage) -> None:
    (stage.files / "checkpoint").write_text(Checkpoint("other.example", 5, bytes(32)).sign(SEED))

    with pytest.raises(LogProblem, match="DOES NOT COUNT"):
        stage.follower.follow()
