"""A stopped load that somebody accepts by name: what the next load makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ingest.read import read
from tests.conftest import Database
from tests.db.commands import City
from tests.examples import COMMON

pytestmark = pytest.mark.db
BENCHES: dict[str, Any] = COMMON | {
    "id": "benches",
    "geometry": "point",
    "key": "id",
    "columns": [{"name": "id"}, {"name": "material"}],
}
ANA = ("--by", "Ana", "--note", "the old ones went")


@pytest.fixture
def city(database: Database, tmp_path: Path) -> City:
    """A hundred benches published by run 1; run 2 read fifty and was stopped."""
    made = City(database, tmp_path / "catalogue", tmp_path)
    made.declare(BENCHES)
    assert made.quartier("apply").exit_code == 0
    assert load(made, 100)["state"] == "published"
    assert load(made, 50)["state"] == "refused"
    return made


def benches(city: City, count: int, material: str = "wood") -> Path:
    rows = "".join(f"b{n},{material},{4.5 + n % 100 * 1e-4},45.5\n" for n in range(count))
    return city.file("benches.csv", f"id,material,lon,lat\n{rows}")


def load(city: City, count: int, *more: str, material: str = "wood") -> dict[str, Any]:
    path = benches(city, count, material)
    told: dict[str, Any] = json.loads(
        city.quartier("ingest", "benches", path, "--json", *more).stdout
    )
    return told


def accept(city: City, run: int, *gates: str) -> dict[str, Any]:
    """As the officer's door does it: nothing is loaded by it."""
    found = city.database.value(
        "SELECT quartier.accept_gates(:run, :gates, 'Ana', 'the old ones went', NULL)",
        run=run, gates=list(gates),
    )  # fmt: skip
    return dict(found)


def told(city: City, run: int) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(city.quartier("runs", "show", str(run), "--json").stdout)
    return shown


def test_the_next_load_of_the_same_files_passes_what_was_accepted(city: City) -> None:
    accept(city, 2, "shrink")
    report = load(city, 50)
    assert (report["state"], report["counts"]["deleted"]) == ("published", 50)
    assert told(city, 3)["accepted"] == {
        "gates": ["shrink"], "by": "Ana", "note": "the old ones went", "run": 2,
    }  # fmt: skip
    assert told(city, 2)["acceptance"]["used_by"] == 3
    listed = city.quartier("runs", "list", "benches").stdout
    assert "(published by run 3)" in listed


def test_other_files_are_held_against_the_gates_all_the_same(city: City) -> None:
    accept(city, 2, "shrink")
    assert load(city, 49)["state"] == "refused"
    assert load(city, 50, "--partial")["state"] == "unchanged"


def test_an_acceptance_is_void_once_a_later_run_ended_well(city: City) -> None:
    accept(city, 2, "shrink")
    assert load(city, 101)["state"] == "published"
    assert load(city, 50)["state"] == "refused"
    assert "(void: a later run ended well)" in city.quartier("runs", "show", "2").stdout


def test_a_word_with_the_load_itself_goes_before_what_waits(city: City) -> None:
    accept(city, 2, "shrink")
    stopped = load(city, 50, "--accept", "nulls", "--by", "Bo", "--note", "why")
    assert stopped["state"] == "refused"


def test_gates_that_were_passed_before_stay_passed(city: City) -> None:
    assert load(city, 50, material="")["state"] == "refused"  # run 3: shrink and nulls
    accept(city, 3, "shrink")
    assert load(city, 50, material="")["state"] == "refused"  # run 4: nulls
    assert told(city, 4)["stopped_by"] == ["nulls"]
    assert accept(city, 4, "nulls")["gates"] == ["nulls", "shrink"]
    assert load(city, 50, material="")["state"] == "published"


@pytest.mark.parametrize(
    ("run", "gates", "said"),
    [
        (1, ("shrink",), "no gate stopped it"),
        (2, ("nulls",), "the gates that stopped it are shrink"),
        (2, (), "the gates that stopped it are shrink"),
        (9, ("shrink",), "no run 9"),
    ],
    ids=["published", "another gate", "no gate", "no such run"],
)
def test_only_what_stopped_a_run_can_be_accepted(
    city: City, run: int, gates: tuple[str, ...], said: str
) -> None:
    with pytest.raises(Exception, match=said):
        accept(city, run, *gates)


def test_a_run_is_accepted_once(city: City) -> None:
    accept(city, 2, "shrink")
    with pytest.raises(Exception, match="Ana has accepted it already"):
        accept(city, 2, "shrink")


def test_the_command_accepts_and_loads_the_kept_files(city: City) -> None:
    (city.folder / "benches.csv").unlink()
    done = city.quartier("runs", "accept", "2", *ANA)
    assert done.exit_code == 0, done.output
    assert "benches published, revision 2" in done.stdout
    assert city.database.value("SELECT count(*) FROM city.benches") == 50
    again = city.quartier("runs", "accept", "2", *ANA)
    assert again.exit_code == 1
    assert "nothing to accept" in again.output or "accepted it already" in again.output


