"""A desk that shows one thing and asks to sign another: every single difference is found before anything is signed."""

from __future__ import annotations

import copy
import os
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import imprimatur
from imprimatur import cards, cli
from imprimatur.cli import answer, ssh
from imprimatur.cli.say import MISMATCH, NO_ANSWER, REFUSED
from imprimatur.errors import ConfigError, ServerError
from imprimatur.formats import canonical, digests, sshsig, statement
from imprimatur.formats.encoding import b64
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.timestamps import format_time
from imprimatur.rules import tools
from tests.client.desk import key_file
from tests.client.lying_desk import (
    ANOTHER,
    OTHER,
    OTHER_DIGEST,
    PAYMENT,
    PERSON,
    REALM,
    REQUEST,
    TOOL,
    Card,
    Lie,
    LyingDesk,
    opening,
    rebind,
    restate,
    show,
    stated,
)
from tests.conftest import ssh_line

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")

PAIR = KeyPair.from_seed(b"p" * 32)
Run = Callable[..., int]


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("IMPRIMATUR_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return key_file(tmp_path, "rui", PAIR)


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The purposes that were signed for."""
    found: list[str] = []
    real = ssh.sign

    def sign(raw: bytes, path: Path, namespace: str, expected: sshsig.SshKey | None = None) -> dict[str, str]:
        found.append(namespace)
        return real(raw, path, namespace, expected)

    monkeypatch.setattr(ssh, "sign", sign)
    return found


@pytest.fixture
def desk(key: Path, monkeypatch: pytest.MonkeyPatch) -> LyingDesk:
    found = LyingDesk(ssh.public_key(key).fingerprint)
    monkeypatch.setattr("imprimatur.cli.desk.post", found.post)
    return found


@pytest.fixture
def run(key: Path, desk: LyingDesk, signed: list[str]) -> Run:
    def command(name: str, *more: str) -> int:
        options = ["--server", "http://127.0.0.1:9", "--realm", REALM, "--person", PERSON, "--key", str(key)]
        agreed = {"approve": ["--yes"], "confirm": ["--yes", "--typed", PAYMENT["payee"]]}.get(name, [])
        return cli.main([name, REQUEST, *options, *agreed, *more])

    return command


def edit(*path: str | int, to: Any) -> Lie:
    """Change one place deep inside what is shown."""

    def lie(card: Card) -> None:
        place: Any = card
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return lie


def both(*lies: Lie) -> Lie:
    def lie(card: Card) -> None:
        for one in lies:
            one(card)

    return lie


def at(seconds: float) -> str:
    return format_time(datetime.now(UTC) + timedelta(seconds=seconds))


def later(issued: float, until: float) -> Lie:
    def lie(card: Card) -> None:
        restate(issued_at=at(issued), expires_at=at(until))(card)

    return lie


def another_vote(**changes: Any) -> Lie:
    """An earlier answer that is really about something else, named by the statement all the same."""

    def lie(card: Card) -> None:
        document = {**canonical.loads(card["votes"][0]["statement"].encode()), **changes}
        inner = canonical.dumps({name: value for name, value in document.items() if value is not None})
        card["votes"][0]["statement"] = inner.decode()
        card["statement"] = stated(card, prev_vote=digests.sha256(inner))

    return lie


def other_tool(**changes: Any) -> Lie:
    return lambda card: card.update(tool={**copy.deepcopy(TOOL), **changes})


def consistent_tool(**changes: Any) -> Lie:
    """Another tool under the same name, with the binding and every digest made to match."""

    def lie(card: Card) -> None:
        card["tool"] = {**copy.deepcopy(TOOL), **changes}
        rebind(tool={"name": TOOL["name"], "schema": tools.digest(card["tool"])})(card)

    return lie


def bait(card: Card) -> None:
    """Show a cheap payment in every detail, and ask to sign the dear one."""
    dear = card["statement"]
    rebind(CHEAP)(card)
    card["statement"] = dear


def unreadable(card: Card) -> None:
    card["statement"] = card["statement"].replace(",", ", ", 1)


CHEAP = {**PAYMENT, "amount": "4.20"}
SECRET = opening("reason", "I was bribed", b"x" * 32)

# fmt: off
LIES: list[tuple[str, str, Lie, str]] = [
    # the action itself
    ("a binding of another run", "approve", edit("binding", "context", to={"run": "r2"}), "action digest"),
    ("a binding with more effects", "approve", rebind(effects=[{"action": "payment:send", "resource": "vendor/x"}]), "other effects"),
    ("a binding with another cost", "approve", rebind(cost={"amount": "1.00", "unit": "USD"}), "another cost"),
    ("a binding of another realm", "approve", rebind(realm="staging.example"), "Another binding"),
    ("a binding of another agent", "approve", rebind(agent="ag_" + "a" * 32), "Another binding"),
    ("a binding of another delegation", "approve", rebind(delegation=OTHER_DIGEST), "Another binding"),
    ("a binding that is none", "approve", edit("binding", "effects", to="all"), "cannot be read"),
    ("another value", "approve", edit("openings", 1, "value", to="4.20"), "not the one the action is bound to"),
    ("a value under another key", "approve", edit("openings", 1, "key", to="A" * 43), "not the one the action is bound to"),
    ("a value of no parameter", "approve", edit("openings", 1, to=opening("note", "x")[1]), "not the one the action is bound to"),
    ("a value twice", "approve", lambda card: card["openings"].append(card["openings"][0]), "twice"),
    ("a value left out", "approve", lambda card: card["openings"].pop(3), "is not the card the server names"),
    ("a value left out that decides", "approve", lambda card: card["openings"].pop(0), "cannot be derived"),
    ("lines of other values", "approve", both(rebind(CHEAP), edit("openings", 1, to=opening("amount", "42.00")[1])), "not the one the action is bound to"),
    ("another payment than is signed", "approve", bait, "Another action digest"),
    # how it looks
    ("another display digest shown", "approve", show(display_digest=OTHER_DIGEST), "is not the card the server names"),
    ("another display digest signed", "approve", restate(display_digest=OTHER_DIGEST), "Another display digest"),
    ("another display digest twice", "approve", both(show(display_digest=OTHER_DIGEST), restate(display_digest=OTHER_DIGEST)), "is not the card the server names"),
    ("another target", "confirm", show(target="vendor/x"), "Another target"),
    ("a tool with another sentence", "approve", other_tool(sentence="do nothing to {payee}"), "Another tool"),
    ("a tool that is no tool", "approve", other_tool(effects=[]), "Another tool"),
    ("a tool left out", "approve", show(tool=None), "leaves its document out"),
    ("a tool made up", "approve", both(rebind(tool={"name": "make_payment"})), "as known where it is not"),
    ("a tool of another name", "approve", consistent_tool(name="read_mail"), "Another tool"),
    ("a tool that can be undone", "approve", consistent_tool(reversibility="reversible"), "Another reversibility"),
    # the statement
    ("another request", "approve", restate(request=ANOTHER), "Another request"),
    ("another request shown", "approve", show(request=ANOTHER), "Another request"),
    ("a denial turned into a yes", "deny", restate(decision="approve"), "Another decision"),
    ("a yes turned into a confirmation", "approve", restate(decision="confirm"), "Another decision"),
    ("a grant instead", "approve", restate(decision="grant"), "Another decision"),
    ("another realm", "approve", restate(realm="staging.example"), "Another realm"),
    ("another realm shown", "approve", show(realm="staging.example"), "Another realm"),
    ("a lower risk shown", "approve", show(risk="HIGH"), "Another risk"),
    ("a lower risk signed", "approve", restate(risk="HIGH"), "Another risk"),
    ("a risk below the tool's", "approve", both(show(risk="LOW"), restate(risk="LOW")), "never below HIGH"),
    ("another way back", "approve", restate(reversibility="reversible"), "Another reversibility"),
    ("another way back shown", "approve", show(reversibility="reversible"), "Another reversibility"),
    ("another action", "approve", restate(action_digest=OTHER_DIGEST), "Another action digest"),
    ("another agent", "approve", restate(agent="ag_" + "a" * 32), "Another agent"),
    ("another delegation", "approve", restate(delegation=OTHER_DIGEST), "Another delegation"),
    ("another delegation shown", "approve", show(delegation=OTHER_DIGEST), "Another binding"),
    ("another policy", "approve", restate(policy=OTHER_DIGEST), "Another policy"),
    ("another version", "approve", restate(version=2), "Another version"),
    ("another stage", "approve", restate(stage=1), "Another stage"),
    ("a stage that confirms", "approve", both(show(stage=1), restate(stage=1)), "Another stage"),
    ("a stage that is not there", "approve", both(show(stage=5), restate(stage=5)), "Another stage"),
    ("another role", "approve", restate(role="admin"), "Another role"),
    ("another role twice", "approve", both(show(role="admin"), restate(role="admin")), "Another stage"),
    ("another person", "approve", restate(reviewer=OTHER), "Another reviewer"),
    ("another key", "approve", restate(credential="SHA256:" + "A" * 43), "Another credential"),
    ("no key", "approve", restate(credential=None), "Another credential"),
    ("another state", "approve", show(state="AWAITING_CONFIRMATION"), "Another state"),
    ("constraints", "approve", restate(constraints={"max_uses": 100}), "constraints"),
    ("a suggestion", "deny", restate(suggestion_commitment=SECRET[0]), "suggestion commitment"),
    ("a longer life", "approve", later(0, 3600), "within 120 seconds"),
    ("a time ahead", "approve", later(3600, 3700), "this machine's clock"),
    ("a time behind", "approve", later(-3700, -3600), "this machine's clock"),
    ("a statement in other bytes", "approve", unreadable, "no decision on one request"),
    ("a statement of another kind", "approve", restate(typ="imprimatur/grant/v1"), "no decision on one request"),
    # words
    ("another reason signed", "deny", restate(reason_commitment=SECRET[0]), "another reason"),
    ("another reason twice", "deny", both(restate(reason_commitment=SECRET[0]), show(reason=SECRET[1])), "another reason than you gave"),
    ("another reason shown", "deny", show(reason=SECRET[1]), "another reason"),
    ("a reason left out", "deny", both(restate(reason_commitment=None), lambda card: card.pop("reason")), "another reason than you gave"),
    ("a reason nobody gave", "approve", restate(reason_commitment=SECRET[0]), "another reason than you gave"),
    ("a justification that is none", "approve", show(justification=SECRET[1]), "something else as justification"),
    # who answered before
    ("another vote to build on", "confirm", restate(prev_vote=OTHER_DIGEST), "confirm another answer"),
    ("no vote to build on", "confirm", restate(prev_vote=None), "confirm another answer"),
    ("a vote to build on where none is", "approve", restate(prev_vote=OTHER_DIGEST), "which only a confirmation does"),
    ("a vote left out", "confirm", show(votes=[]), "confirm another answer"),
    ("a vote on another request", "confirm", another_vote(request=ANOTHER), "about something else"),
    ("a vote on another action", "confirm", another_vote(action_digest=OTHER_DIGEST), "about something else"),
    ("a vote in another realm", "confirm", another_vote(realm="staging.example"), "about something else"),
    ("a vote of another risk", "confirm", another_vote(risk="HIGH"), "about something else"),
    ("a vote that says no", "confirm", both(another_vote(decision="deny")), "Another answer before"),
    ("a vote of somebody else", "confirm", edit("votes", 0, "person", to=PERSON), "Another answer before"),
    ("a click shown as a key", "confirm", another_vote(credential=None), "strength"),
    ("a vote with another reason", "confirm", edit("votes", 0, "reason", to=SECRET[1]), "another reason"),
    ("a vote that cannot be read", "confirm", edit("votes", 0, "statement", to="{}"), "not a statement"),
    # the answer as a whole
    ("no answer that can be read", "approve", lambda card: card.pop("stages"), "another version"),
    ("numbers for words", "approve", show(role=7), "another version"),
]
# fmt: on


@pytest.mark.parametrize("decision", ["approve", "confirm", "deny"])
def test_an_honest_desk_is_signed_for(run: Run, desk: LyingDesk, signed: list[str], decision: str, key: Path) -> None:
    desk.lie = show(something_new="a newer desk may say more")
    assert run(decision, "--reason", "because") == 0
    assert signed == ["imprimatur-read-v1", "imprimatur-decision-v1"]
    [(_, asked), (path, sent)] = desk.posted
    assert path == "/terminal/answer"
    assert asked["decision"] == decision
    assert sent.get("typed") == (PAYMENT["payee"] if decision == "confirm" else None)
    said = statement.parse(desk.honest(decision, "because")["statement"].encode())
    assert said["decision"] == decision
    assert sshsig.parse(sent["value"]).key == ssh.public_key(key)


@pytest.mark.parametrize(("decision", "lie", "words"), [case[1:] for case in LIES], ids=[case[0] for case in LIES])
def test_a_lie_is_found_before_anything_is_signed(
    run: Run,
    desk: LyingDesk,
    signed: list[str],
    capsys: pytest.CaptureFixture[str],
    decision: str,
    lie: Lie,
    words: str,
) -> None:
    desk.lie = lie
    given = ["--reason", "because"] if decision == "deny" else []
    assert run(decision, *given) == MISMATCH
    said = capsys.readouterr().err
    assert words in said
    assert said.startswith("imprimatur: Nothing was signed")
    assert signed == ["imprimatur-read-v1"]
    assert [path for path, _ in desk.posted] == ["/terminal/card"]


@pytest.mark.parametrize("name", sorted(LyingDesk("").honest("confirm", "x")))
@pytest.mark.parametrize("value", [None, [], {}, 7, "\x1b[2J", [None], {"a": None}])
def test_whatever_a_desk_says_is_never_a_crash(
    run: Run, desk: LyingDesk, signed: list[str], capsys: pytest.CaptureFixture[str], name: str, value: Any
) -> None:
    desk.lie = show(**{name: value})
    assert run("confirm", "--reason", "x") == MISMATCH
    assert "imprimatur-decision-v1" not in signed
    assert "\x1b" not in "".join(capsys.readouterr())


def test_what_is_withheld_of_a_critical_action_is_said_loudly(
    run: Run, desk: LyingDesk, capsys: pytest.CaptureFixture[str]
) -> None:
    def withhold(card: Card) -> None:
        hidden = opening("account", "DE02 1203 0000")[0]
        rebind(parameters={**card["binding"]["parameters"], "account": hidden})(card)
        assert cards.render(card["binding"], PAYMENT, TOOL).withheld == ("account",)

    desk.lie = withhold
    assert run("review") == 0
    said = capsys.readouterr().out
    assert "WITHHELD, and CRITICAL" in said
    assert "account" in said


# --- time, and what gets lost -----------------------------------------------------------------------------------------


def test_whoever_reads_slowly_signs_a_fresh_statement_of_the_same(
    run: Run, desk: LyingDesk, signed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "SPARE", 1000)
    assert run("approve") == 0
    assert [path for path, _ in desk.posted] == ["/terminal/card", "/terminal/card", "/terminal/answer"]
    assert signed[-1] == "imprimatur-decision-v1"


def test_what_changed_while_somebody_read_is_not_signed(
    run: Run,
    desk: LyingDesk,
    signed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(answer, "SPARE", 1000)
    desk.later = rebind(CHEAP)
    assert run("approve") == REFUSED
    assert "changed while you were reading" in capsys.readouterr().err
    assert "imprimatur-decision-v1" not in signed


def test_an_answer_that_may_have_arrived_is_told_as_such(
    run: Run, desk: LyingDesk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = desk.post

    def post(server: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path == "/terminal/answer":
            raise ServerError("nobody there")
        return honest(server, path, body)

    monkeypatch.setattr("imprimatur.cli.desk.post", post)
    assert run("approve") == NO_ANSWER
    assert f"imprimatur review {REQUEST}" in capsys.readouterr().err


# --- security keys ----------------------------------------------------------------------------------------------------

SOFT_KEY = """#!{python} -S
import sys
sys.path[:0] = {path!r}
from imprimatur.formats import sshsig
from imprimatur.formats.keys import KeyPair
import hashlib
def string(raw): return len(raw).to_bytes(4, "big") + raw
words = sys.argv[1:]
namespace = words[words.index("-n") + 1]
pair, kind = KeyPair.from_seed(b"p" * 32), b"sk-ssh-ed25519@openssh.com"
blob = string(kind) + string(pair.public_key) + string(b"ssh:")
tail = bytes([{flags}]) + (7).to_bytes(4, "big")
inner = sshsig.signed_data(sys.stdin.buffer.read(), namespace)
value = pair.sign(hashlib.sha256(b"ssh:").digest() + tail + hashlib.sha256(inner).digest())
sys.stdout.write(sshsig.armor(b"SSHSIG" + (1).to_bytes(4, "big") + string(blob) + string(namespace.encode())
    + string(b"") + string(b"sha512") + string(string(kind) + string(value) + tail)))
"""


@pytest.fixture
def soft_key(key: Path, desk: LyingDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Put a security key made of software, with these flags, in the place of the ordinary key."""

    def string(raw: bytes) -> bytes:
        return len(raw).to_bytes(4, "big") + raw

    kind = b"sk-ssh-ed25519@openssh.com"
    line = f"{kind.decode()} {b64(string(kind) + string(PAIR.public_key) + string(b'ssh:'))} rui's key"
    key.with_suffix(".pub").write_text(line + "\n")
    desk.credential = sshsig.parse_public_key(line).fingerprint

    def touch(flags: int) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "ssh-keygen"
        program.write_text(
            SOFT_KEY.format(
                python=sys.executable,
                path=[str(Path(imprimatur.__file__).parent.parent), *filter(None, sys.path)],
                flags=flags,
            )
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return touch


def test_a_security_key_signs_when_touched(
    run: Run, desk: LyingDesk, soft_key: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    soft_key(0x05)
    assert run("approve") == 0
    assert "Touch your security key" in capsys.readouterr().err
    assert sshsig.parse(desk.posted[-1][1]["value"]).user_verified


def test_a_security_key_that_was_not_touched_counts_for_nothing(
    run: Run, desk: LyingDesk, soft_key: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    soft_key(0x00)
    assert run("approve") == 2
    assert "was not touched" in capsys.readouterr().err
    assert desk.posted == []


def test_another_key_than_the_one_named_signs_nothing(
    run: Run, desk: LyingDesk, key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key.with_suffix(".pub").write_text(ssh_line(KeyPair.generate()) + "\n")
    assert run("approve") == 2
    assert "Check --key" in capsys.readouterr().err
    assert desk.posted == []
    stranger = sshsig.parse_public_key(ssh_line(KeyPair.generate()))
    key.with_suffix(".pub").unlink()
    with pytest.raises(ConfigError, match="was made by"):
        ssh.sign(b"x", key, "imprimatur-read-v1", stranger)
