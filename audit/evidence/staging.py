"""Where a bundle is put together: files on disk, so that a large log never has to fit into memory."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from imprimatur.formats import canonical, evidence_zip

CHUNK = 1 << 20


class Measured(NamedTuple):
    """What is known of a file that is complete."""

    sha256: bytes
    crc: int
    size: int


class Writing:
    """A file of the bundle while it is written. It is measured on the way, so that nobody has to read it for that."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self._crc = self._size = 0

    def write(self, raw: bytes) -> None:
        """Write the next bytes."""
        self._stream.write(raw)
        self.measure(raw)

    def writelines(self, parts: Iterable[bytes]) -> None:
        """Write these parts, one after the other."""
        for part in parts:
            self.write(part)

    def measure(self, raw: bytes) -> None:
        """Count bytes that are in the file already."""
        self._sha256.update(raw)
        self._crc = zlib.crc32(raw, self._crc)
        self._size += len(raw)

    @property
    def measured(self) -> Measured:
        """What has been written so far."""
        return Measured(self._sha256.digest(), self._crc, self._size)


class Staging:
    """A folder that will become a bundle. Every file is written once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, Measured] = {}

    def names(self) -> list[str]:
        """The names of all files so far, sorted."""
        return sorted(self._files)

    def path(self, name: str) -> Path:
        """Where a file of this name lies."""
        return self._folder / name

    def measured(self, name: str) -> Measured:
        """What is known of a file. Raises KeyError when there is none of that name."""
        return self._files[name]

    def add(self, name: str, content: bytes | str | Iterable[bytes]) -> None:
        """Add a file. Raises EvidenceZipError for a bad name and ValueError for one that is there already."""
        with self.open(name) as stream:
            if isinstance(content, str):
                stream.write(content.encode("utf-8"))
            elif isinstance(content, bytes):
                stream.write(content)
            else:
                stream.writelines(content)

    def add_lines(self, name: str, documents: Iterable[object]) -> None:
        """Add a file of canonical JSON, one document per line."""
        self.add(name, (canonical.dumps_json(document) + b"\n" for document in documents))

    def link(self, name: str, file: Path) -> None:
        """Add a file that exists and never changes: as another name of it where the disk allows that, else as a copy.

        Whoever puts it into the zip reads it once more and refuses what differs.
        """
        path = self._place(name)
        try:
            os.link(file, path)
        except OSError:
            with file.open("rb") as stream, self._written(name, path) as copy:
                while chunk := stream.read(CHUNK):
                    copy.write(chunk)
            return
        with path.open("rb") as stream:
            found = Writing(stream)
            while chunk := stream.read(CHUNK):
                found.measure(chunk)
        self._files[name] = found.measured

    @contextmanager
    def open(self, name: str) -> Iterator[Writing]:
        """Add a file and write it piece by piece."""
        with self._written(name, self._place(name)) as writing:
            yield writing

    def _place(self, name: str) -> Path:
        evidence_zip.check_name(name)
        if name in self._files:
            raise ValueError(f"{name} is in the bundle already")
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def _written(self, name: str, path: Path) -> Iterator[Writing]:
        with path.open("xb") as stream:
            writing = Writing(stream)
            yield writing
        self._files[name] = writing.measured
