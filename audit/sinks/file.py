"""A sink in a file: one line per entry, only ever added to. Works on media that allow nothing else (`chattr +a`).

What a crash leaves of a line is not cut off, since such media refuse that: the line is ended, a note says how many
bytes are to be passed by, and the line comes again. Where the file's end is nothing that we could have begun to write,
nothing is added and it is an alarm.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from audit.sinks import lines
from audit.sinks.sink import Differs, Piece, Shown, SinkError
from audit.sinks.tree import Published
from imprimatur.formats import checkpoint, merkle, note, tiles

TAIL = 1 << 20  # bytes from the end in which the last entry is found: longer than any few lines
MODE = 0o640


class Scan:
    """Goes over lines in order. Holds: indexes follow each other, and nothing unreadable is left unexplained."""

    def __init__(self, at: int | None) -> None:
        """``at`` is the index that the first entry has; None when the lines begin somewhere in the file."""
        self.next = at
        self.sealed: int | None = None  # the size of the last checkpoint
        self.pending: list[bytes] = []  # lines that cannot be read, until a note explains them

    @property
    def skipped(self) -> int:
        """The length of what is pending, line ends included."""
        return sum(len(line) + 1 for line in self.pending)

    def see(self, line: bytes) -> lines.EntryLine | lines.CheckpointLine | None:
        """The next line without its end; what it is, or None for nothing to keep. Raises Differs."""
        try:
            found = lines.parse(line)
        except ValueError:
            self.pending.append(line)
            return None
        if isinstance(found, lines.TornLine):
            if self.next is not None and found.length != self.skipped:
                raise Differs(f"before entry {self.next} there are {self.skipped} bytes that are not ours")
            self.pending = []
            return None
        if self.pending and self.next is not None:
            raise Differs(f"the line of entry {self.next}, or of the checkpoint before it, was changed")
        self.pending = []
        if isinstance(found, lines.EntryLine):
            if self.next is not None and found.index != self.next:
                raise Differs(f"entry {found.index} stands where entry {self.next} should be")
            self.next = found.index + 1
        else:
            self.sealed = _size(found.signed)
            if self.next is not None and self.sealed != self.next:
                raise Differs(f"a checkpoint over {self.sealed} entries stands below {self.next}")
        return found


def _size(signed: str) -> int:
    try:
        return checkpoint.parse(note.parse_note(signed)[0]).size
    except ValueError as error:
        raise Differs(f"one of its checkpoints cannot be read ({error})") from error


class FileSink(Shown):
    """Appends to one file, under a lock of its own. What counts as taken is on the disk."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name, str(path))
        self._path = path
        self._seen: tuple[tuple[int, int, int], int, int | None] | None = None  # which file as long: entries, sealed
        self._read_until = (0, 0, (0, 0))  # entries that were read, where they end, in which file

    def where(self, log: Published, known: int) -> int:
        with self._open() as handle:
            self._seen = None
            return self._resume(handle, log)[0]

    def take(self, log: Published, start: int, end: int) -> int:
        found = b"".join(lines.entry(index, raw) for index, raw in enumerate(log.entries(start, end), start=start))
        with self._open() as handle:
            held, sealed = self._resume(handle, log)
            if held != start:
                return held
            self._append(handle, found)
            self._note(handle, end, sealed)
            return end

    def seal(self, log: Published) -> None:
        with self._open() as handle:
            held, sealed = self._resume(handle, log)
            if held == log.size and sealed != held:
                self._append(handle, lines.checkpoint(log.signed))
                self._note(handle, held, held)

    def read(self, log: Published, start: int) -> Iterator[Piece]:
        entries: list[bytes] = []
        try:
            with self._path.open("rb", buffering=1 << 16) as stream:
                known, offset, file = self._read_until
                if known != start or file != _identity(stream.fileno()):
                    known, offset = 0, 0
                stream.seek(offset)
                position, scan = offset, Scan(known)
                while line := stream.readline(lines.LONGEST):
                    if not line.endswith(b"\n"):
                        if len(line) == lines.LONGEST:
                            raise Differs(f"the line of entry {scan.next} is too long")
                        _check_rest(log, scan, line)
                        break  # being written, or to be mended by the next shipment
                    found = scan.see(line[:-1])
                    if isinstance(found, lines.EntryLine):
                        if found.index >= log.size:
                            scan.next = found.index
                            break
                        if found.index >= start:
                            entries.append(found.envelope)
                    position += len(line)
                    offset = offset if scan.pending else position
                    sealed = isinstance(found, lines.CheckpointLine) and (scan.next or 0) >= start
                    if sealed or len(entries) == tiles.WIDTH:
                        yield Piece(entries, found.signed if isinstance(found, lines.CheckpointLine) else "")
                        entries = []
                _check_rest(log, scan, b"")
                self._read_until = (scan.next or 0, offset, _identity(stream.fileno()))
        except OSError as error:
            raise SinkError(f"cannot be read ({error.strerror})") from error
        yield Piece(entries)

    @contextmanager
    def _open(self) -> Iterator[int]:
        """The file, open for adding, and locked against other processes that ship to it."""
        try:
            # Non-blocking, so that a pipe in its place does not hang us.
            handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, MODE)
        except OSError as error:
            raise SinkError(f"cannot be opened ({error.strerror})") from error
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise SinkError("is no plain file")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise SinkError("is being written by another process") from error
            yield handle
        except OSError as error:
            self._seen = None
            raise SinkError(f"cannot be written ({error.strerror})") from error
        finally:
            os.close(handle)

    def _resume(self, handle: int, log: Published) -> tuple[int, int | None]:
        """Entries that the file holds and the last checkpoint among them, from its end, which is mended if torn."""
        size = os.fstat(handle).st_size
        if self._seen is not None and self._seen[0] == (*_identity(handle), size):
            return self._seen[1:]
        start = max(0, size - TAIL)
        raw = os.pread(handle, size - start, start)
        if len(raw) != size - start:
            raise SinkError("cannot be read to its end")
        *whole, rest = raw.split(b"\n")
        if start:
            whole = whole[1:]
        scan = Scan(None if start else 0)
        last: bytes | None = None
        for line in whole:
            found = scan.see(line)
            if isinstance(found, lines.EntryLine):
                last = merkle.leaf_hash(found.envelope)
        if start and scan.next is None:
            raise Differs(f"there is no entry in its last {TAIL} bytes")
        held = scan.next or 0
        if last is not None and held <= log.size and last != log.leaf(held - 1):
            raise Differs(f"its last entry, {held - 1}, is another one")
        if (rest or scan.pending) and held <= log.size:
            held = self._mend(handle, log, scan, rest)
        if size == 0:
            _sync_folder(self._path.parent)
        self._note(handle, held, scan.sealed)
        return held, scan.sealed

    def _mend(self, handle: int, log: Published, scan: Scan, rest: bytes) -> int:
        """End what a crash, or a full disk, left behind the last whole line. Returns how many entries there are."""
        held = scan.next or 0
        if rest and not scan.pending and held < log.size and rest + b"\n" == _expected(log, held):
            self._append(handle, b"\n")  # only its end was missing
            return held + 1
        _check_rest(log, scan, rest)
        ended = b"\n" if rest else b""
        length = scan.skipped + len(rest) + len(ended)
        self._append(handle, ended + lines.torn(length))
        return held

    def _append(self, handle: int, raw: bytes) -> None:
        self._seen = None
        left = memoryview(raw)
        while left:
            left = left[os.write(handle, left) :]
        os.fsync(handle)

    def _note(self, handle: int, held: int, sealed: int | None) -> None:
        self._seen = ((*_identity(handle), os.fstat(handle).st_size), held, sealed)


def _expected(log: Published, index: int) -> bytes | None:
    return lines.entry(index, log.entries(index, index + 1)[0]) if index < log.size else None


def _check_rest(log: Published, scan: Scan, rest: bytes) -> None:
    """Behind the last whole line there is nothing but what we began to write. Raises Differs."""
    held = scan.next or 0
    pieces = [*scan.pending, *([rest] if rest else [])]
    if not pieces:
        return
    expected = _expected(log, held)
    if expected is not None and pieces == [expected[:-1]] and not scan.pending:
        return
    if not all(lines.is_beginning(piece, expected) for piece in pieces):
        raise Differs(f"behind entry {held - 1} there is something that this server did not write")


def _identity(handle: int) -> tuple[int, int]:
    found = os.fstat(handle)
    return found.st_dev, found.st_ino


def _sync_folder(folder: Path) -> None:
    """Make a new name durable. A folder that cannot be opened was made by somebody who sees to that."""
    with suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


__all__ = ["FileSink"]
