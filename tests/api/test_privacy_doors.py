"""Nothing that a privacy policy hides leaves by any door.

Two cities hold 10 000 crimes each, alike in all that is published and unlike in every exact place
that is not: whatever anybody asks of them, they answer alike, byte for byte. And no answer holds
the exact place of a row that is not published exactly.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mapbox_vector_tile
import mercantile
import numpy as np
import orjson
import pytest
import shapely

from tests.api.conftest import Service, serving
from tests.conftest import Copies, Database, copied
from tests.db.commands import City
from tests.privacy import CRIMES, commit_crimes, surround
from tests.unit.test_docs import every_address

pytestmark = [pytest.mark.db, pytest.mark.anyio]
ROWS = 10_000
NUMBER = re.compile(rb"-?\d+\.\d+")
LINKS = re.compile(rb'"links":\[.*?\]')  # which repeat what was asked
MADE = re.compile(  # when the city was made, not when a crime was committed
    rb'(?<="updated":)"[^"]*"|(?<="timeStamp":)"[^"]*"|(?<="changed_at":)"[^"]*"'
    rb'|(?<="changed_at": )"[^"]*"'
    rb'|(?<=datetime=)"[^"]*"|\d{4}-\d\d-\d\d \d\d:\d\d'
    rb'|from revision \d+ on, which is of [^"]*'
)
OGC_TILES = "/collections/crimes/tiles/WebMercatorQuad"
DEGREES_25M = 25 / 111_195
AROUND = (2.29, 48.79, 2.41, 48.91)


def fill(database: Database) -> None:
    surround(database, CRIMES)


cities = copied(fill)


@dataclass(frozen=True, slots=True)
class Cities:
    """The two cities, and the exact places of both that must not be told."""

    one: Database
    other: Database
    hidden: Any  # an array of longitudes and latitudes
    told: Any  # of the places that are published


@pytest.fixture(scope="module")
def both(cities: Copies) -> Iterator[Cities]:
    with cities() as one, cities() as other:
        commit_crimes(one, ROWS)
        _commit_the_same(one, other)
        hidden = [
            place
            for city in (one, other)
            for place in city.run(
                "SELECT ST_X(geom), ST_Y(geom) FROM city_raw.crimes WHERE kind <> 'theft'"
            )
        ]
        told = one.run(
            "SELECT DISTINCT ST_X(geom), ST_Y(geom) FROM city.crimes WHERE geom IS NOT NULL"
        )
        yield Cities(one, other, np.array(hidden), np.array(told))


def _commit_the_same(one: Database, other: Database) -> None:
    """The crimes of one city, moved as far as nobody may notice, with other times and streets
    where nobody may see them, and two more that are not published.
    """
    inside = """ST_Contains(d.geom, quartier.cell_envelope(r."#base", r."#finest"))"""
    rows = one.run(
        f"""
        SELECT number, kind,
               CASE WHEN kind IN ('assault', 'murder') THEN 'Elsewhere' ELSE street END,
               (CASE kind WHEN 'theft' THEN at
                WHEN 'noise' THEN date_trunc('hour', at) + fid % 60 * interval '1 minute'
                WHEN 'burglary' THEN date_trunc('day', at, 'Europe/Paris') + interval '1 hour'
                WHEN 'assault' THEN date_trunc('month', at, 'Europe/Paris') + interval '2 hours'
                ELSE at + interval '40 days' END)::text,
               (CASE WHEN kind = 'murder' THEN day + 99 WHEN kind = 'assault'
                THEN date_trunc('month', day)::date + 3 ELSE day END)::text,
               (CASE WHEN kind = 'theft' THEN clock WHEN kind = 'noise'
                THEN date_trunc('hour', clock::interval)::time + interval '7 minutes'
                ELSE time '12:34:56' END)::text, ST_AsHEXEWKB(CASE
            WHEN kind = 'assault' THEN ST_Point(CASE WHEN ST_X(r.geom) < 2.35 THEN 2.311
                ELSE 2.377 END, 48.8 + 0.1 * mod(fid * 0.31, 1), 4326)
            WHEN kind = 'murder' THEN ST_Point(2.3 + 0.1 * mod(fid * 0.17, 1), 48.8123, 4326)
            WHEN kind = 'burglary' AND EXISTS (SELECT FROM city.districts d WHERE {inside})
            THEN ST_Translate(ST_Centroid(quartier.cell_envelope("#base", "#finest")),
                              0.0007 * mod(fid * 0.7, 1) - 0.00035, 0.0007 * mod(fid * 0.9, 1))
            ELSE r.geom END)
        FROM city_raw.crimes r ORDER BY fid"""
    )
    columns = [[row[n] for row in rows] for n in range(7)]
    names = ("number", "kind", "street", "at", "day", "clock", "place")
    other.run(
        "INSERT INTO city_raw.crimes (number, kind, street, at, day, clock, geom) SELECT number,"
        " kind, street, at::timestamptz, day::date, clock::time, place::geometry"
        " FROM unnest("
        + ", ".join(f"CAST(:{name} AS text[])" for name in names)
        + f") u ({', '.join(names)})",
        role="ingest",
        **dict(zip(names, columns, strict=True)),
    )
    for city, statements in ((one, SEEN), (other, (*UNSEEN, *SEEN))):
        for statement in statements:
            city.run(statement)


UNSEEN = (
    "INSERT INTO city_raw.crimes (number, kind, geom) SELECT 'more', 'murder',"
    " ST_Point(2.31, 48.81, 4326) FROM generate_series(1, 2)",
    "UPDATE city_raw.crimes SET street = 'Nowhere' WHERE kind = 'murder'",
)
SEEN = (
    "UPDATE city_raw.crimes SET street = 'New Street' WHERE kind = 'theft'",
    "UPDATE city_raw.crimes SET kind = 'theft' WHERE number IN ('n7', 'n12')",
    "DELETE FROM city_raw.crimes WHERE number IN ('n11', 'n14', 'n15')",
)


@pytest.fixture
async def services(both: Cities) -> AsyncIterator[tuple[Service, Service]]:
    async with serving(both.one) as one, serving(both.other) as other:
        for service in (one, other):
            await service.caught_up()
            layers = service.parts.feed.catalog.layers
            while any(layer.count is None for layer in layers.values()):
                await asyncio.sleep(0.05)
                layers = service.parts.feed.catalog.layers
        yield one, other


def some_places(both: Cities, most: int) -> list[tuple[float, float]]:
    """Places to ask about: exact ones that are hidden, and published ones."""
    step = max(1, len(both.hidden) // most)
    return [tuple(place) for place in (*both.hidden[::step], *both.told[:: len(both.told) // most])]


# What to ask of each door ------------------------------------------------------------------------


def nothing_of_rows(*paths: str) -> Callable[[Cities], list[str]]:
    return lambda _: list(paths)


def ask_items(both: Cities) -> list[str]:
    """All pages, and boxes that shrink around places, down to nothing."""
    asked = [f"?limit=10000&bbox={','.join(map(str, AROUND))}"]
    asked += [f"?limit=10000&as_of={revision}" for revision in (1, 2, 3, 4)]
    for x, y in some_places(both, 40):
        for size in (1e-2, 1e-3, 1e-5, 0.0):
            box = f"{x - size:.9f},{y - size:.9f},{x + size:.9f},{y + size:.9f}"
            asked.append(f"?limit=1000&bbox={box}")
    asked += [f"?limit=10000&{each}" for each in QUESTIONS]
    asked += [f"?f={form}" for form in ("csv", "geojsonl", "geojsonseq", "fgb")]
    for x, y in some_places(both, 12):
        near = f"within_distance(geom,POINT({x:.9f} {y:.9f}),30)"
        asked += [f"?filter={near}", f"?filter=NOT {near}&limit=5"]
    return ["/collections/crimes/items" + each for each in [*asked, "?bbox=2,3", "?limit=x"]]


QUESTIONS = (
    "sortby=street", "sortby=-at,number", "sortby=number&limit=50", "q=new street", "q=nowhere",
    "kind=murder", "kind=theft&sortby=-street", "street=Nowhere", "at=2026-01-03", "number=n7",
    "filter=street LIKE '%25e%25'", "filter=kind IN ('assault','murder') AND street IS NULL",
    "filter=CASEI(street)=CASEI('nowhere')", "filter=fid < 100", "filter=since < 9",
    "filter=weekday(at) = 5 OR hour(at) < 6", "filter=source_key = 'n7'", "filter=1/(fid-7) > 0",
    "filter=S_WITHIN(geom,BBOX(2.3,48.81,2.32,48.83))",
    "filter=distance(geom,POINT(2.35 48.85)) < 500",
    "crs=EPSG:3857&precision=1", "skipGeometry=true&properties=street", "zoom=10&ids=1,2,3,4,5,6,7",
)  # fmt: skip


def search(both: Cities) -> list[str]:
    """The same questions with a body, which stands behind the address here."""
    bodies: list[dict[str, Any]] = [
        {"filter": f"S_INTERSECTS(geom,POINT({x} {y}))"} for x, y in some_places(both, 8)
    ]
    bodies += [{"sortby": ["-street"], "limit": 500}, {"q": "street", "kind": "theft"}]
    return [f"/collections/crimes/search {orjson.dumps(body).decode()}" for body in bodies]


def ask_one_by_one(_: Cities) -> list[str]:
    return [f"/collections/crimes/items/{fid}" for fid in (*range(1, 60), ROWS, ROWS + 1, "x")]


def ask_groups(both: Cities) -> list[str]:
    """Groups by all there is, counted in small cells and around places."""
    asked = [f"?{each}" for each in GROUPED]
    asked += [f"?grid={grid}&group_by=kind&limit=10000" for grid in ("square:5", "hex:50")]
    for x, y in some_places(both, 12):
        near = f"within_distance(geom,POINT({x:.9f} {y:.9f}),30)"
        asked += [f"?filter={near}", f"?grid=hex:1&filter={near}&f=geojson"]
    return ["/collections/crimes/aggregate" + each for each in asked]


def ask_facets(both: Cities) -> list[str]:
    asked = ["?facets=kind,street,number,at:day,fid&limit=1000", "", "?facets=kind&kind=murder"]
    for x, y in some_places(both, 12):
        near = f"within_distance(geom,POINT({x:.9f} {y:.9f}),30)"
        asked.append(f"?facets=kind,street&filter={near}")
    return ["/collections/crimes/facets" + each for each in asked]


GROUPED = (
    "", "group_by=kind&measures=distinct(street)", "group_by=street&limit=10000",
    "group_by=at:day,hour(at)&limit=10000", "group_by=fid,number&limit=10000&f=csv",
    "group_by=kind&as_of=1", "group_by=kind&as_of=2&grid=square:100", "group_by=source_key",
    "group_by=kind&q=street", "measures=p50(fid),min(at),max(at)&group_by=street&sortby=-count",
    "group_by=geom", "group_by=since",
)  # fmt: skip
PAST = ("?since=0&limit=1000", "?since=1&limit=1000", "?since=2&until=3&limit=1000", "?since=9")


def ask_differences(_: Cities) -> list[str]:
    return [f"/collections/crimes/diff{asked}" for asked in PAST]


def ask_tiles(both: Cities) -> list[str]:
    """All coarse tiles, and at finer zooms those of some places."""
    tiles = set(mercantile.tiles(*AROUND, zooms=range(14)))
    for x, y in some_places(both, 30):
        tiles |= {mercantile.tile(x, y, z) for z in (14, 15, 16)}
    paths = [f"/tiles/crimes/{at.z}/{at.x}/{at.y}.mvt" for at in sorted(tiles)]
    return [*paths, *(f"{path}?category=theft" for path in paths[:3]), "/tiles/crimes/99/0/0.mvt"]


def ask_ogc_tiles(both: Cities) -> list[str]:
    """Those of them whose addresses are tiles', with the row before the column."""
    asked = []
    for path in ask_tiles(both)[::5]:
        *_, z, x, y = path.partition(".")[0].split("/")
        asked.append(f"{OGC_TILES}/{z}/{y}/{x}.mvt")
    return asked


