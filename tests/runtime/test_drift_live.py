"""A monitor beside a launched agent: everything as launched is found so, and each thing that somebody changes is not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from audit.models import Checkpoint
from governance.runtime.models import Launch, Observation
from imprimatur.formats import canonical
from imprimatur.formats.checkpoint import parse
from imprimatur.formats.cosignature import Cosigner, accept
from imprimatur.service import folder as folders
from imprimatur.witness.protocol import Request
from imprimatur.witness.state import Seen
from tests.installation import free_port
from tests.runtime.agents import Yard, claiming, entries, gone
from tests.runtime.served import PYTHON, Served


@pytest.fixture
def watched(yard: Yard) -> Iterator[Yard]:
    """A launched agent, a monitor's folder, and nothing wrong. What a test starts is ended."""
    yard.served.service("monitor")
    process = yard.launch()
    yield yard
    yard.stop(process)


def look(served: Served, *options: str) -> list[dict[str, Any]]:
    """One look of the monitor; the bodies of what it has the log say."""
    before = len(entries("observation.recorded"))
    served.world.publish()
    done = served.run("monitor", "--service", str(served.folder / "monitor"), "--once", *options)
    assert done.returncode == 0, done.stderr
    return entries("observation.recorded")[before:]


def codes(bodies: list[dict[str, Any]]) -> set[str]:
    return {finding["code"] for body in bodies for finding in body["findings"]}


def test_what_runs_as_it_was_launched_is_found_so(watched: Yard) -> None:
    launch = Launch.objects.get()

    (body,) = look(watched.served)

    assert body["matched"] is True
    assert body["findings"] == []
    row = Observation.objects.get()
    assert row.launch == launch
    # bwrap outside, bwrap inside, the agent; the kernel shows the first two to root alone.
    assert row.processes == 3 if os.geteuid() == 0 else row.processes in (1, 2, 3)


def drifted(yard: Yard, **changes: Any) -> set[str]:
    """Start a second sandbox by hand, look, and end it."""
    launch = Launch.objects.get()
    before = set(claiming(launch.pk))
    (yard.work / "began").unlink()
    process = yard.rogue(launch, **changes)
    try:
        yard.served.until(lambda: process.poll() is not None or (yard.work / "began").exists())
        assert set(claiming(launch.pk)) - before
        return codes(look(yard.served))
    finally:
        gone(process)


def test_another_process_of_the_launch_with_one_flag_changed_is_found(watched: Yard) -> None:
    command = [*watched.command, "--more"]

    assert "flag-changed" in drifted_alone(watched, command=command)


def drifted_alone(yard: Yard, **changes: Any) -> set[str]:
    """The same, when what was launched is not there any more: the one by hand stands in its place."""
    launch = Launch.objects.get()
    inside = [pid for pid in claiming(launch.pk) if Path(f"/proc/{pid}/exe").resolve() == Path(PYTHON)]
    launchers = yard.orchestrator / "launches" / f"{launch.pk}.json"
    assert json.loads(launchers.read_text())["state"] == "started"
    yard.served.gate = lambda method, path: 503 if path.endswith("/ended") else None
    for pid in inside:
        os.kill(pid, 9)
    yard.served.until(lambda: not claiming(launch.pk))
    (yard.work / "began").unlink()
    process = yard.rogue(launch, **changes)
    try:
        yard.served.until((yard.work / "began").exists)
        return codes(look(yard.served))
    finally:
        gone(process)
        yard.served.gate = lambda method, path: None


def test_a_process_without_the_filter_is_found(watched: Yard) -> None:
    assert "seccomp-missing" in drifted(watched, seccomp=False)


def test_a_process_with_a_capability_more_is_found(watched: Yard) -> None:
    assert "capability" in drifted(watched, add=("--cap-add", "CAP_NET_RAW"), user=False)


def test_a_process_with_another_configuration_bound_is_found(watched: Yard) -> None:
    other = {**Launch.objects.get().document["effective"], "network": {"mode": "none", "domains": []}}

    assert "file-changed" in drifted(watched, configuration=canonical.dumps(other))


def test_a_process_with_raised_limits_is_found(watched: Yard) -> None:
    assert "limit" in drifted(watched)  # by hand nobody sets them
    assert "limit" in drifted(watched, limits={"cpu": 61})


def test_a_process_in_the_hosts_network_is_found(watched: Yard) -> None:
    assert "namespace" in drifted(watched, drop=("--unshare-net",))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root enters another sandbox from outside")
def test_a_program_put_into_the_sandbox_is_found_though_it_says_nothing(watched: Yard) -> None:
    launch = Launch.objects.get()
    inside = [pid for pid in claiming(launch.pk) if Path(f"/proc/{pid}/exe").resolve() == Path(PYTHON)]
    sleep = shutil.which("sleep")
    assert sleep
    # Into its pid namespace, as whoever holds root of the host can; with an empty environment.
    words = ["nsenter", "--target", str(inside[0]), "--pid", sleep, "60"]
    process = subprocess.Popen(words, env={}, start_new_session=True)
    try:
        watched.served.until(lambda: children(process.pid))
        found = look(watched.served)
    finally:
        gone(process)

    assert "unknown-process" in codes(found)
    assert [body["matched"] for body in found] == [True]


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_child_that_clears_its_environment_is_seen(watched: Yard) -> None:
    launch = Launch.objects.get()
    (watched.work / "began").unlink()
    process = watched.rogue(
        launch,
        command=[
            PYTHON,
            "-I",
            "-c",
            "import os, sys, time\n"
            "if os.fork() == 0: os.execve('/usr/bin/sleep', ['sleep', '60'], {})\n"
            f"time.sleep(0.2); open('{watched.work}/began', 'w').close(); time.sleep(60)",
        ],
    )
    try:
        watched.served.until((watched.work / "began").exists)
        found = look(watched.served)
    finally:
        gone(process)

    assert "unknown-process" in codes(found)
    assert any("sleep" in finding["found"] for body in found for finding in body["findings"])


