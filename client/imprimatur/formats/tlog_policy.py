"""Policies (C2SP tlog-policy): which logs are believed, which witnesses are known, and how many must have cosigned.

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <members>
    quorum <name>|none

Names are opaque octets: bytes that are no UTF-8 survive reading and writing. Everything is defined before it is used,
and nobody is a member twice, so each witness counts in one way only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imprimatur.formats import note
from imprimatur.formats.checkpoint import Checkpoint, open_checkpoint

NONE = "none"
MAX_SIZE = 256_000
MAX_OF_A_KIND = 256

_SPACE = re.compile(r"[ \t]+")
_THRESHOLD = re.compile(r"0|[1-9][0-9]{0,5}", re.ASCII)


class PolicyError(ValueError):
    """The policy is malformed, or a checkpoint does not satisfy it."""


@dataclass(frozen=True, slots=True)
class Log:
    """A log whose checkpoints are believed. Its key name is its origin."""

    vkey: note.Vkey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness. `name` means something inside the policy only; `url` is where it takes checkpoints."""

    name: str
    vkey: note.Vkey
    url: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Counts as having witnessed when at least `threshold` of its members (witnesses or groups) have."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy. Checked when made, like a file that says the same: PolicyError."""

    logs: tuple[Log, ...] = ()
    witnesses: tuple[Witness, ...] = ()
    groups: tuple[Group, ...] = ()
    quorum: str = NONE

    def __post_init__(self) -> None:
        if max(len(self.logs), len(self.witnesses), len(self.groups)) > MAX_OF_A_KIND:
            raise PolicyError(f"a policy names at most {MAX_OF_A_KIND} logs, witnesses and groups each")
        for log in self.logs:
            if log.vkey.algorithm != note.ED25519:
                raise PolicyError(f"the key of log {log.vkey.name} is of type {log.vkey.algorithm:#04x}, not a log's")
        for witness in self.witnesses:
            if witness.vkey.algorithm != note.COSIGNATURE:
                said = f"key type {witness.vkey.algorithm:#04x} is not a cosignature key type"
                raise PolicyError(f"witness {witness.name}: {said}")
        keys = [log.vkey.public_key for log in self.logs] + [each.vkey.public_key for each in self.witnesses]
        if len(set(keys)) != len(keys):
            # One key under two names would fill a quorum of two; a log that is its own witness vouches for itself.
            raise PolicyError("duplicate public key: a policy names each key once")
        known: set[str] = set()
        for witness in self.witnesses:
            _define(witness.name, known)
        taken: set[str] = set()
        for group in self.groups:
            _check_group(group, known, taken)
            _define(group.name, known)
        if self.quorum != NONE and self.quorum not in known:
            raise PolicyError(f"the quorum {self.quorum} is not defined")
        for url in [log.url for log in self.logs] + [witness.url for witness in self.witnesses]:
            if url:
                _check_word(url)

    @classmethod
    def at_least(cls, threshold: int, witnesses: Sequence[note.Vkey], logs: Iterable[note.Vkey] = ()) -> Policy:
        """The policy that any `threshold` of these witnesses suffice; they are called w1, w2 and so on."""
        known = tuple(Witness(f"w{place}", vkey) for place, vkey in enumerate(witnesses, start=1))
        group = Group("witnesses", threshold, tuple(witness.name for witness in known))
        return cls(tuple(Log(vkey) for vkey in logs), known, (group,), group.name)

    def flat(self) -> int | None:
        """The k of "any k of all these witnesses", when that is what the policy says; else None."""
        if not self.witnesses:
            return None
        names = {witness.name for witness in self.witnesses}
        if names == {self.quorum}:
            return 1
        for group in self.groups:
            if group.name == self.quorum and set(group.members) == names:
                return group.threshold
        return None

    def satisfied_by(self, cosigners: Iterable[note.Vkey]) -> bool:
        """Whether these keys, whose cosignatures somebody has checked, make up the quorum."""
        if self.quorum == NONE:
            return True
        keys = {key.public_key for key in cosigners if key.algorithm == note.COSIGNATURE}
        witnessed = {witness.name for witness in self.witnesses if witness.vkey.public_key in keys}
        for group in self.groups:
            if sum(member in witnessed for member in group.members) >= group.threshold:
                witnessed.add(group.name)
        return self.quorum in witnessed

    def open(self, raw: str | bytes, *, origin: str | None = None) -> tuple[Checkpoint, note.Note]:
        """Check a signed checkpoint: one of the logs signed it and the quorum cosigned it.

        Raises PolicyError when the quorum did not, CheckpointError or NoteError for everything else.
        """
        found, opened = open_checkpoint(
            raw,
            [log.vkey for log in self.logs],
            origin=origin,
            witnesses=[witness.vkey for witness in self.witnesses],
        )
        if not self.satisfied_by(opened.verified_by):
            raise PolicyError(f"the quorum {self.quorum} did not cosign this checkpoint")
        return found, opened

    def format(self) -> str:
        """The file: logs, witnesses, groups, quorum, one per line. Encode it with `encode`."""
        lines = [" ".join(filter(None, ("log", log.vkey.format(), log.url))) for log in self.logs]
        lines += [
            " ".join(filter(None, ("witness", each.name, each.vkey.format(), each.url))) for each in self.witnesses
        ]
        lines += [" ".join(("group", group.name, str(group.threshold), *group.members)) for group in self.groups]
        return "".join(f"{line}\n" for line in [*lines, f"quorum {self.quorum}"])

    def encode(self) -> bytes:
        """The file's bytes, such that `parse` gives this policy again."""
        return self.format().encode("utf-8", "surrogateescape")


