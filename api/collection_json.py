"""A collection as OGC API has it, with what a reader of open data asks beside."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

from api.forms import HTML, SCHEMA
from api.links import GEOJSON, JSON, link
from api.web.describe import LICENCES
from layers import crs
from layers.catalog import Bounds, Interval, PublishedLayer
from layers.columns import Column, in_language
from layers.model import Layer

REL = "http://www.opengis.net/def/rel/ogc/1.0/"
GREGORIAN = "http://www.opengis.net/def/uom/ISO-8601/0/Gregorian"
DIGITS = 1e7  # an extent is told to 1 cm,
PADDING_DEGREES = 1e-6  # and 10 cm wider, so that no rounding of a client loses a feature
EXPORTS = (("csv", "text/csv"), ("geojsonl", "application/geo+json-seq"))
FLATGEOBUF = ("fgb", "application/flatgeobuf")
SPDX = re.compile(  # the families of licences that data is published under
    r"(?:CC0|CC-[A-Z-]+|ODC-By|ODbL|PDDL|OGL(?:-[A-Z]+)*|NLOD|etalab|DL-DE-[A-Z]+|CDLA-[A-Za-z-]+)"
    r"-\d+\.\d+(?:-[A-Z]{2})?"
)


def describe(published: PublishedLayer, base_url: str, *languages: str) -> dict[str, Any]:
    """The same in the list of collections and alone. It may take a while at first: systems of
    coordinates are looked up.
    """
    layer = published.layer
    described: dict[str, Any] = {
        "id": layer.id,
        "title": in_language(layer.title, *languages),
        "description": in_language(layer.description, *languages),
        "itemType": "feature",
        "geometry": layer.geometry,
        "theme": layer.theme,
        "keywords": layer.keywords,
        "publisher": layer.publisher,
        "contact": layer.contact,
        "licence": layer.licence,
        "attribution": layer.attribution,
        "timeZone": layer.time_zone,
        "revision": published.revision,
        "updated": published.changed_at.isoformat() if published.changed_at else None,
        "columns": [_column(column, *languages) for column in layer.columns],
        "links": _links(layer, f"{base_url}/collections/{layer.id}", base_url),
    }
    if layer.has_geometry:
        described["crs"] = [each.uri for each in crs.offered(published.extent)]
        described["storageCrs"] = crs.CRS84.uri
    if (extent := _extent(published)) is not None:
        described["extent"] = extent
    return described


def _column(column: Column, *languages: str) -> dict[str, Any]:
    described = {
        "name": column.name,
        "type": column.type,
        "label": in_language(column.label, *languages) if column.label else None,
        "description": in_language(column.description, *languages) if column.description else None,
        "unit": column.unit,
    }
    return {name: value for name, value in described.items() if value is not None}


def _extent(published: PublishedLayer) -> dict[str, Any] | None:
    extent: dict[str, Any] = {}
    if published.extent is not None:
        box = padded(published.extent)
        extent["spatial"] = {"bbox": [list(box)], "crs": crs.CRS84.uri}
    if published.interval is not None:
        extent["temporal"] = {"interval": [_instants(published.interval)], "trs": GREGORIAN}
    return extent or None


def padded(extent: Bounds) -> Bounds:
    """A little wider on all sides, in full units of the seventh digit, and within the world."""
    west, south, east, north = extent
    return Bounds(
        max(-180.0, _down(west)), max(-90.0, _down(south)),
        min(180.0, -_down(-east)), min(90.0, -_down(-north)),
    )  # fmt: skip


def _down(number: float) -> float:
    return math.floor((number - PADDING_DEGREES) * DIGITS) / DIGITS


def _instants(interval: Interval) -> list[str | None]:
    return [None if at is None else rfc3339(at) for at in interval]


def rfc3339(at: datetime) -> str:
    """An instant of UTC as JSON has it."""
    return at.isoformat().replace("+00:00", "Z")


def _links(layer: Layer, here: str, base_url: str) -> list[dict[str, str]]:
    items = f"{here}/items"
    links = [
        link("self", here, JSON, "This collection"),
        link("alternate", f"{here}?f=html", HTML, "This collection as a page"),
        link("items", items, GEOJSON, "Features as GeoJSON"),
    ]
    exports = (*EXPORTS, FLATGEOBUF) if layer.has_geometry else EXPORTS
    links += [link("items", f"{items}?f={name}", kind) for name, kind in exports]
    links.append(link("items", f"{items}?f=html", HTML, "Features as a page"))
    links.append(link("aggregate", f"{here}/aggregate", JSON, "Groups of features, counted"))
    links.append(link("facets", f"{here}/facets", JSON, "How often each value occurs"))
    links += [link(REL + name, f"{here}/{name}", SCHEMA) for name in ("queryables", "sortables")]
    links += [link(rel, f"{here}/schema", SCHEMA) for rel in (f"{REL}schema", "describedby")]
    if layer.has_geometry:
        links.append(link(f"{REL}tilesets-vector", f"{here}/tiles", JSON, "Vector tiles"))
        links.append(link("tilejson", f"{base_url}/tiles/{layer.id}.json", JSON, "TileJSON"))
    if (licence := licence_url(layer.licence)) is not None:
        links.append(link("license", licence, HTML, layer.licence))
    return links


def licence_url(licence: str) -> str | None:
    """Where a licence is explained, where it is an address or a name that is known."""
    if licence.startswith(("https://", "http://")):
        return licence
    if licence in LICENCES:
        return LICENCES[licence][1]
    return f"https://spdx.org/licenses/{licence}" if SPDX.fullmatch(licence) else None
