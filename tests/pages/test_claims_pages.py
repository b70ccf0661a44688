"""The claims page and the pages of controls: never good for want of data, and the same words as in the bundle."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from approvals.door import limits, rejections
from audit import log
from audit.evidence import assessment, bundle
from audit.log import utc_now
from audit.models import Entry
from audit.trust import document as trust_document
from imprimatur.formats import canonical, trust
from imprimatur.verify.assessment import NAMES, STATEMENTS
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.controls import CONTROLS, NEEDS
from tests.evidence import made
from tests.evidence.attested import Story, begin, tell

# Words of the trade: somebody who decides, and builds nothing, does not know them.
JARGON = re.compile(
    r"\b(hash|merkle|tree|root|json|dsse|envelope|digest|sha-?\d*|ed25519|checkpoint|predicate|attest\w*|provenance|seccomp|"
    r"namespaces?|canar(y|ies)|delegations?|drift|quorum|oscal|crypto\w*|log|entropy|binding|redeem\w*|principals?|"
    r"realm|nonce|signature scheme|api|http|payload|tiles?|orchestrator|monitor|launch(es)?|observations?|verdict)\b",
    re.IGNORECASE,
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every round assesses; that it waits between two is tested by itself."""
    monkeypatch.setattr("audit.evidence.assessment.LEAST_PAUSE", 0.0)


@pytest.fixture
def story(world: Any, settings: Any) -> Iterator[Story]:
    """Services are registered, and nothing ran."""
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    for limiter in (limits.addresses, limits.keys, limits.rejected):
        limiter.clear()
    rejections.clear()
    yield begin(world)


def text_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def words(answer: Any) -> dict[str, str]:
    """The verdict of each statement on the page, in words."""
    found = re.findall(r'<li class="(\w+)" id="(\w+)"><div class="verdict"><b>([^<]+)</b>', answer.content.decode())
    styles = {"valid": "Shown", "invalid": "Not shown", "unknown": "Cannot tell"}
    assert all(styles[style] == word for style, _, word in found)
    return {name: word for _, name, word in found}


# --- the claims page ------------------------------------------------------------------------------------------------


def test_before_anything_is_published_nothing_is_shown(desk: Any, world: Any) -> None:
    assessment.path().unlink(missing_ok=True)
    answer = desk.get("audra", "claims")
    assert words(answer) == {} and "Nothing has been assessed yet" in text_of(answer)
    for name, args in (("controls", ()), ("control", ("CA-7",))):
        page = desk.get("audra", name, *args).content.decode()
        assert "state-of valid" not in page and "Cannot tell" in page


def test_without_data_nobody_can_tell(desk: Any, world: Any) -> None:
    world.publish()
    answer = desk.get("audra", "claims")
    said = words(answer)
    assert list(said) == list(NAMES)
    assert {name for name, word in said.items() if word == "Shown"} == {"grants", "record"}
    assert {name for name, word in said.items() if word == "Not shown"} == set()
    text = text_of(answer)
    assert "because no attack was tried yet" in text and "because nobody watched" in text
    assert "2 of 8 statements are shown, and of 6 nobody can tell" in text


def test_what_is_there_is_shown_with_numbers_that_lead_to_the_log(desk: Any, story: Story) -> None:
    tell(story)
    story.world.publish()
    answer = desk.get("audra", "claims")
    said = words(answer)
    assert {name for name, word in said.items() if word == "Shown"} >= {
        "grants",
        "launches",
        "observations",
        "canaries",
        "shipping",
        "record",
    }
    page = answer.content.decode()
    for kind in ("launch.attested", "observation.recorded", "canary.reported", "log.shipped"):
        assert f'href="/log/?kind={kind}"' in page
        listed = desk.get("audra", "log", query={"kind": kind})
        assert listed.status_code == 200 and kind in listed.content.decode()
    assert 'href="/controls/CA-7/"' in page


