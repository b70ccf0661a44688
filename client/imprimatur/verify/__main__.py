"""`python -m imprimatur.verify BUNDLE --trust trust.json`."""

from __future__ import annotations

import sys

from imprimatur.verify.report import main

if __name__ == "__main__":
    sys.exit(main())
