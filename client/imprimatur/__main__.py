"""``python -m imprimatur``: the command line."""

from __future__ import annotations

import sys

from imprimatur.cli import main

sys.exit(main())
