"""The officers' page in a real browser: sign in, look, accept, go back."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from layers.keys import NewKey, Scope, create_key
from tests.conftest import Database
from tests.db.commands import City
from tests.e2e.conftest import Watched
from tests.examples import COMMON
from tests.web import web_server

pytestmark = [pytest.mark.e2e, pytest.mark.db]
COLUMNS = [{"name": "id"}, {"name": "material"}, {"name": "placed", "type": "date"}]
BENCHES: dict[str, Any] = COMMON | {
    "id": "benches", "title": {"en": "Benches", "de": "Bänke"}, "geometry": "point", "key": "id",
    "columns": COLUMNS, "source": {"late_after_h": 48},
    "gates": {"extent": {"within": [4, 45, 5, 46]}},
}  # fmt: skip
CALLS: dict[str, Any] = COMMON | {
    "id": "calls", "title": "Calls", "geometry": "none",
    "columns": [{"name": "day", "type": "date"}, {"name": "calls", "type": "integer"}],
    "source": {"late_after_h": 1},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Office:
    """A city with some runs, served, and a key to it."""

    city: City
    url: str
    key: str
    log: Path


def rows(first: int, last: int, *more: str, shift: int = 0) -> str:
    lines = [
        f"b{n},{'wood' if n > 5 else 'stone' if shift else 'wood'},2020-01-01,"
        f"{4.5 + n % 10 * 1e-3},{45.5 + n // 10 * 1e-3 + (0.0005 * shift if n == 20 else 0)}"
        for n in range(first, last)
    ]
    return "\n".join(["id,material,placed,lon,lat", *lines, *more]) + "\n"


@pytest.fixture
def office(database: Database, tmp_path: Path) -> Iterator[Office]:
    """Run 1 publishes 100 benches; run 2 changes, adds, removes and withholds some; run 3 read 50
    and was stopped; the calls are late.
    """
    city = City(database, tmp_path / "catalogue", tmp_path)
    for declared in (BENCHES, CALLS):
        city.declare(declared)
    assert city.quartier("apply").exit_code == 0
    second = rows(3, 104, "b200,wood,soon,4.505,45.505", "b300,wood,2020-01-01,8,50", shift=1)
    for text in (rows(0, 100), second, rows(0, 50)):
        city.quartier("ingest", "benches", city.file("benches.csv", text))
    calls = city.file("calls.csv", "day,calls\n2026-01-01,5\n")
    assert city.quartier("ingest", "calls", calls).exit_code == 0
    database.run(
        "UPDATE quartier.runs SET started_at = started_at - interval '3 h',"
        " finished_at = finished_at - interval '3 h' WHERE layer_id = 'calls'"
    )
    with database.transaction() as connection:
        key = create_key(connection, NewKey(name="Ana's desk", scopes=tuple(Scope)), by="Ana")
    officer = database.urls.officer
    with web_server(database, tmp_path, workers=1, officer_database_url=officer) as url:
        yield Office(city, url, key, tmp_path / "web.log")


def sign_in(page: Page, office: Office) -> None:
    page.goto(f"{office.url}/runs")
    page.get_by_label("Key").fill(office.key)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Freshness").wait_for()


def test_a_wrong_key_is_told_and_the_right_one_opens_until_the_tab_is_closed(
    office: Office, watched: Watched
) -> None:
    page = watched.page
    page.goto(f"{office.url}/runs")
    expect(page.get_by_label("Key")).to_be_focused()
    page.get_by_label("Key").fill("qk_abcdefgh12_" + "s" * 43)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("status")).to_contain_text("this key opens nothing here")
    assert [e for e in watched.errors if "401" not in e] == []
    page.get_by_label("Key").fill(office.key)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Freshness").wait_for()
    page.reload()
    page.get_by_role("heading", name="Freshness").wait_for()
    assert page.context.cookies() == []
    assert page.evaluate("localStorage.length") == 0
    assert office.key not in page.url
    with page.context.expect_page() as opened:
        page.evaluate("window.open(location.href, '_blank', 'noopener')")
    expect(opened.value.get_by_label("Key")).to_be_visible()
    opened.value.close()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Key")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_runs_gates_quarantine_and_changes_are_shown_and_a_stopped_run_is_accepted(
    office: Office, watched: Watched, tmp_path: Path
) -> None:
    page = watched.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page, office)
    late = page.get_by_role("row").filter(has=page.get_by_role("link", name="Calls"))
    expect(late).to_contain_text("late")
    runs = page.get_by_role("region", name="Runs").get_by_role("row")
    expect(runs).to_have_count(5)
    expect(runs.nth(2)).to_contain_text("refused")

    page.get_by_role("link", name="Run 2").first.click()
    page.get_by_role("heading", name="Run 2: Benches").wait_for()
    sums = page.locator(".sum data").all_text_contents()
    assert int(sums[0]) == sum(int(text) for text in sums[1:]) == 103
    expect(page.get_by_role("region", name="Quarantine")).to_contain_text(
        "outside the declared extent"
    )
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    download.value.save_as(tmp_path / "withheld.csv")
    saved = list(csv.DictReader((tmp_path / "withheld.csv").read_text("utf-8-sig").splitlines()))
    assert [row["line"] for row in saved] == ["103", "104"]
    expect(page.locator(".kinds")).to_contain_text("added: 5")
    expect(page.locator(".kinds")).to_contain_text("removed: 3")
    expect(page.locator(".kinds")).to_contain_text("changed: 4")
    page.locator("canvas.maplibregl-canvas").wait_for(timeout=30_000)
    assert len(watched.settled()) > 5_000, "marks are drawn"
    expect(page.get_by_role("region", name="What it changed")).to_contain_text("wood → stone")

    page.get_by_role("link", name="All runs").click()
    page.get_by_role("link", name="Run 3").first.click()
    expect(page.get_by_role("region", name="Gates")).to_contain_text("stops the load")
    page.get_by_label("Your name").fill("Ana Lee")
    page.get_by_label("Why").fill("The old benches went in May")
    page.get_by_role("button", name="Accept these gates").click()
    expect(page.get_by_role("status")).to_contain_text("passes these gates")
    expect(page.locator(".notice")).to_contain_text("accepted by Ana Lee")
    done = json.loads(office.city.quartier("runs", "load", "3", "--json").stdout)
    assert done["state"] == "published"
    page.reload()
    expect(page.locator(".notice")).to_contain_text("was published by it")

    assert watched.errors == []
    assert watched.hosts == {office.url.removeprefix("http://")}
    assert not any(office.key in url for url in asked)
    assert office.key not in office.log.read_text()


def test_a_layer_goes_back_after_two_steps_by_keyboard_alone(
    office: Office, watched: Watched
) -> None:
    page = watched.page
    sign_in(page, office)
    page.get_by_role("link", name="Benches").first.focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Revisions of Benches").wait_for()
    page.get_by_role("button", name="Go back to 1").focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Your name")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.keyboard.press("Enter")
    page.keyboard.type("Ana Lee")
    page.keyboard.press("Tab")
    page.keyboard.type("wrong file")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("3 rows would come back, 4 would change back, 5 would go")
    assert office.city.database.value("SELECT max(revision) FROM quartier.revisions") == 2
    expect(page.get_by_role("button", name="Yes, go back")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("now revision 3")
    expect(page.get_by_role("region", name="Revision")).to_contain_text(
        "back to 1, Ana Lee: wrong file"
    )
    assert office.city.database.value("SELECT count(*) FROM city.benches") == 100
    assert watched.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", ["de", "ar"])
def test_no_word_is_missing_and_nothing_sticks_out_on_a_phone(
    office: Office, watched: Watched, theme: str, language: str
) -> None:
    page = watched.page
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{office.url}/runs?lang={language}&theme={theme}")
    page.locator("#key").fill(office.key)
    page.keyboard.press("Enter")
    for view in ("", "#run=2", "#run=3", "#layer=benches"):
        page.evaluate("hash => { location.hash = hash }", view)
        page.locator("#view table").first.wait_for()
        page.wait_for_load_state("networkidle")
        text = page.locator("main").inner_text()
        assert not re.search(r"\b(state|severity|accept|rollback)_[a-z]+\b", text), view
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, view
    assert watched.errors == []
