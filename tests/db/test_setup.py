"""What a database must be like before Quartier lives in it, and what it is given."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from layers.database_urls import DatabaseUrls
from layers.engine import owner_engine
from layers.errors import StoreUnavailable
from layers.setup import prepare_database
from tests.conftest import Database, in_database
from tests.examples import TREES

pytestmark = pytest.mark.db


@pytest.fixture
def latin(server: DatabaseUrls) -> Iterator[str]:
    """The address of a database whose texts are not UTF-8."""
    name = f"quartier_test_{uuid.uuid4().hex[:10]}"
    engine = owner_engine(server.owner)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(
            sa.text(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1'"
                " LC_COLLATE 'C' LC_CTYPE 'C'"
            )
        )
        yield in_database(server.owner, name)
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def test_a_database_of_another_encoding_is_refused_with_the_fix(latin: str) -> None:
    with pytest.raises(StoreUnavailable, match=r"LATIN1; make it with .* ENCODING 'UTF8'"):
        prepare_database(latin)


def test_a_layer_is_counted_anew_where_the_public_may_make_no_temporary_table(
    database: Database,
) -> None:
    database.run(f"REVOKE TEMPORARY ON DATABASE {database.name} FROM PUBLIC", "owner")
    prepare_database(database.urls.owner)
    database.declare(TREES)
    database.run(
        "INSERT INTO city.trees (number, geom)"
        " SELECT n::text, ST_Point(4.85, 45.2, 4326) FROM generate_series(1, 20) n",
        "owner",
    )
    database.run("SELECT quartier.trees__overview(true)", "owner")
    assert database.value("SELECT n FROM city_overview.trees WHERE depth = 0", "owner") == 20
