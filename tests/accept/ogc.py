"""What the executable suites of OGC ask of a server, and how they print and read it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import shapely
from shapely.geometry import shape

PATIENCE_S = 60
GEOJSON, JSON, HTML = "application/geo+json", "application/json", "text/html"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def ids(self) -> list[Any]:
        return [feature["id"] for feature in self.json["features"]]

    def links(self, rel: str) -> list[dict[str, Any]]:
        return [link for link in self.json["links"] if link["rel"] == rel]


@dataclass(slots=True)
class Served:
    """A server under test; how much was asked of it is counted."""

    name: str
    url: str
    requests: int = 0
    _collections: list[Any] = field(default_factory=list)

    def get(self, address: str, **parameters: str) -> Answer:
        """What is answered, whatever its status. Parameters have - for _."""
        named = {name.replace("_", "-"): value for name, value in parameters.items()}
        url = address if "://" in address else self.url + address
        asked = f"{url}{'&' if '?' in url else '?'}{urlencode(named)}" if named else url
        self.requests += 1
        try:
            with urllib.request.urlopen(asked, timeout=PATIENCE_S) as found:
                return Answer(found.status, _headers(found), found.read())
        except urllib.error.HTTPError as refused:
            with refused:
                return Answer(refused.code, _headers(refused), refused.read())

    @property
    def collections(self) -> list[Any]:
        if not self._collections:
            self._collections = self.get("/collections").json["collections"]
        return self._collections

    @property
    def spatial(self) -> list[Any]:
        return [each for each in self.collections if "spatial" in each.get("extent", {})]


def _headers(answer: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}


def items(collection: Any) -> str:
    """Where the features are, as a client finds it."""
    [found] = [
        link["href"] for link in collection["links"]
        if link["rel"] == "items" and link["type"] == GEOJSON
    ]  # fmt: skip
    return str(found)


def printed(number: float) -> str:
    """As the suite prints a coordinate: `###.0000000`, no zero before the point."""
    text = f"{number:.7f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def box_of(bbox: tuple[float, ...]) -> Any:
    west, south, east, north = bbox
    if west <= east:
        return shapely.box(west, south, east, north)
    return shapely.union(
        shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)
    )  # fmt: skip


def shapes(answer: Answer) -> list[Any]:
    return [shape(each["geometry"]) for each in answer.json["features"] if each["geometry"]]
