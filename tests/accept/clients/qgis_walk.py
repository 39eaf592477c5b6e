"""What QGIS finds in the sample city: qgis_walk.py ADDRESS PICTURE. Run by Debian's Python."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from qgis.core import (
    Qgis,
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransform,
    QgsFeatureRequest,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsProject,
    QgsRectangle,
    QgsVectorLayer,
    QgsVectorTileLayer,
)
from qgis.PyQt.QtCore import QSize

BOX = (4.84, 45.20, 4.85, 45.21)
CITY = (4.77, 45.155, 4.925, 45.245)
FILTERS = {
    "bus_stops": ['"step_free" = true', "\"name\" LIKE '%a%'"],
    "car_parks": ['"capacity" > 200', '"kind" IS NOT NULL AND "paid" = true'],
    "trees": ["\"planted_on\" >= '2025-06-01'"],
}
PIXELS = 512


def layer(address: str, name: str) -> Any:
    where = f"restrictToRequestBBOX='1' pageSize='1000' typename='{name}' url='{address}'"
    made = QgsVectorLayer(where, name, "OAPIF")
    assert made.isValid(), made.error().message()
    return made


def count(features: Any) -> int:
    return sum(1 for _ in features)


def features(address: str) -> Iterator[tuple[str, Any]]:
    trees = layer(address, "trees")
    yield "matched", trees.featureCount()
    yield "fields", {field.name(): field.typeName() for field in trees.fields()}
    request = QgsFeatureRequest(QgsRectangle(*BOX))
    yield "in box", count(trees.getFeatures(request))
    first = next(layer(address, "districts").getFeatures())
    yield "values", {field.name(): str(first[field.name()]) for field in first.fields()}
    yield "parts", first.geometry().constGet().nCoordinates()
    found = {}
    for name, expressions in FILTERS.items():
        for expression in expressions:
            filtered = layer(address, name)
            assert filtered.setSubsetString(expression), expression
            found[f"{name}: {expression}"] = count(filtered.getFeatures())
    yield "filtered", found


def drawn(address: str, picture: str) -> int:
    """How many colours the districts' tiles have, drawn as QGIS draws them by itself."""
    at = f"{address}/tiles/districts/%7Bz%7D/%7Bx%7D/%7By%7D.mvt"
    tiles = QgsVectorTileLayer(f"type=xyz&url={at}&zmin=9&zmax=14", "districts")
    assert tiles.isValid()
    settings = QgsMapSettings()
    settings.setLayers([tiles])
    settings.setDestinationCrs(QgsCoordinateReferenceSystem("EPSG:3857"))
    degrees = QgsCoordinateReferenceSystem("EPSG:4326")
    carried = QgsCoordinateTransform(degrees, settings.destinationCrs(), QgsProject.instance())
    settings.setExtent(carried.transformBoundingBox(QgsRectangle(*CITY)))
    settings.setOutputSize(QSize(PIXELS, PIXELS))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    image = job.renderedImage()
    image.save(picture)
    spots = range(0, PIXELS, 4)
    return len({image.pixel(x, y) for x in spots for y in spots})


def main() -> None:
    address, picture = sys.argv[1:]
    application = QgsApplication([], False)
    application.initQgis()
    found = dict(features(address)) | {"colours": drawn(address, picture)}
    print(json.dumps(found | {"version": Qgis.QGIS_VERSION}), flush=True)
    os._exit(0)  # QGIS 3.22 crashes where it is taken down in another order than it was made


if __name__ == "__main__":
    main()
