"""What the server says it is made of: measured as documented, entered at each start, held against its builder's word."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from audit import alarms, built
from audit.log import utc_now
from audit.models import Entry
from audit.selectors import payload_of
from imprimatur.formats import canonical, dsse, pem
from imprimatur.formats.attestation import PAYLOAD_TYPE
from imprimatur.formats.keys import KeyPair
from imprimatur.verify.history import History
from server import build_statement, environment, provenance, started
from tests.accounts import sessions
from tests.conftest import World
from tests.docs.pages import DOCS

LOCK = """\
# a comment
anyio==4.16.0 \\
    --hash=sha256:{a} \\
    --hash=sha256:{b}
    # via httpx2
Some_Thing[extra]==1.0 ; python_version < "3.13" \\
    --hash=sha256:{c}
""".format(a="a" * 64, b="b" * 64, c="c" * 64)
BUILDER = "https://builds.example.org/imprimatur"


@pytest.fixture
def tree(tmp_path: Path, settings: Any) -> Path:
    """A small installation, with what tools leave behind in it."""
    root = tmp_path / "code"
    files = {
        "approvals/a.py": "a",
        "audit/b b.py": "spaces",
        "client/imprimatur/ü.py": "not ASCII",
        "client/imprimatur.egg-info/PKG-INFO": "left behind",
        "governance/__pycache__/c.cpython-311.pyc": "left behind",
        "governance/c.py": "",
        "governance/Z.py": "capitals sort first",
        "server/.hidden": "left behind",
        "server/.folder/x.py": "left behind",
        "server/old.pyc": "left behind",
        "server/settings.py": "x = 1\n",
        "static/css/x.css": "x",
        "templates/x.html": "x",
        "data/secret": "not a source",
        "manage.py": "m",
        "pyproject.toml": "p",
        "requirements.lock": LOCK,
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / "server" / "linked.py").symlink_to(root / "server" / "settings.py")
    settings.BASE_DIR = root
    return root


@pytest.fixture
def builder() -> KeyPair:
    return KeyPair.generate()


def statement(tree: Path, key: KeyPair, **changes: str) -> bytes:
    given = {"builder": BUILDER, "tree": provenance.tree_digest(tree), "commit": "ab" * 20, "lock": LOCK, **changes}
    return build_statement.sign(key, **given)


# --- the tree ----------------------------------------------------------------------------------------------------


def test_the_documented_line_of_shell_gives_the_digest_of_the_tree(tree: Path) -> None:
    page = (DOCS / "provenance.md").read_text(encoding="utf-8")
    found = re.search(r"```sh\n(find .*?)```", page, re.S)
    assert found is not None
    done = subprocess.run(["bash", "-c", found[1]], cwd=tree, capture_output=True, text=True, check=True)
    assert f"sha256:{done.stdout.split()[0]}" == provenance.tree_digest(tree)


def test_every_source_file_counts_and_nothing_that_tools_leave_behind(tree: Path) -> None:
    before = provenance.tree_digest(tree)
    for left in ("server/.hidden", "server/old.pyc", "governance/__pycache__/c.cpython-311.pyc", "data/secret"):
        (tree / left).write_text("changed")
    assert provenance.tree_digest(tree) == before
    seen = {before}
    for change in ("server/settings.py", "audit/b b.py", "requirements.lock", "static/css/x.css"):
        (tree / change).write_text("changed")
        seen.add(provenance.tree_digest(tree))
    (tree / "server" / "planted.py").write_text("")
    seen.add(provenance.tree_digest(tree))
    assert len(seen) == 6


def test_what_has_no_digest_is_refused(tree: Path) -> None:
    (tree / "server" / "elsewhere").symlink_to(tree / "audit")
    with pytest.raises(provenance.CannotMeasure, match="link to a folder"):
        provenance.tree_digest(tree)
    (tree / "server" / "elsewhere").unlink()
    (tree / "server" / "two\nlines.py").write_text("")
    with pytest.raises(provenance.CannotMeasure, match="sha256sum"):
        provenance.tree_digest(tree)
    (tree / "server" / "two\nlines.py").unlink()
    (tree / "manage.py").unlink()
    with pytest.raises(provenance.CannotMeasure, match=r"manage\.py is missing"):
        provenance.tree_digest(tree)


def test_the_commit_is_read_without_git(tmp_path: Path) -> None:
    commit, other = "12" * 20, "34" * 20
    assert provenance.commit_of(tmp_path) == ""
    (tmp_path / "COMMIT").write_text(f"{other}\n")
    assert provenance.commit_of(tmp_path) == other
    git = tmp_path / ".git"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text(f"{commit}\n")
    assert provenance.commit_of(tmp_path) == commit
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{commit} refs/heads/main\n")
    assert provenance.commit_of(tmp_path) == commit
    (git / "refs" / "heads" / "main").write_text(f"{other}\n")
    assert provenance.commit_of(tmp_path) == other
    further = tmp_path / "further"
    (git / "worktrees" / "w").mkdir(parents=True)
    (git / "worktrees" / "w" / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "worktrees" / "w" / "commondir").write_text("../..\n")
    further.mkdir()
    (further / ".git").write_text(f"gitdir: {git / 'worktrees' / 'w'}\n")
    assert provenance.commit_of(further) == other
    (git / "refs" / "heads" / "main").write_text("not a commit\n")
    assert provenance.commit_of(tmp_path) == ""


# --- packages ----------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with one installed distribution, the only one there is."""
    site = tmp_path / "site"
    (site / "thing").mkdir(parents=True)
    info = site / "thing-1.0.dist-info"
    info.mkdir()
    (site / "thing" / "__init__.py").write_bytes(b"x = 1\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).rstrip(b"=").decode()
    (info / "RECORD").write_text(
        f"thing/__init__.py,sha256={digest},6\nthing/__pycache__/__init__.cpython-311.pyc,,\nthing-1.0.dist-info/RECORD,,\n"
    )
    monkeypatch.setattr(sys, "path", [str(site)])
    yield site


def test_files_are_held_against_the_record_of_their_package(package: Path) -> None:
    assert provenance.check_packages() == provenance.Packages(1, ())
    (package / "thing" / "__init__.py").write_bytes(b"x = 2\n")
    assert provenance.check_packages() == provenance.Packages(1, ("thing: thing/__init__.py differs from its record",))
    (package / "thing" / "__init__.py").unlink()
    assert provenance.check_packages().wrong == ("thing: thing/__init__.py is missing or cannot be read",)
    (package / "thing-1.0.dist-info" / "RECORD").unlink()
    assert provenance.check_packages().wrong == ("thing: has no record of its files",)


def test_a_hash_that_proves_nothing_is_wrong(package: Path) -> None:
    (package / "thing-1.0.dist-info" / "RECORD").write_text("thing/__init__.py,md5=x,6\n")
    assert provenance.check_packages().wrong == ("thing: thing/__init__.py is recorded with md5, which proves nothing",)


def test_what_is_wrong_is_bounded(package: Path) -> None:
    rows = [f"thing/{number}{'x' * 400}.py,sha256=x,1" for number in range(200)]
    (package / "thing-1.0.dist-info" / "RECORD").write_text("\n".join(rows) + "\n")
    found = provenance.check_packages()
    assert len(found.wrong) == provenance.MOST_WRONG
    assert max(map(len, found.wrong)) == provenance.LONGEST


# --- settings ----------------------------------------------------------------------------------------------------


def test_invariant_11_of_a_secret_only_whether_it_is_set_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(**values: str) -> str:
        told = {f"IMPRIMATUR_{name}": (value, True) for name, value in values.items()}
        monkeypatch.setattr(environment, "_read", told)
        return provenance.settings_digest()

    assert digest(SMTP_PASSWORD="one") == digest(SMTP_PASSWORD="two") != digest(SMTP_PASSWORD="")
    assert digest(REALM="one") != digest(REALM="two")


def test_every_setting_that_looks_like_a_secret_is_treated_as_one() -> None:
    looks = re.compile(r"SECRET|TOKEN|PASSWORD|_URL$|SIGNER|SMTP_USER|SINKS")
    assert {name for name in environment.read() if looks.search(name)} == provenance.SECRETS


def test_options_are_the_settings_that_differ_from_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_read", {})
    monkeypatch.setenv("IMPRIMATUR_A", "given")
    monkeypatch.setenv("IMPRIMATUR_B", "same")
    monkeypatch.setenv("IMPRIMATUR_C", "on")
    monkeypatch.setenv("IMPRIMATUR_D", "no")
    monkeypatch.setenv("IMPRIMATUR_E", "25")
    environment.text("A")
    environment.text("B", "same")
    environment.flag("C")
    environment.flag("D")
    environment.number("E", 25)
    environment.words("F", "x,y")
    environment.pairs("G")
    assert provenance.options() == ("IMPRIMATUR_A", "IMPRIMATUR_C")
    assert set(environment.read()) == {f"IMPRIMATUR_{letter}" for letter in "ABCDEFG"}


# --- the builder's statement -------------------------------------------------------------------------------------


def verified(raw: bytes, key: KeyPair, tree: Path, lock: str = LOCK) -> build_statement.Provenance:
    return build_statement.verify(raw, key.public_key, tree=provenance.tree_digest(tree), lock=lock)


def test_a_statement_names_every_file_that_the_lock_allows(tree: Path, builder: KeyPair) -> None:
    raw = statement(tree, builder)
    document = canonical.loads(dsse.open_envelope(raw).payload)
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    definition = document["predicate"]["buildDefinition"]
    assert [(each["uri"], each["digest"]["sha256"][0]) for each in definition["resolvedDependencies"]] == [
        ("pkg:pypi/anyio@4.16.0", "a"),
        ("pkg:pypi/anyio@4.16.0", "b"),
        ("pkg:pypi/some_thing@1.0", "c"),
    ]
    assert verified(raw, builder, tree).builder == BUILDER


def test_a_statement_holds_for_one_key_one_tree_and_one_lock(tree: Path, builder: KeyPair) -> None:
    raw = statement(tree, builder)
    with pytest.raises(build_statement.DoesNotHold, match="did not sign"):
        verified(raw, KeyPair.generate(), tree)
    with pytest.raises(build_statement.DoesNotHold, match="other dependencies"):
        verified(raw, builder, tree, LOCK.replace("c" * 64, "d" * 64))
    (tree / "server" / "settings.py").write_text("x = 2\n")
    with pytest.raises(build_statement.DoesNotHold, match="another tree"):
        verified(raw, builder, tree)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda document: document["predicate"]["buildDefinition"].update(buildType="urn:other"), build_statement.DoesNotHold),
        (lambda document: document.update(predicateType="https://slsa.dev/provenance/v0.2"), build_statement.CannotTell),
        (lambda document: document.update(subject=[]), build_statement.CannotTell),
        (lambda document: document["predicate"]["runDetails"].pop("builder"), build_statement.CannotTell),
        (lambda document: document["predicate"]["buildDefinition"].pop("resolvedDependencies"), build_statement.DoesNotHold),
    ],
)  # fmt: skip
def test_a_signed_statement_about_something_else_does_not_hold(
    tree: Path, builder: KeyPair, change: Any, error: type[Exception]
) -> None:
    document = canonical.loads(dsse.open_envelope(statement(tree, builder)).payload)
    change(document)
    raw = dsse.seal(canonical.dumps_json(document), builder.sign, builder.keyid, PAYLOAD_TYPE)
    with pytest.raises(error):
        verified(raw, builder, tree)


