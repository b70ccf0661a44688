"""The way of one launch: attest, start, wait, say how it ended. Nothing starts without the log's own signed word.

Invariants: the record on the disk comes before each step, so whoever comes after a crash knows which launches to
report; what was refused by either side executes nothing; the exit status of the agent is passed on.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

from imprimatur.client import answers as replies
from imprimatur.errors import ImprimaturError, NotFoundError, ServerError
from imprimatur.formats import attestation, canonical, ids
from imprimatur.formats.shapes import ShapeError
from imprimatur.launch import state
from imprimatur.launch.plan import NO_POLICY, Plan, led_away, unchanged
from imprimatur.rules import bubblewrap, launches
from imprimatur.rules.configuration.environment import LAUNCH
from imprimatur.sandbox import bwrap, seccomp
from imprimatur.service import answers
from imprimatur.service.service import Service

LOST, KILLED, EXITED = "lost", "killed", "exited"
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
_PR_SET_PDEATHSIG = 1

Tell = Callable[[str], object]


class LaunchRefused(ImprimaturError):
    """Nothing was executed. ``reasons`` are pairs of code and sentence; ``index`` is the entry that holds them."""

    def __init__(self, reasons: Sequence[tuple[str, str]], index: int | None) -> None:
        super().__init__("; ".join(sentence for _, sentence in reasons))
        self.reasons = list(reasons)
        self.index = index


@dataclass(frozen=True)
class Attested:
    """A launch that is in the log, and may be started once, now, by whoever holds its record."""

    launch: str
    index: int
    record: state.Record


class Launcher:
    """An orchestrator at work. ``tell`` gets lines for the person who looks."""

    def __init__(self, service: Service, node: Mapping[str, str], tell: Tell) -> None:
        self._service = service
        self._node = dict(node)
        self._tell = tell

    # --- before ---------------------------------------------------------------------------------------------------

    def recover(self) -> None:
        """Report every launch whose launcher died: as lost, or as what it came to. Raises APIError and its family."""
        with state.abandoned(self._service.folder.launches) as held:
            if not held:
                return
            with self._service.speaking():
                pass  # what was signed and not sent is sent first: only then does the server know these launches
            for record, known in held:
                if state.runs(known):
                    self._tell(f"{record.launch} was left by its launcher and still runs (process {known['pid']})")
                    continue
                ended = known.get("state") == state.ENDED
                how, code = (known["how"], known.get("code")) if ended else (LOST, None)
                self._tell(f"{record.launch} was left by its launcher: {how}")
                self._report(record, how, code)

    def attest(self, plan: Plan) -> Attested:
        """Have it written down. Raises LaunchRefused when either side says no, and then nothing may start; APIError
        when there is no answer that counts, and then nothing may start either."""
        with self._service.speaking() as voice:
            terms = self._terms(plan.agent)
            launch = ids.new_id("lau", self._service.now())
            predicate = plan.predicate(launch, self._node, terms)
            if secrets := launches.secrets(predicate):
                # What is signed stays in this folder, and in the log, for good: so nothing is, not even to be refused.
                first = [(problem.code, problem.message) for problem in secrets]
                raise LaunchRefused([*first, *(each for each in _reasons(plan) if each not in first)], None)
            record = state.Record(self._service.folder.launches, launch)
            record.begin()
            try:
                voice.say(attestation.LAUNCH, plan.subjects(), predicate)
            except (attestation.AttestationError, ShapeError, canonical.CanonicalError) as error:
                record.forget()
                raise LaunchRefused([*_reasons(plan), ("malformed-configuration", f"{error}.")], None) from None
            try:
                told = voice.send()[-1]
            except BaseException:
                record.release()  # whether it is attested is not known; the next launcher finds out and says lost
                raise
        index = int(told.entry["index"])
        if told.kind == "launch.refused":
            record.forget()
            found = [(str(row["code"]), str(row["message"])) for row in told.body["reasons"]]
            raise LaunchRefused([*found, *(each for each in _reasons(plan) if each not in found)], index)
        if plan.problems:
            self._give_up(record)
            raise LaunchRefused(_reasons(plan), index)
        return Attested(launch, index, record)

    def _terms(self, agent: str) -> dict[str, Any]:
        """What the launch has to agree with. For an agent that does not exist, so little that it is refused."""
        try:
            found = self._service.get(f"/launches/terms?agent={agent}")
        except NotFoundError:
            return {"delegations": [], "policy": NO_POLICY}
        delegations, policy = found.get("delegations"), found.get("policy")
        if not isinstance(delegations, list) or not isinstance(policy, str):
            raise ServerError("The server does not say what a launch has to agree with.", code="unknown-answer")
        return {"delegations": delegations, "policy": policy}

    # --- running --------------------------------------------------------------------------------------------------

    def in_bwrap(
        self, plan: Plan, attested: Attested, program: bwrap.Program, who: bwrap.User, outside: Mapping[str, str]
    ) -> int:
        """Start it in bubblewrap, wait for its end and report it. Returns its exit status."""
        record = attested.record
        if not unchanged(plan.executable):
            self._give_up(record)
            raise LaunchRefused(
                [("digest-mismatch", f"{plan.executable['path']} changed after it was attested; launch again.")],
                attested.index,
            )
        try:
            running = bwrap.prepare(
                program,
                plan.flags,
                plan.command,
                filter_=seccomp.program(os.uname().machine, plan.effective["security"]["seccomp"]),
                configuration=canonical.dumps(plan.effective),
                environment=bubblewrap.environment(plan.effective, attested.launch, outside),
                limits=bubblewrap.limits(plan.effective),
                who=who,
            )
        except bwrap.SandboxFailed as error:
            self._give_up(record)
            raise LaunchRefused([("sandbox", str(error))], attested.index) from None
        forward = _Forward()
        with forward.installed():
            try:
                record.started(running.pid)
                # Looked at again now that the sandbox stands: what came into it came by links that bwrap followed.
                if links := led_away(plan.effective):
                    raise LaunchRefused([(link.code, link.message) for link in links], attested.index)
                running.begin()
            except BaseException:
                running.kill()
                os.waitpid(running.pid, 0)
                self._give_up(record)
                raise
            forward.to(running.command())
            how, code = _wait(running.pid, plan.effective["limits"]["wall_seconds"], forward, running.kill)
        return self._over(record, how, code)

    def declared(self, plan: Plan, attested: Attested, outside: Mapping[str, str]) -> int:
        """Have the other runtime start it, wait for its end and report it. Returns its exit status."""
        record, launch = attested.record, attested.launch
        words = [*plan.named(plan.outer, launch), *plan.named(plan.command, launch)]
        environment = {name: value for name, value in outside.items() if name != LAUNCH}
        if not plan.wants_id:
            environment[LAUNCH] = launch
        libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

        def with_parent() -> None:
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(127)

        forward = _Forward()
        with forward.installed():
            try:
                process = subprocess.Popen(
                    words,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=with_parent,  # noqa: PLW1509 - a launcher has one thread
                )
            except (OSError, subprocess.SubprocessError) as error:
                self._give_up(record)
                raise LaunchRefused(
                    [("runtime", f"{words[0]} could not be started: {error}.")], attested.index
                ) from None
            record.started(process.pid)
            forward.to(process.pid)
            how, code = _wait(process.pid, plan.effective["limits"]["wall_seconds"], forward, process.kill)
            process.returncode = code  # waited for already
        return self._over(record, how, code)

    def _over(self, record: state.Record, how: str, code: int) -> int:
        record.ended(how, code)
        try:
            self._report(record, how, code)
        except (ImprimaturError, OSError) as error:
            record.release()
            self._tell(f"{record.launch} {how} ({code}), but that could not be reported: {error} The next launch does.")
        return code

    def _give_up(self, record: state.Record) -> None:
        """It is in the log and was never started."""
        record.ended(LOST, None)
        try:
            self._report(record, LOST, None)
        except (ImprimaturError, OSError) as error:
            record.release()
            self._tell(f"{record.launch} was never started, but that could not be reported: {error}")

    def _report(self, record: state.Record, how: str, code: int | None) -> None:
        """Say how it ended, and forget it. One that the server does not know, or knows to have ended, is forgotten."""
        document: dict[str, Any] = {"how": how} if code is None else {"how": how, "code": code}
        answer = self._service.post(f"/launches/{record.launch}/ended", document)
        if answer.status == 200:
            row = answer.document()
            entry = answers.entry(row, trust=self._service.trust, kinds=("launch.ended",))
            if entry["body"].get("launch") != record.launch:
                raise ServerError("The server's answer is about another launch.", code="unknown-answer")
        elif answer.status != 404 and answer.code != "wrong-state":
            raise replies.failure(answer)
        record.forget()


class _Forward:
    """Passes signals on to a process that is known a little later than it is started."""

    def __init__(self) -> None:
        self.ended_by_us = False
        self._target: int | None = None
        self._early: list[int] = []

    def to(self, pid: int | None) -> None:
        """Pass on to this process from now on, beginning with what came before."""
        if pid is None:
            return
        with suppress(OSError):
            self._target = os.pidfd_open(pid)
            for number in self._early:
                self._send(number)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Catch signals as long as this lasts."""
        before = {number: signal.signal(number, self._caught) for number in _FORWARDED}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._target is not None:
                os.close(self._target)
                self._target = None

    def _caught(self, number: int, _: FrameType | None) -> None:
        self.ended_by_us = self.ended_by_us or number in _ENDING
        if self._target is None:
            self._early.append(number)
        else:
            self._send(number)

    def _send(self, number: int) -> None:
        with suppress(OSError):
            if self._target is not None:
                signal.pidfd_send_signal(self._target, signal.Signals(number))


def _wait(pid: int, wall_seconds: int, forward: _Forward, kill: Callable[[], None]) -> tuple[str, int]:
    """How it ended, and its exit status as a shell gives it. It is killed when its time is over."""
    until = time.monotonic() + wall_seconds
    out_of_time = False
    poll = select.poll()
    descriptor = os.pidfd_open(pid)
    poll.register(descriptor, select.POLLIN)
    try:
        while not poll.poll(max(0.0, min(until - time.monotonic(), 3600.0)) * 1000):
            if time.monotonic() >= until:
                out_of_time = True
                kill()
                until += 3600.0
    finally:
        os.close(descriptor)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    died = code < 0
    code = 128 - code if died else code
    killed = out_of_time or died or (forward.ended_by_us and code >= 128)
    return (KILLED if killed else EXITED), code


def _reasons(plan: Plan) -> list[tuple[str, str]]:
    return [(problem.code, problem.message) for problem in plan.problems]
