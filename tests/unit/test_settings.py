from __future__ import annotations

from pathlib import Path

import pytest

from layers.settings import StoreSettings


def test_every_setting_says_what_it_is_for() -> None:
    fields = StoreSettings.model_fields.items()
    assert [name for name, field in fields if not field.description] == []


def test_a_password_is_never_printed() -> None:
    settings = StoreSettings(database_url="postgresql://ada:secret@db/city")
    assert "secret" not in f"{settings!r} {settings}"


def test_paths_are_absolute_wherever_a_command_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert StoreSettings(home=Path("city")).home == tmp_path / "city"


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUARTIER_DATABASE_URL", "")
    assert StoreSettings().database_url is None


def test_the_catalogue_is_the_one_of_the_checkout() -> None:
    assert (StoreSettings().catalogue / "layers").is_dir()
