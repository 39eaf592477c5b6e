"""Loads that do not hold their gates: what stops, what stays, and what a name lets pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ingest.gates import Acceptance, GatesHeld
from ingest.report import Report
from ingest.run import Job, run
from layers.model import Layer
from tests.conftest import Database
from tests.examples import layer

pytestmark = pytest.mark.db

WITHIN = {"extent": {"within": [4, 45, 5, 46]}}
ANA: dict[str, Any] = {"by": "Ana", "note": "the old rows were a test"}


def benches(**gates: object) -> Layer:
    return layer(
        id="benches", geometry="point", key="id",
        columns=[{"name": "id"}, {"name": "material"}], gates=gates,
    )  # fmt: skip


def csv(folder: Path, count: int, *more: str, shift: float = 0, material: str = "wood") -> Path:
    path = folder / "benches.csv"
    rows = [f"b{n},{material},{4.5 + shift + n % 100 * 1e-4},45.5" for n in range(count)]
    path.write_text("\n".join(["id,material,lon,lat", *rows, *more]) + "\n", encoding="utf-8")
    return path


def ingest(database: Database, of: Layer, *files: Path, accept: tuple[str, ...] = ()) -> Report:
    accepted = Acceptance(gates=accept, **ANA) if accept else None
    return run(database.urls.ingest, Job(layer=of, files=files, accepted=accepted))


def last_run(database: Database, *columns: str) -> tuple[Any, ...]:
    return database.run(f"SELECT {', '.join(columns)} FROM quartier.runs ORDER BY id DESC LIMIT 1")[
        0
    ]


@pytest.fixture
def city(database: Database, tmp_path: Path) -> Database:
    """A hundred benches, published."""
    database.declare(benches())
    assert ingest(database, benches(), csv(tmp_path, 100)).state == "published"
    return database


def published(database: Database) -> tuple[Any, ...]:
    return database.run(
        "SELECT count(*), min(since), max(since), min(md5(b::text)) FROM city.benches b"
    )[0]


def test_a_load_that_shrank_is_stopped_and_leaves_all_as_it_was(
    city: Database, tmp_path: Path
) -> None:
    before = published(city)
    with pytest.raises(GatesHeld, match=r"shrink: 50 rows, where the last load had 100"):
        ingest(city, benches(), csv(tmp_path, 50))
    assert published(city) == before
    assert city.value("SELECT revision FROM quartier.layer_state") == 1
    assert city.run("SELECT tablename FROM pg_tables WHERE schemaname = 'city_stage'") == []


def test_a_stopped_load_keeps_its_record_its_report_and_its_quarantine(
    city: Database, tmp_path: Path
) -> None:
    with pytest.raises(GatesHeld):
        ingest(city, benches(), csv(tmp_path, 30, "only,two"))
    state, counts, gates, profile, message = last_run(
        city, "state", "counts", "gates", "profile", "message"
    )
    assert (state, counts["read"], counts["quarantined"]) == ("refused", 31, 1)
    assert [(gate["gate"], gate["figure"], gate["limit"]) for gate in gates] == [
        ("shrink", 0.7, 0.2)
    ]
    assert profile["rows"] == 30
    assert "--accept shrink --by NAME --note WHY" in message
    assert city.value("SELECT count(*) FROM quartier.quarantine") == 1


def test_what_is_accepted_is_published_under_a_name(city: Database, tmp_path: Path) -> None:
    report = ingest(city, benches(), csv(tmp_path, 50), accept=("shrink",))
    assert (report.state, report.counts.deleted) == ("published", 50)
    [gate] = report.gates
    assert (gate["gate"], gate["accepted"]) == ("shrink", True)
    assert last_run(city, "state", "accepted") == ("published", {"gates": ["shrink"], **ANA})


def test_accepting_one_gate_lets_no_other_pass(city: Database, tmp_path: Path) -> None:
    path = csv(tmp_path, 50, material="")
    with pytest.raises(GatesHeld, match=r"nulls: material is empty in 100 %") as held:
        ingest(city, benches(), path, accept=("shrink",))
    assert "shrink:" not in str(held.value)
    assert last_run(city, "state")[0] == "refused"


def test_the_baseline_is_the_last_load_that_was_published(city: Database, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(GatesHeld, match=r"last load had 100"):
            ingest(city, benches(), csv(tmp_path, 50))
    ingest(city, benches(), csv(tmp_path, 85))
    assert ingest(city, benches(), csv(tmp_path, 70)).state == "published"


def test_a_partial_load_is_no_baseline(city: Database, tmp_path: Path) -> None:
    few = Job(layer=benches(), files=(csv(tmp_path, 5, material="stone"),), partial=True)
    assert run(city.urls.ingest, few).state == "published"
    with pytest.raises(GatesHeld, match=r"last load had 100"):
        ingest(city, benches(), csv(tmp_path, 50))


def test_keys_that_name_other_things_each_time_stop_a_load(city: Database, tmp_path: Path) -> None:
    before = published(city)
    with pytest.raises(GatesHeld, match=r"100 of 100 rows known by id .* moved"):
        ingest(city, benches(), csv(tmp_path, 100, shift=0.05))
    assert published(city) == before
    assert [gate["gate"] for gate in last_run(city, "gates")[0]] == ["extent", "keys"]
    assert ingest(city, benches(), csv(tmp_path, 100, shift=1e-5)).counts.updated == 100
    report = ingest(city, benches(), csv(tmp_path, 100, shift=0.05), accept=("keys",))
    assert (report.state, report.gates[-1]["accepted"]) == ("published", True)


def test_a_bench_outside_the_city_is_withheld_and_its_old_place_stays(
    city: Database, tmp_path: Path
) -> None:
    path = csv(tmp_path, 99, "b99,iron,45.5,4.5")
    report = ingest(city, benches(**WITHIN), path)
    assert (report.state, report.counts.quarantined, report.counts.deleted) == ("unchanged", 1, 0)
    assert city.value("SELECT material FROM city.benches WHERE id = 'b99'") == "wood"
    reason, line, key = city.run("SELECT reason, line, source_key FROM quartier.quarantine")[0]
    assert reason.endswith("is not in the city: its axes are swapped")
    assert (line, key) == (101, "b99")


def test_a_warning_is_told_and_stops_nothing(city: Database, tmp_path: Path) -> None:
    report = ingest(city, benches(), csv(tmp_path, 300))
    assert report.state == "published"
    assert [gate["gate"] for gate in report.gates] == ["growth"]
    assert not report.gates[0]["accepted"]


def test_what_officers_hold_a_load_against_is_told_to_nobody_else(city: Database) -> None:
    city.declare(benches(**WITHIN))
    told = city.value("SELECT declaration FROM quartier.public_layers", role="web")
    assert "gates" not in told
    assert "source" not in told
    assert "gates" in city.value("SELECT declaration FROM quartier.layers")


def test_other_gates_make_no_tile_another(city: Database) -> None:
    told = "SELECT config_hash FROM quartier.public_layers"
    before = city.value(told)
    city.declare(benches(**WITHIN, shrink=0.9))
    assert city.value(told) == before
