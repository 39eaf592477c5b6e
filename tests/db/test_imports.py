"""Commands that have little to do import little."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import imports
from tests.conftest import Database
from tests.db.commands import City
from tests.examples import TREES
from tests.imports import HEAVY, Ran

pytestmark = pytest.mark.db


@pytest.fixture
def city(database: Database, tmp_path: Path) -> City:
    made = City(database, tmp_path / "catalogue", tmp_path)
    made.declare(TREES.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    assert made.quartier("apply").exit_code == 0
    return made


def quartier(city: City, *arguments: str | Path) -> Ran:
    return imports.quartier(*arguments, **city.environment)


def test_the_same_bytes_again_are_told_without_what_reads_rows(city: City) -> None:
    trees = city.file("trees.csv", "number,genus,height,planted,lon,lat\n1,Tilia,3,,4.85,45.2\n")
    first = quartier(city, "ingest", "trees", trees)
    again = quartier(city, "ingest", "trees", trees)
    assert (first.exit_code, "pyarrow" in first.packages) == (0, True)
    assert (again.exit_code, sorted(again.packages & HEAVY)) == (0, [])
    assert "the same bytes as last time" in again.stdout


def test_a_database_of_the_newest_schema_is_prepared_without_alembic(city: City) -> None:
    ran = quartier(city, "apply")
    assert (ran.exit_code, "sqlalchemy" in ran.packages) == (0, True)
    assert "alembic" not in ran.packages
