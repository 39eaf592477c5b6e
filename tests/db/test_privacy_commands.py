"""`quartier privacy` and `quartier history trim`, as an officer types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Database
from tests.db.commands import City
from tests.privacy import CORNERS, CRIMES, DISTRICTS, PUBLIC_CRIMES, commit_crimes, surround

pytestmark = pytest.mark.db


def declared(database: Database, folder: Path, *layers: Any) -> City:
    city = City(database, folder / "catalogue", folder)
    for layer in layers:
        city.declare(json.loads(layer.model_dump_json(by_alias=True, exclude_defaults=True)))
    return city


def test_a_preview_tells_what_would_be_seen_and_publishes_nothing(
    database: Database, tmp_path: Path
) -> None:
    surround(database, PUBLIC_CRIMES)
    commit_crimes(database, 100, table="city.crimes")
    before = database.run("SELECT t::text FROM city.crimes t ORDER BY 1")
    city = declared(database, tmp_path, DISTRICTS, CORNERS, CRIMES)
    done = city.quartier("privacy", "preview", "crimes", "--rows", "5", "--json")
    assert done.exit_code == 0, done.output
    seen = json.loads(done.stdout)
    found = {tuple(each["values"]): each for each in seen["policies"]}
    assert found[("murder",)]["methods"] == {"withheld": 20}
    assert found[("assault",)]["methods"] == {"area": 20}
    assert found[("theft",)]["farthest_m"] == 0
    assert found[("burglary",)]["fewest"] >= 3
    assert 25 <= found[()]["median_m"] <= found[()]["farthest_m"] <= 500
    assert len(seen["rows"]) == 5
    assert sum(row["published"] is None for row in seen["rows"]) == 1
    assert database.run("SELECT t::text FROM city.crimes t ORDER BY 1") == before
    assert database.value("SELECT to_regclass('city_raw.crimes')") is None
    said = city.quartier("privacy", "preview", "crimes").stdout
    assert "What the public sees of crimes" in said
    assert "published  nothing" in said


def test_a_preview_of_a_layer_without_privacy_says_so(database: Database, tmp_path: Path) -> None:
    city = declared(database, tmp_path, DISTRICTS, CORNERS, PUBLIC_CRIMES)
    assert city.quartier("apply").exit_code == 0
    refused = city.quartier("privacy", "preview", "crimes")
    assert (refused.exit_code, "declares no privacy" in refused.output) == (1, True)


def test_borders_stay_as_they_were_until_they_are_renewed(
    database: Database, tmp_path: Path
) -> None:
    surround(database, CRIMES)
    commit_crimes(database, 50)
    city = declared(database, tmp_path, DISTRICTS, CORNERS, CRIMES)
    seen = "SELECT array_agg(DISTINCT location_area ORDER BY location_area) FROM city.crimes"
    database.run("UPDATE city.districts SET code = 'other' WHERE code = 'west'")
    database.run("DELETE FROM city_raw.crimes__anchors")
    commit_crimes(database, 10, first=51)
    assert database.value("SELECT min(code) FROM city_raw.crimes__areas WHERE code > 'o'") == "west"
    assert database.value(seen) == ["east", "west"]
    done = city.quartier("privacy", "renew", "crimes")
    assert done.exit_code == 0, done.output
    assert database.value(seen) == ["east", "other"]


def test_the_past_is_trimmed_by_name(database: Database, tmp_path: Path) -> None:
    surround(database, PUBLIC_CRIMES)
    commit_crimes(database, 5, table="city.crimes")
    database.run("UPDATE city.crimes SET street = 'x'")
    city = declared(database, tmp_path, DISTRICTS, CORNERS, PUBLIC_CRIMES)
    done = city.quartier("history", "trim", "crimes", "--keep-days", "0", "--json")
    assert json.loads(done.stdout) == {"layer": "crimes", "states": 5, "kept_from": 2}
