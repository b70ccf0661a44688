"""The lines between the rooms: who may import whom, who may write, where settings are read."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings

from tests.architecture.sources import OWN, ROOMS, ROOT, calls, modules, tree, where

WRITES = {
    *("save", "create", "update", "delete", "bulk_create", "bulk_update", "get_or_create", "update_or_create"),
    *("asave", "acreate", "aupdate", "adelete", "abulk_create", "abulk_update", "aget_or_create", "aupdate_or_create"),
}

EDGES = {
    *("views", "forms", "admin", "urls", "templatetags", "context"),
    *("endpoints", "door", "consumers", "management", "jobs", "clock", "notifications"),
}
# Edges parse, call one action, render. Each exception says why it does not belong into the log.
EDGES_THAT_WRITE = {
    ("approvals/clock.py", "delete"): "nonces that no signature could use any more",
    ("approvals/jobs.py", "create"): "a delivery to try again later; the outbox tells of decisions and makes none",
    ("approvals/notifications/alarms.py", "create"): "mail that the log needs somebody: it may be frozen just then",
    ("approvals/notifications/webhook.py", "save"): "a key file, not a row",
    ("server/accounts.py", "update"): "somebody changed their own password: a matter of the login, not of authority",
    ("server/accounts.py", "delete"): "second factors, inside the action that resets a login: it calls this back",
    ("server/demo.py", "update"): "the demo's passwords are printed and not meant to be changed; no authority in it",
    (
        "server/demo.py",
        "save",
    ): "a new password for a demo person whose printed one was lost; hashes never enter the log",
}

TRANSACTIONS = {
    "audit/log.py": "the one writer: it locks the head of the log first",
    "audit/genesis.py": "creates the head itself, so there is nothing to lock yet",
    "audit/recovery.py": "puts published entries back into a frozen log, in which nobody can write",
    "server/management/commands/audit_guards.py": "puts triggers back, all or none, and touches no row",
    "audit/roles.py": "changes who owns and may do what in the database, and no row",
}

ENVIRONMENT_READERS = {
    "server/environment.py": "every setting of the server, typed",
    "server/up.py": "passes settings on to the processes it starts, and looks for programs on PATH",
    "server/supervisor.py": "hands the whole environment to its children",
    "server/asgi.py": "names the settings module",
    "client/imprimatur/client/config.py": "the agent's four settings",
    "client/imprimatur/client/base.py": "the agent's run id",
}


def is_edge(module: str) -> bool:
    """Views, forms, endpoints, sockets, commands, jobs, the clock, the door, and all wiring in the server room."""
    parts = set(Path(module).with_suffix("").parts)
    return module.startswith("server/") or bool(parts & EDGES)


def model_writes(module: str) -> Iterator[tuple[str, str]]:
    """Calls that look like writing a row: the method's name and the place."""
    for call in calls(module):
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in WRITES:
            continue
        # A query's update takes keywords only; that of a dict or a hash takes a value.
        if call.func.attr in {"update", "aupdate"} and call.args:
            continue
        yield call.func.attr, where(module, call)


def test_rooms_import_downwards_only() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_edges_never_write_rows() -> None:
    edges = [module for module in modules(*ROOMS) if is_edge(module)]
    assert "approvals/door/operations.py" in edges

    offences = [
        place for module in edges for method, place in model_writes(module) if (module, method) not in EDGES_THAT_WRITE
    ]

    assert not offences, "an edge calls one action through audit.log.commit(); it writes nothing itself"


def test_every_exception_for_an_edge_is_still_needed() -> None:
    used = {(module, method) for module in modules(*ROOMS) for method, _ in model_writes(module)}

    assert set(EDGES_THAT_WRITE) <= used


def test_invariant_6_only_the_log_opens_transactions() -> None:
    offences = [
        where(module, node)
        for module in modules(*ROOMS)
        if module not in TRANSACTIONS
        for node in ast.walk(tree(ROOT / module))
        if isinstance(node, ast.Attribute) and node.attr in {"atomic", "non_atomic_requests", "set_autocommit"}
    ]

    assert not offences, "a change is apply(writer, command); audit.log.commit() opens the transaction"
    assert not settings.DATABASES["default"].get("ATOMIC_REQUESTS")


