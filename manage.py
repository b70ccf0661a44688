#!/usr/bin/env python3
"""Django's command line for Imprimatur."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    # What is imported stays: looking for garbage in it as often as usual takes a quarter of the start.
    gc.set_threshold(50_000, 10, 10)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "server.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # Its message says what to change; where in our code it was noticed helps nobody.
        sys.exit(f"{error}")
    except OperationalError as error:
        if "no such table" not in str(error):
            raise
        sys.exit("There is no installation in this data folder. Say which one is meant: IMPRIMATUR_DATA=FOLDER")


if __name__ == "__main__":
    main()
