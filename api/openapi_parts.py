"""What the document at `/api` is put together from: parameters, answers, schemas."""

from __future__ import annotations

from typing import Any

from api.feature_schema import value_schema
from api.forms import HTML
from api.links import GEOJSON, JSON
from layers.columns import Column, ColumnType, in_language
from layers.crs import CRS84
from layers.feature_query import MAX_LIMIT
from layers.grouping import MAX_GROUPS, MAX_VALUES, USUAL_GROUPS, USUAL_VALUES
from layers.model import Layer

PROBLEM = "application/problem+json"
DEFAULT_LIMIT = 100
ITEM_FORMS = ("geojson", "json", "geojsonl", "geojsonseq", "csv", "fgb", "html")
NOT_SIMPLE = (ColumnType.JSON,)  # which no query parameter can be equal to

Schema = dict[str, Any]


def query(name: str, description: str, schema: Schema) -> Schema:
    """A parameter of the query, which is written once, a list with commas."""
    return {
        "name": name,
        "in": "query",
        "description": description,
        "required": False,
        "style": "form",
        "explode": False,
        "schema": schema,
    }


def path(name: str, description: str, schema: Schema) -> Schema:
    return {
        "name": name,
        "in": "path",
        "description": description,
        "required": True,
        "style": "simple",
        "schema": schema,
    }


def texts(*allowed: str) -> Schema:
    return {"type": "string", "enum": list(allowed)} if allowed else {"type": "string"}


def whole(minimum: int, maximum: int | None = None, **more: Any) -> Schema:
    bounds: Schema = {"type": "integer", "minimum": minimum}
    return bounds | ({} if maximum is None else {"maximum": maximum}) | more


CRS: Schema = {"type": "string", "format": "uri", "default": CRS84.uri}
NUMBERS: Schema = {"type": "array", "minItems": 4, "maxItems": 6, "items": {"type": "number"}}
NAMES: Schema = {"type": "array", "items": {"type": "string"}}
ROWS_AND_COLUMNS = whole(0, (1 << 22) - 1)

ITEM_PARAMETERS: dict[str, Schema] = {
    each["name"]: each
    for each in (
        query("bbox", "west,south,east,north: features that touch the box; with heights 6 numbers."
              " Where west is greater than east it crosses 180°", NUMBERS),
        query("bbox-crs", "the system that bbox is written in, of those the collection lists", CRS),
        query("datetime", "an instant or a day, or an interval such as 2026-01-01/2026-02-01 or"
              " ../2026-02-01: features of that time", {"type": "string"}),
        query("limit", "features on a page", whole(1, MAX_LIMIT, default=DEFAULT_LIMIT)),
        query("cursor", "from the link next, as it stands there", texts()),
        query("crs", "the system that coordinates come in, of those the collection lists", CRS),
        query("filter", "a CQL2 expression over the queryables", texts()),
        query("filter-lang", "the form of the filter; CQL2 text without it, which GDAL calls"
              " cql-text",
              texts("cql2-text", "cql2-json", "cql-text")),
        query("filter-crs", "the system of the coordinates in the filter", CRS),
        query("properties", "only these columns", NAMES),
        query("skipGeometry", "leave the geometry out", {"type": "boolean", "default": False}),
        query("sortby", "sortables, the first counts most; -name for descending", NAMES),
        query("q", "words that texts of the feature hold", texts()),
        query("ids", "only the features of these ids",
              {"type": "array", "items": whole(1)}),
        query("precision", "digits of coordinates after the point", whole(0, 15)),
        query("zoom", "simplify shapes as for a map of this zoom", whole(0, 22)),
        query("as_of", "as the layer was: a revision, or an instant", texts()),
    )
}  # fmt: skip
OF_WHICH_FEATURES = (
    "bbox", "bbox-crs", "datetime", "filter", "filter-lang", "filter-crs", "q", "ids", "as_of",
)  # fmt: skip
GROUP_PARAMETERS: dict[str, Schema] = {
    **{name: ITEM_PARAMETERS[name] for name in OF_WHICH_FEATURES},
    **{
        each["name"]: each
        for each in (
            query("group_by", "what tells groups: columns; units of a time, such as at:month; parts"
                  " of it, such as weekday(at)", NAMES),
            query("measures", "what is told of each group beside its count: sum, mean, min, max,"
                  " median, p1 to p99 or distinct of a column, such as mean(height)", NAMES),
            query("grid", "group by the cell a feature lies in: square:500 or hex:500, a side in"
                  " metres; hex:500@48, so long at that latitude", texts()),
            query("sortby", "outputs, the first counts most; -count for descending", NAMES),
            query("limit", "groups in the answer", whole(1, MAX_GROUPS, default=USUAL_GROUPS)),
            query("f", "the form of the answer; without it, what Accept prefers",
                  texts("json", "csv", "geojson")),
        )
    },
}  # fmt: skip
FACET_PARAMETERS: dict[str, Schema] = {
    **{name: ITEM_PARAMETERS[name] for name in OF_WHICH_FEATURES},
    **{
        each["name"]: each
        for each in (
            query("facets", "columns, units and parts of a time whose values are counted, such as"
                  " genus,planted:year; without it the category, or the texts", NAMES),
            query("limit", "values of each facet", whole(1, MAX_VALUES, default=USUAL_VALUES)),
            query("f", "the form of the answer", texts("json")),
        )
    },
}  # fmt: skip
SEARCH: Schema = {
    "type": "object",
    "properties": {
        **{name: told["schema"] for name, told in ITEM_PARAMETERS.items()},
        "filter": {"description": "CQL2, as JSON or as text"},
        "f": texts("geojson", "json"),
    },
}
PARAMETERS: dict[str, Schema] = ITEM_PARAMETERS | {
    "f": query("f", "the form of the answer; without it, what Accept prefers",
               texts("json", "html")),
    "f-json": query("f", "the form of the answer", texts("json")),
    "f-tile": query("f", "the form of the answer", texts("mvt")),
    "f-items": query("f", "the form of the answer; without it, what Accept prefers",
                     texts(*ITEM_FORMS)),
    "f-item": query("f", "the form of the answer; without it, what Accept prefers",
                    texts("geojson", "json", "html")),
    "featureId": path("featureId", "the fid of a feature", whole(1)),
    "tileMatrixSetId": path("tileMatrixSetId", "the tile matrix set", texts("WebMercatorQuad")),
    "tileMatrix": path("tileMatrix", "the zoom", whole(0, 22)),
    "tileRow": path("tileRow", "the row, from the north", ROWS_AND_COLUMNS),
    "tileCol": path("tileCol", "the column, from the west", ROWS_AND_COLUMNS),
}  # fmt: skip


