"""`quartier apply` and tilesets: created, changed, withdrawn, and no file touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layers.catalogue_files import CatalogueFiles
from layers.cli import apply_catalogue
from layers.tilesets import Tileset
from tests.conftest import Database
from tests.examples import COMMON

pytestmark = pytest.mark.db


def apply(database: Database, folder: Path, *declared: dict[str, Any]) -> list[str]:
    tilesets = {each["id"]: Tileset.model_validate(COMMON | each) for each in declared}
    paths = {name: folder / f"{name}.yaml" for name in tilesets}
    steps = apply_catalogue(database.urls.ingest, CatalogueFiles({}, {}, paths, tilesets))
    return [step.says for step in steps]


def test_a_tileset_is_created_changed_withdrawn_and_published_again(
    database: Database, tmp_path: Path
) -> None:
    old = {"id": "old", "file": "old.pmtiles"}
    assert apply(database, tmp_path, old) == [
        "create tileset old (old.pmtiles, which is not there yet)"
    ]
    (tmp_path / "old.pmtiles").touch()
    assert apply(database, tmp_path, old) == []
    assert apply(database, tmp_path, old | {"theme": "past"}) == [
        "change tileset old (old.pmtiles)"
    ]
    assert apply(database, tmp_path) == ["withdraw tileset old (its file stays)"]
    assert database.run("SELECT id FROM quartier.public_tilesets", "web") == []
    assert apply(database, tmp_path, old) == ["create tileset old (old.pmtiles)"]
    assert database.run("SELECT id, file FROM quartier.public_tilesets", "web") == [
        ("old", str(tmp_path / "old.pmtiles"))
    ]


def test_a_catalogue_that_moved_serves_the_file_from_where_it_is_now(
    database: Database, tmp_path: Path
) -> None:
    old = {"id": "old", "file": "../old.pmtiles"}
    apply(database, tmp_path / "one", old)
    assert len(apply(database, tmp_path / "two", old)) == 1
    assert database.value("SELECT file FROM quartier.public_tilesets") == str(
        tmp_path / "two" / "../old.pmtiles"
    )


def test_readers_may_not_change_tilesets(database: Database, tmp_path: Path) -> None:
    apply(database, tmp_path, {"id": "old", "file": "old.pmtiles"})
    with pytest.raises(Exception, match="permission denied"):
        database.run("UPDATE quartier.tilesets SET file = '/etc/passwd'", "web")
    with pytest.raises(Exception, match="permission denied"):
        database.run("UPDATE quartier.public_tilesets SET file = '/etc/passwd'", "web")
