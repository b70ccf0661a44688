"""The epoch: a number that database triggers raise whenever authority changes, whoever changed it."""

from __future__ import annotations

from audit.errors import LogNotBegun
from audit.models import LogHead


def epoch() -> int:
    """The epoch as the database has it now, changes of the present transaction included. Raises LogNotBegun.

    Read it *before* what you decide from: if it is the same inside the transaction, nothing has changed in between.
    """
    found = LogHead.objects.values_list("epoch", flat=True).first()
    if found is None:
        raise LogNotBegun
    return found
