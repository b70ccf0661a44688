"""The single-file verifier inside a bundle: a zipapp of the client package's pure parts, always the same bytes."""

from __future__ import annotations

import io
from pathlib import Path

import imprimatur
from imprimatur.formats import evidence_zip

PARTS = ("formats", "rules", "cards", "verify")
FILES = ("inert.py", "errors.py")
INIT = '"""The verifier of Imprimatur evidence bundles. Needs Python 3.11 and nothing else."""\n'
MAIN = "import sys\n\nfrom imprimatur.verify.report import main\n\nsys.exit(main())\n"


def build() -> bytes:
    """The bytes of ``verify.pyz``. Run it with ``python3 verify.pyz``."""
    package = Path(imprimatur.__file__).parent
    contents: dict[str, bytes | Path] = {
        "__main__.py": MAIN.encode(),
        "imprimatur/__init__.py": INIT.encode(),
    }
    for part in PARTS:
        for path in (package / part).rglob("*.py"):
            contents[f"imprimatur/{path.relative_to(package).as_posix()}"] = path.read_bytes()
    for name in FILES:
        contents[f"imprimatur/{name}"] = (package / name).read_bytes()
    stream = io.BytesIO()
    evidence_zip.write(stream, contents)
    return stream.getvalue()
