"""What OWSLib finds in the sample city: owslib_walk.py ADDRESS."""

from __future__ import annotations

import json
import sys
from typing import Any

import owslib
from owslib.ogcapi.features import Features


def walk(address: str) -> dict[str, Any]:
    city = Features(address)
    box = [4.84, 45.20, 4.85, 45.21]
    return {
        "version": owslib.__version__,
        "links": sorted(link["rel"] for link in city.links),
        "conformance": city.conformance()["conformsTo"],
        "openapi": city.api()["openapi"],
        "collections": [each["id"] for each in city.collections()["collections"]],
        "features": city.feature_collections(),
        "title": city.collection("trees")["title"],
        "queryables": list(city.collection_queryables("trees")["properties"]),
        "schema": list(city.collection_schema("trees")["properties"]),
        "limit": city.collection_items("trees", limit=7)["numberReturned"],
        "bbox": city.collection_items("trees", bbox=box)["numberMatched"],
        "datetime": city.collection_items("crimes", datetime_="2026-10-01/2026-10-07")[
            "numberMatched"
        ],
        "filter": city.collection_items("trees", filter="genus = 'Tilia' AND height_m > 20")[
            "numberMatched"
        ],
        "item": city.collection_item("trees", "1")["id"],
    }


if __name__ == "__main__":
    print(json.dumps(walk(sys.argv[1])))
