"""The one zip of a set of files: the same bytes as ever while it is small, ZIP64 exactly where it is not."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from imprimatur.formats import evidence_zip

CHUNK = 1 << 20
SMALL = {"README.txt": b"hello\n", "log/checkpoint": b"note\n", "log/tile/0/x001/000.p/3": b"hash", "votes/7.json": b""}

needs_unzip = pytest.mark.skipif(shutil.which("unzip") is None, reason="needs unzip")


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    evidence_zip.write(stream, dict(files))
    return stream.getvalue()


def checked(path: Path) -> dict[str, bytes]:
    """The contents, read through the strict reader."""
    with evidence_zip.Reader(path) as reader:
        reader.check_contents()
        return {name: reader.read(name) for name in reader.names}


def test_a_small_bundle_keeps_its_exact_bytes() -> None:
    digest = hashlib.sha256(zipped(SMALL)).hexdigest()
    assert digest == "3115d6498baf9124fb851765444207cf59945671671e66f502899fef9d429dc2"
    assert b"PK\6\6" not in zipped(SMALL)


def test_python_reads_a_small_one(tmp_path: Path) -> None:
    path = tmp_path / "small.zip"
    path.write_bytes(zipped(SMALL))
    assert checked(path) == SMALL
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == SMALL


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file more than the narrow field can count."""
    path = tmp_path_factory.mktemp("many") / "many.zip"
    with path.open("wb") as stream:
        writer = evidence_zip.Writer(stream)
        for number in range(65_535):
            writer.add(f"votes/{number:06}.json", b"%d" % number)
        writer.close()
    return path


def test_more_files_than_sixteen_bits_count(many: Path) -> None:
    with evidence_zip.Reader(many) as reader:
        assert len(reader.names) == 65_535
        assert reader.read("votes/065534.json") == b"65534"
        assert len(reader.check_contents()) == 65_535
    with zipfile.ZipFile(many) as archive:
        assert len(archive.namelist()) == 65_535
        assert archive.read("votes/000001.json") == b"1"
    raw = many.read_bytes()
    assert raw[-98:-94] == b"PK\6\6"
    assert raw[-42:-38] == b"PK\6\7"
    assert raw[-22:] == b"PK\5\6\0\0\0\0\xff\xff\xff\xff" + raw[-10:]


def test_one_file_fewer_is_an_ordinary_zip() -> None:
    stream = io.BytesIO()
    writer = evidence_zip.Writer(stream)
    for number in range(65_534):
        writer.add(f"votes/{number:06}.json", b"")
    writer.close()
    assert b"PK\6\6" not in stream.getvalue()
    assert b"PK\6\7" not in stream.getvalue()


