"""The summary page's source: the verifier's own report of a bundle, made by the program that auditors run offline."""

from __future__ import annotations

import importlib
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

from audit import trust as anchors
from audit.evidence import jobs
from audit.models import Bundle
from imprimatur.formats import canonical, trust

VERIFIER = "imprimatur.verify.bundle"
# Verifying reads every entry. What takes longer than a page may take is for the command line.
LARGEST = 50_000_000  # bytes


class CannotSummarise(Exception):  # it is an answer to show, not a fault
    """There is nothing to show; the message says why and how to go on."""


def report_of(bundle: Bundle) -> Any:
    """The verifier's report of a finished bundle (``imprimatur.verify``). Raises CannotSummarise.

    The trust anchors come from this same installation, so the report shows what an auditor would see, and proves
    nothing by itself.
    """
    path = jobs.path_of(bundle.id)
    if not path.is_file():
        raise CannotSummarise("The file of this bundle is no longer here. Ask for a new bundle.")
    if (bundle.bytes or 0) > LARGEST:
        raise CannotSummarise("This bundle is too large to verify while a page loads. Verify it on the command line.")
    if find_spec(VERIFIER) is None:
        raise CannotSummarise("The verifier is not installed on this server. Verify the bundle elsewhere.")
    return _verified(bundle.id, bundle.manifest, canonical.dumps(anchors.document()))


@lru_cache(maxsize=8)
def _verified(bundle_id: str, manifest: str, trusted: bytes) -> Any:
    verify = importlib.import_module(VERIFIER).verify_bundle
    return verify(jobs.path_of(bundle_id), trust.parse(trusted))
