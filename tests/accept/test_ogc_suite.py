"""What the executable suites of OGC assert of features and tiles (Features 1.0 parts 1 and 2,
Tiles 1.0), of every collection of the sample city and of the real files; and what they let pass:
the order of axes, queries by time, whole walks.

The suites themselves are on no registry that tests reach. AT is the number of an abstract test.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyproj
import pytest
import shapely

from tests.accept.house import Table, house
from tests.accept.ogc import GEOJSON, HTML, Served, box_of, items, printed, shapes

pytestmark = pytest.mark.db

REAL = Path(__file__).resolve().parents[1] / "real" / "catalogue"
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
UNSUPPORTED = "http://www.opengis.net/def/crs/0/unsupported"
BOXES = [
    (-1.5, 50.0, 1.5, 53.0),
    (-80.0, -5.0, -70.0, 5.0),
    (177.0, 65.0, -177.0, 70.0),  # over the date line
    (-180.0, 85.0, 180.0, 90.0),
    (-180.0, -90.0, 180.0, -85.0),
]
MOST = 10_000
WALKED = 5 * MOST  # a walk of five pages
NEAR = 1e-5  # of a degree, and of its like in metres


@pytest.fixture(scope="module", params=["sample", "real"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    if request.param == "sample":
        yield Served("sample city", request.getfixturevalue("sample_city"))
        return
    request.getfixturevalue("shared")
    with house(REAL) as made:
        with made.database():
            made.run("apply")
            for path in sorted((REAL / "layers").glob("*.yaml")):
                made.ingest(path.stem)
        with made.serving() as url:
            yield Served("real files", url)


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    made = Table("As the suites of OGC ask", ["city", "collections", "what", "requests"])
    yield made
    made.print()


@pytest.fixture
def asked(served: Served, table: Table, request: pytest.FixtureRequest) -> Iterator[Served]:
    served.requests = 0
    yield served
    what = request.node.name.partition("[")[0].removeprefix("test_").replace("_", " ")
    table.add(served.name, len(served.collections), what, served.requests)


def extent_of(collection: Any) -> tuple[float, float, float, float]:
    west, south, east, north = collection["extent"]["spatial"]["bbox"][0]
    return west, south, east, north


# Part 1: core ------------------------------------------------------------------------------------


def test_items_are_geojson(asked: Served) -> None:
    """AT 13."""
    for collection in asked.collections:
        answer = asked.get(items(collection), limit="10")
        assert (answer.status, answer.headers["content-type"]) == (200, GEOJSON)
        assert len(answer.json["features"]) <= 10


def test_features_of_a_box_meet_it(asked: Served) -> None:
    """AT 15, whatever the box: over the date line, at the poles, far away."""
    for collection in asked.collections:
        boxes = [*BOXES, *([extent_of(collection)] if collection in asked.spatial else [])]
        for bbox in boxes:
            answer = asked.get(items(collection), bbox=",".join(map(str, bbox)), limit="10")
            assert answer.status == 200, (collection["id"], bbox)
            for place in shapes(answer):
                assert shapely.intersects(place, box_of(bbox)), (collection["id"], bbox)


def test_an_extent_holds_every_feature_that_has_a_place(asked: Served) -> None:
    for collection in asked.spatial:
        bbox = ",".join(map(printed, extent_of(collection)))
        found = asked.get(items(collection), bbox=bbox, limit="1").json["numberMatched"]
        everywhere = asked.get(items(collection), bbox="-180,-90,180,90", limit="1").json
        assert found == everywhere["numberMatched"] > 0, collection["id"]


def test_no_more_features_come_than_the_limit_says(asked: Served) -> None:
    """AT 17."""
    for collection in asked.collections:
        for limit in (1, 7, 100):
            answer = asked.get(items(collection), limit=str(limit))
            told = answer.json
            assert answer.status == 200
            assert len(told["features"]) == told["numberReturned"] <= limit
            assert told["numberReturned"] == min(limit, told["numberMatched"])


def test_a_time_is_answered_and_the_whole_time_holds_every_feature_with_one(
    asked: Served,
) -> None:
    """AT 19, which the suite itself sends to none of today's servers."""
    for collection in asked.collections:
        temporal = collection.get("extent", {}).get("temporal")
        if temporal is None:
            assert asked.get(items(collection), datetime="2026-01-01").status == 400
            continue
        start, end = (each or ".." for each in temporal["interval"][0])
        whole = asked.get(items(collection), datetime=f"{start}/{end}", limit="1")
        since = asked.get(items(collection), datetime=f"{start}/..", limit="1")
        until = (
            asked.get(items(collection), datetime=f"../{end}", limit="1") if end != ".." else whole
        )
        counts = {each.json["numberMatched"] for each in (whole, since, until)}
        assert len(counts) == 1, collection["id"]
        assert counts.pop() > 0
        assert asked.get(items(collection), datetime="1800-01-01", limit="1").status == 200
        for wrong in ("yesterday", "2026-13-01", "2026-02-01/2026-01-01", "../.."):
            assert asked.get(items(collection), datetime=wrong).status == 400, wrong