def ask_what_changed(_: Cities) -> list[str]:
    """The stream itself never ends; what it tells is read in `test_no_change_tells_of_a_place`."""
    return ["/changes?layers=nothing"]


DOORS: dict[str, Callable[[Cities], list[str]]] = {
    "/": nothing_of_rows("/?f=json", "/?f=html"),
    "/openapi.json": nothing_of_rows("/openapi.json"),
    "/assets": nothing_of_rows("/assets/nothing.js"),
    "/health/live": nothing_of_rows("/health/live"),
    "/health/ready": nothing_of_rows("/health/ready"),
    "/metrics": nothing_of_rows("/metrics"),
    "/changes": ask_what_changed,
    "/layers/{layer_id}": nothing_of_rows("/layers/crimes", "/layers/nothing"),
    "/maps/{map_id}": nothing_of_rows("/maps/crimes"),
    "/embed/{map_id}": nothing_of_rows("/embed/crimes"),
    "/styles/{style_id}.json": nothing_of_rows("/styles/crimes.json"),
    "/conformance": nothing_of_rows("/conformance"),
    "/api": nothing_of_rows("/api", "/api?f=html"),
    "/docs": nothing_of_rows("/docs"),
    "/collections": nothing_of_rows("/collections", "/collections?f=html"),
    "/collections/{collection_id}": nothing_of_rows(
        "/collections/crimes", "/collections/crimes?f=html"
    ),
    "/collections/{collection_id}/queryables": nothing_of_rows(
        "/collections/crimes/queryables", "/collections/crimes/queryables?f=html"
    ),
    "/collections/{collection_id}/sortables": nothing_of_rows("/collections/crimes/sortables"),
    "/collections/{collection_id}/schema": nothing_of_rows("/collections/crimes/schema"),
    "/tileMatrixSets": nothing_of_rows("/tileMatrixSets"),
    "/tileMatrixSets/{tile_matrix_set}": nothing_of_rows("/tileMatrixSets/WebMercatorQuad"),
    "/collections/{collection_id}/tiles": nothing_of_rows("/collections/crimes/tiles"),
    "/collections/{collection_id}/tiles/{tile_matrix_set}": nothing_of_rows(
        "/collections/crimes/tiles/WebMercatorQuad"
    ),
    "/collections/{collection_id}/tiles/{tile_matrix_set}/{matrix}/{row}/{column}": ask_ogc_tiles,
    "/collections/{collection_id}/items": ask_items,
    "/collections/{collection_id}/items/{fid}": ask_one_by_one,
    "/collections/{collection_id}/aggregate": ask_groups,
    "/collections/{collection_id}/facets": ask_facets,
    "/collections/{collection_id}/search": search,
    "/collections/{collection_id}/diff": ask_differences,
    "/tiles/{layers}.json": nothing_of_rows("/tiles/crimes.json"),
    "/tiles/{layers}/{z}/{x}/{y}.mvt": ask_tiles,
    "/tiles/{tileset}/{z}/{x}/{y}.{ending}": nothing_of_rows("/tiles/crimes/0/0/0.png"),
    # Of officers: asked without a key, as anybody may.
    "/runs": nothing_of_rows("/runs", "/runs?layer=crimes"),
    "/runs/key": nothing_of_rows("/runs/key"),
    "/runs/freshness": nothing_of_rows("/runs/freshness"),
    "/runs/{run_id}": nothing_of_rows("/runs/1", "/runs/9"),
    "/runs/{run_id}/quarantine": nothing_of_rows("/runs/1/quarantine"),
    "/runs/{run_id}/quarantine.csv": nothing_of_rows("/runs/1/quarantine.csv"),
    "/runs/{run_id}/accept": nothing_of_rows("/runs/1/accept"),
    "/runs/layers/{layer_id}/revisions": nothing_of_rows("/runs/layers/crimes/revisions"),
    "/runs/layers/{layer_id}/rollback": nothing_of_rows("/runs/layers/crimes/rollback"),
}