def parse(raw: bytes | str) -> Policy:
    """Read a policy file. Raises PolicyError with the line that is wrong."""
    if isinstance(raw, str):
        raw = raw.encode("utf-8", "surrogateescape")
    if len(raw) > MAX_SIZE:
        raise PolicyError(f"the policy is larger than {MAX_SIZE} bytes")
    for octet in raw:
        if (octet < 0x20 and octet not in (0x09, 0x0A)) or octet == 0x7F:
            raise PolicyError(f"invalid octet {octet:#04x}: only tab and newline are allowed as control characters")
    reader = _Reader()
    for number, line in enumerate(raw.decode("utf-8", "surrogateescape").split("\n"), start=1):
        stripped = line.strip(" \t")
        if not stripped or stripped.startswith("#"):
            continue
        try:
            reader.read(_SPACE.split(stripped))
        except ValueError as error:
            raise PolicyError(f"line {number}: {error}") from error
    return reader.policy()


class _Reader:
    """What was defined so far: a line may speak only of what stands above it."""

    def __init__(self) -> None:
        self.logs: list[Log] = []
        self.witnesses: list[Witness] = []
        self.groups: list[Group] = []
        self.quorum: str | None = None
        self.known: set[str] = set()
        self.taken: set[str] = set()

    def read(self, words: list[str]) -> None:
        keyword, *rest = words
        if keyword == "log":
            if len(rest) not in (1, 2):
                raise PolicyError("invalid log definition: it is `log <vkey> [<url>]`")
            self.logs.append(Log(note.Vkey.parse(rest[0]), *rest[1:]))
        elif keyword == "witness":
            if len(rest) not in (2, 3):
                raise PolicyError("invalid witness definition: it is `witness <name> <vkey> [<url>]`")
            _define(rest[0], self.known)
            self.witnesses.append(Witness(rest[0], note.Vkey.parse(rest[1]), *rest[2:]))
        elif keyword == "group":
            if len(rest) < 3:
                raise PolicyError("invalid group definition: it is `group <name> all|any|<k> <members>`")
            group = Group(rest[0], _threshold(rest[1], len(rest) - 2), tuple(rest[2:]))
            _check_group(group, self.known, self.taken)
            _define(group.name, self.known)
            self.groups.append(group)
        elif keyword == "quorum":
            if len(rest) != 1:
                raise PolicyError("invalid quorum definition: it is `quorum <name>|none`")
            if self.quorum is not None:
                raise PolicyError("a policy has exactly one quorum line")
            if rest[0] != NONE and rest[0] not in self.known:
                raise PolicyError(f"the quorum {rest[0]} is not defined above")
            self.quorum = rest[0]
        else:
            raise PolicyError(f"unknown keyword {keyword}")

    def policy(self) -> Policy:
        if self.quorum is None:
            raise PolicyError("a policy has exactly one quorum line; without witnesses it is `quorum none`")
        return Policy(tuple(self.logs), tuple(self.witnesses), tuple(self.groups), self.quorum)


def _threshold(word: str, members: int) -> int:
    if word in ("all", "any"):
        return members if word == "all" else 1
    if not _THRESHOLD.fullmatch(word):
        raise PolicyError(f"invalid threshold {word}: it is all, any or a decimal number")
    return int(word)


def _check_group(group: Group, known: set[str], taken: set[str]) -> None:
    """The threshold can be met by members that are known and in no other group; notes them in `taken`."""
    if not 1 <= group.threshold <= len(group.members):
        raise PolicyError(
            f"the threshold of group {group.name} is {group.threshold}, outside 1 to {len(group.members)}"
        )
    for member in group.members:
        if member not in known:
            raise PolicyError(f"unknown member {member} of group {group.name}: define it above")
        if member in taken:
            raise PolicyError(f"{member} is a member more than once")
        taken.add(member)


def _define(name: str, known: set[str]) -> None:
    _check_word(name)
    if name == NONE:
        raise PolicyError("the name none is reserved")
    if name in known:
        raise PolicyError(f"duplicate name {name}")
    known.add(name)


def _check_word(word: str) -> None:
    if not word or any(character <= " " or character == "\x7f" for character in word):
        raise PolicyError("a name or URL is not empty and has no spaces or control characters")
