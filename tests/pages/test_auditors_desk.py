"""What an auditor does at the desk: keep views, follow an entry, count decisions, draw samples, compare bundles."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.urls import reverse

from audit import inbox, selectors
from audit.evidence import jobs
from audit.log import commit, utc_now
from audit.models import Bundle, Entry, SavedView
from governance.actions import change_person
from imprimatur import cli
from imprimatur.verify import sampling
from tests.desk.requests import ask


def _text(answer) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


@pytest.fixture
def decided(world):
    """Six decisions: four by policy alone, one denied, one refused."""
    from approvals.actions import cast_vote

    for n in range(4):
        ask(world, "read_file", {"path": f"/project/src/{n}.py"})
    high = ask(world, "delete_file", {"path": "/project/src/old.py"})
    cast_vote.answer(world.rui, high.id, version=high.version, decision="deny", reason="no backup")
    ask(world, "read_file", {"path": "/etc/passwd"})
    return world


def _bundle(desk) -> Bundle:
    desk.world.publish()
    assert desk.post("audra", "bundle_ask").status_code == 302
    row = Bundle.objects.filter(state=Bundle.WAITING).get()
    jobs.build_bundle(row.id)
    inbox.drain()
    row.refresh_from_db()
    assert row.state == Bundle.READY, row.error
    return row


# --- saved views ----------------------------------------------------------------------------------------------------


def test_a_view_is_kept_under_a_name_and_is_nobody_elses(desk, world) -> None:
    query = "kind=pause.&risk=HIGH"
    before = desk.size
    answer = desk.post("audra", "view_save", data={"name": "Risky stops", "query": f"before=3&{query}&page=2"})
    assert answer["Location"] == f"{reverse('log')}?{query}"
    saved = SavedView.objects.get()
    assert (saved.owner, saved.query) == (world.people["audra"].user, query)
    assert "Risky stops" in _text(desk.get("audra", "log"))
    assert "Risky stops" not in _text(desk.get("ada", "log"))
    assert 'aria-current="true"' in desk.get("audra", "log", query={"kind": "pause.", "risk": "HIGH"}).content.decode()

    for name in ("view_rename", "view_delete"):
        assert desk.post("ada", name, saved.pk, data={"name": "Mine"}).status_code == 404
    assert desk.post("audra", "view_rename", saved.pk, data={"name": " "}).status_code == 400
    assert desk.post("audra", "view_rename", saved.pk, data={"name": "Stops", "query": query}).status_code == 302
    assert SavedView.objects.get().name == "Stops"
    assert desk.post("audra", "view_delete", saved.pk).status_code == 302
    assert not SavedView.objects.exists()
    assert desk.size == before  # nothing of the record changed


def test_a_view_needs_a_name_and_filters_and_has_its_name_alone(desk, world) -> None:
    for data in ({"name": "", "query": "risk=HIGH"}, {"name": "All", "query": ""}, {"name": "Odd", "query": "risk=X"}):
        assert desk.post("rui", "view_save", data=data).status_code == 400
    desk.post("rui", "view_save", data={"name": "One", "query": "risk=HIGH"})
    desk.post("rui", "view_save", data={"name": "One", "query": "risk=LOW"})
    desk.post("rui", "view_save", data={"name": "Two", "query": "risk=LOW"})
    assert list(SavedView.objects.values_list("name", "query")) == [("One", "risk=LOW"), ("Two", "risk=LOW")]
    two = SavedView.objects.get(name="Two").pk
    assert desk.post("rui", "view_rename", two, data={"name": "One"}).status_code == 409


def test_after_renaming_only_filters_of_ours_lead_back(desk, world) -> None:
    desk.post("rui", "view_save", data={"name": "One", "query": "risk=HIGH"})
    view = SavedView.objects.get().pk
    answer = desk.post("rui", "view_rename", view, data={"name": "Uno", "query": "risk=HIGH&next=https://evil.example"})
    assert answer["Location"] == f"{reverse('log')}?risk=HIGH"


def test_nobody_keeps_views_without_end(desk, world, monkeypatch) -> None:
    from audit.actions import save_view

    monkeypatch.setattr(save_view, "MOST", 1)
    assert desk.post("rui", "view_save", data={"name": "One", "query": "risk=HIGH"}).status_code == 302
    assert desk.post("rui", "view_save", data={"name": "Two", "query": "risk=HIGH"}).status_code == 409
    assert desk.post("rui", "view_save", data={"name": "One", "query": "risk=LOW"}).status_code == 302


# --- the explorer ---------------------------------------------------------------------------------------------------


def test_the_explorer_costs_the_same_number_of_queries_however_much_it_shows(
    desk, decided, django_assert_max_num_queries
) -> None:
    client = desk.browser("audra")
    client.get(reverse("log"))
    with django_assert_max_num_queries(50) as few:
        client.get(reverse("log"), {"kind": "agent.enrolled"})
    for n in range(12):
        ask(decided, "read_file", {"path": f"/project/src/more-{n}.py"})
    with django_assert_max_num_queries(50) as many:
        client.get(reverse("log"), {"kind": "action.decided"})
    # The same people and agents are named once, however often they come; requests are not looked up at all.
    assert len(many) <= len(few) + 3


def test_words_are_looked_for_in_a_bounded_part_of_the_log_at_a_time(desk, decided, monkeypatch) -> None:
    from audit.views import log

    monkeypatch.setattr(log, "SPAN", 4)
    monkeypatch.setattr(selectors, "FEW", 1)  # as if there were so many
    client, address, pages = desk.browser("audra"), reverse("log") + "?text=log.genesis", 0
    while True:
        answer = client.get(address)
        if 'href="/log/0"' in answer.content.decode():
            break
        assert "were not looked through yet" in _text(answer)
        older = re.search(r'href="(\?[^"]*before=[^"]*)">Look further back', answer.content.decode())
        address, pages = reverse("log") + older[1].replace("&amp;", "&"), pages + 1
    assert pages >= Entry.objects.count() // 4 - 1


def test_what_is_frequent_is_read_from_the_newest_on_and_what_is_rare_is_found_by_its_index(desk, decided) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("how PostgreSQL plans depends on its statistics")
    frequent = selectors.EntryFilter(kind="action.decided", agent=decided.robo.id, verdict="allow", below=10**6)
    assert "TEMP B-TREE" not in selectors.looked_through(frequent, 0)[:51].explain()
    assert "(kind=?)" in selectors.entries(selectors.EntryFilter(kind="log.genesis"))[:51].explain()
    assert selectors.finds_few(frequent)
    both = [selectors.entries(frequent), selectors.looked_through(frequent, 0)]
    assert list(both[0].values_list("index")) == list(both[1].values_list("index")) != []
    times = dict(Entry.objects.values_list("index", "time"))
    for at, time in times.items():
        same = [index for index, other in times.items() if other == time]
        assert selectors.between(selectors.EntryFilter(since=time))[0] == same[0] <= at
        assert selectors.between(selectors.EntryFilter(until=time)) == (0, same[0])
    assert selectors.between(selectors.EntryFilter(since=utc_now() + timedelta(hours=1)))[0] == len(times)
    family = selectors.EntryFilter(kind="action.")
    assert selectors.entries(family).count() == Entry.objects.filter(kind__startswith="action.").count() > 0


def test_the_panel_shows_the_last_full_check_and_what_it_found(desk, world, settings) -> None:
    from audit import fsck

    assert "never" in _text(desk.get("rui", "log_integrity"))
    fsck.run(quick=True)
    panel = _text(desk.get("rui", "log_integrity"))
    assert "good" in panel and "quick" in panel and "manage.py audit_fsck" in panel
    (settings.DATA_DIR / fsck.LAST).write_text(
        (settings.DATA_DIR / fsck.LAST)
        .read_text()
        .replace('"good":true', '"good":false')
        .replace('"count":0', '"count":2')
        .replace('"findings":[]', '"findings":[{"what":"it is not the file <b>","where":"tile 3"}]')
    )
    panel = desk.get("rui", "log_integrity").content.decode()
    assert "2 differences" in panel and "tile 3" in panel and "<b>&quot;" not in panel and "file &lt;b&gt;" in panel


# --- one entry ------------------------------------------------------------------------------------------------------


def test_an_entry_shows_its_path_its_signatures_and_what_rests_on_it(desk, decided) -> None:
    decided.publish()
    requested = Entry.objects.get(kind="action.requested")
    vote = Entry.objects.get(kind="vote.cast")
    decision = Entry.objects.filter(kind="action.decided", subject=requested.subject).get()
    page = _text(desk.get("audra", "entry", vote.index))
    assert "Proven." in page and "signed root" in page
    assert "click in a session" in page and "not checked here" in page and "verified" in page
    below = desk.get("audra", "entry", requested.index).content.decode().split("What rests on it")[1]
    assert f'href="/log/{vote.index}"' in below and f'href="/log/{decision.index}"' in below
    above = desk.get("audra", "entry", decision.index).content.decode().split("It rests on")[1].split("What rests")[0]
    assert f'href="/log/{vote.index}"' in above and f'href="/log/{requested.index}"' in above


def test_invariant_6_an_entry_whose_tiles_were_changed_is_said_not_to_be_proven(desk, decided, settings) -> None:
    decided.publish()
    tiles = settings.LOG_DIR / "tile" / "0"
    partial = max((tiles / "000.p").iterdir(), key=lambda path: int(path.name))
    raw = bytearray(partial.read_bytes())
    raw[40] ^= 1
    partial.chmod(0o644)
    partial.write_bytes(bytes(raw))
    page = _text(desk.get("audra", "entry", 0))
    assert "Not proven." in page or "damaged or away" in page
    assert "Proven. Hashed" not in page


# --- charts ---------------------------------------------------------------------------------------------------------


def test_charts_count_what_the_log_decided(desk, decided) -> None:
    page = desk.get("audra", "log_charts")
    text = _text(page)
    decisions = Entry.objects.filter(kind="action.decided")
    allowed, denied = (decisions.filter(verdict=verdict).count() for verdict in ("allow", "deny"))
    assert f"{allowed + denied} decisions" in text and f"{allowed} allowed, {denied} denied" in text
    assert "out-of-scope" in text and "reviewer-denied" in text
    html = page.content.decode()
    assert html.count('role="img"') == 2 and "style=" not in html
    assert "Nothing was decided in this time" in _text(
        desk.get("audra", "log_charts", query={"until": "2020-01-01T00:00"})
    )
    assert "cannot be read" in _text(desk.get("audra", "log_charts", query={"since": "then"}))
    row = re.search(r'href="(/log/\?kind=action\.decided[^"]*)"', html)[1].replace("&amp;", "&")
    shown = desk.browser("audra").get(row).content.decode()
    assert shown.count('class="at mono"') == allowed + denied


def test_a_chart_is_counted_from_an_index_and_reads_no_entry(desk, decided) -> None:
    from audit import charts

    now = utc_now()
    found = charts.decisions(now - timedelta(days=2), None, "", now + timedelta(seconds=1))
    assert found.unit == charts.HOUR and found.total.total == Entry.objects.filter(kind="action.decided").count()
    assert charts.decisions(None, None, decided.robo.id, now + timedelta(seconds=1)).total.total == found.total.total
    if connection.vendor == "sqlite":
        for agent in ("", decided.robo.id):
            counted = charts.counted(charts.decided(now - timedelta(days=2), now, agent), charts.DAY)
            assert "USING COVERING INDEX decisions_over_time" in counted.explain()


# --- samples --------------------------------------------------------------------------------------------------------


def _indexes(answer) -> list[int]:
    return [int(found) for found in re.findall(r'<a href="/log/(\d+)">', answer.content.decode())]


def test_a_sample_is_drawn_alike_here_from_a_bundle_and_from_its_file(desk, decided, capsys) -> None:
    row = _bundle(desk)
    query = {"seed": "dice 4 2", "n": "3", "kind": "action.decided", "verdict": "allow", "size": str(row.size)}
    page = desk.get("audra", "log_sample", query=query)
    drawn = _indexes(page)
    fitting = Entry.objects.filter(kind="action.decided", verdict="allow", index__lt=row.size)
    assert drawn == sampling.draw("dice 4 2", fitting.values_list("index", flat=True), 3)
    assert len(drawn) == 3

    words = ["sample", "--bundle", str(jobs.path_of(row.id)), "--seed", "dice 4 2", "-n", "3", "--size", str(row.size)]
    assert cli.main([*words, "--kind", "action.decided", "--verdict", "allow"]) == 0
    assert [int(line) for line in capsys.readouterr().out.split()] == drawn
    assert "imprimatur sample --bundle BUNDLE.zip --seed &#x27;dice 4 2&#x27;" in page.content.decode()

    address = re.search(r'name="query" value="([^"]*)"', page.content.decode())[1].replace("&amp;", "&")
    before = desk.size
    answer = desk.post("audra", "log_sample_export", "jsonl", data={"query": address})
    assert [json.loads(line)["index"] for line in b"".join(answer.streaming_content).splitlines()] == drawn
    assert desk.size == before + 1
    body = desk.last["body"]
    assert (body["what"], body["count"], body["size"]) == ("sample", 3, row.size) and "seed=dice+4+2" in body["query"]


def test_a_sample_by_agent_is_the_same_offline(desk, decided, capsys) -> None:
    row = _bundle(desk)
    query = {"seed": "s", "n": "2", "kind": "action.decided", "agent": decided.robo.id}
    drawn = _indexes(desk.get("audra", "log_sample", query=query))
    words = ["sample", "--bundle", str(jobs.path_of(row.id)), "--seed", "s", "-n", "2", "--kind", "action.decided"]
    sealed = re.search(r"--size (\d+)", desk.get("audra", "log_sample", query=query).content.decode())[1]
    assert cli.main([*words, "--agent", decided.robo.id, "--size", str(min(int(sealed), row.size))]) == 0
    assert [int(line) for line in capsys.readouterr().out.split()] == drawn
    assert "Choose the kind action.decided" in _text(
        desk.get("audra", "log_sample", query={**query, "kind": "vote.cast"})
    )


def test_what_cannot_be_drawn_is_said(desk, decided, monkeypatch, tmp_path, capsys) -> None:
    from audit.views import sample

    decided.publish()
    assert desk.post("audra", "log_sample_export", "csv", data={"query": "seed=&n=3"}).status_code == 400
    assert desk.post("audra", "log_sample_export", "xlsx", data={"query": "seed=a&n=3"}).status_code == 404
    assert "nothing to draw from" in _text(
        desk.get("audra", "log_sample", query={"seed": "a", "n": "3", "kind": "grant.issued"})
    )
    monkeypatch.setattr(sample, "MOST_DRAWN_FROM", 1)
    page = desk.get("audra", "log_sample", query={"seed": "a; rm -rf '$HOME'", "n": "3"})
    assert "draws from at most 1" in _text(page) and "imprimatur sample" in _text(page)
    (tmp_path / "no.zip").write_bytes(b"no zip")
    assert cli.main(["sample", "--bundle", str(tmp_path / "no.zip"), "--seed", "a"]) == 2
    assert "No sample was drawn" in capsys.readouterr().err


# --- two bundles ----------------------------------------------------------------------------------------------------


def test_two_bundles_are_compared_and_the_comparison_taken_away_is_logged(desk, decided, monkeypatch) -> None:
    from audit.views import compare
    from governance.actions import set_pause

    assert "It takes two finished bundles" in _text(desk.get("audra", "evidence_compare"))
    first = _bundle(desk)
    commit(set_pause.apply, set_pause.Command("tool", "write_file", "odd", decided.ada))
    second = _bundle(desk)
    page = _text(desk.get("audra", "evidence_compare", query={"a": second.id, "b": first.id}))
    assert "The later one continues the earlier one" in page and "pause.set" in page
    assert f"All {first.size} entries of the earlier bundle" in page

    before = desk.size
    answer = desk.post("audra", "evidence_compare_export", data={"a": first.id, "b": second.id})
    lines = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]
    assert lines[0]["comparison"]["continues"] is True
    assert desk.size == before + 1 and desk.last["body"]["what"] == "comparison"
    assert desk.post("audra", "evidence_compare_export", data={"a": first.id, "b": first.id}).status_code == 400
    assert "Choose two different bundles" in _text(
        desk.get("audra", "evidence_compare", query={"a": first.id, "b": "bdl_x"})
    )
    monkeypatch.setattr(compare, "LARGEST", 10)
    page = _text(desk.get("audra", "evidence_compare", query={"a": first.id, "b": second.id}))
    assert "too large to compare while you wait" in page
    assert f"imprimatur compare {first.id}.zip {second.id}.zip" in page


def test_without_the_entry_no_export_leaves(desk, decided) -> None:
    from audit.log import freeze

    freeze("for the test")
    for name, arguments, data in (
        ("log_export", ["csv"], {"query": ""}),
        ("log_sample_export", ["csv"], {"query": "seed=a&n=3"}),
    ):
        answer = desk.post("audra", name, *arguments, data=data)
        assert answer.status_code == 503 and not answer.streaming
        assert "frozen" in _text(answer)


def test_a_filter_too_long_to_keep_is_refused_in_words(desk) -> None:
    """PostgreSQL would refuse the row; SQLite would keep it."""
    query = urlencode({"text": "\U0001f512" * 200})
    assert desk.post("audra", "view_save", data={"name": "long", "query": query}).status_code == 400
    assert not SavedView.objects.exists()


def test_whoever_is_switched_off_at_the_last_moment_takes_nothing_and_the_log_goes_on(
    desk, decided, monkeypatch
) -> None:
    """The page asks who it is before the lock; in between an admin may have switched them off."""
    audra = desk.world.people["audra"]

    def switched_off_meanwhile(apply, command):
        commit(change_person.apply, change_person.Command(audra, active=False, by=desk.world.ada))
        return commit(apply, command)

    monkeypatch.setattr("audit.log.commit", switched_off_meanwhile)
    answer = desk.post("audra", "log_export", "csv", data={"query": ""})
    assert answer.status_code == 403
    assert not Entry.objects.filter(kind="export.taken").exists()
    desk.world.publish()  # the notary takes every entry
