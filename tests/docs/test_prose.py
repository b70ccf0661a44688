"""The prose of the repository: links lead somewhere, nothing of anybody's machine is in it, versions agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, repository_files

LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\((?P<target>[^)\s]+)\)|!\[[^\]\n]*\]\((?P<image>[^)\s]+)\)")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)
CODE = re.compile(r"`[^`\n]*`")

# Written in pieces, so that this file does not find itself.
MACHINE = re.compile(
    r"(?<![\w.~-])/(?:"
    + "|".join(["work" + "/", "tmp/" + "plan", "root" + "/", "home/" + r"[a-z]", "Users" + "/"])
    + ")"
)
REGISTRY = re.compile(
    "|".join(
        re.escape(host)
        for host in [
            *("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "crates" + ".io", "proxy.golang" + ".org"),
            *("jfrog" + ".io", "arti" + "factory", "dev" + "pi", "code" + "artifact", "nexus" + "."),
        ]
    ),
    re.I,
)


def markdown() -> list[Path]:
    return [path for path in repository_files() if path.suffix == ".md"]


def texts() -> list[tuple[str, str]]:
    """Every text file of the repository, by name."""
    found = []
    for path in repository_files():
        raw = path.read_bytes()
        if b"\0" in raw:
            continue
        found.append((path.relative_to(ROOT).as_posix(), raw.decode("utf-8")))
    return found


def anchors(text: str) -> set[str]:
    """The anchors that headings of a page make, as forges and most renderers name them."""
    titles = re.findall(r"^#{1,6} (.+)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in titles}


def broken_links(page: Path) -> list[str]:
    """Relative links of a page that lead nowhere."""
    text = CODE.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))
    broken = []
    for found in LINK.finditer(text):
        target = found["target"] or found["image"]
        if re.match(r"[a-z][a-z0-9+.-]*:", target):
            continue
        path, _, anchor = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        checked = bool(anchor) and goal.suffix == ".md" and goal.exists()
        if not goal.exists() or (checked and anchor not in anchors(goal.read_text(encoding="utf-8"))):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", markdown(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page: Path) -> None:
    assert not broken_links(page)


def test_every_page_of_the_documentation_is_on_the_map() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {
        (index.parent / found["target"].partition("#")[0]).resolve()
        for found in LINK.finditer(index.read_text(encoding="utf-8"))
        if found["target"]
    }

    assert {page for page in markdown() if page.is_relative_to(ROOT / "docs")} - {index} <= linked


def test_no_file_names_a_folder_of_somebodys_machine() -> None:
    found = [(name, match.group()) for name, text in texts() for match in [MACHINE.search(text)] if match]

    assert not found


def test_no_file_names_a_package_registry() -> None:
    found = [(name, match.group()) for name, text in texts() for match in [REGISTRY.search(text)] if match]

    assert not found


def test_the_changelog_has_the_version_of_both_packages() -> None:
    versions = {
        tomllib.loads((ROOT / name).read_text(encoding="utf-8"))["project"]["version"]
        for name in ("pyproject.toml", "client/pyproject.toml")
    }
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)

    assert newest is not None
    assert versions == {newest.group(1)}