def test_every_address_is_a_door_that_is_asked_and_listed() -> None:
    addresses = set(every_address())
    assert addresses == DOORS.keys()
    listed = (Path(__file__).parents[2] / "docs" / "privacy.md").read_text(encoding="utf-8")
    assert [each for each in sorted(addresses) if f"`{each}`" not in listed] == []


async def bodies(service: Service, paths: list[str]) -> list[tuple[str, int, bytes]]:
    """What it answers, but for the moments that it was made at, and its own figures."""
    answers = []
    for path in paths:
        address, _, sent = path.partition(" {")
        if sent:
            answer = await service.client.post(address, content="{" + sent)
        else:
            answer = await service.get(path)
        body = b"" if path == "/metrics" else MADE.sub(b'"then"', answer.content)
        answers.append((path, answer.status_code, body))
    return answers


@pytest.mark.parametrize("door", DOORS)
async def test_no_door_tells_two_cities_apart_or_where_what_is_hidden_is(
    services: tuple[Service, Service], both: Cities, door: str
) -> None:
    asked = DOORS[door](both)
    one, other = [await bodies(service, asked) for service in services]
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        assert mine == theirs
    hidden = shapely.STRtree(shapely.points(both.hidden))
    known = shapely.STRtree(shapely.points(both.told))
    seen = 0
    for path, _, body in one:
        places, blur = _places_in(path, body)
        seen += len(places)
        for number in set(hidden.query(places, predicate="dwithin", distance=DEGREES_25M)[0]):
            at = places[number]
            assert len(known.query(at, predicate="dwithin", distance=blur)), (path, at.wkt)
    assert seen > 100 or door not in ("/collections/{collection_id}/items", DETAIL)