def test_what_is_no_statement_tells_nothing(tree: Path, builder: KeyPair) -> None:
    other = dsse.seal(b"{}", builder.sign, builder.keyid, "application/json")
    for raw in (b"", b"{}", b"not json", other, statement(tree, builder) + b" "):
        with pytest.raises(build_statement.CannotTell):
            verified(raw, builder, tree)


def test_the_command_signs_and_verifies_with_the_exits_of_a_check(
    tree: Path, builder: KeyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builder.save(tmp_path / "builder.key")
    (tmp_path / "builder.pub").write_text(pem.public_pem(builder.public_key))
    file = tmp_path / "statement.json"
    call_command("provenance", sign=tmp_path / "builder.key", builder=BUILDER, out=file)
    assert capsys.readouterr().out == pem.public_pem(builder.public_key), "and nothing else, for a file of its own"

    def exits(statement: Path, key: Path) -> object:
        with pytest.raises(SystemExit) as ended:
            call_command("provenance", statement=statement, key=key)
        return ended.value.code

    assert exits(file, tmp_path / "builder.pub") == 0
    assert f"HOLDS: {BUILDER}" in capsys.readouterr().out
    assert exits(tmp_path / "nowhere", tmp_path / "builder.pub") == 2
    assert exits(file, tmp_path / "builder.key") == 2
    (tree / "manage.py").write_text("other")
    assert exits(file, tmp_path / "builder.pub") == 1
    for half in ({"statement": file}, {"key": tmp_path / "builder.pub"}):
        with pytest.raises(CommandError) as refused:
            call_command("provenance", **half)
        assert refused.value.returncode == 2


# --- the start ---------------------------------------------------------------------------------------------------


def test_a_configured_provenance_that_does_not_hold_stops_the_start(
    tree: Path, builder: KeyPair, tmp_path: Path, settings: Any
) -> None:
    assert started.provenance_of_this_tree() is None
    file, key = tmp_path / "statement.json", tmp_path / "builder.pub"
    settings.PROVENANCE = str(file)
    with pytest.raises(ImproperlyConfigured, match="go together"):
        started.provenance_of_this_tree()
    settings.PROVENANCE_KEY = str(key)
    with pytest.raises(ImproperlyConfigured, match="cannot be read"):
        started.provenance_of_this_tree()
    file.write_bytes(statement(tree, builder))
    key.write_text(pem.public_pem(KeyPair.generate().public_key))
    with pytest.raises(ImproperlyConfigured, match="did not sign"):
        started.provenance_of_this_tree()
    key.write_text(pem.public_pem(builder.public_key))
    held = started.provenance_of_this_tree()
    assert held is not None and held.builder == BUILDER
    (tree / "server" / "settings.py").write_text("backdoor = 1\n")
    with pytest.raises(ImproperlyConfigured, match="another tree"):
        started.provenance_of_this_tree()


def test_nothing_runs_when_the_provenance_does_not_hold(
    tree: Path, world: World, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from audit import writer
    from server import checks, runtime

    monkeypatch.setattr(checks, "assert_durable", lambda: None)
    settings.PROVENANCE = settings.PROVENANCE_KEY = str(tree / "nowhere")
    with pytest.raises(ImproperlyConfigured, match="provenance"):
        runtime.start()
    assert writer.running() is None


def measured_at_start(held: build_statement.Provenance | None = None) -> None:
    """What the thread does, in the test's own."""
    from django.db import connection

    close, connection.close = connection.close, lambda: None  # type: ignore[method-assign]
    try:
        started.Measuring("web", held).run()
    finally:
        connection.close = close  # type: ignore[method-assign]


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests keep their priority: it cannot be raised again."""
    monkeypatch.setattr(os, "setpriority", lambda *_: None)


def test_each_start_is_an_entry_of_its_own_in_a_lawful_history(
    tree: Path, package: Path, world: World, unhurried: None, settings: Any
) -> None:
    measured_at_start()
    measured_at_start(build_statement.Provenance("sha256:" + "5" * 64, BUILDER))
    first, second = (payload_of(entry) for entry in Entry.objects.filter(kind="server.started").order_by("index"))
    assert first["actor"]["type"] == "system"
    assert first["body"]["process"] == "web"
    assert first["body"]["tree"] == provenance.tree_digest(tree)
    assert first["body"]["packages"] == {"checked": 1, "wrong": []}
    assert "provenance" not in first["body"]
    assert second["body"]["provenance"]["builder"] == BUILDER
    history = History(settings.REALM)
    for entry in Entry.objects.order_by("index"):
        history.feed(entry.index, bytes(entry.envelope))
    assert alarms.standing(utc_now()).get("packages") is None


def test_an_altered_package_is_an_alarm_and_red_on_the_page(
    tree: Path, package: Path, world: World, unhurried: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "thing" / "__init__.py").write_bytes(b"import backdoor\n")
    measured_at_start()
    monkeypatch.undo()  # the page needs the packages that are really there
    assert built.wrong(built.newest()) == ["thing: thing/__init__.py differs from its record"]
    assert "thing/__init__.py" in alarms.standing(utc_now())["packages"]
    page = sessions.signed_in(world.ada).get("/log/").content.decode()
    assert "installed files were not those of their packages" in page
    assert "thing/__init__.py differs from its record" in page


def test_measuring_has_the_lowest_priority_and_ends_when_the_server_does(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, urgency = threading.Event(), []

    def measure(go_on: Any) -> provenance.Measured:
        if sys.platform == "linux":
            urgency.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        begun.set()
        while go_on():
            threading.Event().wait(0.01)
        raise provenance.CannotMeasure("stopped")

    monkeypatch.setattr(provenance, "measure", measure)
    monkeypatch.setattr(started.connection, "close", lambda: None)
    thread = started.Measuring("web", None)
    thread.start()
    assert begun.wait(60)
    thread.stop()
    assert not thread.is_alive()
    assert urgency in ([], [started.LEAST_URGENT])
