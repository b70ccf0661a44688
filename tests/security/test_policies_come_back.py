from __future__ import annotations

import pytest

from audit.log import commit
from governance.actions import activate_policy
from governance.models import Policy
from imprimatur.rules.policy import DEMO_POLICY
from tests.conftest import World

pytestmark = pytest.mark.usefixtures("notarised")


def test_going_back_to_an_earlier_policy_is_an_activation_like_any_other(world: World) -> None:
    """An admin who tightens again after a mistake must not be held up by the database."""
    loose = {**DEMO_POLICY, "name": "A mistake"}
    commit(activate_policy.apply, activate_policy.Command(loose, world.ada))
    back = commit(activate_policy.apply, activate_policy.Command(DEMO_POLICY, world.ada))
    assert back.entry is not None
    assert Policy.objects.get(active=True).document["name"] == DEMO_POLICY["name"]