@needs_unzip
def test_unzip_reads_more_files_than_sixteen_bits_count(many: Path) -> None:
    done = subprocess.run(["unzip", "-tq", str(many)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No errors" in done.stdout


class Sparse(io.RawIOBase):
    """A file in which what is written in whole chunks, all of it zeros here, takes no place on the disk."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("wb")

    def write(self, raw: bytes) -> int:  # type: ignore[override]  # bytes is all that is written here
        if len(raw) == CHUNK:
            self._file.seek(len(raw), os.SEEK_CUR)
            return len(raw)
        return self._file.write(raw)

    def close(self) -> None:
        self._file.close()
        super().close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of more than 4 GiB that takes a few kilobytes: a file of zeros, and a small one behind it."""
    path = tmp_path_factory.mktemp("large") / "large.zip"
    zeros, chunk = Path("zeros"), bytes(CHUNK)

    def chunks(content: bytes | Path) -> Iterator[bytes]:
        if content is zeros:
            yield from itertools.repeat(chunk, 2**32 // CHUNK)
        yield bytes(5) if content is zeros else content  # type: ignore[misc]  # bytes, then

    with pytest.MonkeyPatch.context() as patched, Sparse(path) as sparse:
        patched.setattr(evidence_zip, "_chunks", chunks)
        # The checksum is nobody's concern here, and would take longest.
        patched.setattr(zlib, "crc32", lambda raw, crc=0, real=zlib.crc32: crc if raw is chunk else real(raw, crc))
        writer = evidence_zip.Writer(sparse)  # type: ignore[arg-type]  # it has what the writer uses
        writer.add("log/a", zeros)
        writer.add("log/b", b"behind")
        writer.close()
    assert path.stat().st_blocks * 512 < 1_000_000
    return path


def test_more_bytes_than_thirty_two_bits_count(large: Path) -> None:
    with evidence_zip.Reader(large) as reader:
        assert reader.size("log/a") == 2**32 + 5
        assert reader.read("log/b") == b"behind"
    with zipfile.ZipFile(large) as archive:
        first, second = archive.infolist()
        assert (first.file_size, first.extract_version) == (2**32 + 5, 45)
        assert second.header_offset > 2**32
        assert archive.read("log/b") == b"behind"


@needs_unzip
def test_unzip_reads_what_lies_behind_four_gigabytes(large: Path) -> None:
    done = subprocess.run(["unzip", "-p", str(large), "log/b"], capture_output=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, b"behind"), done.stderr


@pytest.mark.parametrize(
    "at",
    [
        30 + 5 + 4,  # the size in the local header
        30 + 5 + 4 + 8,  # the packed size
        30 + 5,  # the id of the extra field
        30 + 5 + 2,  # its length
        28,  # and what the header says of it
        18,  # the narrow size
        4,  # the version that is needed
    ],
)
def test_a_changed_wide_field_of_a_file_is_refused(large: Path, at: int) -> None:
    directory = 30 + 5 + 20 + 2**32 + 5 + 30 + 5 + 6
    for place in (at, directory + at + (16 if at >= 30 else 2 if at != 4 else 0)):
        with Changed(large, place), pytest.raises(evidence_zip.EvidenceZipError):
            evidence_zip.Reader(large)


def test_a_changed_byte_of_a_wide_end_is_refused(many: Path, large: Path) -> None:
    for path in (many, large):
        length = path.stat().st_size
        for place in range(length - 98, length):
            with Changed(path, place), pytest.raises(evidence_zip.EvidenceZipError):
                evidence_zip.Reader(path)


class Changed:
    """One bit of a file is another one inside this block."""

    def __init__(self, path: Path, place: int) -> None:
        self._path, self._place = path, place

    def __enter__(self) -> None:
        self._flip()

    def __exit__(self, *_: object) -> None:
        self._flip()

    def _flip(self) -> None:
        with self._path.open("r+b") as stream:
            stream.seek(self._place)
            (byte,) = stream.read(1)
            stream.seek(self._place)
            stream.write(bytes([byte ^ 1]))


def test_wide_fields_where_the_narrow_ones_do_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "odd.zip"
    for name, least in (("_FULL16", 3), ("_FULL32", 4), ("_FULL32", 60)):
        with monkeypatch.context() as patched:
            patched.setattr(evidence_zip, name, least)
            path.write_bytes(zipped(SMALL))
            assert checked(path) == SMALL  # all of it is well-formed, were the fields this narrow
        with pytest.raises(evidence_zip.EvidenceZipError):
            evidence_zip.Reader(path)


def test_invariant_7_every_byte_of_a_zip_with_wide_fields_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_zip, "_FULL16", 3)
    monkeypatch.setattr(evidence_zip, "_FULL32", 4)
    path = tmp_path / "small.zip"
    raw = zipped(SMALL)
    for place in range(len(raw)):
        mutated = bytearray(raw)
        mutated[place] ^= 1
        path.write_bytes(mutated)
        with pytest.raises(evidence_zip.EvidenceZipError):
            checked(path)


def test_an_end_that_promises_a_huge_directory_makes_nobody_read_one(tmp_path: Path) -> None:
    path = tmp_path / "crafted.zip"
    for count, size in ((2**40, 2**40), (1, 2**39), (3_000_000, 3_000_000 * 50)):
        path.write_bytes(evidence_zip._end(count, size, 0))
        with pytest.raises(evidence_zip.EvidenceZipError):
            evidence_zip.Reader(path)


def test_content_that_is_not_what_was_measured_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"as measured")
    known = evidence_zip._measure(file)
    stream = io.BytesIO()
    evidence_zip.Writer(stream).add("file", file, known)
    file.write_bytes(b"as it is no")
    with pytest.raises(evidence_zip.EvidenceZipError, match="changed while"):
        evidence_zip.Writer(io.BytesIO()).add("file", file, known)


def test_a_bundle_has_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_zip, "MAX_FILES", 3)
    with pytest.raises(evidence_zip.EvidenceZipError, match="at most 3 files"):
        zipped(SMALL)
    monkeypatch.setattr(evidence_zip, "MAX_BYTES", 20)
    with pytest.raises(evidence_zip.EvidenceZipError, match="at most 20 bytes"):
        zipped({"a": b"x" * 21})
