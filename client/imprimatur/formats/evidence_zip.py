"""The one zip profile of evidence bundles: every byte of the file follows from its names and contents.

Stored entries, names sorted and plain ASCII, all times 1980-01-01, mode 0644, no extra fields, no comments, no data
descriptors, no gap anywhere. So there is exactly one zip for a given set of files: the writer makes it, and the reader
builds every header again and refuses whatever differs in one byte. Any unzip tool reads it (PKWARE APPNOTE 6.3.10,
4.3.7, 4.3.12 and 4.3.16, without ZIP64: at most 65,534 files and less than 4 GiB in all).
"""

from __future__ import annotations

import hashlib
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Self

MAX_FILES = 65_534
MAX_BYTES = 2**32 - 2
MAX_NAME = 200

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20  # 2.0: what every reader since 1993 understands
_MADE_BY = 3 << 8 | _VERSION  # Unix, so that the mode below counts
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

    def add(self, name: str, content: bytes | Path) -> None:
        """Add a file, from bytes or from disk. Raises EvidenceZipError on a bad name, disorder, or too much."""
        check_name(name)
        if self._directory and name <= self._last:
            raise EvidenceZipError(f"files come in sorted order: {name} cannot follow {self._last}")
        if not self._names.isdisjoint(_folders(name)):
            raise EvidenceZipError(f"{name} lies in a folder that is already a file")
        if len(self._directory) == MAX_FILES:
            raise EvidenceZipError(f"a bundle holds at most {MAX_FILES:,} files")
        crc, size = _measure(content)
        header = _local(name, crc, size)
        if self._offset + len(header) + size > MAX_BYTES:
            raise EvidenceZipError("a bundle stays under 4 GiB; ask for a shorter period")
        self._stream.write(header)
        written = 0
        for chunk in _chunks(content):
            self._stream.write(chunk)
            written += len(chunk)
        if written != size:
            raise EvidenceZipError(f"{name} changed while it was being written")
        self._directory.append(_central(name, crc, size, self._offset))
        self._offset += len(header) + size
        self._last = name
        self._names.add(name)

    def close(self) -> None:
        """Write the directory. Raises EvidenceZipError when it would pass the limit of 4 GiB."""
        directory = b"".join(self._directory)
        if self._offset + len(directory) > MAX_BYTES:
            raise EvidenceZipError("a bundle stays under 4 GiB; ask for a shorter period")
        self._stream.write(directory + _end(len(self._directory), len(directory), self._offset))


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
        if not _END.size <= length <= MAX_BYTES + _END.size:
            raise EvidenceZipError("this is not an evidence bundle")
        stream.seek(length - _END.size)
        tail = stream.read(_END.size)
        signature, _, _, _, count, size, offset, _ = _END.unpack(tail)
        if signature != b"PK\5\6" or tail != _end(count, size, offset) or offset + size + _END.size != length:
            raise EvidenceZipError("the end of the zip is not that of an evidence bundle")
        if count > MAX_FILES:
            raise EvidenceZipError(f"a bundle holds at most {MAX_FILES:,} files")
        stream.seek(offset)
        return self._read_entries(stream.read(size), count, offset)

    def _read_entries(self, directory: bytes, count: int, end: int) -> dict[str, tuple[int, int, int]]:
        places: dict[str, tuple[int, int, int]] = {}
        position, expected, last = 0, 0, ""
        for _ in range(count):
            fixed = directory[position : position + _CENTRAL.size]
            if len(fixed) < _CENTRAL.size:
                raise EvidenceZipError("the directory of the zip is cut short")
            fields = _CENTRAL.unpack(fixed)
            crc, size, name_length = fields[7], fields[8], fields[10]
            raw_name = directory[position + _CENTRAL.size : position + _CENTRAL.size + name_length]
            name = raw_name.decode("latin-1")
            check_name(name)
            if (last and name <= last) or any(folder in places for folder in _folders(name)):
                raise EvidenceZipError("the files of the zip are not in sorted order, each once")
            central = _central(name, crc, size, expected)
            if directory[position : position + len(central)] != central:
                raise EvidenceZipError(f"the directory says something unusual about {name}")
            local = _local(name, crc, size)
            start = expected + len(local)
            if start + size > end:
                raise EvidenceZipError(f"{name} does not fit into the zip")
            self._stream.seek(expected)
            if self._stream.read(len(local)) != local:
                raise EvidenceZipError(f"the header of {name} differs from the directory")
            places[name] = (start, size, crc)
            position, expected, last = position + len(central), start + size, name
        if position != len(directory) or expected != end:
            raise EvidenceZipError("the zip has bytes that belong to no file")
        return places


def _folders(name: str) -> list[str]:
    return [name[:place] for place, character in enumerate(name) if character == "/"]


def _local(name: str, crc: int, size: int) -> bytes:
    fields = (b"PK\3\4", _VERSION, 0, 0, _TIME, _DATE, crc, size, size, len(name), 0)
    return _LOCAL.pack(*fields) + name.encode("ascii")


def _central(name: str, crc: int, size: int, offset: int) -> bytes:
    fields = (b"PK\1\2", _MADE_BY, _VERSION, 0, 0, _TIME, _DATE, crc, size, size, len(name), 0, 0, 0, 0, _MODE, offset)
    return _CENTRAL.pack(*fields) + name.encode("ascii")


def _end(count: int, size: int, offset: int) -> bytes:
    return _END.pack(b"PK\5\6", 0, 0, count, count, size, offset, 0)


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