def test_an_attack_that_was_not_refused_is_red_and_names_its_entry(desk: Any, story: Story) -> None:
    tell(story)
    story.attack(succeeds=True)
    index = Entry.objects.filter(kind="canary.reported").latest("index").index
    story.world.publish()
    answer = desk.get("audra", "claims")
    assert words(answer)["canaries"] == "Not shown"
    assert f"Not shown, because an attack was not refused. See entry {index} ." in text_of(answer)
    page = desk.get("audra", "control", "CA-7").content.decode()
    assert "state-of invalid" in page and f'href="/log/{index}"' in page


def test_drift_of_what_runs_is_red_until_it_has_ended(desk: Any, story: Story) -> None:
    story.world.publish()
    launch = story.launch()
    story.look(launch, drifting=True)
    story.world.publish()
    answer = desk.get("audra", "claims")
    assert words(answer)["observations"] == "Not shown"
    assert "1 running agent is not as it was started" in text_of(answer)
    ended = story.orchestrator.post(f"/launches/{launch['launch']}/ended", {"how": "killed"})
    assert ended.status in (200, 201), ended
    story.world.publish()
    answer = desk.get("audra", "claims")
    assert words(answer)["observations"] == "Shown" and "1 look that found a difference" in text_of(answer)


def test_what_should_have_come_again_and_did_not_is_shown_no_longer(
    desk: Any, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(story)
    story.world.publish()
    assert words(desk.get("audra", "claims"))["canaries"] == "Shown"
    later = utc_now() + timedelta(hours=1)
    monkeypatch.setattr("audit.views.claims.utc_now", lambda: later)
    answer = desk.get("audra", "claims")
    assert words(answer)["canaries"] == "Cannot tell" and "because nothing new came by" in text_of(answer)
    assert "state-of unknown" in desk.get("audra", "control", "CA-7").content.decode()


def test_a_frozen_record_says_so_above_everything(desk: Any, world: Any) -> None:
    world.publish()
    log.freeze("a test stops it")
    text = text_of(desk.get("audra", "claims"))
    assert "The record has stopped a test stops it" in text


def test_an_assessment_that_cannot_be_read_or_is_of_another_log_is_none(desk: Any, world: Any) -> None:
    world.publish()
    good = json.loads(assessment.path().read_bytes())
    wrong: tuple[Any, ...] = (
        {**good, "realm": "elsewhere.example"},
        {**good, "typ": "x"},
        {**good, "statements": []},
        [],
    )
    for raw in (b"{", *(canonical.dumps_json(each) for each in wrong)):
        assessment.path().write_bytes(raw)
        assert assessment.current() is None
        assert "Nothing has been assessed yet" in text_of(desk.get("audra", "claims"))


def test_the_page_reads_no_entry(desk: Any, story: Story) -> None:
    tell(story)
    story.world.publish()
    browser = desk.browser("audra")
    with CaptureQueriesContext(
        connection,
    ) as few:
        browser.get("/claims/")
    for _ in range(3):
        story.attack()
    story.world.publish()
    with CaptureQueriesContext(connection) as more:
        browser.get("/claims/")
    assert len(more) == len(few) < 20
    assert not [query for query in more.captured_queries if 'FROM "audit_entry"' in query["sql"]]


# --- the bundle says the same ---------------------------------------------------------------------------------------


def test_the_page_the_bundle_and_the_verifier_say_the_same(desk: Any, story: Story, tmp_path: Path) -> None:
    tell(story)
    story.attack(succeeds=True)
    story.world.publish()
    built = bundle.build(tmp_path / "b.zip")
    with zipfile.ZipFile(built.path) as archive:
        claims, page = archive.read("claims.json"), archive.read("CLAIMS.html").decode()
        names = set(archive.namelist())
    assert claims == assessment.path().read_bytes()
    assert (
        verify_bundle(built.path, trust.parse(canonical.dumps(trust_document()))).claim("sections").verdict == "valid"
    )
    shown = desk.get("audra", "claims").content.decode()
    for statement in json.loads(claims)["statements"]:
        assert statement["sentence"] in page and statement["sentence"] in shown
        assert statement["limit"] in page and statement["limit"] in shown
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    links = set(re.findall(r'href="([^"]+)"', page))
    assert links and links <= names


def test_a_bundle_starts_from_the_notarys_snapshot_and_says_the_same(
    story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audit.notary.ENTRIES_BETWEEN_SNAPSHOTS", 1)
    tell(story)
    story.world.publish()
    story.attack()
    monkeypatch.setattr("audit.notary.ENTRIES_BETWEEN_SNAPSHOTS", 10_000)
    story.world.publish()
    fed: list[int] = []
    from imprimatur.verify.history import History

    feed = History.feed

    def counting(self: History, index: int, raw: bytes) -> dict[str, Any]:
        fed.append(index)
        return feed(self, index, raw)

    monkeypatch.setattr(History, "feed", counting)
    first = bundle.build(tmp_path / "a.zip")
    assert 0 < len(fed) < 5
    (Path(settings.DATA_DIR) / "notary.json").unlink()
    second = bundle.build(tmp_path / "b.zip")
    assert len(fed) > 20
    assert first.path.read_bytes() == second.path.read_bytes()


def test_the_publisher_assesses_at_most_every_few_seconds(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    from audit.publisher import Publisher

    clock = [1000.0]
    monkeypatch.setattr("audit.evidence.assessment.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("audit.evidence.assessment.LEAST_PAUSE", 5.0)
    publisher = Publisher()
    publisher.publish_once()
    first = assessment.path().read_bytes()
    story.attack()
    publisher.publish_once()
    assert assessment.path().read_bytes() == first
    clock[0] += 5.0
    publisher.publish_once()
    document = assessment.current()
    assert document is not None and document["size"] == Entry.objects.count()


def test_an_assessment_that_fails_stops_no_publisher(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr("imprimatur.verify.assessment.assess", fails)
    before = assessment.path().read_bytes() if assessment.path().exists() else b""
    assert story.world.publish() == Entry.objects.count()
    assert (assessment.path().read_bytes() if assessment.path().exists() else b"") == before


# --- words ----------------------------------------------------------------------------------------------------------


def test_no_sentence_for_those_who_decide_has_a_word_of_the_trade() -> None:
    said = [part for statement in STATEMENTS for part in (statement.sentence, statement.limit)]
    for log_ in (made.good(), made.eventful()):
        for statement in made.assessed(log_)["statements"]:
            said += [statement["why"], *(each["words"] for each in statement["evidence"])]
    found = {match[0]: each for each in said for match in [JARGON.search(each)] if match}
    assert found == {}
    assert all(len(statement.sentence) < 110 for statement in STATEMENTS)


# --- controls -------------------------------------------------------------------------------------------------------


def test_every_control_has_a_page_that_says_what_it_asks_and_how_to_check(desk: Any, story: Story) -> None:
    tell(story)
    story.world.publish()
    listed = desk.get("audra", "controls").content.decode()
    browser = desk.browser("audra")
    for control in CONTROLS.values():
        assert f'href="/controls/{control.id}/"' in listed
        answer = browser.get(f"/controls/{control.id}/")
        text = text_of(answer)
        assert answer.status_code == 200 and control.title in text
        assert NEEDS[control.need].commands[0].split(" ")[0] in text
        if control.open:
            assert "Left to do outside of this software." in text
            assert "state-of valid" not in answer.content.decode().partition("</header>")[0]
    assert browser.get("/controls/XX-1/").status_code == 404


def test_a_page_of_a_control_has_the_newest_entry_of_each_kind(desk: Any, story: Story) -> None:
    tell(story)
    story.world.publish()
    page = desk.get("audra", "control", "CM-2").content.decode()
    newest = Entry.objects.filter(kind="launch.attested").latest("index").index
    assert f'newest: <a href="/log/{newest}">' in page
    assert "none yet" in page  # no launch was refused
