"""The one zip profile of evidence bundles: every byte of the file follows from its names and contents.

Stored entries, names sorted and plain ASCII, all times 1980-01-01, mode 0644, no comments, no data
descriptors, no gap anywhere. So there is exactly one zip for a given set of files: the writer makes it, and the reader
builds every header again and refuses whatever differs in one byte. Any unzip tool reads it (PKWARE APPNOTE 6.3.10,
4.3.7, 4.3.12 and 4.3.16).

Beyond 65,534 files or 4 GiB the wider fields of ZIP64 (4.3.14, 4.3.15, 4.5.3) stand exactly where a value does not
fit, and nowhere else. So there still is one zip for a set of files, and a small one is what it was without them.
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Self

MAX_FILES = 2_000_000
MAX_BYTES = 2**40
"""A terabyte: more than any log of ours, and nothing that a crafted file could make a reader allocate."""
MAX_NAME = 200

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_WIDE_END = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
_EXTRA = struct.Struct("<2H")
_FULL32, _FULL16 = 0xFFFFFFFF, 0xFFFF  # what a narrow field says when its value stands in a wide one
_MOST_EXTRA = 28  # bytes: two sizes and an offset
_WIDE = 1  # the id of the extra field of ZIP64
_VERSION = 20  # 2.0: what every reader since 1993 understands
_WIDE_VERSION = 45  # 4.5: ZIP64
_UNIX = 3 << 8  # made on Unix, so that the mode below counts
_MODE = 0o100644 << 16
_TIME, _DATE = 0, 1 << 5 | 1  # 1980-01-01 00:00:00, the oldest a zip can say
_CHUNK = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,=@+-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.,=@+-]*)*", re.ASCII)


class EvidenceZipError(ValueError):
    """Not a zip of this profile, or files that cannot be put into one."""


def check_name(name: str) -> None:
    """Refuse a name that is not a plain relative path. No segment starts with a dot, so none can climb out."""
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise EvidenceZipError(f"{name[:MAX_NAME]!r} is not a name for a file in a bundle")


class Writer:
    """Writes a bundle file by file, in sorted order, to a stream opened for binary writing. Nothing is kept in memory
    but the directory. Call `close` at the end: without it the file is not a zip. The stream stays open.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._offset = 0
        self._directory: list[bytes] = []
        self._last = ""
        self._names: set[str] = set()

    def add(self, name: str, content: bytes | Path, known: tuple[int, int] | None = None) -> None:
        """Add a file, from bytes or from disk. ``known`` are its CRC-32 and size, where they were measured before.

        Raises EvidenceZipError on a bad name, disorder, too much, or content that is not what was measured.
        """
        check_name(name)
        if self._directory and name <= self._last:
            raise EvidenceZipError(f"files come in sorted order: {name} cannot follow {self._last}")
        if not self._names.isdisjoint(_folders(name)):
            raise EvidenceZipError(f"{name} lies in a folder that is already a file")
        if len(self._directory) == MAX_FILES:
            raise EvidenceZipError(f"a bundle holds at most {MAX_FILES:,} files")
        crc, size = known or _measure(content)
        header = _local(name, crc, size)
        if self._offset + len(header) + size > MAX_BYTES:
            raise EvidenceZipError(f"a bundle holds at most {MAX_BYTES:,} bytes; ask for a shorter period")
        self._stream.write(header)
        found = written = 0
        for chunk in _chunks(content):
            self._stream.write(chunk)
            found = zlib.crc32(chunk, found)
            written += len(chunk)
        if (found, written) != (crc, size):
            raise EvidenceZipError(f"{name} changed while it was being written")
        self._directory.append(_central(name, crc, size, self._offset))
        self._offset += len(header) + size
        self._last = name
        self._names.add(name)

    def close(self) -> None:
        """Write the directory."""
        size = sum(map(len, self._directory))
        self._stream.writelines(self._directory)
        self._stream.write(_end(len(self._directory), size, self._offset))


def write(stream: BinaryIO, files: Mapping[str, bytes | Path]) -> None:
    """Write a whole bundle. The order of `files` does not matter."""
    writer = Writer(stream)
    for name in sorted(files):
        writer.add(name, files[name])
    writer.close()


