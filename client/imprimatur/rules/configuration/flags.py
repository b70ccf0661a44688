"""Flags that switch off what a sandbox is for, or make a program ignore its configuration.

A table of words, not of programs: the names are what tools really call such switches. It refuses too much rather than
too little, and only what begins with a dash. A flag that is refused and harmless can be renamed; one that is missed
cannot be taken back. The real protection is the sandbox itself: this keeps its attestation honest.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from imprimatur.rules.configuration.problem import quote


@dataclass(frozen=True, slots=True)
class Rule:
    """Names of flags (all of the name must match, as normalised), a value they need to be refused, and the reason."""

    names: str
    reason: str
    values: str | None = None


_CHECKS = r"(permission|approv|verif|check|auth|confirm|valid|sandbox|polic|review|safet|secur|prompt|limit|seccomp)"
_OFF = r"false|off|no|none|0|never|disabled?|unconfined"
_HOST_PATHS = r"/|/(proc|sys|dev|etc|root|boot|run|var|usr|bin|sbin|lib|lib64)(/.*)?|/home"

RULES: tuple[Rule, ...] = (
    # Many programs take the beginning of a flag for all of it.
    Rule(r"priv(i[a-z]*)?|root|sudo|as-root|run-as-root", "it runs with the privileges of the host"),
    Rule(r"(no-?|without-|disable-?)sandbox(ing)?(-.*)?", "it switches the sandbox off"),
    Rule(rf"no-?{_CHECKS}.*|no-.*{_CHECKS}.*", "it switches a check off"),
    Rule(rf"without-.*{_CHECKS}.*", "it switches a check off"),
    Rule(
        r".*(sandbox|seccomp|verify|approvals?|permissions?|auth|no-new-privileges|read-only|isolation)",
        "it switches a check off",
        _OFF,
    ),
    Rule(
        r"security-opt",
        "it takes a protection of the container away",
        r".*(unconfined|disable|no-new-privileges[=:]false).*",
    ),
    Rule(r"unconfined|unrestricted|unlimited(-.*)?", "it takes the limits away"),
    Rule(r"cap-add|add-cap|capabilit(y|ies)(-add)?|cap-keep|keep-caps", "it adds capabilities"),
    Rule(
        r"(net|network|pid|ipc|uts|userns|cgroupns)",
        "it shares a namespace with the host or another container",
        r"(host|container:.*|ns:.*)",
    ),
    Rule(r"share-(net|pid|ipc|uts|user|cgroup|all)|host-?net(work)?|host-?pid|host-?ipc", "it shares a namespace"),
    Rule(r"device.*|gpus|volumes-from|group-add", "it gives access to the host"),
    Rule(r"v|volume|mount|bind|dev-bind|b", "it opens the host's own files", rf"({_HOST_PATHS})(:.*)?"),
    Rule(r"v|volume|mount", "it hands over the control of containers or services", r".*(\.sock)([:,].*)?"),
    Rule(r"mount", "it opens the host's own files", rf"(.*,)?(source|src)=({_HOST_PATHS})(,.*)?"),
    Rule(r"user|uid", "it runs as root", r"(0|root)(:.*)?"),
    Rule(
        r"debug(ger|ging)?(-.*)?|remote-debug.*|inspect(-.*)?|attach-debugger", "debugging opens the program to others"
    ),
    Rule(r"(dang|unsaf|insec|bypas|disab|uncon)[a-z]*", "it begins like a flag that switches a protection off"),
    Rule(r"dangerous(ly)?.*|.*-dangerous(ly)?(-.*)?", "it says itself that it is dangerous"),
    Rule(r"unsafe.*|.*-unsafe(-.*)?", "it says itself that it is not safe"),
    Rule(r"insecure.*|.*-insecure(-.*)?", "it says itself that it is not secure"),
    Rule(
        r"yolo.*|full-auto|auto-?(approve|accept|confirm|allow|grant)(-.*)?|yes-to-all|assume-yes|always-(yes|approve|allow)",
        "it answers in the place of a person",
    ),
    Rule(
        r"allow(ed|s)?(-.*)?|allow[a-z]+|force-allow.*|permit-.*|grant-.*", "it allows more than the configuration does"
    ),
    Rule(r"bypass.*|.*-bypass(-.*)?|override-.*|no-config.*", "it goes round the configuration"),
    Rule(rf"skip-?{_CHECKS}.*|skip-.*{_CHECKS}.*|skip-all(-.*)?", "it skips a check"),
    Rule(r"disable(d)?(-.*)?", "it switches something off that the configuration relies on"),
    Rule(r"ignore(-.*)?", "it ignores something that the configuration relies on"),
    Rule(r"trust-(all|any|everything).*", "it trusts what nobody checked"),
    Rule(r"env-file|args-file|response-file", "it hides arguments in a file that nobody attested"),
)
"""Every rule with its reason. Names are compared in lower case, with hyphens, without the dashes in front."""

_DASHES = frozenset(
    "\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u207b\u208b\ufe58\ufe63\uff0d\u02d7\u06d4\u30fc\u2500"
)
_COMPILED = tuple((re.compile(r.names), re.compile(r.values) if r.values else None, r.reason) for r in RULES)
_SHELL_COMMAND = re.compile(r"-[a-z]*c")


def unsafe_flags(arguments: Sequence[str]) -> list[str]:
    """One sentence for each unsafe flag among these arguments, in their order; empty when there is none.

    Flags are seen through other dashes, other case, underscores, invisible characters and full-width letters, with the
    value behind ``=`` or in the next argument, and among the words of a shell's ``-c``.
    """
    found = []
    for shown, name, value in _flags(arguments):
        for names, values, reason in _COMPILED:
            if names.fullmatch(name) and (values is None or values.fullmatch(value)):
                found.append(f"{quote(shown, 60)}: {reason}; leave it out.")
                break
    return found


def normalised(argument: str) -> str:
    """An argument as its reader may take it: no invisible characters, one kind of dash, lower case."""
    text = unicodedata.normalize("NFKC", "".join("-" if c in _DASHES else c for c in argument))
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc", "Mn") or c in "\t\n")
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", text)  # --noSandbox
    return "".join("-" if c in _DASHES or unicodedata.category(c) == "Pd" else c for c in text).strip().casefold()


def _flags(arguments: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    words: list[str] = []
    for place, argument in enumerate(arguments):
        shell = place > 0 and _SHELL_COMMAND.fullmatch(normalised(arguments[place - 1])) is not None
        words.extend(re.split(r"[\s;&|()'\"`]+", argument) if shell else [argument])
    for place, word in enumerate(words):
        plain = normalised(word)
        if not plain.startswith("-"):
            continue
        name, has_value, value = plain.lstrip("-").partition("=")
        if not has_value:
            value = normalised(words[place + 1]) if place + 1 < len(words) else ""
        yield word, name.replace("_", "-"), value
        if re.fullmatch(r"-v/.*", plain):  # the value of a short option needs no space
            yield word, "v", plain[2:]
