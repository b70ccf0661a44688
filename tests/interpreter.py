"""How Python itself runs while tests run. It changes how long they take and nothing of what they see."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

BYTECODE = Path(__file__).resolve().parent.parent / ".cache" / "bytecode"


def settle() -> None:
    """Compile each module once, and look for garbage less often. For this process and the processes it starts."""
    # Reading thousands of tests makes millions of objects, none of them garbage: looking for it takes half the time.
    gc.set_threshold(50_000, 10, 10)
    if sys.dont_write_bytecode:
        # Nothing is to lie beside the sources. Yet hundreds of processes would each compile all of them again.
        sys.dont_write_bytecode, sys.pycache_prefix = False, str(BYTECODE)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(BYTECODE)


def collected() -> None:
    """What was read stays until the end: it is not looked at again."""
    gc.collect()
    gc.freeze()