class Reader:
    """Opens a bundle and holds that it is exactly what `Writer` writes for its names and contents.

    Opening checks every header and the layout, reading the directory only; `check_contents` compares each file with
    its CRC-32, and then every byte of the zip is accounted for. Raises EvidenceZipError, OSError.
    """

    def __init__(self, path: Path | str) -> None:
        self._stream: BinaryIO = Path(path).open("rb")  # noqa: SIM115  # closed by `close`
        try:
            self._places = self._read_directory()
        except BaseException:
            self._stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    @property
    def names(self) -> list[str]:
        """The names of all files, sorted."""
        return list(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def size(self, name: str) -> int:
        """Return the size of a file in bytes. Raises EvidenceZipError when there is none of that name."""
        return self._place(name)[1]

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a file's bytes. Raises EvidenceZipError when it is missing, damaged or has more than `most` bytes."""
        size = self.size(name)
        if most is not None and size > most:
            raise EvidenceZipError(f"{name} has {size:,} bytes; at most {most:,} were expected")
        return b"".join(self.chunks(name))

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yield a file's bytes piece by piece, and raise EvidenceZipError at the end when its CRC-32 is wrong."""
        start, size, wanted = self._place(name)
        crc, position = 0, start
        while position < start + size:
            self._stream.seek(position)
            chunk = self._stream.read(min(_CHUNK, start + size - position))
            if not chunk:
                raise EvidenceZipError(f"{name} is cut short")
            crc = zlib.crc32(chunk, crc)
            position += len(chunk)
            yield chunk
        if crc != wanted:
            raise EvidenceZipError(f"{name} is damaged: its checksum is wrong")

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file in hex, checking its CRC-32 on the way."""
        digest = hashlib.sha256()
        for chunk in self.chunks(name):
            digest.update(chunk)
        return digest.hexdigest()

    def check_contents(self) -> dict[str, str]:
        """Read everything once and return the SHA-256 of every file, in hex."""
        return {name: self.sha256(name) for name in self._places}

    def _place(self, name: str) -> tuple[int, int, int]:
        try:
            return self._places[name]
        except KeyError:
            raise EvidenceZipError(f"the bundle has no file {name}") from None

    def _read_directory(self) -> dict[str, tuple[int, int, int]]:
        stream = self._stream
        length = stream.seek(0, 2)
        if not _END.size <= length <= MAX_BYTES * 2:
            raise EvidenceZipError("this is not an evidence bundle")
        tail = self._at(max(0, length - _END.size - _LOCATOR.size - _WIDE_END.size), length)
        count, size, offset = _read_end(tail)
        if not tail.endswith(_end(count, size, offset)) or offset + size + len(_end(count, size, offset)) != length:
            raise EvidenceZipError("the end of the zip is not that of an evidence bundle")
        if count > MAX_FILES:
            raise EvidenceZipError(f"a bundle holds at most {MAX_FILES:,} files")
        if not count * _CENTRAL.size <= size <= count * (_CENTRAL.size + MAX_NAME + _MOST_EXTRA):
            raise EvidenceZipError("the directory of the zip does not have the size of its entries")
        return self._read_entries(_Piecewise(self, offset, offset + size), count, offset)

    def _at(self, start: int, end: int) -> bytes:
        self._stream.seek(start)
        return self._stream.read(end - start)

    def _read_entries(self, directory: _Piecewise, count: int, end: int) -> dict[str, tuple[int, int, int]]:
        places: dict[str, tuple[int, int, int]] = {}
        expected, last = 0, ""
        for _ in range(count):
            fixed = directory.read(_CENTRAL.size)
            if len(fixed) < _CENTRAL.size:
                raise EvidenceZipError("the directory of the zip is cut short")
            fields = _CENTRAL.unpack(fixed)
            crc, size, name_length, extra_length = fields[7], fields[8], fields[10], fields[11]
            if name_length > MAX_NAME or extra_length > _MOST_EXTRA:
                raise EvidenceZipError("the directory of the zip has an entry of a size that none has")
            raw_name, extra = directory.read(name_length), directory.read(extra_length)
            name = raw_name.decode("latin-1")
            check_name(name)
            if (last and name <= last) or any(folder in places for folder in _folders(name)):
                raise EvidenceZipError("the files of the zip are not in sorted order, each once")
            if size == _FULL32:
                size = int.from_bytes(extra[_EXTRA.size : _EXTRA.size + 8], "little")
            if size > end or fixed + raw_name + extra != _central(name, crc, size, expected):
                raise EvidenceZipError(f"the directory says something unusual about {name}")
            local = _local(name, crc, size)
            start = expected + len(local)
            if start + size > end:
                raise EvidenceZipError(f"{name} does not fit into the zip")
            if self._at(expected, start) != local:
                raise EvidenceZipError(f"the header of {name} differs from the directory")
            places[name] = (start, size, crc)
            expected, last = start + size, name
        if directory.read(1) or expected != end:
            raise EvidenceZipError("the zip has bytes that belong to no file")
        return places


class _Piecewise:
    """A part of a bundle, read in order while other parts are looked at: a directory can be large."""

    def __init__(self, reader: Reader, start: int, end: int) -> None:
        self._reader = reader
        self._next, self._end = start, end
        self._held, self._place = b"", 0

    def read(self, length: int) -> bytes:
        """The next bytes; fewer at the end."""
        if len(self._held) - self._place < length:
            upto = min(self._end, self._next + _CHUNK)
            self._held = self._held[self._place :] + self._reader._at(self._next, upto)
            self._next, self._place = upto, 0
        found = self._held[self._place : self._place + length]
        self._place += len(found)
        return found


def _folders(name: str) -> list[str]:
    return [name[:place] for place, character in enumerate(name) if character == "/"]


def _wide(*values: int) -> bytes:
    """The extra field that holds these values; nothing where there are none."""
    if not values:
        return b""
    return _EXTRA.pack(_WIDE, 8 * len(values)) + b"".join(value.to_bytes(8, "little") for value in values)


def _local(name: str, crc: int, size: int) -> bytes:
    narrow = min(size, _FULL32)
    extra = _wide(size, size) if narrow == _FULL32 else b""
    version = _WIDE_VERSION if extra else _VERSION
    fields = (b"PK\3\4", version, 0, 0, _TIME, _DATE, crc, narrow, narrow, len(name), len(extra))
    return _LOCAL.pack(*fields) + name.encode("ascii") + extra


def _central(name: str, crc: int, size: int, offset: int) -> bytes:
    narrow, place = min(size, _FULL32), min(offset, _FULL32)
    extra = _wide(*((size, size) if narrow == _FULL32 else ()), *((offset,) if place == _FULL32 else ()))
    version = _WIDE_VERSION if extra else _VERSION
    fields = (b"PK\1\2", _UNIX | version, version, 0, 0, _TIME, _DATE, crc, narrow, narrow, len(name), len(extra))
    return _CENTRAL.pack(*fields, 0, 0, 0, _MODE, place) + name.encode("ascii") + extra


def _end(count: int, size: int, offset: int) -> bytes:
    files, length, place = min(count, _FULL16), min(size, _FULL32), min(offset, _FULL32)
    end = _END.pack(b"PK\5\6", 0, 0, files, files, length, place, 0)
    if files < _FULL16 and length < _FULL32 and place < _FULL32:
        return end
    fields = (_WIDE_END.size - 12, _UNIX | _WIDE_VERSION, _WIDE_VERSION, 0, 0, count, count, size, offset)
    return _WIDE_END.pack(b"PK\6\6", *fields) + _LOCATOR.pack(b"PK\6\7", 0, offset + size, 1) + end


def _read_end(tail: bytes) -> tuple[int, int, int]:
    """Files, size of the directory and where it begins, as the end of a zip says; the caller builds that end again."""
    signature, _, _, _, count, size, offset, _ = _END.unpack(tail[-_END.size :])
    if signature != b"PK\5\6":
        raise EvidenceZipError("the end of the zip is not that of an evidence bundle")
    if count == _FULL16 or _FULL32 in (size, offset):
        wide = tail[: _WIDE_END.size]
        if len(tail) < _WIDE_END.size + _LOCATOR.size + _END.size or not wide.startswith(b"PK\6\6"):
            raise EvidenceZipError("the end of the zip is not that of an evidence bundle")
        count, size, offset = _WIDE_END.unpack(wide)[-3:]
    return count, size, offset


def _measure(content: bytes | Path) -> tuple[int, int]:
    crc = size = 0
    for chunk in _chunks(content):
        crc = zlib.crc32(chunk, crc)
        size += len(chunk)
    return crc, size


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk
