"""A row that is erased for good is nowhere any more, and does not come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from layers.locks import RUN_LOCK
from tests.conftest import Database
from tests.db.commands import City
from tests.examples import COMMON

pytestmark = pytest.mark.db

CRIMES: dict[str, Any] = COMMON | {
    "id": "crimes",
    "geometry": "point",
    "key": "number",
    "columns": [{"name": "number"}, {"name": "what"}],
    "gates": {"extent": {"within": [4, 45, 5, 46], "limit": 1}},
}
SECRET = "Zq7WittnessStatement"
KEY = "FGJ-2026-0815"
ROWS = "number,what,lon,lat\n" + "".join(f"c{n},theft,4.{n:02},45.5\n" for n in range(1, 40))
HERS = f"{KEY},{SECRET},4.777777,45.5\n"
ANA = ("--by", "Ana", "--note", "request 41")


@pytest.fixture
def city(database: Database, tmp_path: Path) -> City:
    """Crimes of which one was reported, changed twice, withheld once, and told of by a run."""
    made = City(database, tmp_path / "catalogue", tmp_path)
    made.declare(CRIMES)
    assert made.quartier("apply").exit_code == 0
    for text in (
        ROWS + HERS,
        ROWS + HERS.replace("45.5", "45.6"),
        ROWS + HERS.replace("4.7", "9.7"),
    ):
        loaded = made.quartier("ingest", "crimes", made.file("crimes.csv", text))
        assert loaded.exit_code == 0, loaded.output
    twice = made.file("twice.csv", ROWS + HERS + HERS.replace("4.7", "4.8"))
    assert "stands on rows that differ" in made.quartier("ingest", "crimes", twice).output
    database.run("UPDATE city.crimes SET what = what || '!'")
    for path in (tmp_path / "crimes.csv", twice):
        path.unlink()
    return made


def places_of(city: City, *words: str) -> list[str]:
    """Every table, and every file of the home, that still holds one of the words."""
    tables = city.database.run(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r'"
        " AND n.nspname ~ '^(quartier|city)' ORDER BY 1",
        role="owner",
    )
    found = [
        str(table)
        for (table,) in tables
        for word in words
        if city.database.value(
            f"SELECT count(*) FROM {table} t WHERE position(:word IN t::text) > 0",
            role="owner", word=word,
        )
    ]  # fmt: skip
    files = [path for path in city.home.rglob("*") if path.is_file()]
    found += [path.name for path in files for word in words if word.encode() in path.read_bytes()]
    return sorted(set(found))


def test_nothing_of_the_row_is_left_in_any_table_or_file(city: City) -> None:
    cache = city.home / "cache" / "ab"
    cache.mkdir(parents=True)
    (cache / "tile").write_text(SECRET)
    before = places_of(city, SECRET, KEY)
    assert {"city.crimes", "city_history.crimes", "quartier.quarantine", "quartier.runs"} <= set(
        before
    )
    assert len(before) >= 8, "the files, and the cache"
    folder = f"file://{city.home}/cache"
    erased = city.quartier("purge", "crimes", "--key", KEY, *ANA, QUARTIER_CACHE_URL=folder)
    assert erased.exit_code == 0, erased.output
    assert places_of(city, SECRET, KEY) == []
    assert city.database.value("SELECT count(*) FROM city.crimes") == 39


def test_the_receipt_tells_what_was_erased_and_not_whose(city: City) -> None:
    told = json.loads(city.quartier("purge", "crimes", "--key", KEY, *ANA, "--json").stdout)
    numbers = {name: told[name] for name in ("rows", "past_rows", "withheld", "records")}
    assert numbers == {"rows": 1, "past_rows": 2, "withheld": 1, "records": 1}
    assert (len(told["files"]), told["by"]) == (4, "Ana")
    assert any("backups" in place for place in told["not_erased"])
    kept = city.database.run("SELECT purged_by, note, receipt::text FROM quartier.purges")[0]
    assert kept[:2] == ("Ana", "request 41")
    assert KEY not in kept[2]


def test_every_tile_changes_and_no_log_tells_the_place(city: City) -> None:
    before = city.database.value("SELECT revision FROM quartier.layer_state")
    city.quartier("purge", "crimes", "--key", KEY, *ANA)
    revision, base = city.database.run("SELECT revision, base_revision FROM quartier.layer_state")[
        0
    ]
    assert revision == base > before
    assert city.database.value("SELECT count(*) FROM quartier.changes") == 0


def test_the_overview_is_what_counting_anew_gives(city: City) -> None:
    city.quartier("purge", "crimes", "--key", KEY, *ANA)
    cells = "SELECT depth, cell, n, fx FROM city_overview.crimes ORDER BY 1, 2"
    kept = city.database.run(cells)
    city.quartier("apply", "--recount", "crimes")
    assert city.database.run(cells) == kept


def test_a_later_load_does_not_bring_it_back(city: City) -> None:
    city.quartier("purge", "crimes", "--key", KEY, *ANA)
    loaded = city.quartier("ingest", "crimes", city.file("new.csv", ROWS + HERS), "--json")
    counts = json.loads(loaded.stdout)["counts"]
    assert (counts["read"], counts["quarantined"], counts["deleted"]) == (40, 1, 0)
    assert city.database.value("SELECT count(*) FROM city.crimes WHERE number = :k", k=KEY) == 0
    entry = city.database.run("SELECT source_key, reason, content FROM quartier.quarantine")[-1]
    assert entry[0] == ""
    assert (entry[1].startswith("the row was erased for good"), entry[2]) == (True, {})
    assert places_of(city, SECRET) == [
        path.name for path in (city.home / "raw").rglob("*") if path.is_file()
    ], "the new file alone, which its publisher has to mend"


def test_a_row_is_erased_by_its_number_too_even_when_it_is_past(city: City) -> None:
    fid = city.database.value("SELECT fid FROM city.crimes WHERE number = 'c7'")
    city.database.run("DELETE FROM city.crimes WHERE number = 'c7'")
    told = json.loads(city.quartier("purge", "crimes", "--fid", str(fid), *ANA, "--json").stdout)
    assert (told["rows"], told["past_rows"]) == (0, 2)
    held = "SELECT count(*) FROM city_history.crimes WHERE fid = :f"
    assert city.database.value(held, f=fid) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--key", "nobody", *ANA), "nothing is known of key 'nobody'"),
        (("--fid", "99999", *ANA), "nothing is known of fid 99999"),
        (ANA, "give either --key or --fid"),
        (("--key", "c1", "--fid", "1", *ANA), "give either --key or --fid"),
        (("--key", "c1", "--by", " ", "--note", "x"), "say who and why"),
    ],
)
def test_what_cannot_be_erased_is_told_and_changes_nothing(
    city: City, arguments: tuple[str, ...], said: str
) -> None:
    before = city.database.value("SELECT revision FROM quartier.layer_state")
    refused = city.quartier("purge", "crimes", *arguments)
    assert refused.exit_code != 0
    assert said in refused.output
    assert city.database.value("SELECT revision FROM quartier.layer_state") == before
    assert city.database.value("SELECT count(*) FROM quartier.purges") == 0


def test_a_cache_that_cannot_be_emptied_is_told_and_the_row_is_gone(city: City) -> None:
    away = "redis://127.0.0.1:9/0"
    told = city.quartier("purge", "crimes", "--key", KEY, *ANA, QUARTIER_CACHE_URL=away)
    assert told.exit_code == 1
    assert "Not reached: the shared cache, which could not be emptied" in told.output
    assert places_of(city, SECRET, KEY) == []


def test_all_lives_of_a_row_are_erased(city: City) -> None:
    """It was deleted and came back: two fids, one key; and it was renamed: two keys, one fid."""
    city.database.run("DELETE FROM city.crimes WHERE number = 'c7'")
    city.quartier("ingest", "crimes", city.file("again.csv", ROWS + HERS))
    city.database.run("UPDATE city.crimes SET source_key = 'new name' WHERE number = 'c7'")
    fid = city.database.value("SELECT fid FROM city.crimes WHERE number = 'c7'")
    city.quartier("purge", "crimes", "--fid", str(fid), *ANA)
    for table in ("city.crimes", "city_history.crimes"):
        assert city.database.value(f"SELECT count(*) FROM {table} WHERE number = 'c7'") == 0
    city.quartier("ingest", "crimes", city.file("more.csv", ROWS + HERS))
    assert city.database.value("SELECT count(*) FROM city.crimes WHERE number = 'c7'") == 0


def test_a_row_that_is_erased_and_broken_is_not_told_either(city: City) -> None:
    city.quartier("purge", "crimes", "--key", KEY, *ANA)
    broken = HERS.replace("4.777777", "no number")
    assert city.quartier("ingest", "crimes", city.file("b.csv", ROWS + broken)).exit_code == 0
    assert city.database.run("SELECT source_key, content FROM quartier.quarantine") == [("", {})]


def test_what_is_withheld_without_a_key_goes_too(city: City) -> None:
    city.quartier("ingest", "crimes", city.file("r.csv", ROWS + HERS + f",{SECRET},4.1,45.5\n"))
    assert (
        city.database.value("SELECT count(*) FROM quartier.quarantine WHERE source_key IS NULL")
        == 1
    )
    city.quartier("purge", "crimes", "--key", KEY, *ANA)
    assert places_of(city, SECRET) == []


def test_no_row_is_erased_while_a_load_may_bring_it_back(city: City) -> None:
    with city.database.connect() as connection:
        connection.execute(
            sa.text("SELECT pg_advisory_lock(:space, hashtext('crimes'))"), {"space": RUN_LOCK}
        )
        refused = city.quartier("purge", "crimes", "--key", KEY, *ANA)
    assert (refused.exit_code, "an ingest is running" in refused.output) == (1, True)


def test_a_purge_that_could_not_reach_a_file_is_finished_by_a_second(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bool:
        raise OSError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("quartier_purge.RawStore.forget", fail)
        told = city.quartier("purge", "crimes", "--key", KEY, *ANA)
        assert told.exit_code == 1
        assert "remove it by hand" in told.output
    assert city.quartier("purge", "crimes", "--key", KEY, *ANA).exit_code == 0
    assert places_of(city, SECRET, KEY) == []
