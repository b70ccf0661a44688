"""System calls that nothing inside a sandbox may make, as a classic BPF program for seccomp (seccomp(2), bpf(4)).

A deny-list: agents run interpreters, compilers and tests, so most calls must go through; what leads out of a sandbox,
changes the machine, or opens the kernel's widest doors does not. Forbidden calls fail with EPERM. A call made in
another architecture's numbering (x32 included) kills the process, since its numbers would mean other calls. ``clone3``
hides its flags from the filter, so it fails with ENOSYS and the C library goes back to ``clone``, whose flags are
looked at.

`STRICT` also takes away every socket that is not a Unix one, running programs from memory, and device files.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

STRICT, DEFAULT = "strict", "default"
FLAVOURS = (STRICT, DEFAULT)

# include/uapi/linux/seccomp.h, filter.h, audit.h
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _RETURN = 0x20, 0x06
_EQUAL, _AT_LEAST, _ANY_BIT = 0x15, 0x35, 0x45
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; both machines are little-endian
_X32 = 0x40000000

# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # type into the terminal that the launcher sits at
_AF_UNIX = 1

_X86_64: Mapping[str, int] = {
    "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "setns": 308, "unshare": 272,
    "bpf": 321, "perf_event_open": 298, "userfaultfd": 323,
    "keyctl": 250, "add_key": 248, "request_key": 249,
    "kexec_load": 246, "kexec_file_load": 320, "init_module": 175, "finit_module": 313, "delete_module": 176,
    "reboot": 169, "swapon": 167, "swapoff": 168, "acct": 163, "quotactl": 179,
    "settimeofday": 164, "clock_settime": 227, "clock_adjtime": 305, "adjtimex": 159,
    "sethostname": 170, "setdomainname": 171, "syslog": 103, "vhangup": 153, "personality": 135,
    "open_by_handle_at": 304, "name_to_handle_at": 303, "lookup_dcookie": 212, "nfsservctl": 180,
    "mbind": 237, "set_mempolicy": 238, "migrate_pages": 256, "move_pages": 279, "fanotify_init": 300,
    "iopl": 172, "ioperm": 173, "modify_ldt": 154, "uselib": 134, "ustat": 136, "sysfs": 139, "_sysctl": 156,
    "create_module": 174, "get_kernel_syms": 177, "query_module": 178,
    "clone": 56, "ioctl": 16, "socket": 41, "socketpair": 53,
    "execveat": 322, "memfd_create": 319, "vmsplice": 278, "mknod": 133, "mknodat": 259,
}  # fmt: skip
_AARCH64: Mapping[str, int] = {
    "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
    "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51, "setns": 268, "unshare": 97,
    "bpf": 280, "perf_event_open": 241, "userfaultfd": 282,
    "keyctl": 219, "add_key": 217, "request_key": 218,
    "kexec_load": 104, "kexec_file_load": 294, "init_module": 105, "finit_module": 273, "delete_module": 106,
    "reboot": 142, "swapon": 224, "swapoff": 225, "acct": 89, "quotactl": 60,
    "settimeofday": 170, "clock_settime": 112, "clock_adjtime": 266, "adjtimex": 171,
    "sethostname": 161, "setdomainname": 162, "syslog": 116, "vhangup": 58, "personality": 92,
    "open_by_handle_at": 265, "name_to_handle_at": 264, "lookup_dcookie": 18, "nfsservctl": 42,
    "mbind": 235, "set_mempolicy": 237, "migrate_pages": 238, "move_pages": 239, "fanotify_init": 262,
    "clone": 220, "ioctl": 29, "socket": 198, "socketpair": 199,
    "execveat": 281, "memfd_create": 279, "vmsplice": 75, "mknodat": 33,
}  # fmt: skip
# Calls since Linux 5.0 have one number on every machine.
_EVERYWHERE: Mapping[str, int] = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "clone3": 435, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443,
    "memfd_secret": 447, "set_mempolicy_home_node": 450,
}  # fmt: skip

_BY_ARGUMENT = frozenset({"clone", "ioctl", "socket", "socketpair"})
_STRICT_ONLY = frozenset({"execveat", "memfd_create", "memfd_secret", "vmsplice", "mknod", "mknodat"})


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine's name as `uname -m` has it, its AUDIT_ARCH number, and its system calls."""

    name: str
    audit: int
    calls: Mapping[str, int]
    x32: bool = False


