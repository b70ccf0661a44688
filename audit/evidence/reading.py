"""The summary page's source: the verifier's own report of a bundle, made by the program that auditors run offline."""

from __future__ import annotations

from functools import lru_cache

from audit import trust as anchors
from audit.evidence import jobs
from audit.models import Bundle
from imprimatur.formats import canonical, trust
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import Report

# Verifying reads every entry. What takes longer than a page may take is for the command line.
LARGEST = 50_000_000  # bytes

# What each claim is about, as a sentence, in the order in which a report answers: authority first, then what people
# decided, then the log, then the file. A claim that the verifier adds later shows its own name until it has one.
TITLES = {
    "grants": "Every capability traces to a person’s signature",
    "people": "The keys of people are the ones you know",
    "effects": "Effects follow from the parameters, not from what agents claim",
    "policy": "Only policies you know were in force",
    "votes": "Every approval has the votes it needed, from different people",
    "statements": "People signed what the log says they decided",
    "cards": "People were shown what was executed",
    "history": "Every entry follows the rules",
    "complete": "Every entry is here",
    "tree": "The log holds exactly these entries, in this order",
    "checkpoint": "The log signed this checkpoint",
    "earlier checkpoints": "Nothing was rewritten between checkpoints",
    "witnesses": "Somebody else saw the same log",
    "openings": "What is disclosed is what was committed to",
    "copies": "Copies for reading agree with the log",
    "manifest": "The list of files is signed by this installation",
    "files": "No file was changed, added or left out",
    "zip": "The bundle is one well-formed file",
}


class CannotSummarise(Exception):  # it is an answer to show, not a fault
    """There is nothing to show; the message says why and how to go on."""


def report_of(bundle: Bundle) -> Report:
    """The verifier's report of a finished bundle. Raises CannotSummarise.

    The trust anchors come from this same installation, so the report shows what an auditor would see, and proves
    nothing by itself.
    """
    if not jobs.path_of(bundle.id).is_file():
        raise CannotSummarise("The file of this bundle is no longer here. Ask for a new bundle.")
    if (bundle.bytes or 0) > LARGEST:
        raise CannotSummarise("This bundle is too large to verify while a page loads. Verify it on the command line.")
    return _verified(bundle.id, bundle.manifest, canonical.dumps(anchors.document()))


@lru_cache(maxsize=8)
def _verified(bundle_id: str, manifest: str, trusted: bytes) -> Report:
    return verify_bundle(jobs.path_of(bundle_id), trust.parse(trusted))
