"""A layer through GDAL's driver for OGC API – Features or Tiles: gdal_walk.py SOURCE LAYER OPTIONS.

OPTIONS is JSON: `where`, `bbox`, and open options in capitals.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import pyogrio
import shapely


def walk(source: str, layer: str, options: dict[str, Any]) -> dict[str, Any]:
    opened = {name: value for name, value in options.items() if name.isupper()}
    about = pyogrio.read_info(source, layer=layer, **opened)
    asked = {name: value for name, value in options.items() if not name.isupper()}
    if "bbox" in asked:
        asked["bbox"] = tuple(asked["bbox"])
    meta, table = pyogrio.read_arrow(source, layer=layer, return_fids=True, **asked, **opened)
    shapes = shapely.from_wkb(table.column(meta["geometry_name"] or "wkb_geometry").to_pylist())
    fids = table.column(meta.get("fid_column") or "OGC_FID").to_pylist()
    return {
        "version": pyogrio.__gdal_version_string__,
        "fields": dict(zip(map(str, about["fields"]), map(str, about["dtypes"]), strict=True)),
        "matched": about["features"],
        "count": table.num_rows,
        "fids": sorted(set(fids)),
        "crs": meta["crs"],
        "bounds": [float(each) for each in shapely.total_bounds(shapes)],
    }


def main() -> None:
    source, layer, options = sys.argv[1:]
    if not layer:
        print(json.dumps([str(name) for name, _ in pyogrio.list_layers(source)]))
        return
    print(json.dumps(walk(source, layer, json.loads(options))))


if __name__ == "__main__":
    main()