MACHINES = {
    "x86_64": Machine("x86_64", 0xC000003E, {**_X86_64, **_EVERYWHERE}, x32=True),
    "aarch64": Machine("aarch64", 0xC00000B7, {**_AARCH64, **_EVERYWHERE}),
}


class UnsupportedMachine(Exception):
    """There is no filter for this machine, so nothing may be started on it. The message says which there are."""


def forbidden(flavour: str) -> frozenset[str]:
    """Names of the calls that always fail under this flavour, ``clone3`` included."""
    names = frozenset(name for machine in MACHINES.values() for name in machine.calls) - _BY_ARGUMENT
    return names if flavour == STRICT else names - _STRICT_ONLY


def program(machine: str, flavour: str) -> bytes:
    """The filter: an array of struct sock_filter, as bwrap's ``--seccomp`` reads it. Deterministic.

    Raises UnsupportedMachine, ValueError for an unknown flavour.
    """
    if flavour not in FLAVOURS:
        raise ValueError(f"a seccomp filter is one of {', '.join(FLAVOURS)}")
    found = MACHINES.get(machine)
    if found is None:
        raise UnsupportedMachine(f"there is no seccomp filter for {machine or 'this machine'}: {', '.join(MACHINES)}")
    return b"".join(_instructions(found, flavour))


def _instructions(machine: Machine, flavour: str) -> Iterator[bytes]:
    yield _step(_LOAD, _ARCHITECTURE)
    yield from _unless(machine.audit, _KILL)
    yield _step(_LOAD, _NUMBER)
    if machine.x32:
        yield from _when(_AT_LEAST, _X32, _KILL)
    denied = forbidden(flavour)
    for name, number in sorted(machine.calls.items()):
        if name in denied:
            yield from _when(_EQUAL, number, _ERRNO | (errno.ENOSYS if name == "clone3" else errno.EPERM))
    yield from _argument(machine, "clone", 0, (_ANY_BIT, _NAMESPACES))
    yield from _argument(machine, "ioctl", 1, (_EQUAL, _TIOCSTI), (_EQUAL, _TIOCLINUX))
    if flavour == STRICT:
        for name in ("socket", "socketpair"):
            yield from _only(machine, name, 0, _AF_UNIX)
    yield _step(_RETURN, _ALLOW)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def _when(test: int, value: int, action: int) -> Iterator[bytes]:
    """Return ``action`` when the loaded word passes the test."""
    yield _step(test, value, 0, 1)
    yield _step(_RETURN, action)


def _unless(value: int, action: int) -> Iterator[bytes]:
    yield _step(_EQUAL, value, 1, 0)
    yield _step(_RETURN, action)


def _argument(machine: Machine, name: str, place: int, *tests: tuple[int, int]) -> Iterator[bytes]:
    """EPERM for this call when the low word of an argument passes any of the tests; else it is allowed."""
    steps = [_step(_LOAD, _ARGUMENTS + 8 * place)]
    for test, value in tests:
        steps += _when(test, value, _ERRNO | errno.EPERM)
    steps.append(_step(_RETURN, _ALLOW))
    yield _step(_EQUAL, machine.calls[name], 0, len(steps))
    yield from steps


def _only(machine: Machine, name: str, place: int, value: int) -> Iterator[bytes]:
    """EPERM for this call unless the low word of an argument is this."""
    yield _step(_EQUAL, machine.calls[name], 0, 4)
    yield _step(_LOAD, _ARGUMENTS + 8 * place)
    yield from _unless(value, _ERRNO | errno.EPERM)
    yield _step(_RETURN, _ALLOW)