def test_what_the_page_accepted_the_command_loads(city: City) -> None:
    accept(city, 2, "shrink")
    done = city.quartier("runs", "load", "2", "--json")
    assert json.loads(done.stdout)["state"] == "published"


def test_old_files_are_not_loaded_over_newer_ones(city: City) -> None:
    assert load(city, 101)["state"] == "published"
    for run, said in (("1", "was not refused"), ("2", "a later run of benches ended well")):
        done = city.quartier("runs", "load", run)
        assert (done.exit_code, said in done.output) == (1, True)
    assert city.database.value("SELECT count(*) FROM city.benches") == 101


def test_runs_are_listed_with_figures_that_add_up(city: City) -> None:
    path = benches(city, 99)
    path.write_text(path.read_text() + ",steel,4.5,45.5\n")
    assert city.quartier("ingest", "benches", path).exit_code == 0
    newest = json.loads(city.quartier("runs", "list", "--json").stdout)[0]
    counts = newest["counts"]
    names = ("inserted", "updated", "unchanged", "quarantined", "duplicates")
    assert counts["read"] == 100 == sum(counts[name] for name in names)
    printed = city.quartier("runs", "quarantine", newest["run"])
    assert "benches.csv:101" in printed.stdout
    sheet = city.folder / "withheld.csv"
    assert city.quartier("runs", "quarantine", newest["run"], sheet).exit_code == 0
    assert sheet.read_text(encoding="utf-8-sig").startswith("id,file,line,column,key,reason")


def test_a_layer_that_no_run_checked_in_time_is_late(city: City) -> None:
    def late() -> bool:
        return bool(json.loads(city.quartier("runs", "freshness", "--json").stdout)[0]["late"])

    assert not late()
    city.declare(BENCHES | {"source": {"late_after_h": 1}})
    assert city.quartier("apply").exit_code == 0
    assert not late()
    city.database.run("UPDATE quartier.runs SET finished_at = now() - interval '61 minutes'")
    assert late()
    assert "LATE" in city.quartier("runs", "freshness").stdout
    declared = json.loads(city.quartier("ingest", "benches", benches(city, 100), "--json").stdout)
    assert declared["state"] == "unchanged"
    assert not late()


def test_what_a_run_changed_is_told_by_the_command_too(city: City) -> None:
    assert load(city, 95, material="steel")["state"] == "published"
    told = json.loads(city.quartier("history", "diff", "benches", "1", "2", "--json").stdout)
    assert told["counts"] == {"added": 0, "changed": 95, "removed": 5}
    printed = city.quartier("history", "diff", "benches", "1", "--most", "1").stdout
    assert "changed: material" in printed
    assert "benches: 0 added, 95 changed, 5 removed" in printed
    refused = city.quartier("history", "diff", "benches", "2", "1")
    assert (refused.exit_code, "is later than" in refused.output) == (1, True)
    assert city.quartier("history", "diff", "benches", "9").exit_code == 1


def test_what_is_read_in_another_way_is_not_what_was_accepted(city: City) -> None:
    """A column that is declared afterwards may hold what nobody looked at."""
    accept(city, 2, "shrink")
    more = [*BENCHES["columns"], {"name": "extra", "optional": True}]
    city.declare(BENCHES | {"columns": more})
    assert city.quartier("apply").exit_code == 0
    assert load(city, 50)["state"] == "refused"


def test_what_was_accepted_is_void_once_the_rows_are_others(city: City) -> None:
    accept(city, 2, "shrink")
    city.database.run("UPDATE city.benches SET material = 'steel' WHERE id = 'b1'")
    assert load(city, 50)["state"] == "refused"


def test_a_file_that_changes_while_it_is_read_is_refused(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = benches(city, 100, "iron")

    def reading(*asked: Any) -> Any:
        benches(city, 99, "iron")
        return read(*asked)

    monkeypatch.setattr("ingest.load.read", reading)
    refused = city.quartier("ingest", "benches", path)
    assert (refused.exit_code, "changed while it was read" in refused.output) == (1, True)
    assert city.database.value("SELECT count(*) FROM city.benches WHERE material = 'iron'") == 0


def test_rows_that_changed_their_keys_among_each_other_change_them_back(city: City) -> None:
    city.database.run("UPDATE city.benches SET source_key = 'x' WHERE source_key = 'b1'")
    city.database.run("UPDATE city.benches SET source_key = 'b1' WHERE source_key = 'b2'")
    city.database.run("UPDATE city.benches SET source_key = 'b2' WHERE source_key = 'x'")
    done = city.quartier("history", "rollback", "benches", "1", *ANA)
    assert done.exit_code == 0, done.output
    found = "SELECT id, source_key FROM city.benches WHERE id IN ('b1', 'b2') ORDER BY 1"
    assert city.database.run(found) == [("b1", "b1"), ("b2", "b2")]
