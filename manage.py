#!/usr/bin/env python3
"""Django's command line for Imprimatur."""

from __future__ import annotations

import os
import sys


def main() -> None:
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
