"""Reading a log that was built by `builder`: to the end, or up to the entry that breaks a rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from imprimatur.verify import rulebook
from imprimatur.verify.history import BrokenRule, History
from tests.verify.builder import DECISION_KEY, REALM, Ask, Log, standing

Breaking = Callable[[], Log]
Case = tuple[rulebook.Rule, str, Breaking]


def read(log: Log, **pinned: Any) -> History:
    """The history of the whole log, which breaks no rule."""
    history = History(**{"realm": REALM, "decision_keys": [DECISION_KEY.public_key], **pinned})
    for index, envelope in enumerate(log.envelopes):
        history.feed(index, envelope)
    return history


def broken(log: Log, rule: rulebook.Rule, says: str = "", **pinned: Any) -> BrokenRule:
    """The last entry, and no earlier one, breaks exactly this rule, and the message holds these words."""
    history = History(**{"realm": REALM, "decision_keys": [DECISION_KEY.public_key], **pinned})
    for index, envelope in enumerate(log.envelopes[:-1]):
        history.feed(index, envelope)
    with pytest.raises(BrokenRule) as caught:
        history.feed(len(log.envelopes) - 1, log.envelopes[-1])
    assert caught.value.rule is rule, str(caught.value)
    assert caught.value.index == len(log.envelopes) - 1
    assert says in str(caught.value)
    with pytest.raises(RuntimeError):
        history.feed(len(log.envelopes), log.envelopes[-1])
    return caught.value


def asked(risk: str = "HIGH", tool: str = "delete_file") -> tuple[Log, Ask]:
    """A good log with one pending request."""
    log, root = standing()
    ask = log.ask(root, tool, risk=risk)
    log.request(ask)
    return log, ask