def test_the_environment_is_read_in_few_places() -> None:
    offences = [
        where(module, node)
        for module in modules(*OWN)
        if module not in ENVIRONMENT_READERS and not module.startswith("client/imprimatur/cli/")
        for node in ast.walk(tree(ROOT / module))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
    ]

    assert not offences, "settings come through server/environment.py, those of agents through client/config.py"


# --- pages -------------------------------------------------------------------------------------------------------

INLINE = {
    "an inline script": re.compile(r"<script(?![^>]*\bsrc\s*=)[^>]*>(?!\s*</script>)", re.I),
    "an inline style sheet": re.compile(r"<style\b", re.I),
    "a style attribute": re.compile(r"<[a-z][^<>]*?\sstyle\s*=", re.I | re.S),
    "an event handler": re.compile(r"<[a-z][^<>]*?\s(?:on[a-z]+|hx-on[:\w-]*)\s*=", re.I | re.S),
    "a javascript: address": re.compile(r"[\"'\s=]javascript:", re.I),
    "a computed htmx value": re.compile(r"hx-(?:vals|headers)\s*=\s*[\"']\s*js:", re.I),
}
# Read as a file, from no server: it brings its style sheet along, and nothing that runs.
STANDS_ALONE = {
    "templates/audit/claims_file.html": ["an inline style sheet"],
    "templates/audit/report.html": ["an inline style sheet"],
}
# Data for scripts, in a block that browsers never run.
DATA_BLOCK = re.compile(r"<script[^>]*type=[\"']application/json[\"'][^>]*>", re.I)


def template_folders() -> list[Path]:
    """Where pages of this project come from: the project's folder, and that of each of its rooms."""
    rooms = [Path(app.path) / "templates" for app in apps.get_app_configs() if app.name in ROOMS]
    return [folder for folder in [ROOT / "templates", *rooms] if folder.is_dir()]


def inline_code(text: str) -> list[str]:
    """What the content security policy of the desk would refuse to run."""
    text = re.sub(r"\{#.*?#\}|\{% comment .*?endcomment %\}", "", text, flags=re.S)
    text = DATA_BLOCK.sub("", text)
    return [what for what, pattern in INLINE.items() if pattern.search(text)]


def test_invariant_9_no_template_holds_inline_script_or_style() -> None:
    pages = [path for folder in template_folders() for path in sorted(folder.rglob("*.html"))]
    assert pages

    found = {path.relative_to(ROOT).as_posix(): inline_code(path.read_text(encoding="utf-8")) for path in pages}

    assert {page: what for page, what in found.items() if what} == STANDS_ALONE


def templates_named() -> set[str]:
    """Every template that ours extend or include, and every one that the code names."""
    pages = [path for folder in template_folders() for path in folder.rglob("*.html")]
    used = re.compile(r"\{%\s*(?:extends|include)\s+[\"']([^\"']+)[\"']")
    found = {name for page in pages for name in used.findall(page.read_text(encoding="utf-8"))}
    for module in modules(*ROOMS):
        for node in ast.walk(tree(ROOT / module)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"^[a-z0-9_/]+\.html$", node.value))
    return found


def test_every_page_is_made_of_our_own_templates() -> None:
    # What django-allauth would show for the three addresses of its that are routed.
    named = templates_named() | {"account/login.html", "account/logout.html", "account/password_change.html"}
    assert "base.html" in named

    assert not {name for name in named if not any((folder / name).is_file() for folder in template_folders())}


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<style>p { color: red }</style>",
        '<p class="a" style="color: red">',
        '<a href="/" onclick="go()">',
        '<button hx-on:click="go()">',
        '<a href="javascript:go()">',
        "<div hx-vals='js:{a: 1}'>",
    ],
)
def test_the_scan_of_templates_sees_inline_code(text: str) -> None:
    assert inline_code(text)


def test_the_scan_of_templates_lets_files_and_data_pass() -> None:
    assert not inline_code('<script src="a.js" type="module"></script><p data-style="x">turn it on = off</p>')