def test_wrong_and_unknown_parameters_are_refused(asked: Served) -> None:
    """AT 20 and 21."""
    wrong = [
        ("limit", "unlimited"), ("limit", "0"), ("limit", "-1"), ("bbox", "1,2,3"),
        ("bbox", "a,b,c,d"), ("bbox", "0,10,5,-10"), ("crs", UNSUPPORTED),
        ("bbox_crs", UNSUPPORTED), ("filter_crs", UNSUPPORTED), ("unknownParameter", "unknown"),
    ]  # fmt: skip
    for collection in asked.collections:
        for name, value in wrong:
            answer = asked.get(items(collection), **{name: value})
            assert answer.status == 400, (collection["id"], name, value)
            assert answer.headers["content-type"] == "application/problem+json"


def test_a_page_has_its_links_its_time_and_its_counts(asked: Served) -> None:
    """AT 22 to 26."""
    for collection in asked.collections:
        answer = asked.get(items(collection), limit="10")
        told = answer.json
        assert told["type"] == "FeatureCollection"
        assert [link["type"] for link in answer.links("self")] == [GEOJSON]
        kinds = [link["type"].partition(";")[0] for link in answer.links("alternate")]
        assert HTML in kinds
        assert datetime.fromisoformat(told["timeStamp"]).tzinfo is not None
        assert told["numberReturned"] == len(told["features"])
        for place in shapes(answer):
            west, south, east, north = place.bounds
            assert -180 <= west <= east <= 180
            assert -90 <= south <= north <= 90


def test_pages_hold_as_many_features_as_match_and_each_once(asked: Served) -> None:
    """AT 25, over whole layers."""
    for collection in asked.collections:
        answer = asked.get(items(collection), limit=str(MOST), skipGeometry="true")
        matched = answer.json["numberMatched"]
        if matched > WALKED:
            continue
        ids = answer.ids
        while following := answer.links("next"):
            answer = asked.get(following[0]["href"])
            assert answer.json["numberMatched"] == matched
            ids += answer.ids
        assert len(ids) == len(set(ids)) == matched, collection["id"]


def test_the_next_page_asks_all_that_the_first_asked(asked: Served) -> None:
    for collection in asked.spatial:
        bbox = ",".join(map(str, extent_of(collection)))
        answer = asked.get(items(collection), bbox=bbox, limit="3", crs=collection["crs"][-1])
        for following in answer.links("next"):
            second = asked.get(following["href"])
            assert second.status == 200
            assert not set(second.ids) & set(answer.ids)
            assert len(second.ids) <= 3
            assert second.headers["content-crs"] == answer.headers["content-crs"]
            assert second.json["numberMatched"] == answer.json["numberMatched"]


def test_a_feature_is_found_by_its_id_and_leads_to_its_collection(asked: Served) -> None:
    """AT 27 to 29."""
    for collection in asked.collections:
        for fid in asked.get(items(collection), limit="3").ids:
            answer = asked.get(f"{items(collection)}/{fid}")
            assert (answer.status, answer.headers["content-type"]) == (200, GEOJSON)
            assert answer.json["id"] == fid
            assert [link["type"] for link in answer.links("self")] == [GEOJSON]
            assert [link["type"] for link in answer.links("alternate")] == [HTML]
            [parent] = answer.links("collection")
            assert asked.get(parent["href"]).json["id"] == collection["id"]
        assert asked.get(f"{items(collection)}/0").status == 404


# Part 2: reference systems -----------------------------------------------------------------------


def test_systems_are_named_by_addresses_and_crs84_is_the_first(asked: Served) -> None:
    """AT 1 to 3."""
    for collection in asked.spatial:
        systems = collection["crs"]
        assert systems[0] == CRS84
        assert collection["storageCrs"] in systems
        assert len(set(systems)) == len(systems)
        for uri in systems[1:]:
            assert uri.startswith("http://www.opengis.net/def/crs/EPSG/0/")
            pyproj.CRS.from_epsg(int(uri.rpartition("/")[2]))


def test_every_answer_names_its_system_in_angle_brackets(asked: Served) -> None:
    """AT 4 to 6."""
    for collection in asked.spatial:
        answer = asked.get(items(collection), limit="1")
        one = f"{items(collection)}/{answer.ids[0]}"
        assert answer.headers["content-crs"] == f"<{CRS84}>"
        assert asked.get(one).headers["content-crs"] == f"<{CRS84}>"
        for uri in collection["crs"]:
            for address in (items(collection), one):
                found = asked.get(address, crs=uri, **({} if address == one else {"limit": "1"}))
                assert (found.status, found.headers["content-crs"]) == (200, f"<{uri}>")
        assert asked.get(one, crs=UNSUPPORTED).status == 400


