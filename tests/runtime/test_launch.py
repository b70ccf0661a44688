"""Launching for real: signed layers, a real sandbox, a real log; and what is refused executes nothing."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest

from governance.runtime.models import Launch, RefusedLaunch, Service
from imprimatur.formats import canonical
from imprimatur.formats.keys import KeyPair
from tests.runtime.agents import OVERRIDE, Yard, claiming, entries, shown_configuration
from tests.runtime.served import PYTHON, private_key


def test_a_launch_is_attested_first_and_then_runs_as_attested(yard: Yard) -> None:
    process = yard.launch()

    launch = Launch.objects.get()
    assert launch.state == Launch.ATTESTED
    assert launch.document["command"] == yard.command
    assert launch.document["effective"]["limits"]["memory_mb"] == 256
    assert launch.signers == [yard.served.world.ada.pk]
    inside = claiming(launch.pk)
    agent = next(pid for pid in inside if Path(f"/proc/{pid}/exe").resolve() == Path(PYTHON))
    seen = shown_configuration(agent)
    assert seen == canonical.dumps(launch.document["effective"])
    assert f"sha256:{hashlib.sha256(seen).hexdigest()}" == launch.configuration
    environ = dict(
        line.split(b"=", 1) for line in Path(f"/proc/{agent}/environ").read_bytes().split(b"\0") if b"=" in line
    )
    assert environ[b"COLOUR"] == b"green"
    assert environ[b"IMPRIMATUR_LAUNCH"] == launch.pk.encode()
    assert set(environ) <= {b"COLOUR", b"IMPRIMATUR_LAUNCH", b"LANG", b"PWD"}
    assert int(Path(f"/proc/{agent}/status").read_text().partition("Uid:")[2].split()[0]) == yard.who.uid != 0

    done = yard.stop(process)

    assert done.returncode == 7
    assert done.stdout == "done\n"
    assert launch.pk in done.stderr
    assert entries("launch.ended") == [{"launch": launch.pk, "how": "exited", "code": 7}]
    assert list((yard.orchestrator / "launches").iterdir()) == []


def test_a_signal_reaches_the_agent_and_its_end_is_reported(yard: Yard) -> None:
    process = yard.launch()

    process.send_signal(signal.SIGTERM)
    done = yard.served.finish(process)

    assert done.returncode == 128 + signal.SIGTERM
    assert entries("launch.ended")[0]["how"] == "killed"


def test_an_agent_is_killed_when_its_time_is_over(yard: Yard) -> None:
    yard.write_override(OVERRIDE + "wall_seconds = 1\n")

    process = yard.launch()
    done = yard.served.finish(process)

    assert done.returncode == 128 + signal.SIGKILL
    assert entries("launch.ended") == [{"launch": Launch.objects.get().pk, "how": "killed", "code": 137}]


def test_nothing_outlives_a_launcher_that_was_killed_and_the_next_one_says_lost(yard: Yard) -> None:
    process = yard.launch()
    launch = Launch.objects.get().pk
    assert claiming(launch)

    process.kill()
    yard.served.finish(process)
    yard.served.until(lambda: not claiming(launch))
    told = yard.served.run("service", "resync", str(yard.orchestrator))

    assert told.returncode == 0, told.stderr
    assert f"{launch} was left by its launcher: lost" in told.stdout
    assert entries("launch.ended") == [{"launch": launch, "how": "lost"}]
    assert list((yard.orchestrator / "launches").iterdir()) == []


def test_a_launch_that_was_signed_and_never_answered_is_attested_later_and_then_lost(yard: Yard) -> None:
    yard.served.gate = lambda method, path: 0 if (method, path) == ("POST", "/api/v1/launches") else None

    refused = yard.served.run(*yard.words())

    assert refused.returncode == 1
    assert "Nothing was executed" in refused.stderr
    assert not yard.began
    assert not Launch.objects.exists()

    yard.served.gate = lambda method, path: None
    told = yard.served.run("service", "resync", str(yard.orchestrator))

    assert told.returncode == 0, told.stderr
    assert not yard.began
    assert entries("launch.ended") == [{"launch": Launch.objects.get().pk, "how": "lost"}]


def test_an_end_that_could_not_be_reported_is_reported_by_the_next_launch(yard: Yard) -> None:
    process = yard.launch()
    yard.served.gate = lambda method, path: 0 if path.endswith("/ended") else None
    done = yard.stop(process)
    assert done.returncode == 7
    assert "could not be reported" in done.stderr

    yard.served.gate = lambda method, path: None
    assert yard.served.run("service", "resync", str(yard.orchestrator)).returncode == 0

    assert entries("launch.ended") == [{"launch": Launch.objects.get().pk, "how": "exited", "code": 7}]


def test_two_launches_at_once_with_one_folder_contradict_nobody(yard: Yard) -> None:
    first, second = (yard.served.start(*yard.words()) for _ in range(2))
    yard.served.until(lambda: Launch.objects.count() == 2 or first.poll() is not None or second.poll() is not None)
    (yard.work / "stop").write_text("now")

    done = [yard.served.finish(each) for each in (first, second)]

    assert [each.returncode for each in done] == [7, 7], [each.stderr for each in done]
    assert Service.objects.get().size == 2
    assert len(entries("launch.ended")) == 2
    assert list((yard.orchestrator / "launches").iterdir()) == []


REFUSED = {
    "a wildcard import": (('"json", "os"', '"json", "*"'), "wildcard-import"),
    "no limit of memory": (("memory_mb = 512\n", ""), "unlimited-memory"),
    "unlimited memory": (("memory_mb = 512", "memory_mb = 0"), "unlimited-memory"),
    "a key that does not exist": (("[network]", '[network]\nescape = "yes"'), "unknown-key"),
    "a flag for the runtime": (('kind = "bwrap"', 'kind = "bwrap"\nflags = ["--debug"]'), "unsafe-flag"),
    "another realm": (('realm = "test.imprimatur"', 'realm = "other.imprimatur"'), "wrong-realm"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_configuration_must_not_say_starts_nothing_and_is_in_the_log(yard: Yard, what: str) -> None:
    change, code = REFUSED[what]
    yard.write_base(change)
    if code == "unlimited-memory":
        yard.write_override(OVERRIDE.replace("memory_mb = 256", "cpu_seconds = 50"))

    done = yard.served.run(*yard.words())

    assert done.returncode == 1
    assert f"{code}:" in done.stderr
    assert_refused(yard, code)


def test_a_flag_that_ignores_the_rules_starts_nothing(yard: Yard) -> None:
    done = yard.served.run(*yard.words(*yard.command, "--dangerously-skip-permissions"))

    assert done.returncode == 1
    assert_refused(yard, "unsafe-flag")


def test_an_unsigned_layer_starts_nothing(yard: Yard) -> None:
    yard.write_base(sign=False)

    done = yard.served.run(*yard.words())

    assert done.returncode == 1
    assert "ssh-keygen -Y sign" in done.stderr
    assert_refused(yard, "unsigned-layer")


def test_a_layer_that_somebody_else_signed_starts_nothing(yard: Yard) -> None:
    yard.write_base(key=private_key(KeyPair.generate(), yard.served.folder / "mallory"))

    done = yard.served.run(*yard.words())

    assert done.returncode == 1
    assert_refused(yard, "layer-signature")


def test_a_layer_that_changed_after_it_was_signed_starts_nothing(yard: Yard) -> None:
    yard.base.write_text(yard.base.read_text().replace("cpu_seconds = 60", "cpu_seconds = 59"))

    done = yard.served.run(*yard.words())

    assert done.returncode == 1
    assert_refused(yard, "layer-signature")


def test_an_agent_that_nobody_knows_is_not_started(yard: Yard) -> None:
    words = yard.words()
    words[words.index("--agent") + 1] = "ag_" + "a" * 32

    done = yard.served.run(*words)

    assert done.returncode == 1
    assert_refused(yard, "agent-unknown")


def assert_refused(yard: Yard, code: str) -> None:
    """Nothing ran, and the log says why."""
    assert not yard.began
    assert not Launch.objects.exists()
    (body,) = entries("launch.refused")
    assert code in {reason["code"] for reason in body["reasons"]}
    assert RefusedLaunch.objects.get().reasons == body["reasons"]
    assert Service.objects.get().size == 1
    assert list((yard.orchestrator / "launches").iterdir()) == []


def test_a_server_that_does_not_answer_starts_nothing(yard: Yard) -> None:
    yard.served.gate = lambda method, path: 0

    done = yard.served.run(*yard.words())

    assert done.returncode == 1
    assert "Nothing was executed" in done.stderr
    assert not yard.began


def test_a_layer_that_is_edited_after_it_was_read_changes_nothing_of_the_launch(yard: Yard) -> None:
    """The bytes that were read are attested and used. Afterwards the recorded digest tells that the file is another."""
    before = yard.base.read_bytes()

    def edit(method: str, path: str) -> None:
        if (method, path) == ("POST", "/api/v1/launches"):
            yard.base.write_bytes(before.replace(b"processes = 24", b"processes = 4000"))

    yard.served.gate = edit
    process = yard.launch()
    launch = Launch.objects.get()
    effective = launch.document["effective"]
    yard.stop(process)

    assert yard.base.read_bytes() != before
    assert effective["limits"]["processes"] == 24
    layer = next(each for each in launch.document["layers"] if each["name"] == "base.toml")
    assert layer["digest"] == f"sha256:{hashlib.sha256(before).hexdigest()}"
    assert layer["digest"] != f"sha256:{hashlib.sha256(yard.base.read_bytes()).hexdigest()}"


@pytest.mark.parametrize("late", [False, True], ids=["before", "while it is attested"])
def test_a_folder_that_an_agent_made_a_link_of_opens_nothing_else(yard: Yard, late: bool) -> None:
    """bwrap follows links: an agent that may write to a folder could lead the next launch out of it."""
    out = yard.work / "out"
    elsewhere = yard.work.parent / "elsewhere"
    elsewhere.mkdir()
    yard.write_base((f'write = ["{yard.work}"]', f'write = ["{yard.work}", "{out}"]'))

    def lead_away(method: str = "POST", path: str = "/api/v1/launches") -> None:
        if (method, path) == ("POST", "/api/v1/launches"):
            out.rmdir()
            out.symlink_to(elsewhere)

    out.mkdir()
    if late:
        yard.served.gate = lead_away
    else:
        lead_away()

    done = yard.served.run(*yard.words())

    assert done.returncode == 1, done.stderr
    assert f"'{out}' leads to '{elsewhere}'" in done.stderr
    assert not yard.began
    assert [body["how"] for body in entries("launch.ended")] == ["lost"]


def test_a_dry_run_sends_and_starts_nothing(yard: Yard) -> None:
    before = list(yard.served.asked)

    done = yard.served.run(*yard.words(options=("--dry-run",)))

    assert done.returncode == 0, done.stderr
    assert "--unshare-user" in done.stdout
    assert yard.served.asked == before
    assert not yard.began


def test_a_script_is_refused_by_its_own_name(yard: Yard) -> None:
    script = yard.code / "run"
    script.write_text(f"#!{PYTHON}\n")
    script.chmod(0o755)
    yard.write_base((f'allowed = ["{PYTHON}"]', f'allowed = ["{script}"]'))

    done = yard.served.run(*yard.words(str(script)))

    assert done.returncode == 1
    assert "name its interpreter" in done.stderr
    assert not yard.began


def test_a_proxy_is_said_not_to_be_there(yard: Yard) -> None:
    yard.write_base(('mode = "none"', 'mode = "proxy"'))

    done = yard.served.run(*yard.words())

    assert done.returncode == 2
    assert "no proxy" in done.stderr
    assert not yard.began


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can launch as somebody else")
def test_root_never_runs_an_agent_as_root(yard: Yard) -> None:
    done = yard.served.run(*yard.words(options=("--user", "root")))

    assert done.returncode == 2
    assert "never run as root" in done.stderr
    assert not yard.began


def test_another_runtime_is_declared_and_said_to_be(yard: Yard) -> None:
    marker = yard.work / "declared"
    yard.write_base(('kind = "bwrap"', 'kind = "docker"\nflags = ["--read-only"]'))
    outer = [
        "/bin/sh",
        "-c",
        f'echo "$@" > {marker}; exit 3',
        "docker",
        "--read-only",
        "-e",
        "IMPRIMATUR_LAUNCH={launch}",
    ]
    options = ("--runtime", "declared", "--kind", "docker", "--runtime-version", "27.1")

    done = yard.served.run(*yard.words(*outer, "--", *yard.command, options=options))

    assert done.returncode == 3, done.stderr
    assert "DECLARED" in done.stderr
    launch = Launch.objects.get()
    assert launch.launched is False
    assert launch.document["command"] == yard.command
    assert launch.document["flags"][-1] == f"IMPRIMATUR_LAUNCH={launch.pk}"
    assert f"IMPRIMATUR_LAUNCH={launch.pk}" in marker.read_text()
    assert entries("launch.ended") == [{"launch": launch.pk, "how": "exited", "code": 3}]


def test_a_declared_launch_that_outlives_its_launcher_is_not_called_lost_before_it_is(yard: Yard) -> None:
    pid_file = yard.work / "pid"
    yard.write_base(('kind = "bwrap"', 'kind = "docker"'))
    outer = [
        "/bin/sh",
        "-c",
        f"trap '' TERM; exec > /dev/null 2>&1; echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; sleep 300",
        "docker",
    ]
    options = ("--runtime", "declared", "--kind", "docker", "--runtime-version", "27.1")
    process = yard.served.start(*yard.words(*outer, "--", *yard.command, options=options))
    yard.served.until(lambda: pid_file.exists() or process.poll() is not None)
    process.kill()
    yard.served.finish(process)
    pid, launch = int(pid_file.read_text()), Launch.objects.get().pk
    try:
        told = yard.served.run("service", "resync", str(yard.orchestrator))
        assert told.returncode == 0, told.stderr
        assert f"{launch} was left by its launcher and still runs (process {pid})" in told.stdout
        assert entries("launch.ended") == []
    finally:
        os.killpg(pid, signal.SIGKILL)
    yard.served.until(lambda: not alive(pid))

    assert yard.served.run("service", "resync", str(yard.orchestrator)).returncode == 0
    assert entries("launch.ended") == [{"launch": launch, "how": "lost"}]


def alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_secret_is_told_on_the_spot_and_neither_signed_nor_sent(yard: Yard) -> None:
    secret = "ghp_" + "Zq7Rk2Wm9Tx4Lp8" * 2
    yard.write_base(("[network]", f"# {secret}\n[network]"))

    done = yard.served.run(*yard.words())

    assert done.returncode == 1
    assert "secret-in-configuration:" in done.stderr
    assert secret not in done.stdout + done.stderr
    assert not RefusedLaunch.objects.exists() and not Launch.objects.exists()
    held = [path.read_bytes() for path in yard.orchestrator.rglob("*") if path.is_file()]
    assert held and not any(secret.encode() in raw for raw in held)
