"""Where a bundle is put together: files on disk, so that a large log never has to fit into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from imprimatur.formats import canonical, evidence_zip

CHUNK = 1 << 20


class Staging:
    """A folder that will become a bundle. Every file is written once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: set[str] = set()

    def names(self) -> list[str]:
        """The names of all files so far, sorted."""
        return sorted(self._names)

    def path(self, name: str) -> Path:
        """Where a file of this name lies."""
        return self._folder / name

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

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Add a file and write it piece by piece."""
        evidence_zip.check_name(name)
        if name in self._names:
            raise ValueError(f"{name} is in the bundle already")
        self._names.add(name)
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as stream:
            yield stream

    def sha256(self, name: str) -> str:
        """The SHA-256 of a file, in hex."""
        digest = hashlib.sha256()
        with self.path(name).open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()
