"""Which part of a log somebody else than its server saw: what is signed counts for that, and what was clicked does not."""

from __future__ import annotations

from imprimatur.formats import merkle
from imprimatur.verify.heads import Heads
from tests.verify.builder import ROSA, Log
from tests.verify.reading import asked
from tests.verify.test_services import running


def heads(log: Log) -> Heads:
    found = Heads()
    for entry in log.entries:
        found.entry(entry)
    return found


def ours(log: Log, size: int, root: str) -> bool:
    leaves = [merkle.leaf_hash(raw) for raw in log.envelopes[:size]]
    return len(leaves) == size and root == f"sha256:{merkle.root_of(leaves).hex()}"


def seen(log: Log) -> int:
    return heads(log).agreed(lambda size, root: ours(log, size, root))


def test_a_statement_that_was_clicked_names_a_head_that_shows_nothing() -> None:
    """The server writes such statements itself: whoever has its keys writes them anew with everything else."""
    log, ask = asked()
    before = heads(log).newest
    log.vote(ask, session=True)
    assert heads(log).newest == before
    size = len(log.entries)
    log.vote(ask, ROSA)
    assert heads(log).newest == seen(log) == size


def test_an_observation_names_a_head_that_counts() -> None:
    log = running()
    launch = log.launch()
    size = len(log.entries)
    log.observe(launch)
    assert heads(log).newest == seen(log) == size
    assert f"1 of the {size + 1} entries, from entry {size} on, came after" in heads(log).limit(size + 1)


def test_nothing_behind_a_head_of_another_log_counts_as_seen() -> None:
    log = running()
    before = seen(log)
    log.observe("lau_nobody", matched=False, log={"size": before + 1, "root": "sha256:" + "ab" * 32})
    log.observe("lau_nobody", matched=False)
    assert seen(log) == before
    [(index, fault)] = heads(log).of_monitors(lambda size, root: ours(log, size, root))
    assert index == len(log.entries) - 2
    assert f"Its first {before} entries are as people or monitors saw them, its first {before + 1} are not" in fault
