"""OGC API – Features, as its own test suite, QGIS, GDAL and OWSLib ask for it.

Each test asserts what one of them asserts; the schemas are those that the standard publishes.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV30SpecValidator

from tests.api.conftest import BASE, Service, serving
from tests.conftest import Copies, Database, copied
from tests.examples import ANYTHING, PATHS, TREES, layer
from tests.standards import FEATURES, errors_of

pytestmark = [pytest.mark.db, pytest.mark.anyio]
REL = "http://www.opengis.net/def/rel/ogc/1.0/"
CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
OPENAPI = "application/vnd.oai.openapi+json;version=3.0"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
SITES = layer(
    id="sites",
    geometry="polygon",
    licence="https://city.test/licence",
    time_zone="Europe/Paris",
    time={"start": "begins", "end": "ends"},
    columns=[
        {"name": "kind", "label": {"en": "Kind", "fr": "Nature"}, "required": True},
        {"name": "begins", "type": "date"},
        {"name": "ends", "type": "date"},
        {"name": "lanes", "type": "json", "separator": ";"},
        {"name": "raw", "type": "json"},
        {"name": "limit", "type": "integer"},
        {"name": "noise", "type": "number", "unit": "sone"},
        {"name": "clock", "type": "time"},
    ],
    category="kind",
)
CALLS = layer(
    id="calls",
    geometry="none",
    licence="ours",
    time="at",
    columns=[{"name": "at", "type": "datetime"}, {"name": "calls", "type": "integer"}],
)
JSON_PAGES = [
    "/",
    "/conformance",
    "/api",
    "/collections",
    "/collections/trees",
    "/collections/trees/queryables",
    "/collections/trees/sortables",
    "/collections/trees/schema",
]


def fill(database: Database) -> None:
    database.declare(TREES, PATHS, SITES, CALLS, ANYTHING)
    database.run(
        "INSERT INTO city.trees (number, genus, geom) SELECT n, 'Tilia',"
        " ST_Point(4.8123456789 + n * 0.01, 45.2, 4326) FROM generate_series(1, 25) n"
    )
    database.run(
        "INSERT INTO city.sites (kind, begins, ends, geom) SELECT 'dig', day::date, day::date + 2,"
        " ST_MakeEnvelope(-180, -90, 180, 90, 4326) FROM unnest(ARRAY['2026-01-31', '2026-07-01'])"
        " day"
    )
    database.run(
        "INSERT INTO city.calls (at, calls) VALUES ('2026-03-01T12:00:00.25+02', 1),"
        " ('2026-03-02T12:00:00.25Z', 1), ('infinity', 1), ('0044-03-15 BC', 1), (NULL, 1)"
    )


cities = copied(fill)


@pytest.fixture
async def service(cities: Copies) -> AsyncIterator[Service]:
    with cities() as database:
        async with serving(database) as running:
            yield running


async def told(service: Service, path: str) -> Any:
    answer = await service.get(path)
    assert answer.status_code == 200, path
    return answer.json()


def linked(document: Any, rel: str, media_type: str | None = None) -> list[str]:
    return [
        link["href"].removeprefix(BASE)
        for link in document["links"]
        if link["rel"] == rel and (media_type is None or link["type"] == media_type)
    ]


# What every one of these addresses keeps to ------------------------------------------------------


@pytest.mark.parametrize("path", JSON_PAGES)
async def test_programs_are_given_json_and_people_a_page_at_one_address(
    service: Service, path: str
) -> None:
    for asked in ({}, {"accept": "*/*"}, {"accept": "application/json"}):
        answer = await service.get(path, **asked)
        assert "json" in answer.headers["content-type"]
    for url, asked in ((path, {"accept": BROWSER}), (f"{path}?f=html", {})):
        answer = await service.get(url, **asked)
        assert answer.headers["content-type"].startswith("text/html")
        assert answer.text.startswith("<!doctype html>")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    answer = await service.get(f"{path}?f=json", accept=BROWSER)
    assert "json" in answer.headers["content-type"]


@pytest.mark.parametrize("path", JSON_PAGES)
@pytest.mark.parametrize("form", ["json", "html"])
async def test_an_answer_that_a_client_holds_is_not_sent_again(
    service: Service, path: str, form: str
) -> None:
    url = f"{path}?f={form}"
    answer = await service.get(url)
    etag = answer.headers["etag"]
    assert answer.headers["vary"].startswith("Accept")
    held = await service.get(url, if_none_match=etag)
    assert (held.status_code, held.content) == (304, b"")
    assert held.headers["etag"] == etag
    assert held.headers["vary"].startswith("Accept")
    other = await service.get(
        f"{path}?f={'json' if form == 'html' else 'html'}", if_none_match=etag
    )
    assert other.status_code == 200


@pytest.mark.parametrize("path", JSON_PAGES)
async def test_head_tells_what_get_tells_without_the_body(service: Service, path: str) -> None:
    plain = {"accept-encoding": "identity"}
    head = await service.client.head(path, headers=plain)
    get = await service.client.get(path, headers=plain)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "etag", "cache-control"):
        assert head.headers[name] == get.headers[name]


@pytest.mark.parametrize("path", JSON_PAGES)
async def test_json_refuses_parameters_it_does_not_know_and_pages_ignore_them(
    service: Service, path: str
) -> None:
    refused = await service.get(f"{path}?frm=json")
    assert refused.status_code == 400
    assert refused.json()["parameter"] == "frm"
    assert (await service.get(f"{path}?f=xml")).status_code == 400
    assert (await service.get(f"{path}?utm_source=letter")).status_code == 200
    assert (await service.get(f"{path}?frm=json", accept=BROWSER)).status_code == 200


async def test_what_no_form_satisfies_is_not_acceptable(service: Service) -> None:
    assert (await service.get("/conformance", accept="image/png")).status_code == 406


# A.1–A.8: landing page, API definition, conformance ---------------------------------------------


@pytest.mark.real
async def test_the_landing_page_leads_to_all_else(service: Service, shared: Path) -> None:
    answer = await service.get("/", accept="application/json")
    landing = answer.json()
    assert errors_of(landing, shared, FEATURES, "landingPage.yaml") == []
    for rel in ("self", "service-doc", "conformance", "data", REL + "tiling-schemes"):
        [path] = linked(landing, rel)
        assert (await service.get(path)).status_code == 200, rel
    assert linked(landing, "alternate", "text/html")
    assert linked(landing, "service-desc", OPENAPI) == ["/api"]
    assert all(link["href"].startswith(BASE) for link in landing["links"])
    assert answer.headers["link"].count("rel=") == len(landing["links"])


@pytest.mark.real
async def test_the_conformance_declaration_lists_uris_of_conformance_classes(
    service: Service, shared: Path
) -> None:
    declared = await told(service, "/conformance")
    assert errors_of(declared, shared, FEATURES, "confClasses.yaml") == []
    classes = declared["conformsTo"]
    assert len(set(classes)) == len(classes)
    shape = re.compile(r"http://www\.opengis\.net/spec/[a-z0-9-]+/1\.0/conf/[a-z0-9-]+")
    assert [each for each in classes if not shape.fullmatch(each)] == []
    for needed_by_qgis in (
        "ogcapi-features-1/1.0/conf/core", "ogcapi-features-2/1.0/conf/crs",
        "ogcapi-features-3/1.0/conf/filter", "ogcapi-features-3/1.0/conf/features-filter",
        "ogcapi-features-5/1.0/conf/schemas", "cql2/1.0/conf/basic-cql2", "cql2/1.0/conf/cql2-text",
    ):  # fmt: skip
        assert f"http://www.opengis.net/spec/{needed_by_qgis}" in classes


async def test_the_api_document_is_openapi_3_0_of_just_that_media_type(service: Service) -> None:
    answer = await service.get("/api", accept=f"{OPENAPI}, application/json")
    assert answer.headers["content-type"] == OPENAPI
    document = answer.json()
    assert document["openapi"] == "3.0.3"
    OpenAPIV30SpecValidator(document).validate()
    assert document["servers"] == [{"url": BASE}]
    assert {"/", "/conformance", "/api", "/collections"} <= document["paths"].keys()


async def test_no_reference_leaves_the_document_and_no_operation_shares_a_name(
    service: Service,
) -> None:
    answer = await service.get("/api")
    references = re.findall(r'"\$ref":"([^"]*)"', answer.text)
    assert references
    assert [each for each in references if not each.startswith("#/components/")] == []
    operations = [
        operation["operationId"]
        for methods in answer.json()["paths"].values()
        for operation in methods.values()
    ]
    assert len(set(operations)) == len(operations)
    assert any(".getTile" in name for name in operations)


async def test_every_path_without_variables_is_found(service: Service) -> None:
    """But for the features, and the search, that have tests of their own."""
    document = await told(service, "/api")
    gets = [path for path, methods in document["paths"].items() if "get" in methods]
    for path in gets:
        if "{" not in path and not path.endswith("/items"):
            assert (await service.get(path)).status_code == 200, path


# A.9–A.12: collections ---------------------------------------------------------------------------


@pytest.mark.real
async def test_collections_link_to_themselves_and_to_their_page(
    service: Service, shared: Path
) -> None:
    document = await told(service, "/collections")
    assert errors_of(document, shared, FEATURES, "collections.yaml") == []
    assert linked(document, "self", "application/json") == ["/collections"]
    assert linked(document, "alternate", "text/html") == ["/collections?f=html"]
    assert len(document["collections"]) == 5


@pytest.mark.real
async def test_a_collection_is_the_same_alone_and_in_the_list(
    service: Service, shared: Path
) -> None:
    for listed in (await told(service, "/collections"))["collections"]:
        alone = await told(service, f"/collections/{listed['id']}")
        assert errors_of(alone, shared, FEATURES, "collection.yaml") == []
        assert {name: alone[name] for name in listed} == listed
        assert "description" in alone


async def test_every_link_of_a_collection_has_rel_type_and_an_absolute_address(
    service: Service,
) -> None:
    for collection in (await told(service, "/collections"))["collections"]:
        here = f"/collections/{collection['id']}"
        assert linked(collection, "self", "application/json") == [here]
        assert linked(collection, "alternate", "text/html") == [f"{here}?f=html"]
        assert linked(collection, "items", "application/geo+json") == [f"{here}/items"]
        assert linked(collection, "items", "text/csv") == [f"{here}/items?f=csv"]
        for rel in ("queryables", "sortables", "schema"):
            assert linked(collection, REL + rel, "application/schema+json") == [f"{here}/{rel}"]
        assert linked(collection, "describedby", "application/schema+json") == [f"{here}/schema"]
        assert linked(collection, "data") == []
        assert all(link["href"].startswith(("http://", "https://")) for link in collection["links"])


async def test_only_a_collection_with_places_has_reference_systems_and_tiles(
    service: Service,
) -> None:
    trees, calls = [await told(service, f"/collections/{each}") for each in ("trees", "calls")]
    assert trees["crs"][0] == CRS84
    assert "http://www.opengis.net/def/crs/EPSG/0/2154" in trees["crs"]
    assert trees["storageCrs"] in trees["crs"]
    assert linked(trees, f"{REL}tilesets-vector") == ["/collections/trees/tiles"]
    assert linked(trees, "tilejson") == ["/tiles/trees.json"]
    assert not {"crs", "storageCrs"} & calls.keys()
    assert not linked(calls, f"{REL}tilesets-vector") + linked(calls, "tilejson")
    assert "application/flatgeobuf" not in {link["type"] for link in calls["links"]}


async def test_a_licence_is_linked_where_it_is_known_where_it_stands(service: Service) -> None:
    links = {
        each["id"]: [link["href"] for link in each["links"] if link["rel"] == "license"]
        for each in (await told(service, "/collections"))["collections"]
    }
    assert links["trees"] == ["https://creativecommons.org/licenses/by/4.0/"]
    assert links["sites"] == ["https://city.test/licence"]
    assert links["calls"] == []


async def test_an_extent_holds_every_feature_also_when_it_is_printed_with_seven_digits(
    service: Service,
) -> None:
    [[west, south, east, north]] = (await told(service, "/collections/trees"))["extent"]["spatial"][
        "bbox"
    ]
    assert float(f"{west:.7f}") == west < 4.8223456789 - 5e-7
    assert float(f"{east:.7f}") == east > 5.0623456789 + 5e-7
    assert south < 45.2 < north
    assert east - west < 0.24 + 5e-6


async def test_an_extent_does_not_leave_the_world(service: Service) -> None:
    sites = await told(service, "/collections/sites")
    assert sites["extent"]["spatial"]["bbox"] == [[-180, -90, 180, 90]]


# The time of a collection ------------------------------------------------------------------------


async def test_days_last_from_their_first_to_their_last_second_in_the_layers_zone(
    service: Service,
) -> None:
    [interval] = (await told(service, "/collections/sites"))["extent"]["temporal"]["interval"]
    assert interval == ["2026-01-30T23:00:00Z", "2026-07-03T21:59:59Z"]


async def test_instants_are_told_in_utc_and_hold_every_feature(service: Service) -> None:
    """What no calendar of clients knows is passed over, and so are rows without a time."""
    temporal = (await told(service, "/collections/calls"))["extent"]["temporal"]
    assert temporal["interval"] == [["2026-03-01T10:00:00Z", "2026-03-02T12:00:01Z"]]
    assert temporal["trs"] == "http://www.opengis.net/def/uom/ISO-8601/0/Gregorian"
    assert datetime.fromisoformat(temporal["interval"][0][0]).tzinfo


async def test_what_has_not_ended_leaves_the_interval_open(cities: Copies) -> None:
    with cities() as database:
        database.run("INSERT INTO city.sites (kind, begins) VALUES ('dig', '2025-01-01')")
        async with serving(database) as service:
            [interval] = (await told(service, "/collections/sites"))["extent"]["temporal"][
                "interval"
            ]
            assert interval == ["2024-12-31T23:00:00Z", None]
            database.run("DELETE FROM city.sites")
            await service.caught_up()
            await service.parts.feed._take_facts()
            assert "extent" not in await told(service, "/collections/sites")


async def test_collections_are_described_while_the_database_is_away(service: Service) -> None:
    await service.lose_database()
    for path in ("/collections", "/collections/trees", "/collections/trees/schema", "/api"):
        assert (await service.get(path)).status_code == 200
    assert "temporal" in (await told(service, "/collections/sites"))["extent"]


# Parameters, as A.14, A.16 and A.18 read them in the API document --------------------------------


def parameters_of(document: Any, path: str) -> dict[str, Any]:
    found = {}
    for given in document["paths"][path]["get"]["parameters"]:
        name = given.get("$ref", "").rpartition("/")[2]
        parameter = document["components"]["parameters"][name] if name else given
        found[parameter["name"]] = parameter
    return found


@pytest.mark.parametrize("collection", ["trees", "calls", "sites"])
async def test_the_parameters_of_items_are_defined_as_the_suite_wants_them(
    service: Service, collection: str
) -> None:
    named = parameters_of(await told(service, "/api"), f"/collections/{collection}/items")
    for name in ("bbox", "limit", "datetime"):
        told_of = named[name]
        assert (told_of["in"], told_of["required"], told_of["style"]) == ("query", False, "form")
        assert told_of["explode"] is False
    box = named["bbox"]["schema"]
    assert (box["type"], box["minItems"], box["maxItems"]) == ("array", 4, 6)
    assert box["items"] == {"type": "number"}
    assert named["limit"]["schema"] == {
        "type": "integer", "minimum": 1, "maximum": 10_000, "default": 100,
    }  # fmt: skip
    assert named["datetime"]["schema"] == {"type": "string"}
    assert named["filter-lang"]["schema"]["enum"][:2] == ["cql2-text", "cql2-json"]


async def test_qgis_and_gdal_find_the_page_size_and_the_columns_by_name(service: Service) -> None:
    document = await told(service, "/api")
    assert document["components"]["parameters"]["limit"]["schema"]["maximum"] == 10_000
    named = parameters_of(document, "/collections/sites/items")
    assert named["begins"]["schema"] == {"type": "string", "format": "date"}
    assert (named["kind"]["in"], named["kind"]["style"], named["kind"]["explode"]) == (
        "query", "form", False,
    )  # fmt: skip
    assert not {"raw", "lanes"} & named.keys()
    assert named["limit"]["schema"]["default"] == 100  # not the column of this name


async def test_what_may_be_answered_is_documented(service: Service) -> None:
    document = await told(service, "/api")
    answers = document["paths"]["/collections/trees/items"]["get"]["responses"]
    assert {"200", "304", "400", "404", "406", "413", "422", "429", "503"} == answers.keys()
    problem = document["components"]["responses"]["BadRequest"]["content"]
    assert list(problem) == ["application/problem+json"]


# Schemas (Part 3 and Part 5) ----------------------------------------------------------------------


async def properties_of(service: Service, path: str) -> Any:
    answer = await service.get(path, accept="application/schema+json")
    assert answer.headers["content-type"] == "application/schema+json"
    schema = answer.json()
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == BASE + path
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    numbers = [told["x-ogc-propertySeq"] for told in schema["properties"].values()]
    assert numbers == list(range(1, len(numbers) + 1))
    for told_of in schema["properties"].values():
        assert told_of["title"]
        spatial = told_of.get("format", "").startswith("geometry-")
        assert ("type" in told_of) is not spatial
    return schema["properties"]


async def test_queryables_are_the_columns_the_id_and_the_geometry(service: Service) -> None:
    queryables = await properties_of(service, "/collections/sites/queryables")
    assert list(queryables) == [
        "fid", "geom", "kind", "begins", "ends", "lanes", "limit", "noise", "clock",
    ]  # fmt: skip
    assert (queryables["fid"]["type"], queryables["fid"]["x-ogc-role"]) == ("integer", "id")
    assert queryables["geom"]["format"] == "geometry-polygon-or-multipolygon"
    assert queryables["geom"]["x-ogc-role"] == "primary-geometry"
    assert queryables["lanes"]["type"] == "array"
    assert queryables["kind"]["x-ogc-role"] == "type"
    assert queryables["begins"]["x-ogc-role"] == "primary-interval-start"
    assert queryables["ends"]["x-ogc-role"] == "primary-interval-end"
    assert queryables["begins"]["format"] == "date"
    assert (queryables["noise"]["x-ogc-unit"], queryables["noise"]["x-ogc-unitLang"]) == (
        "sone", "text",
    )  # fmt: skip


async def test_sortables_have_no_place_and_nothing_nested(service: Service) -> None:
    sortables = await properties_of(service, "/collections/sites/sortables")
    assert list(sortables) == ["fid", "kind", "begins", "ends", "limit", "noise", "clock"]


async def test_a_schema_tells_all_that_features_have(service: Service) -> None:
    schema = await properties_of(service, "/collections/sites/schema")
    assert "raw" in schema
    assert (await told(service, "/collections/sites/schema"))["required"] == ["kind"]
    trees = await properties_of(service, "/collections/trees/schema")
    assert trees["geom"]["format"] == "geometry-point"
    assert (trees["height"]["x-ogc-unit"], "x-ogc-unitLang" in trees["height"]) == ("m", False)
    paths = await properties_of(service, "/collections/paths/schema")
    assert paths["geom"]["format"] == "geometry-linestring-or-multilinestring"
    anything = await properties_of(service, "/collections/anything/schema")
    assert anything["geom"]["format"] == "geometry-any"
    calls = await properties_of(service, "/collections/calls/schema")
    assert "geom" not in calls
    assert (calls["at"]["x-ogc-role"], calls["at"]["format"]) == ("primary-instant", "date-time")


async def test_schemas_of_a_layer_that_is_not_there_are_not_found(service: Service) -> None:
    for name in ("queryables", "sortables", "schema"):
        assert (await service.get(f"/collections/shrubs/{name}")).status_code == 404


async def test_pages_are_in_the_readers_language(service: Service) -> None:
    for path, said in (
        ("/conformance", "Conformité"),
        ("/collections", "Chaque couche comme données"),
        ("/collections/sites/queryables", "Nature"),
        ("/docs", "Interface de programmation"),
    ):
        answer = await service.get(path, accept=BROWSER, accept_language="fr")
        assert said in answer.text
        assert answer.headers["vary"].startswith("Accept, Accept-Language")