DETAIL = "/tiles/{layers}/{z}/{x}/{y}.mvt"


def _places_in(path: str, body: bytes) -> tuple[Any, float]:
    """Every pair of numbers that could be a place of the city, and how precisely it is told. The
    means of cells, which are no places of anybody, are left out.
    """
    if path.endswith(".mvt"):
        return _places_in_tile(path, body)
    numbers = [float(number) for number in NUMBER.findall(LINKS.sub(b"", body))]
    pairs = [
        pair
        for pair in itertools.pairwise(numbers)
        if AROUND[0] < pair[0] < AROUND[2] and AROUND[1] < pair[1] < AROUND[3]
    ]
    return shapely.points(np.array(pairs).reshape(-1, 2)), 2e-6 + _cell_of(path)


def _cell_of(path: str) -> float:
    """How far from a published place a grid's cells may reach, in degrees."""
    found = re.search(r"grid=\w+:(\d+)", path)
    return 2 * int(found[1]) / 70_000 if found else 0.0


def _places_in_tile(path: str, body: bytes) -> tuple[Any, float]:
    z, x, y = (int(part) for part in path.removesuffix(".mvt").split("/")[-3:])
    if path.startswith(OGC_TILES):
        x, y = y, x
    pairs = []
    if z <= 22 and body[:1] != b"{":
        layers = mapbox_vector_tile.decode(body, default_options={"y_coord_down": True})
        bounds = mercantile.xy_bounds(x, y, z)
        width = bounds.right - bounds.left
        for feature in layers.get("crimes", {"features": []})["features"]:
            if "point_count" not in feature["properties"]:
                across, down = feature["geometry"]["coordinates"]
                pairs.append(
                    mercantile.lnglat(
                        bounds.left + across / 4096 * width, bounds.top - down / 4096 * width
                    )
                )
    return shapely.points(np.array(pairs).reshape(-1, 2)), 1.5 * 360 / 2**z / 4096


