from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.canary.desk import Canaries, set_up
from tests.conftest import World


@pytest.fixture
def canaries(world: World, tmp_path: Path, settings: Any) -> Canaries:
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "whitenoise" not in name]
    return set_up(world, tmp_path / "canary")
