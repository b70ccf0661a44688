"""The layers in `examples/launch/` are ones that could be signed and used."""

from __future__ import annotations

from imprimatur.rules import bubblewrap, configuration
from tests.installation import ROOT

EXAMPLES = ROOT / "examples" / "launch"


def test_the_example_layers_merge_without_a_problem() -> None:
    names = ("base.toml", "override.toml")
    layers = [(name, (EXAMPLES / name).read_text(encoding="utf-8")) for name in names]

    found = configuration.read(layers, "desk.example.org")

    assert found.problems == []
    assert found.effective["limits"]["memory_mb"] == 512
    assert found.effective["security"]["seccomp"] == "strict"
    assert "--unshare-net" in bubblewrap.arguments(found.effective)
