"""The log's own keys: the chain of decision keys, and the keys that sign checkpoints, which may overlap.

A decision key signs every entry from the one after its introduction on. It is introduced by an entry that the key
before it signed, and proves in there that it is held. A key that was ever used for one purpose never serves another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from imprimatur.formats import canonical, ed25519, keys, note
from imprimatur.formats.checkpoint import Checkpoint, open_checkpoint
from imprimatur.formats.encoding import b64, b64u, un_b64u
from imprimatur.verify import rulebook
from imprimatur.verify.facts import Facts

POSSESSION_TAG = b"imprimatur/decision-key/v1\0"


def possession(realm: str, index: int, old: str, new: str) -> bytes:
    """What the new decision key signs in the entry with this index: the realm, and the key ids before and after."""
    return POSSESSION_TAG + canonical.dumps({"realm": realm, "index": index, "old": old, "new": new})


def begin(facts: Facts, body: Mapping[str, Any]) -> None:
    """Take up the keys of entry 0, whose rules hold."""
    facts.decision_key = body["decision_key"]["public"]
    facts.decision_keys = [facts.decision_key]
    facts.log_vkeys = [body["log_vkey"]]


def continued(body: Mapping[str, Any]) -> Checkpoint:
    """The last checkpoint of the log that entry 0 continues. Raises ValueError unless its own log key signed it."""
    said = body["continues"]
    checkpoint, _ = open_checkpoint(said["checkpoint"], [note.Vkey.parse(said["log_vkey"])])
    return checkpoint


def hold_continued(facts: Facts, body: Mapping[str, Any]) -> None:
    """Hold what entry 0 says of a log that it continues: that log's key signed its end, and it is another's."""
    if "continues" not in body:
        return
    rule = rulebook.GENESIS
    try:
        old = continued(body)
    except ValueError as error:
        facts.hold(False, rule, f"the end of the log that it continues does not hold: {error}")
        return
    facts.hold(old.origin != facts.realm, rulebook.REALM, "a log that continues another one has a realm of its own")
    facts.hold(old.size > 0, rule, "the log that it continues had no entry")
    key = note.Vkey.parse(body["continues"]["log_vkey"]).public_key
    own = (note.Vkey.parse(body["log_vkey"]).public_key, un_b64u(body["decision_key"]["public"]))
    facts.hold(key not in own, rule, "it takes up the key of the log that it continues: a new log has new keys")


def _decision_key(facts: Facts, entry: Mapping[str, Any]) -> None:
    body, rule = entry["body"], rulebook.LOG_KEY
    new, old = body["decision_key"], keys.dsse_keyid(un_b64u(facts.decision_key))
    public = un_b64u(new["public"])
    facts.hold(keys.dsse_keyid(public) == new["keyid"], rule, "the decision key does not have the id it is given")
    facts.hold(b64u(public) not in facts.decision_keys, rule, "this decision key was in force before")
    facts.hold(not _was_log_key(facts, public), rule, "the decision key signs checkpoints as well")
    said = possession(facts.realm, facts.index, old, new["keyid"])
    held = ed25519.verify(public, said, un_b64u(body["signature"]))
    facts.hold(held, rule, "the new decision key did not sign that it is held")
    facts.decision_key = b64u(public)
    facts.decision_keys.append(facts.decision_key)


def _added(facts: Facts, entry: Mapping[str, Any]) -> None:
    rule, line = rulebook.LOG_KEY, entry["body"]["log_vkey"]
    try:
        vkey = note.Vkey.parse(line)
    except note.NoteError as error:
        facts.hold(False, rule, f"the log's verifier key cannot be read: {error}")
        return
    facts.hold(vkey.name == facts.realm, rulebook.REALM, "the log key is named after another realm")
    facts.hold(vkey.algorithm == note.ED25519, rule, "a log key is an Ed25519 key (type 0x01)")
    facts.hold(b64u(vkey.public_key) not in facts.decision_keys, rule, "the log key is or was a decision key")
    facts.hold(not _was_log_key(facts, vkey.public_key), rule, "this log key was named before")
    facts.hold(len(facts.log_vkeys) < 8, rule, "eight log keys at once are enough")
    facts.log_vkeys.append(line)


def _retired(facts: Facts, entry: Mapping[str, Any]) -> None:
    line = entry["body"]["log_vkey"]
    facts.hold(line in facts.log_vkeys, rulebook.LOG_KEY, "no such log key is in use")
    facts.hold(len(facts.log_vkeys) > 1, rulebook.LOG_KEY, "the last log key cannot be retired: add another one first")
    facts.log_vkeys.remove(line)
    facts.retired_log_vkeys.append(line)


def _was_log_key(facts: Facts, public_key: bytes) -> bool:
    """Whether this key signs or signed checkpoints. Compares the one line that names it: reading each line again would
    let a log with many retired keys keep its verifier busy for days."""
    identifier = note.key_id(facts.realm, public_key).hex()
    line = f"{facts.realm}+{identifier}+{b64(bytes([note.ED25519]) + public_key)}"
    return line in facts.log_vkeys or line in facts.retired_log_vkeys


HANDLERS: dict[str, Callable[[Facts, Mapping[str, Any]], None]] = {
    "log.decision_key_changed": _decision_key,
    "log.key_added": _added,
    "log.key_retired": _retired,
}
