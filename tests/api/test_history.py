"""A layer as it was, what differs between two revisions, and the way back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layers.engine import owner_engine
from layers.errors import ChangeRefused
from layers.history import roll_back
from tests.api.conftest import Service, serving
from tests.conftest import Copies, Database, copied
from tests.db.commands import City
from tests.examples import CALLS, TREES

pytestmark = [pytest.mark.db, pytest.mark.anyio]
ITEMS = "/collections/trees/items"
DIFF = "/collections/trees/diff"


def fill(database: Database) -> None:
    """Three trees are planted, one changed, one moved by 111 m, one felled, one planted: 1 to 5."""
    database.declare(TREES, CALLS)
    for statement in (
        "INSERT INTO city.trees (number, genus, geom) SELECT n, 'Tilia',"
        " ST_Point(4.8 + n * 0.01, 45.2, 4326) FROM generate_series(1, 3) n",
        "UPDATE city.trees SET genus = 'Acer' WHERE number = '1'",
        "UPDATE city.trees SET geom = ST_Translate(geom, 0, 0.001) WHERE number = '2'",
        "DELETE FROM city.trees WHERE number = '3'",
        "INSERT INTO city.trees (number, genus) VALUES ('4', 'Ulmus')",
    ):
        database.run(statement)


cities = copied(fill)


@pytest.fixture
def city(cities: Copies) -> Iterator[Database]:
    with cities() as database:
        yield database


@pytest.fixture
async def service(city: Database) -> AsyncIterator[Service]:
    async with serving(city) as running:
        yield running


def address(path: str, asked: dict[str, Any]) -> str:
    return f"{path}?{urlencode(asked)}" if asked else path


async def ask(service: Service, path: str, **asked: object) -> dict[str, Any]:
    answer = await service.get(address(path, asked))
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def genera(service: Service, **asked: object) -> dict[str, str]:
    page = await ask(service, ITEMS, **asked)
    features = [feature["properties"] for feature in page["features"]]
    assert page["numberMatched"] == len(features)
    return {each["number"]: each["genus"] for each in features}


async def test_items_are_told_as_they_were_at_every_revision(service: Service) -> None:
    assert await genera(service, as_of=0) == {}
    assert await genera(service, as_of=1) == {"1": "Tilia", "2": "Tilia", "3": "Tilia"}
    assert await genera(service, as_of=2) == {"1": "Acer", "2": "Tilia", "3": "Tilia"}
    assert await genera(service, as_of=4) == {"1": "Acer", "2": "Tilia"}
    now = await ask(service, ITEMS)
    assert (await ask(service, ITEMS, as_of=5))["features"] == now["features"]
    assert (await ask(service, ITEMS, as_of=3))["revision"] == 3


async def test_an_instant_means_the_revision_that_held_then(
    city: Database, service: Service
) -> None:
    city.run(
        "UPDATE quartier.revisions SET made_at = timestamptz '2026-01-01 00:00Z'"
        " + revision * interval '1 day'"
    )
    assert (await ask(service, ITEMS, as_of="2026-01-03T12:00:00Z"))["revision"] == 2
    assert (await ask(service, ITEMS, as_of="2026-01-04T00:30:00+01:00"))["revision"] == 2
    early = await service.get(address(ITEMS, {"as_of": "2025-01-01T00:00:00Z"}))
    assert (early.status_code, "no rows yet" in early.text) == (400, True)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("6", "the newest revision is 5"),
        ("9" * 30, "the newest revision is 5"),
        ("-1", "write a revision such as 12"),
        ("²", "write a revision such as 12"),
        ("yesterday", "write a revision such as 12"),
        ("2026-01-01T00:00:00", "say its time zone"),
    ],
)
async def test_what_is_no_revision_is_a_400_that_says_why(
    service: Service, asked: str, said: str
) -> None:
    for path, parameter in ((ITEMS, "as_of"), (DIFF, "since")):
        answer = await service.get(address(path, {parameter: asked}))
        assert answer.status_code == 400
        assert said in answer.json()["detail"]
        assert parameter in answer.json()["detail"]


async def test_the_past_is_paged_and_asked_by_place(service: Service) -> None:
    first = await ask(service, ITEMS, as_of=1, limit=2)
    [link] = [link["href"] for link in first["links"] if link["rel"] == "next"]
    rest = (await service.get(link)).json()
    assert [len(page["features"]) for page in (first, rest)] == [2, 1]
    assert "as_of=1" in link
    assert await genera(service, as_of=3, bbox="4.815,45.1995,4.835,45.2005") == {"3": "Tilia"}
    assert set(await genera(service, as_of=1, bbox="4.815,45.1995,4.835,45.2005")) == {"2", "3"}


async def test_a_diff_tells_each_row_that_differs_and_how(service: Service) -> None:
    found = await ask(service, DIFF, since=1, until=5)
    assert found["counts"] == {"added": 1, "changed": 2, "removed": 1}
    told = {change["fid"]: change for change in found["changes"]}
    assert [told[fid]["change"] for fid in sorted(told)] == [
        "changed", "changed", "removed", "added",
    ]  # fmt: skip
    assert (told[1]["fields"], told[1]["before"]["properties"]["genus"]) == (["genus"], "Tilia")
    assert told[1]["after"]["properties"]["genus"] == "Acer"
    assert told[2]["fields"] == ["geometry"]
    assert told[2]["moved_m"] == pytest.approx(111.2, abs=0.5)
    assert told[3]["after"] is told[4]["before"] is None


async def test_a_diff_without_until_goes_to_now_and_is_paged(service: Service) -> None:
    first = await ask(service, DIFF, since=1, limit=3)
    assert (first["until"], len(first["changes"])) == (5, 3)
    [link] = [link["href"] for link in first["links"] if link["rel"] == "next"]
    rest = (await service.get(link)).json()
    assert [change["fid"] for change in rest["changes"]] == [4]
    assert rest["counts"] == first["counts"]
    backward = await service.get(address(DIFF, {"since": 4, "until": 2}))
    assert (backward.status_code, "is later than until" in backward.text) == (400, True)


async def test_a_change_that_was_taken_back_is_no_difference(
    city: Database, service: Service
) -> None:
    city.run("UPDATE city.trees SET genus = 'Quercus' WHERE number = '1'")
    city.run("UPDATE city.trees SET genus = 'Acer' WHERE number = '1'")
    assert (await ask(service, DIFF, since=5, until=7))["changes"] == []
    assert (await ask(service, DIFF, since=5, until=6))["counts"]["changed"] == 1


async def test_a_table_without_geometry_has_a_past_too(city: Database, service: Service) -> None:
    city.run("INSERT INTO city.calls (day, calls) VALUES ('2026-01-01', 4)")
    city.run("UPDATE city.calls SET calls = 5")
    await service.caught_up()
    page = await ask(service, "/collections/calls/items", as_of=1)
    assert page["features"][0]["properties"]["calls"] == 4
    [change] = (await ask(service, "/collections/calls/diff", since=1))["changes"]
    assert change["fields"] == ["calls"]


async def test_a_column_that_was_added_is_null_in_the_past(city: Database) -> None:
    columns = (*TREES.columns, TREES.columns[0].model_copy(update={"name": "height_class"}))
    city.declare(TREES.model_copy(update={"columns": columns}), CALLS)
    city.run("UPDATE city.trees SET height_class = 'tall'")
    async with serving(city) as service:
        page = await ask(service, ITEMS, as_of=5)
        assert {each["properties"]["height_class"] for each in page["features"]} == {None}


def test_the_past_of_a_withdrawn_layer_is_told_to_nobody(city: Database) -> None:
    city.declare(CALLS)
    assert city.value("SELECT count(*) FROM quartier.public_revisions", role="web") == 0
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        city.run("SELECT * FROM city_overview.trees__history", role="web")
    city.declare(TREES, CALLS)
    assert city.value("SELECT count(*) FROM city_overview.trees__history", role="web") == 3


# The way back ------------------------------------------------------------------------------------


def content(database: Database) -> list[Any]:
    return database.run("SELECT fid, source_key, number, genus, geom FROM city.trees ORDER BY fid")


def back_to(database: Database, revision: int) -> Any:
    engine = owner_engine(database.urls.ingest)
    try:
        with engine.begin() as connection:
            return roll_back(connection, TREES, revision, by="Ana", note="it was wrong")
    finally:
        engine.dispose()


async def test_a_rollback_makes_a_revision_like_the_old_one(
    city: Database, service: Service
) -> None:
    done = back_to(city, 1)
    assert (done.revision, done.inserted, done.updated, done.deleted) == (6, 1, 2, 1)
    assert await genera(service) == await genera(service, as_of=1)
    assert (await ask(service, DIFF, since=1, until=6))["changes"] == []
    assert await genera(service, as_of=5) == {"1": "Acer", "2": "Tilia", "4": "Ulmus"}
    note = city.value("SELECT note FROM quartier.revisions WHERE revision = 6")
    assert note == {"back_to": 1, "by": "Ana", "note": "it was wrong"}


def test_a_rollback_can_be_rolled_back(city: Database) -> None:
    before = content(city)
    back_to(city, 2)
    assert content(city) != before
    back_to(city, 5)
    assert content(city) == before


def test_a_rollback_to_what_is_there_changes_nothing(city: Database) -> None:
    city.run("UPDATE city.trees SET genus = 'Quercus' WHERE number = '1'")
    city.run("UPDATE city.trees SET genus = 'Acer' WHERE number = '1'")
    assert back_to(city, 5).revision == 7
    for revision in (7, 99, -1):
        with pytest.raises(ChangeRefused, match="is no earlier revision; the newest is 7"):
            back_to(city, revision)


@given(data=st.data())
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_revision_can_be_gone_back_to_and_told(cities: Copies, data: st.DataObject) -> None:
    """Random edits; then each past revision, told or gone back to, is what was there."""
    edits = st.sampled_from([
        "INSERT INTO city.trees (number, genus) VALUES (nextval('n')::text, 'Fagus')",
        "UPDATE city.trees SET genus = genus || 'x' WHERE fid % 2 = 0",
        "UPDATE city.trees SET geom = ST_Translate(geom, 0.001, 0) WHERE fid % 3 = 0",
        "DELETE FROM city.trees WHERE fid = (SELECT max(fid) FROM city.trees)",
        "UPDATE city.trees SET number = number || '!', source_key = source_key || '!'",
        "TRUNCATE city.trees",
    ])  # fmt: skip
    with cities() as database:
        database.run("CREATE SEQUENCE city.n; ALTER ROLE quartier_ingest SET search_path = city,"
                     " public", role="owner")  # fmt: skip
        database.run("GRANT USAGE ON SEQUENCE city.n TO quartier_ingest", role="owner")
        seen = {5: content(database)}
        for edit in data.draw(st.lists(edits, min_size=1, max_size=6)):
            database.run(edit.replace("'n'", "'city.n'"))
            seen[database.value("SELECT revision FROM quartier.layer_state"
                                " WHERE layer_id = 'trees'")] = content(database)  # fmt: skip
        target = data.draw(st.sampled_from(sorted(seen)))
        if target < max(seen):
            back_to(database, target)
            assert content(database) == seen[target]


def test_the_commands_list_and_go_back_by_name(city: Database, tmp_path: Path) -> None:
    made = City(city, tmp_path / "catalogue", tmp_path)
    gone = made.quartier("history", "rollback", "trees", "1", "--by", "Ana", "--note", "old rows")
    assert gone.exit_code == 0, gone.output
    assert "now revision 6: 1 rows came back, 2 changed back, 1 went" in gone.stdout
    printed = made.quartier("history", "list", "trees").stdout
    assert "Ana, back to 1: old rows" in printed
    listed = json.loads(made.quartier("history", "list", "trees", "--most", "2", "--json").stdout)
    assert [one["revision"] for one in listed] == [6, 5]
    for arguments, said in (
        (("list", "gone"), "no layer 'gone'"),
        (("rollback", "trees", "9", "--by", "Ana", "--note", "x"), "is no earlier revision"),
        (("rollback", "trees", "1", "--by", " ", "--note", "x"), "say who and why"),
    ):
        refused = made.quartier("history", *arguments)
        assert refused.exit_code != 0
        assert said in refused.output