def test_another_system_gives_the_same_features_in_the_order_of_its_axes(asked: Served) -> None:
    """AT 7, and where the coordinates lie, which the suite does not look at."""
    for collection in asked.spatial:
        plain = asked.get(items(collection), limit="10", bbox="-180,-90,180,90")
        for uri in collection["crs"][1:]:
            code = int(uri.rpartition("/")[2])
            found = asked.get(items(collection), limit="10", crs=uri, bbox="-180,-90,180,90")
            assert found.ids == plain.ids, (collection["id"], uri)
            assert None not in found.ids
            carry: Any = pyproj.Transformer.from_crs("OGC:CRS84", code, always_xy=False)
            scale = 1.0 if carry.target_crs and carry.target_crs.is_geographic else 1.1e5
            for one, other in zip(shapes(plain), shapes(found), strict=True):
                expected = shapely.transform(one, carry.transform, interleaved=False)
                assert other.bounds == pytest.approx(expected.bounds, abs=NEAR * scale), uri


def test_a_box_in_another_system_finds_features_of_the_same_box(asked: Served) -> None:
    """AT 8 and 10: corners in the order x, y, as the suite prints them, whatever the system.

    The suite compares the first ten alone; a box of another system is cut along other lines, so
    that here all are compared.
    """
    for collection in asked.spatial:
        west, south, east, north = extent_of(collection)
        plain = ",".join(map(printed, (west, south, east, north)))
        default = {"limit": str(MOST), "skipGeometry": "true"}
        known = asked.get(items(collection), bbox=plain, **default)
        same = asked.get(items(collection), bbox=plain, bbox_crs=CRS84, **default)
        assert same.ids == known.ids
        for uri in collection["crs"][1:]:
            code = int(uri.rpartition("/")[2])
            carry = pyproj.Transformer.from_crs(4326, code, always_xy=True).transform
            corners = ",".join(map(printed, (*carry(west, south), *carry(east, north))))
            answer = asked.get(items(collection), bbox=corners, bbox_crs=uri, **default)
            assert answer.status == 200, (collection["id"], uri)
            if known.json["numberMatched"] <= MOST:
                assert set(answer.ids) <= set(known.ids), (collection["id"], uri)
            assert answer.json["numberMatched"] <= known.json["numberMatched"]


def test_a_box_in_the_order_of_the_axes_finds_what_the_box_in_degrees_finds(asked: Served) -> None:
    for collection in asked.spatial:
        west, south, east, north = extent_of(collection)
        plain = asked.get(items(collection), limit="10", bbox=f"{west},{south},{east},{north}")
        flipped = asked.get(
            items(collection), limit="10", bbox=f"{south},{west},{north},{east}",
            bbox_crs="http://www.opengis.net/def/crs/EPSG/0/4326",
        )  # fmt: skip
        assert flipped.ids == plain.ids
        assert flipped.json["numberMatched"] == plain.json["numberMatched"]


def test_a_box_in_an_unknown_system_is_refused(asked: Served) -> None:
    """AT 9."""
    for collection in asked.spatial:
        answer = asked.get(items(collection), bbox="0,0,1,1", bbox_crs=UNSUPPORTED)
        assert answer.status == 400


# Tiles -------------------------------------------------------------------------------------------


def test_tiles_are_there_within_their_limits_and_nowhere_else(asked: Served) -> None:
    """A.2 to A.9 and A.12 of the suite for tiles."""
    for collection in asked.spatial:
        [tilesets] = [
            link for link in collection["links"] if link["rel"].endswith("tilesets-vector")
        ]
        [listed] = asked.get(tilesets["href"]).json["tilesets"]
        assert listed["tileMatrixSetURI"]
        assert listed["dataType"] == "vector"
        [itself] = [link["href"] for link in listed["links"] if link["rel"] == "self"]
        tileset = asked.get(itself)
        [template] = [link["href"] for link in tileset.links("item")]
        for limits in tileset.json["tileMatrixSetLimits"]:
            inside = limits["maxTileRow"], limits["minTileCol"]
            beyond = limits["maxTileRow"] + 1, limits["minTileCol"]
            for (row, column), expected in ((inside, {200, 204}), (beyond, {400, 404})):
                at = _filled(template, limits["tileMatrix"], row, column)
                assert asked.get(at).status in expected, at
        last = tileset.json["tileMatrixSetLimits"][-1]["tileMatrix"]
        assert asked.get(_filled(template, last, 2**31 - 1, 2**31 - 1)).status in {400, 404}


def _filled(template: str, matrix: str, row: int, column: int) -> str:
    names = {"{tileMatrix}": matrix, "{tileRow}": str(row), "{tileCol}": str(column)}
    for name, value in names.items():
        assert name in template
        template = template.replace(name, value)
    return template
