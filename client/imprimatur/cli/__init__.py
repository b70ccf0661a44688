"""The command line of agents (``keygen | enroll | rotate | request | wait | doctor``), of whoever answers for them
(``key enrol | review | approve | confirm | deny | delegate``), of auditors (``verify | compare | sample``), of whoever
watches a log (``witness``), and of whoever starts agents and watches them (``service | launch | monitor | canary``).

Exit status: 0 done or allowed; 1 refused, or a check failed; 2 wrong use or configuration; 3 still pending; 4 no answer
from the server; 5 the server shows one thing and asks to sign another, so nothing was signed. Errors are one line on
standard error, with the next step.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from imprimatur.cli import (
    answer,
    ask,
    compare,
    delegate,
    doctor,
    enrol,
    key,
    keygen,
    rotate,
    sample,
    witness,
)
from imprimatur.cli.reading import Mismatch
from imprimatur.cli.say import MISMATCH, NO_ANSWER, PENDING, REFUSED, USAGE, complain, spell_everything
from imprimatur.errors import (
    ActionBlocked,
    APIError,
    ApprovalPending,
    ControlPlaneUnavailable,
    ImprimaturError,
    ServerError,
)

_EXIT = (
    "exit status: 0 done or allowed, 1 refused or a check failed, 2 wrong use or configuration, 3 still pending, "
    "4 no answer from the server, 5 the server shows one thing and asks to sign another"
)


class _Parser(argparse.ArgumentParser):
    """Argument errors in one line too."""

    def error(self, message: str) -> None:  # type: ignore[override]  # raises instead of returning NoReturn
        complain(f"{message}. See `{self.prog} --help`.")
        raise SystemExit(USAGE)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(prog="imprimatur", description="Ask before acting; verify afterwards.", epilog=_EXIT)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser, required=True)
    for module in (keygen, enrol, rotate, delegate, key, answer, ask, doctor, witness, sample, compare):
        module.add(commands)
    if os.name == "posix":  # locks, namespaces and /proc are not everywhere where agents are
        from imprimatur.cli import canary, launch, monitor, service

        for module in (service, launch, monitor, canary):
            module.add(commands)
    verify = commands.add_parser("verify", help="verify an evidence bundle, offline", add_help=False)
    verify.set_defaults(handler=None)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    spell_everything()
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["verify"]:
        from imprimatur.verify.report import main as verify

        return int(verify(words[1:]))
    # argparse would take options of the command to run for its own.
    words, after = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    options = parser().parse_args(words)
    options.after = after
    if after and options.command not in ("request", "launch"):
        complain("Only `imprimatur request` and `imprimatur launch` run a command after --.")
        return USAGE
    try:
        return int(options.handler(options))
    except ApprovalPending as pending:
        complain(f"{pending} Look at {pending.url}" if pending.url else str(pending))
        return PENDING
    except (ControlPlaneUnavailable, ServerError) as error:
        complain(str(error))
        return NO_ANSWER
    except ActionBlocked as blocked:
        note = f" Note: {blocked.note}" if blocked.note else ""
        complain(f"{blocked}{note} {blocked.hint}")
        return REFUSED
    except APIError as error:
        complain(str(error))
        return REFUSED
    except Mismatch as error:
        complain(
            f"Nothing was signed: what the server shows and what it asks to sign do not fit. {error} Tell an admin."
        )
        return MISMATCH
    except ImprimaturError as error:
        complain(str(error))
        return USAGE
    except OSError as error:
        complain(f"{error.filename or 'The system'}: {error.strerror or error}.")
        return USAGE
    except KeyboardInterrupt:
        complain("Stopped. What was waiting has been cancelled.")
        return REFUSED
