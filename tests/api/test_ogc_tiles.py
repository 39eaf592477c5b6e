"""OGC API – Tiles, as its own test suite, GDAL and OpenLayers ask for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import mapbox_vector_tile
import pytest

from tests.api.conftest import BASE, Service, serving
from tests.conftest import Copies, Database, copied
from tests.examples import ANYTHING, CALLS, PARKS, TREES, layer
from tests.standards import TILES, errors_of

pytestmark = [pytest.mark.db, pytest.mark.anyio]
REL = "http://www.opengis.net/def/rel/ogc/1.0/"
MVT = "application/vnd.mapbox-vector-tile"
DEEP = layer(id="deep", geometry="line", minzoom=6, maxzoom=12)
HERE = "/collections/trees/tiles/WebMercatorQuad"


def fill(database: Database) -> None:
    """Trees in two places, far enough from each other to leave tiles between them empty."""
    database.declare(TREES, PARKS, ANYTHING, CALLS, DEEP)
    database.run(
        "INSERT INTO city.trees (number, genus, geom) VALUES"
        " ('1', 'Tilia', ST_Point(4.8, 45.2, 4326)), ('2', 'Acer', ST_Point(5.8, 45.9, 4326))"
    )
    database.run(
        "INSERT INTO city.deep (name, geom) VALUES"
        " ('way', ST_GeomFromText('LINESTRING(4.8 45.2, 4.81 45.21)', 4326))"
    )
    database.run("INSERT INTO city.anything (geom) VALUES (ST_Point(0, 89, 4326))")


cities = copied(fill)


@pytest.fixture
async def service(cities: Copies) -> AsyncIterator[Service]:
    with cities() as database:
        async with serving(database) as running:
            yield running


async def told(service: Service, path: str) -> Any:
    answer = await service.get(path)
    assert answer.status_code == 200, path
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def linked(document: Any, rel: str) -> Any:
    [link] = [link for link in document["links"] if link["rel"] == rel]
    assert link["href"].startswith(BASE)
    return {**link, "href": link["href"].removeprefix(BASE)}


async def test_a_client_finds_its_way_from_the_landing_page_to_a_tile(service: Service) -> None:
    """As the suite goes: collection, list, tileset, template, and the corners of the limits."""
    landing = await told(service, "/")
    collections = await told(service, linked(landing, "data")["href"])
    [trees] = [each for each in collections["collections"] if each["id"] == "trees"]
    leads = linked(trees, f"{REL}tilesets-vector")
    assert leads["href"].endswith("/tiles")
    [outline] = (await told(service, leads["href"]))["tilesets"]
    tileset = await told(service, linked(outline, "self")["href"])
    template = linked(tileset, "item")
    assert (template["type"], template["templated"]) == (MVT, True)
    for limits in tileset["tileMatrixSetLimits"]:
        row, column = limits["maxTileRow"], limits["minTileCol"]
        at = {"tileMatrix": limits["tileMatrix"], "tileRow": row, "tileCol": column}
        assert (await service.get(template["href"].format(**at))).status_code in (200, 204)
        for beyond in ({"tileRow": row + 1}, {"tileCol": limits["maxTileCol"] + 1}):
            answer = await service.get(template["href"].format(**at | beyond))
            assert answer.status_code in (400, 404)
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.real
async def test_a_list_of_tilesets_has_what_clients_read_without_asking(
    service: Service, shared: Path
) -> None:
    document = await told(service, "/collections/trees/tiles")
    [outline] = document["tilesets"]
    assert errors_of(outline, shared, TILES, "tileSet.json") == []
    assert linked(document, "self")["href"] == "/collections/trees/tiles"
    assert (outline["dataType"], outline["tileMatrixSetId"]) == ("vector", "WebMercatorQuad")
    assert outline["tileMatrixSetURI"].endswith("/tilematrixset/OGC/1.0/WebMercatorQuad")
    assert outline["crs"] == "http://www.opengis.net/def/crs/EPSG/0/3857"
    scheme = linked(outline, f"{REL}tiling-scheme")
    assert (await service.get(scheme["href"])).status_code == 200


@pytest.mark.parametrize(
    ("collection", "dimension"), [("trees", 0), ("deep", 1), ("parks", 2), ("anything", None)]
)
@pytest.mark.real
async def test_a_tileset_is_valid_by_the_schema_and_tells_what_its_features_hold(
    service: Service, shared: Path, collection: str, dimension: int | None
) -> None:
    tileset = await told(service, f"/collections/{collection}/tiles/WebMercatorQuad")
    assert errors_of(tileset, shared, TILES, "tileSet.json") == []
    [described] = tileset["layers"]
    assert (described["id"], described.get("geometryDimension")) == (collection, dimension)
    assert linked(tileset, "tilejson")["href"] == f"/tiles/{collection}.json"


async def test_properties_of_tiles_are_those_that_travel_in_them(service: Service) -> None:
    [described] = (await told(service, HERE))["layers"]
    properties = described["propertiesSchema"]["properties"]
    assert {"genus", "height", "planted"} <= properties.keys()
    assert "number" not in properties
    assert properties["height"] == {"type": "number", "title": "height"}


async def test_limits_are_where_the_features_are_at_the_zooms_there_are(service: Service) -> None:
    tileset = await told(service, "/collections/deep/tiles/WebMercatorQuad")
    limits = {each["tileMatrix"]: each for each in tileset["tileMatrixSetLimits"]}
    assert list(limits) == [str(z) for z in range(6, 13)]
    assert limits["12"] == {
        "tileMatrix": "12", "minTileRow": 1470, "maxTileRow": 1470,
        "minTileCol": 2102, "maxTileCol": 2102,
    }  # fmt: skip


async def test_a_layer_that_holds_nothing_or_lies_at_the_pole_has_limits_on_the_grid(
    service: Service,
) -> None:
    for collection in ("parks", "anything"):
        tileset = await told(service, f"/collections/{collection}/tiles/WebMercatorQuad")
        for each in tileset["tileMatrixSetLimits"]:
            end = (1 << int(each["tileMatrix"])) - 1
            assert 0 <= each["minTileRow"] <= each["maxTileRow"] <= end
            assert 0 <= each["minTileCol"] <= each["maxTileCol"] <= end


@pytest.mark.real
async def test_the_tile_matrix_set_is_the_registered_one(service: Service, shared: Path) -> None:
    [listed] = (await told(service, "/tileMatrixSets"))["tileMatrixSets"]
    scheme = await told(service, linked(listed, "self")["href"])
    assert errors_of(scheme, shared, TILES, "tileMatrixSet.json") == []
    assert (scheme["id"], scheme["uri"], scheme["crs"]) == (
        listed["id"], listed["uri"], listed["crs"],
    )  # fmt: skip
    third = next(each for each in scheme["tileMatrices"] if each["id"] == "3")
    assert (third["matrixWidth"], third["matrixHeight"]) == (8, 8)
    assert third["pointOfOrigin"] == pytest.approx([-20037508.342789244, 20037508.342789244])


# Tiles -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".mvt", "?f=mvt", ".mvt?f=mvt&revision=trees:1"])
async def test_a_tile_is_the_one_of_the_fast_path_with_its_etag(
    service: Service, ending: str
) -> None:
    ours = await service.get(f"{HERE}/12/1470/2102{ending}")
    theirs = await service.get("/tiles/trees/12/2102/1470.mvt")
    assert ours.status_code == 200
    assert ours.headers["content-type"] == MVT
    assert (ours.content, ours.headers["etag"]) == (theirs.content, theirs.headers["etag"])
    assert list(mapbox_vector_tile.decode(ours.content)) == ["trees"]
    held = await service.get(f"{HERE}/12/1470/2102{ending}", if_none_match=ours.headers["etag"])
    assert held.status_code == 304


async def test_head_and_options_of_a_tile_are_answered(service: Service) -> None:
    head = await service.client.head(f"{HERE}/12/1470/2102")
    assert (head.status_code, head.content) == (200, b"")
    asked = await service.client.options(f"{HERE}/12/1470/2102")
    assert asked.status_code == 204
    assert (await service.client.post(f"{HERE}/12/1470/2102")).status_code == 405


async def test_a_tile_within_the_limits_that_holds_nothing_is_204(service: Service) -> None:
    assert (await service.get(f"{HERE}/12/1465/2107")).status_code == 204


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param(f"{HERE}/12/0/0", 404, id="outside the limits"),
        pytest.param(f"{HERE}/12/2147483647/2147483647", 400, id="as the suite asks"),
        pytest.param(f"{HERE}/12/4096/0", 400, id="off the matrix"),
        pytest.param(f"{HERE}/12/-1/0", 400, id="negative"),
        pytest.param(f"{HERE}/twelve/0/0", 400, id="no number"),
        pytest.param(f"{HERE}/23/0/0", 400, id="no such matrix"),
        pytest.param(f"{HERE}/17/47040/67269", 404, id="beyond the last zoom"),
        pytest.param("/collections/deep/tiles/WebMercatorQuad/5/11/16", 404, id="before the first"),
        pytest.param("/collections/trees/tiles/WorldCRS84Quad/0/0/0", 404, id="another matrix set"),
        pytest.param("/collections/calls/tiles/WebMercatorQuad/0/0/0", 404, id="no geometry"),
        pytest.param("/collections/shrubs/tiles/WebMercatorQuad/0/0/0", 404, id="no collection"),
        pytest.param(f"{HERE}/0/0/0?f=png", 400, id="no such form"),
        pytest.param(f"{HERE}/0/0/0?x=1", 400, id="an unknown parameter"),
        pytest.param("/collections/calls/tiles", 404, id="a list without geometry"),
        pytest.param("/collections/calls/tiles/WebMercatorQuad", 404, id="a set without geometry"),
        pytest.param("/collections/trees/tiles/WorldCRS84Quad", 404, id="a set of another matrix"),
        pytest.param("/tileMatrixSets/WorldCRS84Quad", 404, id="a matrix set that is not there"),
        pytest.param("/collections/trees/tiles?f=html", 400, id="a page that is not there"),
        pytest.param("/tileMatrixSets?x=1", 400, id="an unknown parameter of a list"),
    ],
)
async def test_what_is_no_tile_is_a_problem_and_a_sentence(
    service: Service, path: str, status: int
) -> None:
    answer = await service.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.json()["detail"]) > 10


async def test_a_wrong_part_of_the_address_is_named_as_the_standard_names_it(
    service: Service,
) -> None:
    for path, name in ((f"{HERE}/12/9999/0", "tileRow"), (f"{HERE}/12/0/9999", "tileCol")):
        assert (await service.get(path)).json()["parameter"] == name


async def test_a_tile_is_found_where_a_new_feature_lies(cities: Copies) -> None:
    with cities() as database:
        async with serving(database) as service:
            path = f"{HERE}/12/2048/2048"
            assert (await service.get(path)).status_code == 404
            database.run(
                "INSERT INTO city.trees (number, geom) VALUES ('3', ST_Point(0.01, -0.01, 4326))"
            )
            await service.caught_up()
            await service.parts.feed._take_facts()
            assert (await service.get(path)).status_code == 200


async def test_tilesets_are_told_anew_only_when_something_changed(service: Service) -> None:
    for path in ("/tileMatrixSets", "/collections/trees/tiles", HERE):
        etag = (await service.get(path)).headers["etag"]
        assert (await service.get(path, if_none_match=etag)).status_code == 304
