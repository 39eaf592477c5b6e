"""Answers that hold features: their forms, their headers, and the page around them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from api.links import link, with_parameters
from layers import row_text
from layers.catalog import PublishedLayer
from layers.feature_query import FeatureQuery
from layers.read import FeaturePage
from layers.row_text import Form

FORMS = {  # what `f` may say, the usual one first
    "geojson": "application/geo+json",
    "json": "application/json",
    "geojsonl": "application/x-ndjson",
    "geojsonseq": "application/geo+json-seq",
    "csv": "text/csv; charset=utf-8; header=present",
    "fgb": "application/flatgeobuf",
    "html": "text/html; charset=utf-8",
}
ENDINGS = {"geojsonl": "geojsonl", "geojsonseq": "geojsons", "csv": "csv", "fgb": "fgb"}
LINES: Mapping[str, Form] = {
    "geojsonl": row_text.GEOJSON_LINES,
    "geojsonseq": row_text.GEOJSON_SEQUENCE,
    "csv": row_text.CSV,
}
REVISION = "quartier-revision"
ANSWER_FORMAT = "1"  # raise it when the same rows are to give other bytes


@dataclass(frozen=True, slots=True)
class Asking:
    """A request for features: of which layer, under which address, with which parameters."""

    published: PublishedLayer
    here: str
    asked: Mapping[str, str]
    form: str
    query: FeatureQuery

    def etag(self, revision: int) -> str:
        """The same for the same answer, whichever worker gives it."""
        asked = "&".join(f"{name}={value}" for name, value in sorted(self.asked.items()))
        layer = self.published.layer
        columns = ",".join(f"{column.name}:{column.type}" for column in layer.columns)
        made_of = (ANSWER_FORMAT, self.published.config_hash, columns, layer.time_zone, revision)
        known = (*made_of, self.form, self.here, asked)
        said = "|".join(map(str, (*known, self.query.matches)))
        return f'W/"{hashlib.blake2b(said.encode(), digest_size=12).hexdigest()}"'

    def headers(self, revision: int) -> dict[str, str]:
        found = {
            REVISION: str(revision),
            "etag": self.etag(revision),
            "cache-control": "no-cache",
            "vary": "Accept, Accept-Encoding",
        }
        if self.query.has_geometry:
            found["content-crs"] = f"<{self.query.crs.uri}>"
        if (ending := ENDINGS.get(self.form)) is not None:
            on = datetime.now(UTC).date().isoformat()
            name = f"{self.published.id}-{on}.{ending}"
            found["content-disposition"] = f'inline; filename="{name}"'
        return found

    def next_url(self, page: FeaturePage) -> str | None:
        if page.following is None:
            return None
        return with_parameters(self.here, {**self.asked, "cursor": page.following.encode()})

    def links(self, page: FeaturePage) -> list[dict[str, Any]]:
        """The page itself, its other forms, the collection, and the page behind it."""
        base = self.here.removesuffix("/items")
        plain = {name: value for name, value in self.asked.items() if name != "f"}
        found: list[dict[str, Any]] = [
            link("self", with_parameters(self.here, dict(self.asked)), FORMS[self.form])
        ]
        found += [
            link("alternate", with_parameters(self.here, plain | {"f": form}), media_type)
            for form, media_type in FORMS.items()
            if form not in (self.form, "json")
        ]
        found.append(link("collection", base, "application/json"))
        if (following := self.next_url(page)) is not None:
            found.append(link("next", following, FORMS[self.form]))
        return found


def feature_collection(
    asking: Asking, page: FeaturePage, links: list[dict[str, Any]] | None = None
) -> bytes:
    """A page as GeoJSON. The features are texts already: what stands around them is made here."""
    around: dict[str, Any] = {
        "timeStamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "numberReturned": page.returned,
        "revision": page.revision,
        "links": asking.links(page) if links is None else links,
    }
    if page.matched is not None:
        around["numberMatched"] = page.matched
    head = b'{"type":"FeatureCollection",' + orjson.dumps(around)[1:-1]
    return head + b',"features":[' + page.body + b"]}"


def lines(asking: Asking, body: bytes, *, is_first: bool) -> bytes:
    """Lines as a file holds them: with a header where it is CSV, and a last line that ends."""
    head = b""
    if asking.form == "csv" and is_first:
        head = row_text.csv_header(asking.query).encode() + b"\n"
    return head + body + (b"\n" if body else b"")
