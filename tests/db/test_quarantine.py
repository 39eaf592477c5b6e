"""What is withheld: listed, exported, mended by a retry, accepted by name; and the files kept."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import shapely

from ingest.errors import SourceRefused
from ingest.raw_store import RawStore
from tests.conftest import Database
from tests.db.commands import City
from tests.examples import COMMON

pytestmark = pytest.mark.db

TREES: dict[str, Any] = COMMON | {
    "id": "trees",
    "geometry": "point",
    "key": "number",
    "columns": [{"name": "number"}, {"name": "planted", "type": "date"}],
    "gates": {"extent": {"within": [4, 45, 5, 46], "limit": 1}},
}
ROWS = (
    "number,planted,lon,lat\n"
    "1,2020-01-01,4.5,45.5\n"
    "2,01/02/2020,4.5,45.5\n"  # a cell that cannot be read
    ",2020-01-01,4.5,45.5\n"  # no key
    "4,2020-01-01,8,50\n"  # outside
    "=cmd(),2020-01-01,9,50\n"
)
ANA = ("--by", "Ana", "--note", "the twin city's tree")


@pytest.fixture
def city(database: Database, tmp_path: Path) -> City:
    made = City(database, tmp_path / "catalogue", tmp_path)
    made.declare(TREES)
    assert made.quartier("apply").exit_code == 0
    loaded = made.quartier("ingest", "trees", made.file("trees.csv", ROWS))
    assert loaded.exit_code == 0, loaded.output
    return made


def entries(city: City) -> list[dict[str, Any]]:
    told: dict[str, Any] = json.loads(city.quartier("quarantine", "list", "trees", "--json").stdout)
    assert (told["rows"], told["withheld"]) == (
        5,
        sum(e["column"] is None for e in told["entries"]),
    )
    listed: list[dict[str, Any]] = told["entries"]
    return listed


def numbers(city: City) -> list[str]:
    return [row[0] for row in city.database.run("SELECT number FROM city.trees ORDER BY 1")]


def test_each_withheld_row_and_cell_is_listed_with_its_line_and_reason(city: City) -> None:
    found = [(e["line"], e["column"], e["acceptable"]) for e in entries(city)]
    assert found == [(3, "planted", False), (4, None, False), (5, None, True), (6, None, True)]
    printed = city.quartier("quarantine", "list", "trees").stdout
    assert printed.startswith("trees: 3 of 5 rows withheld by run 1")
    assert "outside the declared extent (can be accepted)" in printed


def test_the_quarantine_is_exported_safe_for_spreadsheets(city: City) -> None:
    path = city.folder / "withheld.csv"
    assert city.quartier("quarantine", "export", "trees", path).exit_code == 0
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["line"] for row in rows] == ["3", "4", "5", "6"]
    assert rows[3]["key"] == "'=cmd()"
    assert json.loads(rows[0]["content"])["planted"] == "01/02/2020"


def test_a_retry_reads_the_kept_file_under_the_mended_declaration(city: City) -> None:
    (city.folder / "trees.csv").unlink()
    mended = {"source": {"null_values": ["", "01/02/2020"]}, "gates": {}}
    city.declare(TREES | mended)
    city.quartier("apply")
    retried = city.quartier("quarantine", "retry", "trees", "--json")
    assert retried.exit_code == 0, retried.output
    assert json.loads(retried.stdout)["counts"]["quarantined"] == 1
    assert numbers(city) == ["1", "2", "4", "=cmd()"]


def test_a_row_that_somebody_vouches_for_is_published(city: City) -> None:
    outside = next(e["id"] for e in entries(city) if e["key"] == "4")
    accepted = city.quartier("quarantine", "accept", "trees", str(outside), *ANA)
    assert accepted.exit_code == 0, accepted.output
    assert numbers(city) == ["1", "2", "4"]
    by, note = city.database.run("SELECT accepted_by, note FROM quartier.accepted_rows")[0]
    assert (by, note) == ("Ana", "the twin city's tree")


def test_an_acceptance_holds_for_the_row_as_it_was_and_no_longer(city: City) -> None:
    outside = next(e["id"] for e in entries(city) if e["key"] == "4")
    city.quartier("quarantine", "accept", "trees", str(outside), *ANA)
    again = city.file("next.csv", ROWS.replace("2020-01-01,4.5", "2020-01-02,4.5"))
    assert city.quartier("ingest", "trees", again).exit_code == 0
    assert [e["key"] for e in entries(city) if e["acceptable"]] == ["=cmd()"]
    moved = city.file("moved.csv", ROWS.replace("8,50", "8,51"))
    assert city.quartier("ingest", "trees", moved).exit_code == 0
    assert [e["key"] for e in entries(city) if e["acceptable"]] == ["4", "=cmd()"]


def test_what_cannot_be_published_cannot_be_accepted(city: City) -> None:
    keyless = next(e["id"] for e in entries(city) if e["line"] == 4)
    refused = city.quartier("quarantine", "accept", "trees", str(keyless), *ANA)
    assert refused.exit_code == 1
    assert "cannot be published as it is (number is empty" in refused.output
    unknown = city.quartier("quarantine", "accept", "trees", "999", *ANA)
    assert "nothing with the number 999 is withheld" in unknown.output
    nameless = city.quartier("quarantine", "accept", "trees", "1", "--by", " ", "--note", "x")
    assert nameless.exit_code == 2
    assert city.database.value("SELECT count(*) FROM quartier.accepted_rows") == 0


def test_a_layer_that_was_never_loaded_says_so(city: City) -> None:
    city.declare(TREES | {"id": "parks"})
    city.quartier("apply")
    refused = city.quartier("quarantine", "list", "parks")
    assert (refused.exit_code, "was never loaded" in refused.output) == (1, True)


def test_the_same_bytes_again_leave_the_quarantine_as_it_is(city: City) -> None:
    city.quartier("ingest", "trees", city.folder / "trees.csv")
    assert len(entries(city)) == 4


# The kept files --------------------------------------------------------------------------------


def test_a_loaded_file_is_kept_once_and_for_its_owner_alone(city: City) -> None:
    digest = hashlib.sha256(ROWS.encode()).hexdigest()
    city.quartier("ingest", "trees", city.file("copy.csv", ROWS))
    kept = [path for path in (city.home / "raw").rglob("*") if path.is_file()]
    assert [path.name for path in kept] == [digest]
    assert kept[0].read_text() == ROWS
    assert kept[0].stat().st_mode & 0o077 == 0
    [source] = city.database.value("SELECT sources FROM quartier.runs ORDER BY id LIMIT 1")
    assert (source["name"], source["sha256"], source["bytes"]) == ("trees.csv", digest, len(ROWS))


def test_a_file_that_is_no_longer_kept_is_asked_for(city: City) -> None:
    digest = hashlib.sha256(ROWS.encode()).hexdigest()
    assert RawStore(city.home / "raw").forget(digest)
    assert not RawStore(city.home / "raw").forget(digest)
    refused = city.quartier("quarantine", "retry", "trees")
    assert (refused.exit_code, "give the file once more" in refused.output) == (1, True)


def test_a_full_disk_keeps_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text(ROWS)
    monkeypatch.setattr("ingest.raw_store.SPARE_BYTES", 1 << 60)
    with pytest.raises(SourceRefused, match=r"no room to keep a copy"):
        RawStore(tmp_path / "raw").keep(path, "ab12")
    assert [each for each in (tmp_path / "raw").rglob("*") if each.is_file()] == []


def test_what_lies_beside_a_shapefile_is_part_of_it(city: City, tmp_path: Path) -> None:
    """Another .dbf is another file, though the .shp is the same."""

    def write(number: str) -> Path:
        path = tmp_path / "trees.shp"
        shapes = shapely.to_wkb(shapely.from_wkt(np.array(["POINT (4.5 45.5)"], dtype=object)))
        pyogrio.raw.write(
            path, shapes, [np.array([number], dtype=object)], np.array(["number"], dtype=object),
            geometry_type="Point", crs="EPSG:4326",
        )  # fmt: skip
        return path

    city.declare(TREES | {"id": "stumps", "columns": [{"name": "number"}]})
    city.quartier("apply")
    for number in ("a", "b"):
        loaded = city.quartier("ingest", "stumps", write(number), "--json")
        assert json.loads(loaded.stdout)["state"] == "published"
    assert city.database.run("SELECT number FROM city.stumps") == [("b",)]
    for part in tmp_path.glob("trees.*"):
        part.unlink()
    assert city.quartier("quarantine", "retry", "stumps").exit_code == 0


def test_files_of_one_name_from_several_folders_are_read_again(city: City, tmp_path: Path) -> None:
    paths = []
    for year in ("2023", "2024"):
        (tmp_path / year).mkdir()
        paths.append(tmp_path / year / "x.csv")
        paths[-1].write_text(ROWS.replace("1,2020", f"{year},2020"))
    city.declare(TREES | {"id": "stumps", "key": []})
    city.quartier("apply")
    assert city.quartier("ingest", "stumps", *paths).exit_code == 0
    assert city.quartier("quarantine", "retry", "stumps").exit_code == 0


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text(ROWS)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ingest.raw_store.shutil.copyfileobj", fail)
    with pytest.raises(SourceRefused, match=r"No space left"):
        RawStore(tmp_path / "raw").keep(path, "ab12")
    assert [each for each in (tmp_path / "raw").rglob("*") if each.is_file()] == []
