"""Who on this machine, or beyond it, can reach or read anything."""

from __future__ import annotations

import json
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.group import children
from tests.installation import Installation

pytestmark = pytest.mark.e2e

LISTENING = "0A"
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}


def tree(pid: int) -> set[int]:
    """A process and all below it."""
    found = {pid}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):
            for child in (task / "children").read_text(encoding="ascii").split():
                found |= tree(int(child))
    return found


def listening(pids: set[int]) -> list[tuple[int, str, int]]:
    """Process, address in the kernel's hex, port: every TCP socket these processes listen on."""
    sockets = {}
    for pid in pids:
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                target = str(handle.readlink())
                if target.startswith("socket:["):
                    sockets[target[8:-1]] = pid
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
            part = line.split()
            if part[3] == LISTENING and part[9] in sockets:
                address, _, port = part[1].partition(":")
                found.append((sockets[part[9]], address, int(port, 16)))
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_nothing_listens_but_on_this_machine_and_redis_on_no_port_at_all(desk: Installation) -> None:
    found = listening(tree(desk.process.pid))
    assert {address for _, address, _ in found} <= LOOPBACK
    redis = children(desk)["redis"]
    assert redis not in {pid for pid, _, _ in found}
    web = children(desk)["web"]
    assert {port for pid, _, port in found if pid == web} == {int(desk.url.rpartition(":")[2])}


def test_invariant_11_no_other_user_of_this_machine_reads_the_data(desk: Installation) -> None:
    data = desk.data
    assert mode(data) == 0o700
    assert mode(data / "keys") == 0o700
    secret = [*(data / "keys").iterdir(), data / "demo.json", data / "secret.key", *(data / "demo").glob("*.key")]
    assert len(secret) >= 5
    for path in secret:
        assert mode(path) == 0o600, path
    assert mode(data / "demo" / "ada_ed25519") == 0o600
    assert mode(data / "run" / "redis.sock") & 0o077 == 0
    for path in (*data.glob("imprimatur.sqlite3*"), *(data / "inbox").iterdir(), *(data / "redis").rglob("*")):
        with suppress(FileNotFoundError):  # what Redis and the inbox keep for a moment only
            assert mode(path) & 0o077 == 0, path


def test_invariant_11_no_secret_is_in_what_the_installation_prints_or_logs(desk: Installation) -> None:
    """The demo's passwords are printed on purpose; keys, tokens and the session secret never are."""
    said = desk.output.read_text(encoding="utf-8", errors="replace")
    said += (desk.data / "demo" / "agent.log").read_text(encoding="utf-8")
    secrets = [(desk.data / "secret.key").read_text(encoding="ascii")]
    files = [*(desk.data / "keys").glob("*.key"), desk.data / "demo" / "robo.key"]
    secrets += [json.loads(path.read_bytes())["d"] for path in files]
    token = json.loads((desk.data / "demo" / "invitation.json").read_bytes()).get("token")
    secrets += [token] if token else []
    assert len(secrets) >= 4
    for secret in secrets:
        assert secret not in said
