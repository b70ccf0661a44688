"""People sign with keys of their own, from the first admin to the auditor, on an installation as it comes (H2)."""

from __future__ import annotations

import json
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, Page, expect

from imprimatur.formats import dsse, keys, tiles
from imprimatur.formats.cose import CoseKey
from imprimatur.formats.encoding import un_b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.verify.history import BrokenRule, History
from tests.browser import PATIENCE, chromium
from tests.desk.browser.authenticator import Authenticator
from tests.installation import ROOT, Installation, eventually, installation
from tests.postgres import fresh_database, postgres_server

if TYPE_CHECKING:
    from playwright.sync_api import Route

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

SIGN = "Sign with passkey"
ES256, EDDSA = -7, -8
IMPRIMATUR = str(Path(sys.executable).with_name("imprimatur"))
SCOPE = ["file:read:/project", "file:write:/project", "file:delete:/project", "payment:send:vendor"]


# The whole loop is tried on SQLite, so this one is on PostgreSQL.
ON_POSTGRES = pytest.param("postgres", marks=pytest.mark.postgres)
DATABASES = ["sqlite", ON_POSTGRES] if os.environ.get("IMPRIMATUR_TEST_E2E") == "all" else [ON_POSTGRES]


@pytest.fixture(scope="module", params=DATABASES)
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    data = tmp_path_factory.mktemp("signed") / "data"
    if request.param == "sqlite":
        with installation(data, demo=False) as running:
            yield running
        return
    with (
        postgres_server() as server,
        fresh_database(server, migrated=True) as url,
        installation(data, demo=False, environment={"IMPRIMATUR_DATABASE_URL": url}) as running,
    ):
        yield running


class Somebody:
    """A person with a browser of their own and one authenticator on its page."""

    def __init__(self, browser: Browser, desk: Installation, login: str, password: str, *, alg: int, synced: bool):
        self.desk, self.login, self.password = desk, login, f"{login} has a quiet green lamp"
        context = browser.new_context(
            viewport={"width": 1280, "height": 900}, base_url=desk.url, accept_downloads=True, reduced_motion="reduce"
        )
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.complaints: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.authenticator = Authenticator(self.page, synced=synced)
        self.page.route("**/keys/passkey/begin", lambda route: only(alg, route))
        self._first_login(password)

    def _first_login(self, password: str) -> None:
        page = self.page
        page.goto("/accounts/login/")
        page.fill("[name=login]", self.login)
        page.fill("[name=password]", password)
        page.get_by_role("button", name="Sign in", exact=True).click()
        page.fill("[name=oldpassword]", password)
        page.fill("[name=password1]", self.password)
        page.fill("[name=password2]", self.password)
        page.get_by_role("button", name="Change password").click()
        page.wait_for_url(self.desk.url + "/")

    def sign(self) -> None:
        """Press the button under a sheet and let the authenticator answer."""
        button = self.page.get_by_role("button", name=SIGN)
        button.wait_for()
        self.page.wait_for_load_state()
        button.click()

    def enrol(self, label: str) -> None:
        """A passkey, up to where it waits for a voucher."""
        self.page.goto("/keys/")
        self.page.get_by_label("Name it after").fill(label)
        self.page.get_by_role("button", name="Add a passkey").click()
        self.page.locator(".key.waits").filter(has_text=label).wait_for()

    def link(self) -> str:
        """What somebody whose key waits sends to whoever may vouch."""
        self.page.goto("/keys/")
        return self.page.locator("#vouch-1").inner_text().strip()

    def vouch(self, other: Somebody) -> None:
        """Vouch for the key of somebody else, as their page asks."""
        link = other.link()
        self.page.goto(link)
        self.sign()
        expect(self.page.get_by_text("is in force")).to_be_visible()

    def person(self) -> str:
        """Their id, from their own page."""
        self.page.goto("/keys/")
        return self.page.locator(".pagehead .eyebrow .mono").inner_text().strip()


def only(alg: int, route: Route) -> None:
    """Have the authenticator make a key of this algorithm: it takes the first that is offered and known to it."""
    answer = route.fetch()
    said = answer.json()
    offered = said["options"]["pubKeyCredParams"]
    assert {ES256, EDDSA} <= {one["alg"] for one in offered}
    said["options"]["pubKeyCredParams"] = [one for one in offered if one["alg"] == alg]
    route.fulfill(response=answer, body=json.dumps(said))


