"""QGIS without a screen: layers, types, boxes, filters, and tiles drawn to a picture."""

from __future__ import annotations

from typing import Any

import pytest

from tests.accept.house import Table
from tests.accept.recorder import Asked, Recorder
from tests.accept.tools import fetch, qgis_python, told

pytestmark = pytest.mark.db

TYPES = {
    "id": "String", "genus": "String", "species": "String", "common_name": "String",
    "height_m": "Real", "girth_cm": "Integer", "planted_on": "Date", "remarkable": "Boolean",
    "situation": "String", "address": "String", "district": "String",
}  # fmt: skip
AS_CQL2 = {
    "bus_stops: \"step_free\" = true": "step_free = TRUE",
    "bus_stops: \"name\" LIKE '%a%'": "name LIKE '%a%'",
    'car_parks: "capacity" > 200': "capacity > 200",
    'car_parks: "kind" IS NOT NULL AND "paid" = true': "kind IS NOT NULL AND paid = TRUE",
    "trees: \"planted_on\" >= '2025-06-01'": "planted_on >= DATE('2025-06-01')",
}  # fmt: skip


@pytest.fixture(scope="module")
def walk(
    recorded: Recorder, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], list[Asked]]:
    """What QGIS found, and what it asked."""
    python = qgis_python()
    recorded.since_now()
    folder = tmp_path_factory.mktemp("qgis")
    found = told(
        "qgis_walk.py", recorded.url, str(folder / "districts.png"), python=python,
        QT_QPA_PLATFORM="offscreen", HOME=str(folder), XDG_RUNTIME_DIR=str(folder),
    )  # fmt: skip
    return found, list(recorded.asked)


def test_qgis_reads_a_layer_with_its_types(
    walk: tuple[dict[str, Any], list[Asked]], clients: Table
) -> None:
    found, asked = walk
    assert found["matched"] == 30_000
    assert found["fields"] == TYPES
    assert found["values"]["population"].isdigit()
    assert found["parts"] > 3
    assert [each for each in asked if each.status >= 400] == []
    clients.add(f"QGIS {found['version']}", "a layer, its types", found["matched"], len(asked))


def test_qgis_lets_the_server_look_for_a_box(
    walk: tuple[dict[str, Any], list[Asked]], clients: Table
) -> None:
    found, asked = walk
    boxed = [each for each in asked if each.path.endswith("/trees/items") and each.said("bbox")]
    assert found["in box"] == 144
    assert boxed
    clients.add(f"QGIS {found['version']}", "a box, on the server", found["in box"], len(boxed))


def test_qgis_filters_to_what_the_server_would(
    walk: tuple[dict[str, Any], list[Asked]], sample_city: str, clients: Table
) -> None:
    """From 3.30 on it writes CQL2 text; before that it sends the time alone, and looks through the
    features itself.
    """
    found, asked = walk
    for name, count in found["filtered"].items():
        layer = name.partition(":")[0]
        at = f"{sample_city}/collections/{layer}/items"
        assert count == fetch(at, limit="1", filter=AS_CQL2[name])["numberMatched"] > 0, name
    pushed = [each for each in asked if each.said("filter") or each.said("datetime")]
    assert pushed
    assert int(found["version"].split(".")[1]) < 30 or any(each.said("filter") for each in pushed)
    shown = sorted({each.said("filter") or each.said("datetime") for each in pushed})
    clients.add(
        f"QGIS {found['version']}", f"filters; sent: {', '.join(shown)}",
        sum(found["filtered"].values()), len(pushed),
    )  # fmt: skip


def test_qgis_draws_vector_tiles(walk: tuple[dict[str, Any], list[Asked]], clients: Table) -> None:
    found, asked = walk
    tiles = [each for each in asked if each.path.startswith("/tiles/districts/")]
    assert {each.status for each in tiles} <= {200, 204}
    assert found["colours"] > 20
    clients.add(f"QGIS {found['version']}", "colours of drawn tiles", found["colours"], len(tiles))
