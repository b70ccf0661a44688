"""The filter does what it says: run instruction by instruction for both machines, and asked of the kernel for this one."""

from __future__ import annotations

import ctypes
import errno
import json
import platform
import struct
import subprocess
import sys

import pytest

from imprimatur.sandbox import seccomp

ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
EPERM, ENOSYS = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
NEWUSER, NEWNS, THREAD = 0x10000000, 0x00020000, 0x00010000
EVERY = [(machine, flavour) for machine in seccomp.MACHINES for flavour in seccomp.FLAVOURS]


def verdict(program: bytes, number: int, audit: int, *arguments: int) -> int:
    """What this program returns for a call: the classic BPF machine, with the four instructions that it uses."""
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, audit, 0, *padded)
    steps = list(struct.iter_unpack("<HBBI", program))
    place, word = 0, 0
    while True:
        code, if_true, if_false, value = steps[place]
        place += 1
        if code == 0x20:
            (word,) = struct.unpack_from("<I", data, value)
        elif code == 0x06:
            return value
        else:
            passed = {0x15: word == value, 0x35: word >= value, 0x45: bool(word & value)}[code]
            place += if_true if passed else if_false


@pytest.mark.parametrize(("name", "flavour"), EVERY)
def test_every_forbidden_call_is_refused_and_ordinary_ones_are_not(name: str, flavour: str) -> None:
    machine = seccomp.MACHINES[name]
    program = seccomp.program(name, flavour)

    for call in seccomp.forbidden(flavour):
        if call in machine.calls:
            expected = ENOSYS if call == "clone3" else EPERM
            assert verdict(program, machine.calls[call], machine.audit) == expected, call
    ordinary = {"x86_64": (0, 1, 2, 59, 231, 257), "aarch64": (63, 64, 56, 221, 94, 134)}[name]
    for number in ordinary:  # read, write, open or openat, execve, exit_group, …
        assert verdict(program, number, machine.audit) == ALLOW


@pytest.mark.parametrize(("name", "flavour"), EVERY)
def test_a_call_in_another_numbering_kills(name: str, flavour: str) -> None:
    program = seccomp.program(name, flavour)
    other = next(each for each in seccomp.MACHINES if each != name)

    assert verdict(program, 1, seccomp.MACHINES[other].audit) == KILL
    assert verdict(program, 1, 0x40000003) == KILL  # i386
    if name == "x86_64":
        assert verdict(program, 0x40000000 | 1, seccomp.MACHINES[name].audit) == KILL  # x32


@pytest.mark.parametrize(("name", "flavour"), EVERY)
def test_a_clone_may_make_threads_and_processes_and_no_namespaces(name: str, flavour: str) -> None:
    machine, program = seccomp.MACHINES[name], seccomp.program(name, flavour)
    clone = machine.calls["clone"]

    assert verdict(program, clone, machine.audit, THREAD | 0x100) == ALLOW
    assert verdict(program, clone, machine.audit, 17) == ALLOW  # fork
    for flag in (NEWUSER, NEWNS, 0x02000000, 0x04000000, 0x08000000, 0x20000000, 0x40000000):
        assert verdict(program, clone, machine.audit, 17 | flag) == EPERM


@pytest.mark.parametrize(("name", "flavour"), EVERY)
def test_nothing_is_typed_into_the_launchers_terminal(name: str, flavour: str) -> None:
    machine, program = seccomp.MACHINES[name], seccomp.program(name, flavour)

    assert verdict(program, machine.calls["ioctl"], machine.audit, 0, 0x5412) == EPERM
    # The kernel looks at 32 bits only, and so must the filter.
    assert verdict(program, machine.calls["ioctl"], machine.audit, 0, 0x1_0000_5412) == EPERM
    assert verdict(program, machine.calls["ioctl"], machine.audit, 0, 0x5401) == ALLOW


@pytest.mark.parametrize("name", seccomp.MACHINES)
def test_only_the_strict_filter_takes_sockets_away(name: str) -> None:
    machine = seccomp.MACHINES[name]
    strict, default = (seccomp.program(name, flavour) for flavour in seccomp.FLAVOURS)

    for call in ("socket", "socketpair"):
        number = machine.calls[call]
        assert verdict(strict, number, machine.audit, 1) == ALLOW
        for family in (2, 10, 16, 17, 38, 40):  # inet, inet6, netlink, packet, alg, vsock
            assert verdict(strict, number, machine.audit, family) == EPERM
            assert verdict(default, number, machine.audit, family) == ALLOW


def test_another_machine_or_flavour_has_no_filter() -> None:
    with pytest.raises(seccomp.UnsupportedMachine, match="riscv64"):
        seccomp.program("riscv64", seccomp.STRICT)
    with pytest.raises(ValueError, match="strict"):
        seccomp.program("x86_64", "none")


CHILD = """
import ctypes, errno, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
given = json.load(sys.stdin)
raw = bytes.fromhex(given["program"])
class Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
assert libc.prctl(22, 2, ctypes.byref(Filter(len(raw) // 8, raw)), 0, 0) == 0, os.strerror(ctypes.get_errno())
found = {}
for name, (number, arguments) in given["calls"].items():
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(each) for each in arguments])
    found[name] = errno.errorcode.get(ctypes.get_errno(), "") if result == -1 else "done"
if os.fork() == 0:
    os._exit(0)
found["fork"] = "done" if os.wait()[1] == 0 else "failed"
print(json.dumps(found))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in seccomp.MACHINES, reason="needs Linux on a machine we know"
)
@pytest.mark.parametrize("flavour", seccomp.FLAVOURS)
def test_the_kernel_refuses_what_the_filter_forbids(flavour: str) -> None:
    machine = seccomp.MACHINES[platform.machine()]
    # Zeros as arguments: the filter answers before the kernel looks at them.
    calls: dict[str, tuple[int, list[int]]] = {
        name: (machine.calls[name], [0] * 6) for name in seccomp.forbidden(flavour) if name in machine.calls
    }
    calls["clone with a user namespace"] = (machine.calls["clone"], [NEWUSER | 17, 0, 0, 0, 0])
    calls["ioctl TIOCSTI"] = (machine.calls["ioctl"], [0, 0x5412, 0])
    calls["internet"] = (machine.calls["socket"], [2, 1, 0])
    calls["unix"] = (machine.calls["socket"], [1, 1, 0])

    done = subprocess.run(
        [sys.executable, "-I", "-c", CHILD],
        input=json.dumps({"program": seccomp.program(machine.name, flavour).hex(), "calls": calls}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    found = json.loads(done.stdout)

    assert found.pop("clone3") == "ENOSYS"
    assert found.pop("fork") == "done"
    assert found.pop("unix") == "done"
    assert found.pop("internet") == ("EPERM" if flavour == seccomp.STRICT else "done")
    assert set(found.values()) == {"EPERM"}, {name: how for name, how in found.items() if how != "EPERM"}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the x32 numbering is of x86_64")
def test_the_kernel_kills_a_call_in_the_x32_numbering() -> None:
    program = seccomp.program("x86_64", seccomp.DEFAULT)
    calls = {"getpid of x32": (0x40000000 | 39, [0])}

    done = subprocess.run(
        [sys.executable, "-I", "-c", CHILD],
        input=json.dumps({"program": program.hex(), "calls": calls}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == -31, (done.returncode, done.stdout, done.stderr)  # SIGSYS
    assert ctypes.sizeof(ctypes.c_long) == 8
