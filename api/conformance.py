"""The conformance classes that are declared, a tuple for each part of a standard."""

from __future__ import annotations

from typing import Any


def _classes(base: str, *names: str) -> tuple[str, ...]:
    return tuple(f"http://www.opengis.net/spec/{base}/conf/{name}" for name in names)


FEATURES = _classes("ogcapi-features-1/1.0", "core", "geojson", "html", "oas30")
CRS = _classes("ogcapi-features-2/1.0", "crs")
FILTERING = _classes(
    "ogcapi-features-3/1.0",
    "queryables",
    "queryables-query-parameters",
    "filter",
    "features-filter",
)
CQL2 = _classes(
    "cql2/1.0",
    "cql2-text",
    "cql2-json",
    "basic-cql2",
    "advanced-comparison-operators",
    "case-insensitive-comparison",
    "accent-insensitive-comparison",
    "basic-spatial-functions",
    "basic-spatial-functions-plus",
    "spatial-functions",
    "temporal-functions",
    "array-functions",
    "property-property",
    "functions",
    "arithmetic",
)
SCHEMAS = _classes(
    "ogcapi-features-5/1.0",
    "schemas",
    "core-roles-features",
    "returnables-and-receivables",
    "queryables",
    "sortables",
)
TILES = _classes(
    "ogcapi-tiles-1/1.0", "core", "tileset", "tilesets-list", "geodata-tilesets", "mvt", "oas30"
)
CONFORMS_TO = (*FEATURES, *CRS, *FILTERING, *CQL2, *SCHEMAS, *TILES)
PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("OGC API – Features – Part 1: Core 1.0", FEATURES),
    ("OGC API – Features – Part 2: Coordinate Reference Systems by Reference 1.0", CRS),
    ("OGC API – Features – Part 3: Filtering 1.0", FILTERING),
    ("Common Query Language (CQL2) 1.0", CQL2),
    ("OGC API – Features – Part 5: Schemas 1.0", SCHEMAS),
    ("OGC API – Tiles – Part 1: Core 1.0", TILES),
)


def declaration() -> dict[str, Any]:
    return {"conformsTo": CONFORMS_TO}
