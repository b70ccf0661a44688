"""A browser verifies receipts and proofs by itself: it says no to every kind of change, and asks nobody."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from imprimatur.formats import ids
from imprimatur.formats.encoding import b64, b64u, un_b64, un_b64u
from imprimatur.formats.keys import KeyPair
from imprimatur.formats.note import Vkey
from tests.desk.browser.conftest import Served, signed_in

pytestmark = pytest.mark.browser

Pieces = dict[str, Any]
NAMES = {"receipt": "receipt.json", "entry": "entry.json", "proof": "entry.tlog-proof", "trust": "trust.json"}
L = 2**252 + 27742317777372353535851937790883648493


@pytest.fixture(scope="module")
def evidence(served: Served) -> Pieces:
    """A real decision of two entries: allowed by policy, and one that a person denied."""
    request = served.ask("/project/src/checked.py")
    served.vote("rosa", request, "deny", "not today")
    return served.evidence(request)


@pytest.fixture(scope="module")
def page(browser: Browser, served: Served) -> Iterator[Page]:
    """The page, loaded once; from then on nothing may leave it, and it is offline."""
    with signed_in(browser, served, "mallory") as page:
        wrong: list[str] = []
        page.on("console", lambda said: wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto("/check/")
        page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.route("**/*", lambda route: route.abort())
        page.context.set_offline(True)
        yield page
        assert asked == []
        assert wrong == []


def give(page: Page, pieces: Pieces) -> str:
    """Take everything away, put these files in, and return the verdict."""
    while page.locator("#pieces button").count():
        page.locator("#pieces button").first.click()
    expect(page.locator("#result section")).to_have_count(0)
    files = []
    for kind, value in pieces.items():
        text = value if isinstance(value, str) else json.dumps(value, indent=2)
        files.append({"name": NAMES[kind], "mimeType": "application/octet-stream", "buffer": text.encode("utf-8")})
    before = page.locator("#result").get_attribute("data-round")
    page.locator("#files").set_input_files(files)
    page.wait_for_function("before => document.getElementById('result').dataset.round !== before", arg=before)
    if page.locator("#pieces .odd").count():
        return "unreadable"
    return page.locator("#result").get_attribute("data-verdict") or "nothing"


def step(page: Page, name: str) -> str:
    """The verdict of one step."""
    line = page.locator(".claims li").filter(has=page.locator("h2", has_text=name))
    return str(line.get_attribute("class"))


def _service(public_key: bytes) -> dict[str, str]:
    return {"service": ids.service_id(public_key), "role": "monitor", "key": b64u(public_key)}


def test_a_real_receipt_with_its_proof_is_verified_offline(page: Page, evidence: Pieces) -> None:
    trust = {**copy.deepcopy(evidence["trust"]), "services": [_service(KeyPair.generate().public_key)]}
    assert give(page, {"receipt": evidence["receipt"], "proof": evidence["proof"], "trust": trust}) == "unknown"
    steps = page.locator(".claims li")
    assert [steps.nth(at).get_attribute("class") for at in range(steps.count())] == ["valid"] * 7 + ["unknown"]
    expect(page.locator(".outcome")).to_contain_text("nothing is wrong, and 1 of 8 steps")
    expect(page.locator("#result")).to_contain_text("nobody outside vouches")
    expect(page.locator(".lines")).to_contain_text("delete_file")
    assert give(page, {"entry": evidence["entry"], "proof": evidence["proof"], "trust": trust}) == "unknown"
    assert step(page, "Its place in the log") == "valid"


def test_with_a_quorum_of_witnesses_everything_is_verified(page: Page, evidence: Pieces) -> None:
    from imprimatur.formats.cosignature import Cosigner

    cosigner, other = Cosigner("witness.example/one", b"\x07" * 32), Cosigner("witness.example/two", b"\x08" * 32)
    text = evidence["proof"].split("\n\n", 1)[1].rsplit("\n\n", 1)[0] + "\n"
    from imprimatur.formats.note import cosignature_line

    line = cosignature_line(text, cosigner.vkey.name, b"\x07" * 32, 1_760_000_000)
    trust = {**evidence["trust"], "witness": {"keys": [cosigner.vkey.format(), other.vkey.format()], "quorum": 1}}
    pieces = {"receipt": evidence["receipt"], "proof": evidence["proof"] + line, "trust": trust}
    assert give(page, pieces) == "valid"
    expect(page.locator(".outcome")).to_have_text("This receipt is verified.")
    assert give(page, {**pieces, "proof": evidence["proof"]}) == "invalid"
    assert step(page, "Witnesses") == "invalid"
    trust["witness"]["quorum"] = 2
    assert give(page, pieces) == "invalid"
    name, _, encoded = line[2:].strip().partition(" ")
    raw = bytearray(un_b64(encoded))
    raw[8] ^= 1  # the time that the witness states
    assert give(page, {**pieces, "proof": f"{evidence['proof']}— {name} {b64(bytes(raw))}\n"}) == "invalid"


def test_what_is_missing_leaves_it_open(page: Page, evidence: Pieces) -> None:
    assert give(page, {"receipt": evidence["receipt"]}) == "unknown"
    expect(page.locator(".outcome")).to_have_text("Nothing can be told without your trust.json.")
    assert give(page, {"receipt": evidence["receipt"], "trust": evidence["trust"]}) == "unknown"
    assert (step(page, "The key that decides"), step(page, "Its place in the log")) == ("valid", "unknown")
    assert give(page, {"proof": evidence["proof"], "trust": evidence["trust"]}) == "unknown"
    assert step(page, "The log stands behind it") == "valid"
    bare = {"realm": evidence["trust"]["realm"]}
    assert give(page, {"receipt": evidence["receipt"], "proof": evidence["proof"], "trust": bare}) == "unknown"
    assert step(page, "The key that decides") == "unknown"


def _envelope(receipt: Any) -> Any:
    return json.loads(receipt["envelope"])


def _sealed(envelope: Any) -> str:
    return json.dumps(envelope, separators=(",", ":"), sort_keys=True)


def _payload(change: Callable[[bytes], bytes]) -> Callable[[Pieces], None]:
    def apply(pieces: Pieces) -> None:
        envelope = _envelope(pieces["receipt"])
        envelope["payload"] = b64(change(un_b64(envelope["payload"])))
        pieces["receipt"]["envelope"] = _sealed(envelope)

    return apply


def _signature(change: Callable[[bytes], bytes]) -> Callable[[Pieces], None]:
    def apply(pieces: Pieces) -> None:
        envelope = _envelope(pieces["receipt"])
        signed = envelope["signatures"][0]
        signed["sig"] = b64(change(un_b64(signed["sig"])))
        pieces["receipt"]["envelope"] = _sealed(envelope)

    return apply


def _flip(raw: bytes, at: int = 5) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


def _plus_order(raw: bytes) -> bytes:
    return raw[:32] + (int.from_bytes(raw[32:], "little") + L).to_bytes(32, "little")


def _hash(pieces: Pieces) -> None:
    lines = pieces["proof"].split("\n")
    lines[2] = b64(_flip(un_b64(lines[2])))
    pieces["proof"] = "\n".join(lines)


def _root(pieces: Pieces) -> None:
    head, checkpoint = pieces["proof"].split("\n\n", 1)
    lines = checkpoint.split("\n")
    lines[2] = b64(_flip(un_b64(lines[2])))
    pieces["proof"] = head + "\n\n" + "\n".join(lines)


def _log_signature(pieces: Pieces) -> None:
    head, line = pieces["proof"].rstrip("\n").rsplit(" ", 1)
    pieces["proof"] = f"{head} {b64(_flip(un_b64(line), 20))}\n"


def _vote(pieces: Pieces) -> None:
    envelope = json.loads(pieces["receipt"]["votes"][0])
    envelope["signatures"][0]["sig"] = b64(_flip(un_b64(envelope["signatures"][0]["sig"])))
    pieces["receipt"]["votes"][0] = _sealed(envelope)


def _key(pieces: Pieces) -> None:
    pieces["trust"]["decision"] = [{"key": b64u(KeyPair.generate().public_key), "from": 0}]


def _log_key(pieces: Pieces) -> None:
    pieces["trust"]["log"] = [Vkey(pieces["trust"]["realm"], KeyPair.generate().public_key).format()]


def _realm(pieces: Pieces) -> None:
    pieces["trust"]["realm"] = "staging.imprimatur"


def _later_key(pieces: Pieces) -> None:
    pieces["trust"]["decision"][0]["from"] = pieces["receipt"]["index"] + 1


def _another_entry(pieces: Pieces) -> None:
    pieces["proof"] = pieces["proof"].replace(f"index {pieces['receipt']['index']}\n", "index 0\n")


def _no_vote(pieces: Pieces) -> None:
    pieces["receipt"]["votes"] = []


CHANGES: dict[str, tuple[Callable[[Pieces], None], str]] = {
    "the verdict": (_payload(lambda raw: raw.replace(b'"verdict":"deny"', b'"verdict":"allow"')), "The key"),
    "the realm inside": (_payload(lambda raw: raw.replace(b'"realm":"test.', b'"realm":"best.')), "The key"),
    "the tool": (_payload(lambda raw: raw.replace(b"delete_file", b"deleet_file")), "The action"),
    "the signature": (_signature(_flip), "The key"),
    "the signature, plus the order of the group": (_signature(_plus_order), "The key"),
    "a hash of the proof": (_hash, "Its place"),
    "the root": (_root, "The log stands"),
    "the log's signature": (_log_signature, "The log stands"),
    "a vote": (_vote, "What comes with it"),
    "no vote": (_no_vote, "What comes with it"),
    "another decision key": (_key, "The key"),
    "a decision key for later entries": (_later_key, "The key"),
    "another log key": (_log_key, "The log stands"),
    "another realm": (_realm, "The realm"),
    "a proof of another entry": (_another_entry, "Its place"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_invariant_7_every_kind_of_change_is_told(page: Page, evidence: Pieces, name: str) -> None:
    change, where = CHANGES[name]
    pieces = copy.deepcopy({kind: evidence[kind] for kind in ("receipt", "proof", "trust")})
    change(pieces)
    assert pieces != {kind: evidence[kind] for kind in pieces}
    assert give(page, pieces) == "invalid"
    assert step(page, where) == "invalid"
    expect(page.locator(".outcome")).to_contain_text("not verified")


def test_invariant_7_what_is_not_in_its_one_form_is_not_read(page: Page, evidence: Pieces) -> None:
    twice = json.dumps(evidence["trust"])[:-1] + f', "realm": "{evidence["trust"]["realm"]}"}}'
    stray = evidence["entry"].replace('"payload":', ' "payload":')
    small = {**evidence["trust"], "decision": [{"key": b64u(b"\x01" + bytes(31)), "from": 0}]}
    shared = {**evidence["trust"], "services": [_service(un_b64u(evidence["trust"]["decision"][0]["key"]))]}
    again = base64.b64decode(_envelope(evidence["receipt"])["payload"])
    loose = copy.deepcopy(evidence["receipt"])
    loose["envelope"] = _sealed({**_envelope(loose), "payload": b64(again.replace(b'"v":1', b'"v":1.0'))})
    for pieces, words in (
        ({"trust": twice}, "twice"),
        ({"entry": stray}, "exact form"),
        ({"entry": evidence["entry"] + "\n"}, "exact form"),
        ({"trust": small}, "not an Ed25519 key"),
        ({"trust": shared}, "two purposes"),
        ({"receipt": loose}, "exact form"),
        ({"proof": evidence["proof"].replace("index ", "index 0")}, "which entry"),
        ({"entry": "hello"}, "not JSON"),
    ):
        assert give(page, pieces) == "unreadable", words
        expect(page.locator("#pieces .odd")).to_contain_text(words)


def test_text_is_pasted_and_what_it_says_is_inert(page: Page, evidence: Pieces) -> None:
    while page.locator("#pieces button").count():
        page.locator("#pieces button").first.click()
    page.get_by_text("Paste text instead").click()
    for kind in ("trust", "receipt"):
        page.locator("#pasted").fill(json.dumps(evidence[kind], indent=1))
        page.get_by_role("button", name="Add").click()
        expect(page.locator("#pasted")).to_have_value("")
    page.locator("#pasted").fill(evidence["proof"])
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#result")).to_have_attribute("data-verdict", "unknown")
    page.locator("#pasted").fill('{"realm": "<img src=x onerror=alert(1)>\\u202e"}')
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#pieces")).to_contain_text("<img src=x onerror=alert(1)>⟦U+202E⟧")
    assert page.locator("#pieces img, #result img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_on_it(page: Page, evidence: Pieces, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # one of two words
    give(page, {"receipt": evidence["receipt"], "proof": evidence["proof"], "trust": evidence["trust"]})
    found = Axe().run(page)
    assert not found.response["violations"], found.generate_report()


def test_a_browser_without_ed25519_says_so(browser: Browser, served: Served) -> None:
    with signed_in(browser, served, "rui") as page:
        page.add_init_script(
            "crypto.subtle.importKey = () => Promise.reject(new DOMException('', 'NotSupportedError'))"
        )
        answer = page.goto("/check/")
        assert answer is not None and "connect-src 'none'" in answer.headers["content-security-policy"]
        expect(page.locator("#cannot")).to_contain_text("cannot verify Ed25519")
        expect(page.locator("#checker")).to_be_hidden()
        page.add_init_script("Object.defineProperty(crypto, 'subtle', { value: undefined })")
        page.reload()
        expect(page.locator("#cannot")).to_contain_text("not on a secure address")