def test_a_process_of_a_launch_that_nobody_attested_is_unmatched(watched: Yard) -> None:
    claimed = "lau_" + "0" * 26
    process = subprocess.Popen(["sleep", "60"], env={"IMPRIMATUR_LAUNCH": claimed, "PATH": os.environ["PATH"]})
    try:
        found = look(watched.served)
    finally:
        process.kill()
        process.wait()

    assert sorted(body["matched"] for body in found) == [False, True]
    assert Observation.objects.get(launch=None).claimed == claimed


def test_a_launch_without_a_process_is_found(watched: Yard) -> None:
    launch = Launch.objects.get()
    watched.served.gate = lambda method, path: 503 if path.endswith("/ended") else None
    for pid in claiming(launch.pk):
        os.kill(pid, 9)
    watched.served.until(lambda: not claiming(launch.pk))

    found = look(watched.served)

    assert codes(found) == {"not-running"}
    watched.served.gate = lambda method, path: None


def test_names_that_are_no_text_end_no_look(watched: Yard) -> None:
    launch = Launch.objects.get().pk
    environment = {b"IMPRIMATUR_LAUNCH": launch.encode(), b"\xff": b"\xfe\n"}
    process = subprocess.Popen([shutil.which("sleep") or "", "60"], env=environment)
    strange = subprocess.Popen(
        [PYTHON, "-I", "-c", "import time; time.sleep(60)", b"\xff\xfe\x80", "x" * 100_000, "line\nbreak"],
        env={b"IMPRIMATUR_LAUNCH": b"\xff" * 100},
    )
    try:
        found = look(watched.served)
    finally:
        for each in (process, strange):
            each.kill()
            each.wait()

    assert sorted(body["matched"] for body in found) == [False, True]
    assert {"unknown-process", "namespace"} <= codes(found)


def test_a_monitor_that_stays_follows_the_log_and_is_a_witness_for_it(watched: Yard) -> None:
    """It says what it sees, keeps what it saw of the log, and answers the log's own publisher from the same memory."""
    served, port = watched.served, free_port()
    folder = served.folder / "monitor"
    served.world.publish()
    words = ["monitor", "--service", str(folder), "--interval", "0.2", "--witness-listen", f"127.0.0.1:{port}"]
    process = served.start(*words)
    try:
        served.until(lambda: (folder / "cosigned").exists() and Observation.objects.exists())
        text, _, lines = (folder / "cosigned").read_text().partition("\n\n")
        vkey = Cosigner.load(folder / "cosigner.key").vkey
        (seen,) = accept(f"{text}\n", lines.split("\n", 1)[1], [vkey])
        size = parse(f"{text}\n").size

        # The server comes with a newer checkpoint before the monitor fetches it, or after: either is cosigned once.
        served.world.publish()
        newest = Checkpoint.objects.order_by("-size").first()
        assert newest is not None
        assert newest.size > size
        served.until(lambda: parse((folder / "cosigned").read_text().partition("\n\n")[0] + "\n").size >= newest.size)
        body = Request(newest.size, (), newest.note).encode()
        reply = httpx2.post(f"http://127.0.0.1:{port}/add-checkpoint", content=body, trust_env=False)
    finally:
        process.terminate()
        done = served.finish(process)

    assert done.returncode == 0, done.stderr
    assert reply.status_code == 200, reply.text
    assert len(accept(newest.note.partition("\n\n")[0] + "\n", reply.text, [vkey])) == 1
    assert seen.witness == vkey
    assert [body["findings"] for body in entries("observation.recorded")][:1] == [[]]


def test_two_monitors_do_not_share_a_folder(watched: Yard) -> None:
    folder = watched.served.folder / "monitor"
    with folders.load(folder).locked():
        done = watched.served.run("monitor", "--service", str(folder), "--once")

    assert done.returncode == 2
    assert "Another process" in done.stderr


def test_a_monitor_that_sees_the_log_go_back_says_so_and_goes_on_watching(watched: Yard) -> None:
    served = watched.served
    folder = served.folder / "monitor"
    look(served)
    newest = Checkpoint.objects.order_by("-size").first()
    assert newest is not None
    state = folders.load(folder).seen()
    with state.changing() as change:
        seen = change.seen(newest.note.split("\n")[0])
        assert seen is not None
        # As if it had seen a longer log, which the server lost.
        change.remember(newest.note.split("\n")[0], Seen(seen.size + 1000, seen.root, seen.time, seen.note))
    before = len(entries("observation.recorded"))

    done = served.run("monitor", "--service", str(folder), "--once")

    assert done.returncode == 1
    assert "THE LOG SHOWS AN OLDER STATE" in done.stderr
    assert len(entries("observation.recorded")) == before + 1
