"""The secret of sessions and forms: given, or made once and kept."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from server.secret import secret_key


def test_a_secret_is_made_once_and_kept_for_this_user_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = secret_key("", data)
    assert len(first) >= 64
    assert secret_key("", data) == first
    assert stat.S_IMODE((data / "secret.key").stat().st_mode) == 0o600
    assert secret_key("", tmp_path / "other") != first


def test_a_given_secret_is_taken_and_not_written_anywhere(tmp_path: Path) -> None:
    given = "x" * 32
    assert secret_key(given, tmp_path / "data") == given
    assert not (tmp_path / "data").exists()


def test_a_short_secret_is_refused_without_being_repeated(tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="at least 32") as refused:
        secret_key("hunter2" * 3, tmp_path)
    assert "hunter2" not in str(refused.value)


def test_an_empty_secret_file_is_refused(tmp_path: Path) -> None:
    """It is what is left when the disk was full: sessions would be signed with nothing."""
    (tmp_path / "secret.key").write_text("", encoding="ascii")
    with pytest.raises(ImproperlyConfigured, match="holds no secret"):
        secret_key("", tmp_path)
