"""Answering from a terminal: against the real desk, and against desks that lie."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from approvals import eligibility
from approvals.models import ActionRequest, Vote
from approvals.views import terminal as endpoints
from audit.log import commit, utc_now
from audit.models import Opening
from governance import enrolment
from governance.actions import revoke_person_key
from governance.models import PersonKey
from governance.templatetags.signing import by_four
from governance.views import terminal_keys
from governance.views.signed import MOST_A_MINUTE
from imprimatur.formats import canonical
from imprimatur.formats.keys import KeyPair
from imprimatur.rules.policy import DEFAULT_POLICY
from tests.client.desk import Desk, Done, Terminal, key_file
from tests.conftest import World
from tests.desk.requests import PAY, ask

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")

CARD, ANSWER = "/terminal/card", "/terminal/answer"


@pytest.fixture(autouse=True)
def limits(settings: Any) -> Iterator[None]:
    settings.ROOT_URLCONF = "server.urls"
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name and "server." not in name]
    for limit in (endpoints.limit, terminal_keys.limit):
        limit.forget()
    yield
    for limit in (endpoints.limit, terminal_keys.limit):
        limit.forget()


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world(DEFAULT_POLICY)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    found = Desk(tmp_path)
    yield found
    found.http.server_close()


@pytest.fixture
def sit(world: World, desk: Desk, tmp_path: Path) -> Callable[[str], Terminal]:
    """Give somebody of the cast an SSH key in force, and sit them down at their machine."""

    def at(who: str) -> Terminal:
        key = world.ssh_signing(who)
        return Terminal(desk, world, who, key_file(tmp_path, who, world.ssh_keys[key.fingerprint]))

    return at


@pytest.fixture
def rui(sit: Callable[[str], Terminal]) -> Terminal:
    return sit("rui")


def state(request: ActionRequest) -> str:
    request.refresh_from_db()
    return str(request.state)


# --- answers --------------------------------------------------------------------------------------------------------


def test_a_reviewer_reads_and_approves_with_their_own_key(world: World, rui: Terminal) -> None:
    request = ask(world)
    done = rui.run("approve", request.id, "--reason", "matches the plan", types="yes\n")
    assert done.returncode == 0, done.stderr
    for words in ("/project/src/old.py", "HIGH", "robo", "This is routine", "matches the plan", "fingerprint"):
        assert words in done.stdout
    assert "APPROVED" in done.stdout
    assert state(request) == "APPROVED"
    [vote] = eligibility.live_votes(request)
    assert (vote.assurance, vote.decision, vote.person_id) == ("H2", "approve", world.rui.id)
    assert f"log entry    {vote.index}" in done.stdout


def test_a_critical_action_is_approved_by_one_and_confirmed_by_another(
    world: World, rui: Terminal, sit: Callable[[str], Terminal]
) -> None:
    rosa = sit("rosa")
    request = ask(world, *PAY)
    assert rui.run("approve", request.id, "--reason", "the usual vendor", "--yes").returncode == 0
    assert state(request) == "AWAITING_CONFIRMATION"
    same = rui.run("confirm", request.id, "--yes", "--typed", "vendor/nordhav")
    assert same.returncode == 1
    wrong = rosa.run("confirm", request.id, "--yes", "--typed", "vendor/nordhaf")
    assert wrong.returncode == 2
    assert "not the name of the target" in wrong.stderr
    assert state(request) == "AWAITING_CONFIRMATION"
    done = rosa.run("confirm", request.id, types="vendor/nordhav\nyes\n")
    assert done.returncode == 0, done.stderr
    assert "Rui Falk" in done.stdout
    assert "the usual vendor" in done.stdout
    assert "H2 by the desk's word" in done.stdout
    assert state(request) == "APPROVED"


def test_a_denial_is_signed_and_needs_words_but_no_question(world: World, rui: Terminal) -> None:
    request = ask(world)
    silent = rui.run("deny", request.id)
    assert silent.returncode == 2
    assert "--reason" in silent.stderr
    assert rui.desk.sent == []
    done = rui.run("deny", request.id, "--reason", "Not this one.", "--json")
    assert done.returncode == 0, done.stderr
    assert done.json["state"] == "DENIED"
    assert state(request) == "DENIED"
    [vote] = Vote.objects.all()
    assert vote.assurance == "H2"


def test_reading_answers_nothing(world: World, rui: Terminal) -> None:
    request = ask(world)
    done = rui.run("review", request.id)
    assert done.returncode == 0, done.stderr
    assert "/project/src/old.py" in done.stdout
    assert rui.desk.paths == [CARD]
    assert state(request) == "PENDING"


def test_the_address_of_the_page_will_do_on_this_desk_only(world: World, rui: Terminal) -> None:
    request = ask(world)
    assert rui.run("review", f"{rui.desk.url}/requests/{request.id}/").returncode == 0
    other = rui.run("review", f"https://desk.example.net/requests/{request.id}/")
    assert other.returncode == 2
    assert "not on" in other.stderr
    assert rui.run("review", "act_1").returncode == 2
    assert rui.desk.paths == [CARD]


def test_invariant_2_without_a_yes_nothing_is_signed_or_sent(world: World, rui: Terminal) -> None:
    request = ask(world)
    for answer in ("no\n", "\n", "\x04"):
        done = rui.run("approve", request.id, types=answer)
        assert done.returncode == 1
        assert "nothing sent" in done.stderr
    stopped = rui.run("approve", request.id, types="", interrupt=CARD)
    assert stopped.returncode == 1
    assert "Stopped. No answer was sent" in stopped.stderr
    assert set(rui.desk.paths) == {CARD}
    assert state(request) == "PENDING"


def test_invariant_2_nobody_at_the_terminal_is_no_yes(world: World, rui: Terminal) -> None:
    request = ask(world, *PAY)
    done = rui.run("approve", request.id)
    assert done.returncode == 1
    assert "Answer yes at the terminal" in done.stderr
    unnamed = rui.run("confirm", request.id, "--yes")
    assert unnamed.returncode == 2
    assert "--typed" in unnamed.stderr
    assert rui.desk.sent == []


def test_yes_in_advance_does_not_skip_the_card_and_json_keeps_it_apart(world: World, rui: Terminal) -> None:
    request = ask(world)
    done = rui.run("approve", request.id, "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert "/project/src/old.py" in done.stderr
    assert done.json == {
        "request": request.id,
        "state": "APPROVED",
        "decision": "approve",
        "vote": eligibility.live_votes(request)[0].index,
        "action_digest": request.action_digest,
        "display_digest": request.display_digest,
        "withheld": [],
    }


MAIL = {"to": ["kim@example.org"], "subject": "Hello", "body": "One\nTwo\n"}
CODE = {"code": "print('hello')\n", "cwd": "/project"}


@pytest.mark.parametrize(
    ("tool", "parameters", "more", "words"),
    [
        ("send_email", MAIL, {}, "kim@example.org"),
        ("execute_code", CODE, {}, "print('hello')"),
        ("paint", {"colour": "red"}, {"effects": [{"action": "file:write", "resource": "/project/src/a"}]}, "claim"),
    ],
)
def test_what_the_desk_makes_of_every_kind_of_action_is_what_the_client_makes_of_it(
    world: World, rui: Terminal, tool: str, parameters: dict[str, Any], more: dict[str, Any], words: str
) -> None:
    request = ask(world, tool, parameters, **more)
    done = rui.run("approve", request.id, "--yes")
    assert done.returncode == 0, done.stderr
    assert words in done.stdout
    assert state(request) in ("APPROVED", "AWAITING_CONFIRMATION")


def test_invariant_9_an_agents_text_moves_no_cursor_and_forges_no_line(world: World, rui: Terminal) -> None:
    request = ask(world, says="ok\x1b[2J\nrisk         LOW\u202e")
    done = rui.run("review", request.id)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "⟦U+001B⟧" in done.stdout
    assert not any(line.startswith("risk         LOW") for line in done.stdout.splitlines())


# --- what stands in the way -------------------------------------------------------------------------------------------


def test_every_refusal_says_what_to_do_next(
    world: World, desk: Desk, rui: Terminal, sit: Callable[[str], Terminal], tmp_path: Path
) -> None:
    request = ask(world)
    ada_key = world.vouch(world.enrolled_ssh("ada"))
    ada = Terminal(desk, world, "ada", key_file(tmp_path, "ada", world.ssh_keys[ada_key.fingerprint]))
    waiting = world.enrolled_ssh("rosa")
    rosa = Terminal(desk, world, "rosa", key_file(tmp_path, "rosa", world.ssh_keys[waiting.fingerprint]))

    def said(done: Done, status: int = 1) -> str:
        assert done.returncode == status, done.stderr
        assert done.stderr.startswith("imprimatur: ")
        return done.stderr

    assert "You own robo" in said(ada.run("approve", request.id, "--yes"))
    assert "once somebody has vouched" in said(rosa.run("approve", request.id, "--yes"))
    elsewhere = desk.run("approve", request.id, *rui.options, "--realm", "staging.example", "--yes")
    assert "another installation" in said(elsewhere)
    assert "no answer from" in said(rui.run("approve", request.id, "--yes", "--server", "http://127.0.0.1:9"), 4)
    assert "approval first" in said(rui.run("confirm", request.id, "--yes", "--typed", "x"))
    desk.change[CARD] = lambda card: (302, {})
    assert "Is this the desk's address?" in said(rui.run("approve", request.id, "--yes"), 4)
    desk.change.clear()
    assert rui.run("approve", request.id, "--yes").returncode == 0
    assert "pproved" in said(rui.run("approve", request.id, "--yes"))
    late = ask(world)
    ActionRequest.objects.filter(pk=late.id).update(expires_at=utc_now())
    assert "denied" in said(rui.run("approve", late.id, "--yes"))
    missing = "act_" + "0" * 26
    assert said(rui.run("approve", missing, "--yes"))
    commit(revoke_person_key.apply, revoke_person_key.Command(rui_key(world), "lost", by=world.ada))
    assert "look under Your keys" in said(rui.run("review", request.id))
    for _ in range(MOST_A_MINUTE):
        endpoints.limit.exceeded("127.0.0.1")
    assert "Wait a moment" in said(rui.run("review", request.id))


def rui_key(world: World) -> str:
    return str(world.key_of("rui").fingerprint)


def test_what_changes_between_reading_and_signing_is_refused_by_the_desk(world: World, rui: Terminal) -> None:
    request = ask(world)

    def cancelled(card: dict[str, Any]) -> None:
        ActionRequest.objects.filter(pk=request.id).update(expires_at=utc_now())

    rui.desk.change[CARD] = cancelled
    done = rui.run("approve", request.id, "--yes")
    assert done.returncode == 1
    assert Vote.objects.count() == 0


def test_a_card_whose_openings_were_erased_is_not_signed(world: World, rui: Terminal) -> None:
    request = ask(world)
    Opening.objects.filter(name="path").update(value=None, erased_at=utc_now())
    done = rui.run("approve", request.id, "--yes")
    assert done.returncode == 5
    assert rui.desk.paths == [CARD]
    assert state(request) == "PENDING"


@pytest.mark.parametrize(
    ("missing", "words"),
    [("--server", "where the desk is"), ("--realm", "which installation"), ("--person", "who you are")],
)
def test_what_is_missing_is_asked_for_in_words(world: World, rui: Terminal, missing: str, words: str) -> None:
    options = rui.options
    at = options.index(missing)
    done = rui.desk.run("review", "act_" + "0" * 26, *options[:at], *options[at + 2 :])
    assert done.returncode == 2
    assert words in done.stderr
    assert rui.desk.sent == []


# --- enrolling a key --------------------------------------------------------------------------------------------------


@pytest.fixture
def newcomer(world: World, desk: Desk, tmp_path: Path) -> Terminal:
    """Rosa, with a key that the desk does not know, while Rui holds one."""
    world.ssh_signing("rui")
    return Terminal(desk, world, "rosa", key_file(tmp_path, "rosa", KeyPair.generate()))


def enrol(who: Terminal, *more: str, code: str | None = None, **how: str) -> Done:
    code = code or enrolment.new_code(who.person)
    command = ["key", "enrol", "--url", who.desk.url, "--person", who.person.id, "--code", code, "--key", str(who.key)]
    return who.desk.run(*command, *more, **how)


def test_a_key_is_enrolled_vouched_for_and_answers_without_any_option(world: World, newcomer: Terminal) -> None:
    done = enrol(newcomer, "--label", "blue YubiKey", types="yes\n")
    assert done.returncode == 0, done.stderr
    [key] = PersonKey.objects.filter(person=world.rosa)
    assert (key.label, key.in_force) == ("blue YubiKey", False)
    assert by_four(key.fingerprint) in done.stdout  # as the desk shows it to whoever compares
    assert "vouch" in done.stdout
    note = newcomer.desk.folder / "config" / "imprimatur" / "reviewer.json"
    assert note.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in note.read_text()

    request = ask(world)
    early = newcomer.desk.run("approve", request.id, "--yes")
    assert "once somebody has vouched" in early.stderr
    world.vouch(key)
    done = newcomer.desk.run("approve", request.id, "--yes")
    assert done.returncode == 0, done.stderr
    assert state(request) == "APPROVED"

    note.chmod(0o666)
    open_to_all = newcomer.desk.run("review", request.id)
    assert open_to_all.returncode == 2
    assert "chmod go-w" in open_to_all.stderr


def test_a_code_enrols_once_and_only_its_own_person(world: World, newcomer: Terminal) -> None:
    code = enrolment.new_code(world.rui)
    done = enrol(newcomer, "--realm", world.realm, "--yes", code=code)
    assert done.returncode == 1
    assert "new one under Your keys" in done.stderr
    assert "new one under Your keys" in enrol(newcomer, types="no\n").stderr
    assert enrol(newcomer, "--yes").returncode == 2, "nobody is asked and nothing is pinned"
    stopped = enrol(newcomer, types="", interrupt="/terminal/key")
    assert "No key was enrolled" in stopped.stderr
    assert PersonKey.objects.filter(person=world.rosa).count() == 0
    assert "/terminal/key/enrol" not in newcomer.desk.paths


ENROLMENT_LIES: list[tuple[str, dict[str, Any], str]] = [
    ("another person", {"person": "pe_" + "0" * 26}, "as person"),
    ("another key", {"key": "SHA256:" + "A" * 43}, "as key"),
    ("another public key", {"public_key": "ssh-ed25519 AAAA"}, "as public key"),
    ("another thumbprint", {"thumbprint": "A" * 43}, "as thumbprint"),
    ("another label", {"label": "laptop"}, "as label"),
    ("a key in hardware", {"device_bound": True}, "as device bound"),
    ("another realm", {"realm": "staging.example"}, "as realm"),
    ("a passkey", {"kind": "webauthn"}, "enrols no key"),
    ("a decision", {"typ": "imprimatur/decision/v1"}, "enrols no key"),
    ("another time", {"issued_at": "2020-01-01T00:00:00.000Z", "expires_at": "2020-01-01T00:10:00.000Z"}, "clock"),
]


def test_invariant_12_an_enrolment_that_says_something_else_is_not_signed(world: World, newcomer: Terminal) -> None:
    for name, change, words in ENROLMENT_LIES:

        def lie(begun: dict[str, Any], change: dict[str, Any] = change) -> None:
            document = {**json.loads(begun["statement"]), **change}
            begun["statement"] = canonical.dumps(document).decode()

        newcomer.desk.change["/terminal/key"] = lie
        done = enrol(newcomer, "--realm", world.realm, "--yes", "--label", "mine")
        assert done.returncode == 5, (name, done.stderr)
        assert words in done.stderr, name
    assert "/terminal/key/enrol" not in newcomer.desk.paths
    assert PersonKey.objects.filter(person=world.rosa).count() == 0


def test_a_note_about_another_installation_is_kept(world: World, newcomer: Terminal) -> None:
    note = newcomer.desk.folder / "config" / "imprimatur" / "reviewer.json"
    note.parent.mkdir(parents=True)
    kept = {"server": "https://other.example", "realm": "other.example", "person": "pe_x", "key": "k"}
    note.write_text(json.dumps(kept))
    note.chmod(0o600)
    done = enrol(newcomer, types="yes\n")
    assert done.returncode == 0, done.stderr
    assert "not noted" in done.stdout
    assert json.loads(note.read_text()) == kept