class Agent:
    """The process of an agent, and what it was told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        self._told: dict[str, dict[str, Any]] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(json.loads(line))

    def ask(self, name: str, tool: str, **parameters: Any) -> None:
        """Ask, without waiting for the answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"name": name, "tool": tool, "parameters": parameters}) + "\n")
        self.process.stdin.flush()

    def told(self, name: str) -> dict[str, Any]:
        """How this wish ended."""
        while name not in self._told:
            found = self._lines.get(timeout=90)
            self._told[found["name"]] = found
        return self._told[name]


@contextmanager
def running_agent(desk: Installation, folder: Path, delegation: str) -> Iterator[Agent]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("IMPRIMATUR_", "DJANGO_"))}
    environment = {
        **clean,
        "IMPRIMATUR_URL": desk.url,
        "IMPRIMATUR_KEY": str(folder / "agent.key"),
        "IMPRIMATUR_TRUST": str(folder / "agent.key.trust.json"),
        "IMPRIMATUR_DELEGATION": delegation,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.agent"],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Agent(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def terminal(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What somebody types at their own machine, with their own home folder."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    command: dict[str, Any] = {"env": environment, "cwd": home, "stdin": subprocess.DEVNULL, "timeout": 120}
    return subprocess.run(words, capture_output=True, text=True, check=False, **command)


def manage(desk: Installation, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of the operator, in the environment of the installation."""
    options = {"IMPRIMATUR_DATA": str(desk.data), "IMPRIMATUR_REALM": realm(desk), "IMPRIMATUR_ORIGINS": desk.url}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("IMPRIMATUR_", "DJANGO_"))}
    database = Path(f"/proc/{desk.process.pid}/environ").read_bytes().decode().split("\0")
    given = dict(one.split("=", 1) for one in database if one.startswith("IMPRIMATUR_DATABASE_URL="))
    command = [sys.executable, str(ROOT / "manage.py"), *words]
    return subprocess.run(
        command, env={**inherited, **given, **options}, capture_output=True, text=True, timeout=120, check=True
    )


def realm(desk: Installation) -> str:
    return (desk.data / "realm").read_text(encoding="utf-8").strip()


def add_reviewer(ada: Page, login: str, name: str) -> str:
    """Add somebody who reviews; their one-time password."""
    ada.goto("/people/add")
    ada.fill("[name=username]", login)
    ada.fill("[name=name]", name)
    ada.get_by_label("Reviewer:").check()
    ada.get_by_role("button", name="Add", exact=True).click()
    return ada.locator("#password").inner_text()


def open_request(page: Page, words: str) -> str:
    """The id of the request whose sentence has these words, once it stands in the queue."""
    page.goto("/")
    row, pill = page.locator("a.row", has_text=words).first, page.locator("#queue .new")
    # What comes while somebody points at the list waits behind the pill.
    expect(row.or_(pill).filter(visible=True).first).to_be_visible()
    if not row.is_visible():
        pill.click()
    row.click()
    page.wait_for_url(re.compile(r"/requests/act_"))
    return str(page.url.rstrip("/").rsplit("/", 1)[1])


@pytest.fixture(scope="module", autouse=True)
def no_network() -> None:
    """What takes the network away. Skips loudly where it is missing; in CI that is a failure."""
    if shutil.which("bwrap") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no bwrap: apt-get install bubblewrap")


def test_people_sign_and_anybody_can_check(desk: Installation, tmp_path: Path) -> None:
    printed = desk.output.read_text(encoding="utf-8")
    [once] = re.findall(r"One-time password: (\S+)", printed)
    assert "enrol a passkey under Your keys" in printed
    assert "127.0.0.1" not in printed  # passkeys know localhost, and no address
    with chromium() as browser:
        ada = Somebody(browser, desk, "admin", once, alg=ES256, synced=False)
        rui, rosa = enrol_everybody(browser, desk, ada)

        # Ada invites an agent, whose process enrols, and signs in her browser what it may do.
        delegation = let_an_agent_in(ada, desk, tmp_path)
        enrol_ssh(rosa, tmp_path / "rosa")
        rui.vouch(rosa)
        change_the_policy(ada, rui)
        with running_agent(desk, tmp_path, delegation) as robo:
            approve_high(rui, robo)
            approve_in_advance(rui, rosa, robo)
            pay(rui, rosa, robo, tmp_path / "rosa")
        bundle, trust = take_evidence(ada, desk, tmp_path)
        for somebody in (ada, rui, rosa):
            assert somebody.complaints == []
    verify_offline(bundle, trust, tmp_path)
    keys_of_every_sort(bundle)
    one_byte_of_a_vote(desk, bundle, trust, tmp_path)


def enrol_everybody(browser: Browser, desk: Installation, ada: Somebody) -> tuple[Somebody, Somebody]:
    """Three people with keys of their own. The first is flagged; the last needs somebody other than who added her."""
    ada.enrol("Ada's laptop")
    ada.page.get_by_role("link", name="Put it in force yourself").click()
    ada.page.get_by_role("button", name="Put it in force").click()
    expect(ada.page.locator(".key")).to_contain_text("vouched for by its owner, as the first key here")
    passwords = [add_reviewer(ada.page, "rui", "Rui Falk"), add_reviewer(ada.page, "rosa", "Rosa Imhof")]
    rui = Somebody(browser, desk, "rui", passwords[0], alg=ES256, synced=False)
    rosa = Somebody(browser, desk, "rosa", passwords[1], alg=EDDSA, synced=True)
    rui.enrol("Rui's phone")
    ada.vouch(rui)
    rosa.enrol("Rosa's phone")
    ada.page.goto(rosa.link())
    expect(ada.page.get_by_text("You cannot vouch for this key.")).to_be_visible()
    expect(ada.page.get_by_role("button", name=SIGN)).to_have_count(0)
    rui.vouch(rosa)
    rosa.page.goto("/keys/")
    expect(rosa.page.locator(".key")).to_contain_text("synced between devices")
    return rui, rosa


def let_an_agent_in(ada: Somebody, desk: Installation, folder: Path) -> str:
    """Invite robo, enrol it with the printed command, and sign its delegation by passkey; the delegation's id."""
    page = ada.page
    page.goto("/agents/invite")
    page.get_by_label("Name").fill("robo")
    page.get_by_role("button", name="Invite").click()
    command = page.locator("#command").inner_text()
    done = terminal(folder, IMPRIMATUR, *shlex.split(command)[1:])
    assert done.returncode == 0, done.stdout + done.stderr
    page.goto("/delegations/new")
    page.get_by_label("Agent").select_option(label="robo")
    page.get_by_label("May", exact=True).fill("\n".join(SCOPE))
    page.get_by_label("May spend in total").fill("100.00")
    page.get_by_role("button", name="Show the bytes to sign").click()
    ada.sign()
    expect(page.get_by_text("robo holds this delegation now.")).to_be_visible()
    [delegation] = re.findall(r"sha256:[0-9a-f]{64}", page.url)
    return str(delegation)


def enrol_ssh(person: Somebody, home: Path) -> None:
    """An SSH key, enrolled from a terminal with the command that the page prints."""
    home.mkdir(mode=0o700)
    key = home / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    page = person.page
    page.goto("/keys/ssh")
    page.get_by_role("button", name="Give me a code for the terminal").click()
    command = shlex.split(page.locator("#terminal").inner_text())
    done = terminal(home, IMPRIMATUR, *command[1:], "--key", str(key), "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it does not count yet" in done.stdout


def change_the_policy(ada: Somebody, rui: Somebody) -> None:
    """With two keys in force one admin alone changes no policy: Ada proposes, Rui seconds, each by passkey."""
    page = ada.page
    page.goto("/policy/edit")
    text = page.input_value("[name=toml]")
    page.fill("[name=toml]", re.sub(r'(?m)^name = ".*"$', 'name = "Signed by two"', text, count=1))
    page.get_by_role("button", name="Check and compare").click()
    page.get_by_role("checkbox").check()
    page.get_by_role("button", name="Propose…").click()
    ada.sign()
    page.wait_for_url("**/changes/ch*")
    expect(page.get_by_text("Can second it now")).to_contain_text("Rui Falk")
    rui.page.goto(page.url)
    rui.page.get_by_role("link", name="Read and sign…").click()
    rui.sign()
    expect(rui.page.get_by_text("Seconded")).to_be_visible()
    page.goto("/policy/")
    expect(page.get_by_role("main")).to_contain_text("Signed by two")


def approve_high(rui: Somebody, robo: Agent) -> None:
    """A deletion waits for a person; a click is not enough, the passkey is."""
    robo.ask("delete", "delete_file", path="/project/old.csv")
    page = rui.page
    request = open_request(page, "/project/old.csv")
    page.goto(f"/requests/{request}/approve/")
    with page.expect_navigation() as clicked:
        page.evaluate("HTMLFormElement.prototype.submit.call(document.querySelector('form.signing'))")
    assert clicked.value.status == 403
    expect(page.get_by_role("alert").first).to_contain_text("you sign with a key of your own (H2); a click is H0")
    # What the console says comes on a way of its own.
    eventually(lambda: page.evaluate("1") and rui.complaints)
    assert rui.complaints.pop().endswith("403 (Forbidden)")
    page.goto(f"/requests/{request}/approve/")
    rui.sign()
    page.wait_for_url(f"**/requests/{request}/")
    assert robo.told("delete") == {"name": "delete", "verdict": "allow", "by": "Rui Falk", "risk": "HIGH"}
    expect(page.locator("aside")).to_contain_text("H2: with a device-bound passkey")


def approve_in_advance(rui: Somebody, rosa: Somebody, robo: Agent) -> None:
    """A grant signed from the card: the next one like it runs without asking."""
    robo.ask("first", "write_file", path="/project/src/a.py", content="x = 1", destructive=True)
    page = rui.page
    request = open_request(page, "/project/src/a.py")
    page.goto(f"/requests/{request}/")
    page.get_by_role("link", name="Approve this and the like for some minutes…").click()
    page.locator("input[name=effect_0][value='file:write:/project/src']").check()
    page.locator("input[name=how_0][value=any]").check()
    page.locator("input[name=how_2][value=any]").check()
    page.get_by_role("button", name="Read what that means…").click()
    rui.sign()
    expect(page.get_by_text("This request still waits for your answer.")).to_be_visible()
    # A grant answers for nothing before it is published, which takes a moment.
    eventually(lambda: "not yet published" not in page.request.get("/grants/").text())
    robo.ask("second", "write_file", path="/project/src/b.py", content="x = 2", destructive=True)
    assert robo.told("second")["by"] == "Rui Falk, in advance"
    # The request that it was made from still waits, and Rosa's synced passkey answers it as well as any other.
    rosa.page.goto(f"/requests/{request}/approve/")
    rosa.sign()
    assert robo.told("first")["by"] == "Rosa Imhof"


def pay(rui: Somebody, rosa: Somebody, robo: Agent, home: Path) -> None:
    """A payment takes two: one signs in the browser, the other confirms from a terminal with an SSH key."""
    robo.ask("pay", "make_payment", payee="vendor/nordhav", amount="12.50", currency="USD", reference="2026-1187")
    request = open_request(rui.page, "vendor/nordhav")
    rui.page.goto(f"/requests/{request}/approve/")
    rui.sign()
    rui.page.wait_for_url(f"**/requests/{request}/")
    answer = ("confirm", request, "--yes", "--typed", "vendor/nordhav", "--reason", "The invoice is ours.")
    done = terminal(home, IMPRIMATUR, *answer)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pay 12.50 USD to vendor/nordhav" in done.stdout
    assert robo.told("pay") == {"name": "pay", "verdict": "allow", "by": "Rui Falk, Rosa Imhof", "risk": "CRITICAL"}


def take_evidence(ada: Somebody, desk: Installation, folder: Path) -> tuple[Path, Path]:
    """The bundle from the desk, and the trust anchors from the operator's console."""
    page = ada.page
    page.goto("/evidence/")
    page.get_by_role("button", name="Ask for everything").click()
    link = page.locator("a[href*='/bundles/']")
    # The page follows by itself how far it is; once its row is done, it is fetched no more and stays where it is.
    expect(link.first).to_be_visible(timeout=90_000)
    expect(page.locator("tr[hx-get]")).to_have_count(0)
    with page.expect_download() as download:
        link.first.click()
    bundle, trust = folder / "bundle.zip", folder / "trust.json"
    download.value.save_as(bundle)
    trust.write_text(manage(desk, "trust").stdout, encoding="utf-8")
    return bundle, trust


def offline(*command: str) -> subprocess.CompletedProcess[str]:
    """Run it where there is no network at all, not even this machine's own."""
    apart = ["bwrap", "--dev-bind", "/", "/", "--unshare-net"]
    return subprocess.run([*apart, *command], capture_output=True, text=True, timeout=120, check=False)


def verify_offline(bundle: Path, trust: Path, folder: Path) -> None:
    """Our command and the bundle's own verifier accept it, and say of every vote who signed it and how strongly."""
    with zipfile.ZipFile(bundle) as archive:
        archive.extract("verify.pyz", folder)
    theirs = [sys.executable, "-I", "-S", str(folder / "verify.pyz")]
    for program in ([IMPRIMATUR, "verify"], theirs):
        done = offline(*program, str(bundle), "--trust", str(trust), "--decisions")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Decisions: 4 verified, 0 invalid, 0 cannot tell" in done.stdout
        report = json.loads(offline(*program, str(bundle), "--trust", str(trust), "--json").stdout)
        assert report["verdict"] == "valid"
        assert {made["status"] for made in report["decisions"]} == {"verified"}
        votes = [(made["risk"], vote) for made in report["decisions"] for vote in made["votes"]]
        assert {(vote["assurance"], vote["standing"]) for _, vote in votes} == {("H2", "pinned")}
        assert sorted(risk for risk, _ in votes) == ["CRITICAL", "CRITICAL", "HIGH", "HIGH", "HIGH"]
        [payment] = [made for made in report["decisions"] if made["risk"] == "CRITICAL"]
        assert len({vote["person"] for vote in payment["votes"]}) == 2
        assert [vote["key"].startswith("SHA256:") for vote in payment["votes"]] == [False, True]


def keys_of_every_sort(bundle: Path) -> None:
    """ES256 bound to a device, EdDSA synced, and SSH: each of them signed a vote that counted."""
    with zipfile.ZipFile(bundle) as archive:
        signed = [json.loads(line) for line in archive.read("votes/index.jsonl").decode().splitlines()]
    sorts: set[tuple[int | str, bool]] = set()
    for vote in signed:
        if vote["kind"] == "vote.cast" and vote["evidence"]["kind"] == "webauthn":
            key = CoseKey.parse(un_b64u(vote["evidence"]["public_key"]))
            synced = bool(un_b64u(vote["evidence"]["authenticator_data"])[32] & 0x08)
            sorts.add((key.alg, synced))
        elif vote["kind"] == "vote.cast":
            sorts.add((vote["evidence"]["kind"], False))
    assert sorts == {(ES256, False), (EDDSA, True), ("ssh", False)}


def one_byte_of_a_vote(desk: Installation, bundle: Path, trust: Path, folder: Path) -> None:
    """One changed byte of a signature is refused in the bundle, and by whoever holds the server's own keys too."""
    with zipfile.ZipFile(bundle) as archive:
        [tile] = [name for name in archive.namelist() if name.startswith("log/tile/entries/")]
        envelopes = tiles.bundle_decode(archive.read(tile))
        listed = [json.loads(line) for line in archive.read("votes/index.jsonl").decode().splitlines()]
    vote = next(one for one in listed if one["kind"] == "vote.cast" and one["evidence"]["kind"] == "webauthn")
    signature = vote["evidence"]["signature"]
    changed = signature[:-9] + ("A" if signature[-9] != "A" else "B") + signature[-8:]
    damaged = folder / "damaged.zip"
    damaged.write_bytes(bundle.read_bytes().replace(signature.encode(), changed.encode()))
    assert offline(IMPRIMATUR, "verify", str(damaged), "--trust", str(trust)).returncode == 1

    decision = KeyPair.load(desk.data / "keys" / "decision.key")
    payload = dsse.open_envelope(envelopes[vote["index"]]).payload
    assert signature.encode() in payload
    forged = payload.replace(signature.encode(), changed.encode())
    history = History(realm=realm(desk), decision_keys=[decision.public_key])
    for index, envelope in enumerate(envelopes[: vote["index"]]):
        history.feed(index, envelope)
    with pytest.raises(BrokenRule, match="signature"):
        history.feed(vote["index"], dsse.seal(forged, decision.sign, keys.dsse_keyid(decision.public_key)))