async def test_pages_say_that_places_are_approximate(services: tuple[Service, Service]) -> None:
    told = re.compile(r"<p [^>]*>Some places are approximate")
    for path in ("/layers/", "/maps/"):
        assert told.search((await services[0].get(f"{path}crimes")).text)
        assert not told.search((await services[0].get(f"{path}corners")).text)


async def test_no_change_tells_of_a_place_that_is_hidden(both: Cities) -> None:
    """What `/changes` tells and tiles are versioned by."""
    told = "SELECT layer_id, z, cell, parts, revision FROM quartier.public_changes ORDER BY 1, 2, 3"
    state = "SELECT layer_id, revision, base_revision FROM quartier.public_state ORDER BY 1"
    for asked in (told, state):
        assert both.one.run(asked, role="web") == both.other.run(asked, role="web")
    before = both.one.run(told)
    revisions = [city.run(state) for city in (both.one, both.other)]
    both.one.run(
        "UPDATE city_raw.crimes SET geom = ST_Translate(geom, 0.001, 0) WHERE kind = 'murder'"
    )
    both.other.run("UPDATE city_raw.crimes SET street = street || 'x' WHERE kind = 'murder'")
    assert both.one.run(told) == before == both.other.run(told)
    assert [city.run(state) for city in (both.one, both.other)] == revisions


def test_an_archive_holds_what_tiles_hold(both: Cities, tmp_path: Path) -> None:
    made = []
    for database in (both.one, both.other):
        folder = tmp_path / database.name
        folder.mkdir()
        file = folder / "crimes.mbtiles"
        done = City(database, folder, folder).quartier("export", "crimes", file, "--maxzoom", "14")
        assert done.exit_code == 0, done.output
        with sqlite3.connect(file) as archive:
            tiles = (
                "SELECT zoom_level, tile_column, tile_row, tile_data FROM tiles ORDER BY 1, 2, 3"
            )
            made.append([(*row[:3], gzip.decompress(row[3])) for row in archive.execute(tiles)])
    assert made[0] == made[1]
    assert len(made[0]) > 50
