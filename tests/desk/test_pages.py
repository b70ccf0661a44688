"""Who sees what on the desk, and what a page says."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape

from approvals.models import ActionRequest
from approvals.views.words import because
from audit.log import commit
from audit.models import Entry, LogHead
from governance.actions import set_pause
from governance.models import Agent, AgentKey, Delegation
from tests.conftest import World
from tests.desk.conftest import Login
from tests.desk.requests import PAY, ask

ACTS = ["approve", "confirm", "deny", "ask", "recall", "acknowledge", "flag"]


def pages(request: ActionRequest) -> list[str]:
    return [
        reverse("desk"),
        reverse("queue"),
        reverse("request", args=[request.id]),
        *(reverse("sheet", args=[request.id, act]) for act in ACTS),
    ]


def test_nobody_reads_the_desk_without_signing_in(world: World, client: Client) -> None:
    for page in pages(ask(world)):
        answer = client.get(page)
        assert answer.status_code == 302, page
        assert answer["Location"].startswith(reverse("account_login"))
        assert client.get(page, headers={"HX-Request": "true"}).status_code == 401


def test_a_person_without_a_role_reads_nothing_and_learns_who_can_help(world: World, login: Login) -> None:
    mallory = login("mallory")
    for page in pages(ask(world)):
        answer = mallory.get(page)
        assert answer.status_code == 403, page
        assert b"Ada Brandt" in answer.content
        assert b"/project" not in answer.content


@pytest.mark.parametrize("who", ["ada", "rui", "audra"])
def test_everybody_with_a_role_reads_every_page(world: World, login: Login, who: str) -> None:
    client = login(who)
    for page in pages(ask(world)):
        answer = client.get(page)
        assert answer.status_code == 200, page
        assert answer["Cache-Control"] == "no-store"
        assert "HX-Request" in answer["Vary"]


def test_a_request_that_does_not_exist_is_not_found(world: World, login: Login) -> None:
    assert login("rui").get(reverse("request", args=["act_0"])).status_code == 404
    assert login("rui").get(reverse("sheet", args=[ask(world).id, "rubberstamp"])).status_code == 404


def test_a_role_that_was_taken_away_counts_at_once(world: World, login: Login) -> None:
    rui = login("rui")
    assert rui.get(reverse("desk")).status_code == 200
    world.rui.user.groups.clear()
    assert rui.get(reverse("desk")).status_code == 403


@pytest.mark.parametrize("who", ["ada", "rui", "rosa", "audra"])
def test_invariant_10_get_never_decides(world: World, login: Login, who: str) -> None:
    request = ask(world)
    before = Entry.objects.count()
    client = login(who)
    for page in pages(request):
        typed = {"version": 1, "reason": "because", "display_digest": request.display_digest}
        assert client.get(page, typed).status_code == 200
        assert client.head(page, typed).status_code == 200
        for method in (client.put, client.delete, client.patch):
            assert method(page).status_code == 405
    request.refresh_from_db()
    assert (request.state, request.version, Entry.objects.count()) == ("PENDING", 1, before)


def test_the_queue_shows_each_person_what_is_theirs(world: World, login: Login) -> None:
    ask(world)
    assert b"Needs you <b>1</b>" in login("rui").get(reverse("desk")).content
    mine = login("ada").get(reverse("desk") + "?list=waiting").content.decode()
    assert "Needs you <b>0</b>" in mine
    assert "Waiting on others <b>1</b>" in mine
    assert "You own robo" in mine


def test_the_number_that_needs_me_stands_in_the_title(world: World, login: Login) -> None:
    assert b"<title>Desk" in login("rui").get(reverse("desk")).content
    ask(world)
    assert b"<title>(1) Desk" in login("rui").get(reverse("desk")).content


def test_an_empty_queue_says_so_calmly(world: World, login: Login) -> None:
    page = login("rui").get(reverse("desk")).content.decode()
    assert "Nothing needs you." in page
    assert "a good moment" in page


def test_the_queue_costs_the_same_number_of_queries_however_long_it_is(
    world: World, login: Login, django_assert_max_num_queries
) -> None:
    rui = login("rui")
    for _ in range(2):
        ask(world)
    rui.get(reverse("desk"))  # what is content-addressed is remembered from here on
    with django_assert_max_num_queries(24) as few:
        rui.get(reverse("desk"))
    for _ in range(8):
        ask(world)
    with django_assert_max_num_queries(24) as many:
        rui.get(reverse("desk"))
    assert len(few) == len(many)


def test_invariant_9_what_an_agent_says_is_inert(world: World, login: Login) -> None:
    evil = '<script>alert(1)</script> <a href="http://evil.example">click</a> \u202ehidden [x](javascript:1)'
    request = ask(world, "write_file", {"path": "/project/src/a.py", "content": evil, "destructive": True}, says=evil)
    for page in pages(request):
        text = login("rui").get(page).content.decode()
        assert "<script>alert" not in text
        assert 'evil.example"' not in text
        assert "\u202e" not in text
    card = login("rui").get(reverse("request", args=[request.id])).content.decode()
    assert "⟦U+202E⟧" in card
    assert "&lt;script&gt;alert(1)" in card


def test_invariant_9_a_tool_the_registry_does_not_know_is_marked_as_a_claim(world: World, login: Login) -> None:
    effects = [{"action": "file:write", "resource": "/project/src/x"}]
    request = ask(world, "frobnicate", {"<b>x": 1}, effects=effects)
    card = login("rui").get(reverse("request", args=[request.id])).content.decode()
    assert "Claimed by the agent" in card
    assert "<b>x" not in card
    assert "not a field this card knows" in card


def test_the_agents_words_are_folded_on_a_critical_card_until_opened(world: World, login: Login) -> None:
    critical = login("rui").get(reverse("request", args=[ask(world, *PAY).id])).content.decode()
    assert "<details><summary>Read them after the lines above" in critical
    high = login("rui").get(reverse("request", args=[ask(world).id])).content.decode()
    assert "Read them after" not in high


def test_a_card_says_who_can_answer_and_why_not_you(world: World, login: Login) -> None:
    request = ask(world)
    mine = login("ada").get(reverse("request", args=[request.id])).content.decode()
    assert "Rosa Imhof or Rui Falk" in mine
    assert "Not you: You own robo." in mine
    assert "You or Rosa Imhof." in login("rui").get(reverse("request", args=[request.id])).content.decode()
    assert "Approve…" not in mine
    assert "Deny…" not in mine


def test_a_card_says_when_nobody_can_answer(world: World, login: Login) -> None:
    request = ask(world)
    for name in ("rui", "rosa"):
        world.people[name].user.groups.clear()
    card = login("ada").get(reverse("request", args=[request.id])).content.decode()
    assert "Nobody can answer this" in card


def test_a_card_under_a_policy_that_wants_keys_offers_only_a_denial(make_world, client: Client) -> None:
    from imprimatur.rules.policy import DEFAULT_POLICY

    world = make_world(DEFAULT_POLICY)
    request = ask(world)
    client.force_login(world.rui.user)
    card = client.get(reverse("request", args=[request.id])).content.decode()
    assert "a signing key of your own (H2)" in card
    assert "Approve…" not in card
    assert "Deny…" in card
    sheet = client.get(reverse("sheet", args=[request.id, "approve"])).content.decode()
    assert "You have no signing key yet." in sheet
    assert "Deny…" in sheet
    assert "data-sign>" not in sheet
    assert "data-click" not in sheet


def test_a_frozen_log_is_said_on_every_page_and_offers_no_answer(world: World, login: Login) -> None:
    request = ask(world)
    LogHead.objects.update(state=LogHead.FROZEN, frozen_reason="restored from a backup")
    for page in (reverse("desk"), reverse("request", args=[request.id]), reverse("sheet", args=[request.id, "deny"])):
        text = login("rui").get(page).content.decode()
        assert "The log is frozen" in text
        assert "restored from a backup" in text
        assert "Deny…" not in text


def test_a_write_is_compared_with_what_was_last_approved(world: World, login: Login) -> None:
    path = "/project/src/a.py"
    ask(world, "write_file", {"path": path, "content": "one\ntwo\n"})
    request = ask(world, "write_file", {"path": path, "content": "one\nthree\n", "destructive": True})
    card = login("rui").get(reverse("request", args=[request.id])).content.decode()
    assert "against what was last approved" in card
    assert "<del>- two</del>" in card
    assert "<ins>+ three</ins>" in card


def test_times_stand_in_the_page_in_utc(world: World, login: Login) -> None:
    card = login("rui").get(reverse("request", args=[ask(world).id])).content.decode()
    assert "data-countdown" in card
    assert 'Z" data-show="clock"' in card


def test_pages_carry_the_strict_policy_and_no_inline_script_or_style(world: World, login: Login) -> None:
    for page in pages(ask(world)):
        answer = login("rui").get(page)
        assert "script-src 'self'" in answer["Content-Security-Policy"]
        text = answer.content.decode()
        assert "<script>" not in text
        assert " style=" not in text
        assert "onclick" not in text
        assert "autofocus" not in text


def test_errors_are_pages_in_words(world: World, login: Login, settings) -> None:
    missing = login("rui").get("/nothing/here/")
    assert missing.status_code == 404
    assert b"not yours to see" in missing.content
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(world.rui.user)
    forged = strict.post(reverse("sheet", args=[ask(world).id, "deny"]), {"version": 1, "reason": "x"})
    assert forged.status_code == 403
    assert b"Nothing was sent" in forged.content


def test_why_it_asks_is_one_line_with_the_whole_reasoning_folded(world: World, login: Login) -> None:
    request = ask(world)
    assert len(request.why) > 2, "this request has many reasons"
    card = login("rui").get(reverse("request", args=[request.id])).content.decode()
    why = card[card.index("Why it asks") : card.index("Who can answer")]
    told, folded = why.split("<details>")
    assert "says HIGH." in told and "At least" not in told
    assert all(escape(line) in folded for line in request.why)


@pytest.mark.parametrize(
    ("state", "risk", "why", "told"),
    [
        ("PENDING", "HIGH", ['Rule "mail" says MEDIUM.', "At least HIGH, because it cannot be undone."], 1),
        ("PENDING", "HIGH", ["No rule speaks of this, so the policy's default applies: HIGH.", "Together: HIGH."], 0),
        ("DENIED", "HIGH", ['Denied by rule "never": too big', 'Rule "pay" says HIGH.'], 0),
        ("REFUSED", "HIGH", ['Rule "pay" says HIGH.', "This is over the limit."], 1),
        ("PENDING", "HIGH", ["Something else."], 0),
    ],
)
def test_the_line_that_is_shown_is_the_one_that_gave_the_verdict(
    state: str, risk: str, why: list[str], told: int
) -> None:
    assert because(ActionRequest(state=state, risk=risk, why=why, rule="r")) == why[told]


def test_what_policy_allowed_at_once_was_asked_by_the_agent(world: World, login: Login) -> None:
    request = ask(world, "read_file", {"path": "/project/src/a.py"})
    card = login("rui").get(reverse("request", args=[request.id])).content.decode()
    assert "<b>robo</b> asked; Low by rule" in card


def test_a_long_message_is_folded_and_whole(world: World, login: Login) -> None:
    request, question = ask(world), "What is this? " + "x" * 5000 + " end"
    rui = login("rui")
    address = reverse("sheet", args=[request.id, "ask"])
    rui.post(address, {"version": request.version, "display_digest": request.display_digest, "reason": question})
    card = rui.get(reverse("request", args=[request.id])).content.decode()
    assert f"open all of it, {len(question)} characters" in card
    assert question in card


def test_everybody_at_the_desk_sees_that_everything_is_stopped(world: World, login: Login) -> None:
    request, rui = ask(world), login("rui")
    assert "is stopped" not in rui.get(reverse("desk")).content.decode()
    commit(set_pause.apply, set_pause.Command("everything", "", "<b>odd</b> payments", world.ada))
    for page in (reverse("desk"), reverse("request", args=[request.id])):
        shown = rui.get(page).content.decode()
        assert "Everything is stopped: &lt;b&gt;odd&lt;/b&gt; payments." in shown, page
        assert "an admin lifts it" in shown
    assert reverse("pauses") in login("ada").get(reverse("desk")).content.decode()


def test_a_card_says_that_its_agent_or_tool_is_stopped(world: World, login: Login) -> None:
    request = ask(world)
    commit(set_pause.apply, set_pause.Command("tool", request.tool, "odd", world.ada))
    card = login("rui").get(reverse("request", args=[request.id])).content.decode()
    assert "An admin stopped this tool:" in card
    assert "Everything is stopped" not in card


def test_the_first_admin_sees_how_to_begin_until_an_agent_is_here(world: World, login: Login) -> None:
    assert "To begin:" not in login("ada").get(reverse("desk")).content.decode()
    Delegation.objects.all().delete()
    AgentKey.objects.all().delete()
    Agent.objects.all().delete()
    first = login("ada").get(reverse("desk")).content.decode()
    for page in ("agent_invite", "person_add", "delegation_new"):
        assert reverse(page) in first.split("To begin:")[1]
    assert "To begin:" not in login("rui").get(reverse("desk")).content.decode()
