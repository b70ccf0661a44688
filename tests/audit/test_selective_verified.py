"""The verifier's word on the selective bundles that the server makes: nothing wrong, and nothing called proven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from audit import trust as anchors
from audit.evidence import bundle
from audit.models import Checkpoint
from imprimatur.formats import canonical, trust
from imprimatur.verify.bundle import verify_bundle
from imprimatur.verify.claims import CANNOT_TELL, INVALID
from imprimatur.verify.compare import compare
from imprimatur.verify.report import human
from tests.audit.test_selective_bundles import Told, told  # noqa: F401  # a fixture

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(
    "filters",
    [
        {"risks": ["HIGH"]},
        {"risks": ["LOW", "CRITICAL"]},
        {"verdicts": ["deny"]},
        {"verdicts": ["open"]},
        {"verdicts": ["allow"], "openings": False},
        {"controls": ["AC-5"]},
        {"from": "2000-01-01T00:00:00.000Z", "until": "2000-01-02T00:00:00.000Z"},
    ],
    ids=str,
)
def test_a_selective_bundle_of_the_server_has_nothing_wrong_and_proves_nothing_over_all_entries(
    told: Told,  # noqa: F811  # the fixture
    tmp_path: Path,
    filters: dict[str, Any],
) -> None:
    built = bundle.build(tmp_path / "b.zip", filters=filters)
    report = verify_bundle(built.path, trust.parse(canonical.dumps(anchors.document())))
    assert report.verdict == CANNOT_TELL, human(report)
    assert INVALID not in {claim.verdict for claim in report.claims}
    assert (report.size, report.shown) == (built.size, built.shown)
    assert report.claim("history").verdict == report.claim("complete").verdict == CANNOT_TELL
    assert {made["status"] for made in report.decisions} <= {CANNOT_TELL}


def test_one_request_alone_and_the_whole_log_are_of_one_history(told: Told, tmp_path: Path) -> None:  # noqa: F811
    one = bundle.build(tmp_path / "one.zip", filters={"requests": [told.paid.id]})
    whole = bundle.build(tmp_path / "whole.zip", Checkpoint.objects.order_by("-size").first())
    report = verify_bundle(one.path, trust.parse(canonical.dumps(anchors.document())))
    assert report.verdict == CANNOT_TELL, human(report)
    assert told.paid.id in report.claim("complete").detail
    found = compare(one.path, whole.path)
    assert found.continues is True, found.fault
    assert found.added == {}
