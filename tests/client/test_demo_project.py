"""The demo's mount leads into its project and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.demo.deeds import Script
from examples.demo.identity import SCOPE
from examples.demo.project import Outside, Project
from imprimatur.rules import scope
from imprimatur.rules.effects import DeriveError, derive
from imprimatur.rules.tools import DEFAULT_TOOLS, validator


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path / "project")
    made.prepare()
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    (made.root / "link").symlink_to(tmp_path)
    return made


def test_what_is_written_can_be_read_and_deleted(project: Project) -> None:
    project.write("/project/src/new.js", "1")
    assert project.read("/project/src/new.js") == "1"
    project.delete("/project/src/new.js")
    assert not (project.root / "src/new.js").exists()


@pytest.mark.parametrize("path", ["/etc/passwd", "/project/../secret", "secret", "/project/link/secret", "/projects/a"])
def test_nothing_else_can_be_reached(project: Project, path: str) -> None:
    for act in (project.read, project.delete, lambda p: project.write(p, "x")):
        with pytest.raises(Outside):
            act(path)
    assert (project.root.parent / "secret").read_text(encoding="utf-8") == "secret"


def test_the_script_stays_within_its_delegation_except_where_it_means_to(project: Project) -> None:
    script = Script(project)
    scopes = [scope.parse(text) for text in SCOPE]

    def covered(tool: str, parameters: dict[str, object]) -> bool:
        document = DEFAULT_TOOLS[tool]
        assert validator(document).problems(dict(parameters)) == []
        try:
            effects = derive(document, parameters).effects
        except DeriveError:
            return False
        return all(scope.any_covers(scopes, effect["action"], effect["resource"]) for effect in effects)

    for _ in range(8):
        for deed in [*script.routine(), script.request()]:
            assert covered(deed.tool, dict(deed.parameters)), deed.aim
    refused = [script.forbidden() for _ in range(Script.FORBIDDEN)]
    allowed_by_scope = [deed.tool for deed in refused if covered(deed.tool, dict(deed.parameters))]
    assert allowed_by_scope == ["make_payment"]  # that one is over the budget
