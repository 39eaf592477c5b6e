"""The schemas of the document at `/api`, in the words of OpenAPI 3.0: nothing lies elsewhere."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
URI: Schema = {"type": "string", "format": "uri"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
OBJECT: Schema = {"type": "object"}


def _object(required: tuple[str, ...], /, **properties: Schema) -> Schema:
    """OpenAPI knows no empty list of what is required."""
    demanded = {"required": list(required)} if required else {}
    return {"type": "object", "properties": properties, **demanded}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


LINKS = _list(_ref("link"))
SCHEMAS: dict[str, Schema] = {
    "link": _object(
        ("href", "rel"), href=TEXT, rel=TEXT, type=TEXT, title=TEXT, templated={"type": "boolean"}
    ),
    "landingPage": _object(("links",), title=TEXT, description=TEXT, links=LINKS),
    "confClasses": _object(("conformsTo",), conformsTo=_list(URI)),
    "extent": _object(
        (),
        spatial=_object(("bbox",), bbox=_list({**_list(NUMBER), "minItems": 4, "maxItems": 6}),
                        crs=TEXT),
        temporal=_object(
            ("interval",),
            interval=_list({
                "type": "array", "minItems": 2, "maxItems": 2,
                "items": {"type": "string", "format": "date-time", "nullable": True},
            }),
            trs=TEXT,
        ),
    ),
    "collection": _object(
        ("id", "title", "description", "links", "revision"),
        id=TEXT, title=TEXT, description=TEXT, links=LINKS, extent=_ref("extent"), itemType=TEXT,
        crs=_list(URI), storageCrs=URI, revision=COUNT, licence=TEXT, attribution=TEXT,
        publisher=TEXT, contact={"type": "string", "nullable": True},
        updated={"type": "string", "format": "date-time", "nullable": True},
        columns=_list(_object(("name", "type"), name=TEXT, type=TEXT)),
    ),
    "collections": _object(
        ("links", "collections"), links=LINKS, collections=_list(_ref("collection"))
    ),
    "geometryGeoJSON": {
        **_object(
            ("type",),
            type={"type": "string", "enum": [
                "Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon",
                "GeometryCollection",
            ]},
            coordinates={"type": "array", "items": {}},
            geometries={"type": "array", "items": OBJECT},
        ),
        "nullable": True,
    },
    "featureGeoJSON": _object(
        ("type", "geometry", "properties"),
        type={"type": "string", "enum": ["Feature"]},
        id={"type": "integer"},
        geometry=_ref("geometryGeoJSON"),
        properties={"type": "object", "nullable": True},
        links=LINKS,
    ),
    "featureCollectionGeoJSON": _object(
        ("type", "features"),
        type={"type": "string", "enum": ["FeatureCollection"]},
        features=_list(_ref("featureGeoJSON")),
        links=LINKS,
        timeStamp={"type": "string", "format": "date-time"},
        numberMatched=COUNT,
        numberReturned=COUNT,
        revision=COUNT,
    ),
    "jsonSchema": _object(
        ("$schema", "$id", "type", "properties"),
        **{"$schema": URI, "$id": URI}, type={"type": "string", "enum": ["object"]}, title=TEXT,
        description=TEXT, properties=OBJECT, required=_list(TEXT),
        additionalProperties={"type": "boolean"},
    ),
    "tileMatrixSets": _object(
        ("tileMatrixSets",),
        links=LINKS,
        tileMatrixSets=_list(_object(("id", "links"), id=TEXT, uri=URI, crs=TEXT, links=LINKS)),
    ),
    "tileMatrixSet": _object(
        ("crs", "tileMatrices"),
        id=TEXT, title=TEXT, uri=URI, crs=TEXT, orderedAxes=_list(TEXT), tileMatrices=_list(OBJECT),
    ),
    "tileSets": _object(("tilesets",), links=LINKS, tilesets=_list(_ref("tileSet"))),
    "tileSet": _object(
        ("dataType", "crs", "tileMatrixSetURI", "links"),
        title=TEXT, dataType={"type": "string", "enum": ["vector"]}, crs=TEXT,
        tileMatrixSetId=TEXT, tileMatrixSetURI=URI,
        tileMatrixSetLimits=_list(_object(
            ("tileMatrix", "minTileRow", "maxTileRow", "minTileCol", "maxTileCol"),
            tileMatrix=TEXT, minTileRow=COUNT, maxTileRow=COUNT, minTileCol=COUNT, maxTileCol=COUNT,
        )),
        layers=_list(OBJECT), boundingBox=OBJECT, links=LINKS,
    ),
    "problem": _object(
        ("title", "status", "detail"),
        title=TEXT, status={"type": "integer", "minimum": 400, "maximum": 599}, detail=TEXT,
        parameter=TEXT, fix=TEXT,
    ),
}  # fmt: skip
