"""The command line as a person meets it: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from imprimatur.formats import canonical, delegation
from imprimatur.formats.encoding import b64u
from imprimatur.formats.ids import agent_id
from imprimatur.formats.keys import KeyPair
from imprimatur.testing import DELEGATION, REALM, Door

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
AGENT = agent_id(KeyPair.from_seed(b"a" * 32).public_key)
PERSON = "pe_01m7vzr4mecxrdqmb9a32t36ag"


def run(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("IMPRIMATUR_")}
    done = subprocess.run(
        [sys.executable, "-m", "imprimatur", *words],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=180,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 1 or done.returncode == 0
    return done


class Server:
    """A door in memory behind a real socket, with the two addresses that need no signature."""

    def __init__(self, key: KeyPair) -> None:
        self.door = Door({"quick": "allow", "slow": "approve", "no": "deny", "stuck": "pending"}, agent_key=key)
        self.delegated: list[dict[str, Any]] = []
        self.enrolled: list[dict[str, Any]] = []
        self.agent_state = "active"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve()

            def do_POST(self) -> None:
                self._serve()

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                answer = outer.answer(self.command, self.path, dict(self.headers), body)
                self.send_response(answer.status_code)
                for name, value in answer.headers.items():
                    if name.lower() not in ("content-length", "date"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def trust(self) -> dict[str, Any]:
        return {"realm": REALM, "decision": [{"key": b64u(self.door.decision_key.public_key), "from": 0}]}

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx2.Response:
        if path == "/.well-known/imprimatur":
            return httpx2.Response(200, json=self.trust)
        if path == "/delegations/signed":
            self.delegated.append(canonical.loads(body))
            return httpx2.Response(201, json={"id": "x"})
        if path == "/api/v1/enroll":
            self.enrolled.append(canonical.loads(body))
            return httpx2.Response(201, json={"agent": self.door.agent, "name": "robo", "realm": REALM})
        if path == "/api/v1/me":
            agent = {"id": self.door.agent, "name": "robo", "state": self.agent_state, "owner": "Ada"}
            held = [{"id": DELEGATION, "document": {"not_after": "2030-01-01T00:00:00.000Z"}}]
            signed = self.door.handle(httpx2.Request(method, self.url + path, headers=headers, content=body))
            if signed.status_code != 200:
                return signed
            return httpx2.Response(200, json={**signed.json(), "agent": agent, "delegations": held})
        return self.door.handle(httpx2.Request(method, self.url + path, headers=headers, content=body))


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[tuple[Server, dict[str, str]]]:
    """A server and the environment of an agent that is enrolled there."""
    key = KeyPair.generate()
    key.save(tmp_path / "agent.key")
    server = Server(key)
    pin = tmp_path / "trust.json"
    pin.write_text(json.dumps(server.trust))
    yield (
        server,
        {
            "IMPRIMATUR_URL": server.url,
            "IMPRIMATUR_KEY": str(tmp_path / "agent.key"),
            "IMPRIMATUR_TRUST": str(pin),
            "IMPRIMATUR_DELEGATION": DELEGATION,
        },
    )
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def ssh_key(tmp_path: Path) -> Path:
    path = tmp_path / "ada"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", str(path)], check=True)
    return path


def delegate(cwd: Path, key: Path, *more: str, **changes: str) -> subprocess.CompletedProcess[str]:
    given = {"issuer": PERSON, "to": AGENT, "realm": REALM, "expires": "2h", **changes}
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    return run("delegate", *words, "--scope", "file:write:/project/src", "--key", str(key), *more, cwd=cwd)


def test_keygen_makes_a_key_only_its_owner_reads_and_never_overwrites(tmp_path: Path) -> None:
    made = run("keygen", cwd=tmp_path)
    path = tmp_path / "agent.key"
    assert made.returncode == 0
    assert agent_id(KeyPair.load(path).public_key) in made.stdout
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b64u(KeyPair.load(path).seed) not in made.stdout + made.stderr
    before = path.read_bytes()
    again = run("keygen", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr
    assert path.read_bytes() == before


@needs_ssh
def test_a_delegation_is_shown_signed_and_accepted_by_ssh_keygen(tmp_path: Path, ssh_key: Path) -> None:
    options = ("--spend", "150", "--per-action", "50.5", "--purpose", "Tidy", "--tool", "write_file", "--yes")
    done = delegate(tmp_path, ssh_key, *options, "--out", "d.json")
    assert done.returncode == 0, done.stderr
    held = canonical.loads((tmp_path / "d.json").read_bytes())
    raw = canonical.dumps(held["document"])
    assert raw.decode() in done.stdout
    assert delegation.delegation_id(held["document"]) in done.stdout
    assert held["document"]["spend"] == {"unit": "USD", "limit": "150.00", "per_action": "50.50"}
    assert held["document"]["max_depth"] == 0
    line = ssh_key.with_suffix(".pub").read_text()
    assert delegation.verify_ssh_signature(held["document"], held["signature"], line)
    (tmp_path / "signers").write_text(f"ada {line}")
    (tmp_path / "d.sig").write_text(held["signature"]["value"])
    checked = subprocess.run(
        [
            *("ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "signers"), "-I", "ada"),
            *("-n", delegation.SSH_NAMESPACE, "-s", str(tmp_path / "d.sig")),
        ],
        input=raw,
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


@needs_ssh
def test_a_delegation_is_handed_in_with_its_signature(tmp_path: Path, ssh_key: Path, agent: Any) -> None:
    server, _ = agent
    done = delegate(tmp_path, ssh_key, "--yes", "--submit", server.url)
    assert done.returncode == 0, done.stderr
    (sent,) = server.delegated
    assert delegation.verify_ssh_signature(sent["document"], sent["signature"], ssh_key.with_suffix(".pub").read_text())


@needs_ssh
def test_nothing_is_signed_without_a_yes(tmp_path: Path, ssh_key: Path) -> None:
    done = delegate(tmp_path, ssh_key)
    assert done.returncode == 1
    assert "Nothing was signed" in done.stderr
    assert not list(tmp_path.glob("delegation-*"))


BAD_DELEGATIONS: list[tuple[dict[str, str], tuple[str, ...], str]] = [
    ({"expires": "soon"}, (), "is no time"),
    ({"expires": "2020-01-01T00:00:00.000Z"}, (), "later than not_before"),
    ({"to": "robo"}, (), "ag_"),
    ({}, ("--scope", "file:write:/a/../b"), "cannot be written"),
    ({}, ("--spend", "-5"), ""),
    ({}, ("--spend", "1e3"), "decimal"),
    ({}, ("--per-action", "5"), "--spend"),
    ({}, ("--max-depth", "99"), "max_depth"),
    ({}, ("--key", "nowhere"), "no SSH key"),
]


@needs_ssh
@pytest.mark.parametrize(("changes", "more", "said"), BAD_DELEGATIONS)
def test_a_delegation_that_makes_no_sense_is_refused_in_one_line(
    tmp_path: Path, ssh_key: Path, changes: dict[str, str], more: tuple[str, ...], said: str
) -> None:
    done = delegate(tmp_path, ssh_key, *more, "--yes", **changes)
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.glob("delegation-*"))


@needs_ssh
def test_a_key_of_another_kind_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "old"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(path)], check=True)
    done = delegate(tmp_path, path, "--yes")
    assert done.returncode == 2
    assert "cannot be used" in done.stderr


def test_enroll_pins_the_server_and_prints_what_to_compare(tmp_path: Path, agent: Any) -> None:
    server, environment = agent
    trust = b64u(json.dumps(server.trust).encode())
    done = run("enroll", "--token", "inv_abcdefghijklmnop", "--trust", trust, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    key = KeyPair.load(environment["IMPRIMATUR_KEY"])
    assert server.enrolled == [{"token": "inv_abcdefghijklmnop", "public_key": b64u(key.public_key)}]
    assert "fingerprint" in done.stdout
    assert json.loads(Path(environment["IMPRIMATUR_KEY"] + ".trust.json").read_text()) == server.trust


def test_enroll_shows_its_token_to_no_other_server(tmp_path: Path, agent: Any) -> None:
    server, environment = agent
    other = {"realm": REALM, "decision": [{"key": b64u(KeyPair.generate().public_key), "from": 0}]}
    done = run("enroll", "--token", "inv_x", "--trust", json.dumps(other), cwd=tmp_path, **environment)
    assert done.returncode == 2
    assert "not the server of the pin" in done.stderr
    assert server.enrolled == []


def test_doctor_finds_nothing_wrong_where_nothing_is(tmp_path: Path, agent: Any) -> None:
    _, environment = agent
    done = run("doctor", cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stdout
    assert "problem" not in done.stdout


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("mode", "chmod 600"),
        ("address", "does not answer"),
        ("pin", "not the server of the pin"),
        ("delegation", "not a standing delegation"),
        ("suspended", "suspended"),
        ("nothing", "Set IMPRIMATUR_URL"),
    ],
)
def test_doctor_says_what_is_wrong_and_what_to_do(tmp_path: Path, agent: Any, trouble: str, said: str) -> None:
    server, environment = agent
    if trouble == "mode":
        Path(environment["IMPRIMATUR_KEY"]).chmod(0o644)
    elif trouble == "address":
        environment["IMPRIMATUR_URL"] = "http://127.0.0.1:9"
    elif trouble == "pin":
        other = {"realm": "other.example", "decision": server.trust["decision"]}
        Path(environment["IMPRIMATUR_TRUST"]).write_text(json.dumps(other))
    elif trouble == "delegation":
        environment["IMPRIMATUR_DELEGATION"] = "sha256:" + "0" * 64
    elif trouble == "suspended":
        server.agent_state = "suspended"
    else:
        environment.clear()
    done = run("doctor", cwd=tmp_path, **environment)
    assert done.returncode == 1
    assert said in done.stdout


@pytest.mark.parametrize(
    ("tool", "more", "status"),
    [
        ("quick", (), 0),
        ("slow", (), 0),
        ("no", (), 1),
        ("stuck", ("--no-wait",), 3),
        ("quick", ("-p", "nonsense"), 2),
        ("quick", ("--risk", "SOME"), 2),
    ],
)
def test_request_ends_with_the_status_of_the_answer(
    tmp_path: Path, agent: Any, tool: str, more: tuple[str, ...], status: int
) -> None:
    _, environment = agent
    done = run("request", tool, *more, cwd=tmp_path, **environment)
    assert done.returncode == status, done.stderr


@pytest.mark.parametrize(("tool", "status", "there"), [("quick", 0, True), ("slow", 0, True), ("no", 1, False)])
def test_invariant_1_a_command_runs_only_when_it_is_allowed(
    tmp_path: Path, agent: Any, tool: str, status: int, there: bool
) -> None:
    server, environment = agent
    done = run("request", tool, "-p", "path=made", "--", "touch", "made", cwd=tmp_path, **environment)
    assert done.returncode == status, done.stderr
    assert (tmp_path / "made").exists() is there
    (asked,) = server.door.asked.values()
    assert asked.parameters == {"path": "made"}
    assert (asked.states[-1] == "SUCCEEDED") is there


def test_a_command_that_fails_is_reported_and_its_status_is_ours(tmp_path: Path, agent: Any) -> None:
    server, environment = agent
    done = run("request", "quick", "--", "sh", "-c", "exit 7", cwd=tmp_path, **environment)
    assert done.returncode == 7
    (asked,) = server.door.asked.values()
    assert asked.states[-1] == "FAILED"
    assert asked.result == "exit status 7"


def test_wait_tells_the_answer(tmp_path: Path, agent: Any) -> None:
    server, environment = agent
    run("request", "slow", "--no-wait", cwd=tmp_path, **environment)
    (identifier,) = server.door.asked
    done = run("wait", identifier, cwd=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert "allow" in done.stdout
    unknown = run("wait", "act_01m7vzr4mecxrdqmb9a32t36ag", cwd=tmp_path, **environment)
    assert unknown.returncode == 1


def test_no_server_ends_with_its_own_status(tmp_path: Path, agent: Any) -> None:
    _, environment = agent
    done = run("request", "quick", cwd=tmp_path, **{**environment, "IMPRIMATUR_URL": "http://127.0.0.1:9"})
    assert done.returncode == 4
    assert "no answer" in done.stderr


def test_verify_is_reached_from_here(tmp_path: Path) -> None:
    done = run("verify", "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "trust" in done.stdout
    (tmp_path / "broken.zip").write_bytes(b"not a bundle")
    assert run("verify", "broken.zip", cwd=tmp_path).returncode != 0


@pytest.mark.parametrize("words", [(), ("fly",), ("request",), ("keygen", "a", "b")])
def test_wrong_use_is_one_line_and_status_2(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert "--help" in done.stderr