def parameter(name: str) -> Schema:
    return {"$ref": f"#/components/parameters/{name}"}


def simple_queryables(layer: Layer) -> list[Schema]:
    """A parameter for each column that may be asked for by its value, unless it is called like
    one that means something else.
    """
    taken = {*ITEM_PARAMETERS, "f"}
    return [
        query(column.name, _said(column), value_schema(column))
        for column in layer.columns
        if column.type not in NOT_SIMPLE and column.name not in taken
    ]


def _said(column: Column) -> str:
    label = in_language(column.label or column.name)
    return f"features whose {label} is this"


# Answers -----------------------------------------------------------------------------------------


def found(description: str, *content: tuple[str, Schema], **headers: str) -> Schema:
    answer: Schema = {
        "description": description,
        "headers": {"ETag": {"description": "of this very answer", "schema": {"type": "string"}}},
        "content": {kind: {"schema": schema} for kind, schema in content},
    }
    for name, said in headers.items():
        answer["headers"][name] = {"description": said, "schema": {"type": "string"}}
    return answer


def schema(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


PAGE: tuple[str, Schema] = (HTML, {"type": "string"})


def as_json(name: str, media_type: str = JSON) -> tuple[str, Schema]:
    return media_type, schema(name)


COLLECTIONS = (
    as_json("featureCollectionGeoJSON", GEOJSON),
    as_json("featureCollectionGeoJSON"),
)
FEATURE = (as_json("featureGeoJSON", GEOJSON), as_json("featureGeoJSON"), PAGE)
FEATURES = (
    *COLLECTIONS,
    ("application/x-ndjson", {"type": "string", "format": "binary"}),
    ("application/geo+json-seq", {"type": "string", "format": "binary"}),
    ("text/csv", {"type": "string"}),
    ("application/flatgeobuf", {"type": "string", "format": "binary"}),
    PAGE,
)
COUNT: Schema = {"type": "integer", "minimum": 0}
ABOUT_GROUPS: Schema = {
    "type": "object",
    "required": ["revision", "numberMatched", "numberGroups", "numberReturned", "links"],
    "properties": {
        "revision": COUNT, "numberMatched": COUNT, "numberGroups": COUNT, "numberReturned": COUNT,
        "groups": {
            "type": "array",
            "items": {"type": "object", "required": ["count"], "properties": {"count": COUNT}},
        },
        "features": {"type": "array", "items": {"type": "object"}},
    },
}  # fmt: skip
ABOUT_FACETS: Schema = {
    "type": "object",
    "required": ["revision", "numberMatched", "facets", "links"],
    "properties": {
        "revision": COUNT, "numberMatched": COUNT,
        "facets": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "numberMatched", "numberValues", "values"],
                "properties": {
                    "name": {"type": "string"}, "numberMatched": COUNT, "numberValues": COUNT,
                    "values": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["value", "count"],
                            "properties": {"count": COUNT, "selected": {"type": "boolean"}},
                        },
                    },
                },
            },
        },
    },
}  # fmt: skip
GROUPS = ((JSON, ABOUT_GROUPS), (GEOJSON, ABOUT_GROUPS), ("text/csv", {"type": "string"}))
RESPONSES: dict[str, Schema] = {
    "NotModified": {"description": "the client holds just this"},
    "NoContent": {"description": "nothing to draw here"},
    **{
        name: {"description": said, "content": {PROBLEM: {"schema": schema("problem")}}}
        for name, said in (
            ("BadRequest", "a parameter is unknown or wrong; the problem names it and the fix"),
            ("NotFound", "there is no such thing"),
            ("NotAcceptable", "no form there is, is one that Accept takes"),
            ("TooLarge", "the body, or what was asked for, is too large"),
            ("Unprocessable", "the filter can be read and makes no sense here"),
            ("TooMany", "too many requests; try again after Retry-After seconds"),
            ("Unavailable", "the database is away or busy; try again after Retry-After seconds"),
        )
    },
}
STATUSES = {
    "304": "NotModified", "400": "BadRequest", "404": "NotFound", "406": "NotAcceptable",
    "413": "TooLarge", "422": "Unprocessable", "429": "TooMany", "503": "Unavailable",
}  # fmt: skip


def answers(ok: Schema, *statuses: str) -> dict[str, Schema]:
    """The good answer and those that every operation may give instead, with these besides."""
    listed = sorted({"304", "400", "404", "406", "429", "503", *statuses})
    refs = {code: {"$ref": f"#/components/responses/{STATUSES[code]}"} for code in listed}
    return {"200": ok, **refs}
