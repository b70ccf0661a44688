"""The agent's project: real files that it knows as ``/project/…``, and a mount that leads nowhere else."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path, PurePosixPath

MOUNT = "/project"

FILES = {
    "README.md": "# Lantern\n\nA small web shop that sells lamps.\n",
    "package.json": '{\n  "name": "lantern",\n  "version": "1.4.0",\n  "private": true\n}\n',
    "src/cart.js": (
        "export function total(items) {\n  return items.reduce((sum, item) => sum + item.price * item.count, 0);\n}\n"
    ),
    "src/invoice.js": (
        "import { total } from './cart.js';\n\n"
        "export function invoice(order) {\n  return { number: order.number, due: total(order.items) };\n}\n"
    ),
    "tests/cart.test.js": (
        "import { total } from '../src/cart.js';\n\nconsole.assert(total([{ price: 20, count: 2 }]) === 40);\n"
    ),
}
REPORT = "day,orders,revenue\n2026-0{month}-01,12,480.00\n2026-0{month}-02,9,351.50\n"


class Outside(PermissionError):
    """The path is not in the project."""


class Project:
    """A folder that stands for ``/project``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._reports = 0

    def prepare(self) -> None:
        """Write the files that are missing; what the agent changed stays."""
        for name, text in FILES.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(text, encoding="utf-8")
        (self.root / "reports").mkdir(exist_ok=True)

    def report(self) -> str:
        """The path of an old report, as the shop's nightly job leaves one."""
        present = sorted(path.name for path in (self.root / "reports").glob("*.csv"))
        while len(present) <= self._reports % 4:
            month = 1 + len(present) % 9
            name = f"2026-0{month}-orders-{len(present) + 1}.csv"
            (self.root / "reports" / name).write_text(REPORT.format(month=month), encoding="utf-8")
            present = sorted(path.name for path in (self.root / "reports").glob("*.csv"))
        self._reports += 1
        return f"{MOUNT}/reports/{present[(self._reports - 1) % len(present)]}"

    def read(self, path: str) -> str:
        """The text of a file."""
        return self._place(path).read_text(encoding="utf-8")

    def write(self, path: str, content: str) -> None:
        """Replace a file in one step, so that a reader never sees half of it."""
        place = self._place(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=place.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        Path(name).replace(place)

    def delete(self, path: str) -> None:
        """Remove a file; FileNotFoundError when somebody was faster."""
        self._place(path).unlink()

    def _place(self, path: str) -> Path:
        given = PurePosixPath(path)
        if not given.is_relative_to(MOUNT) or ".." in given.parts:
            raise Outside(f"{path} is not in the project")
        place = self.root.joinpath(*given.relative_to(MOUNT).parts)
        if not place.resolve().is_relative_to(self.root.resolve()):
            raise Outside(f"{path} leads out of the project")
        return place
