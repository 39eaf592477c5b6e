"""`/runs` over HTTP: who is let in, how far, and that a key is told to nobody."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.door import WRONG_KEYS
from layers.keys import KeyProof, NewKey, Scope, create_key, revoke_key
from tests.api.conftest import Service, serving
from tests.conftest import Copies, Database, copied
from tests.examples import CALLS, TREES

pytestmark = [pytest.mark.db, pytest.mark.anyio]
HTML = "text/html,application/xhtml+xml,*/*;q=0.8"
SHRUNK = {
    "gate": "shrink", "severity": "refuse", "figure": 0.5, "limit": 0.2, "says": "50 rows",
    "accepted": False,
}  # fmt: skip
READS = (
    "/runs", "/runs/freshness", "/runs/1", "/runs/1/quarantine", "/runs/1/quarantine.csv",
    "/runs/layers/trees/revisions",
)  # fmt: skip
SIGNED = {"by": "Ana", "note": "it is right"}
ACCEPT = {"gates": ["shrink"], **SIGNED}
BACK = {"revision": 1, **SIGNED}


def fill(database: Database) -> None:
    """Two revisions of trees; run 1 of trees was stopped and withheld three rows; one of calls."""
    database.declare(TREES, CALLS)
    database.run(
        "INSERT INTO city.trees (number, genus, geom) SELECT n, 'Tilia',"
        " ST_Point(4.8 + n * 0.01, 45.2, 4326) FROM generate_series(1, 3) n"
    )
    database.run("UPDATE city.trees SET genus = 'Acer' WHERE number = '1'")
    database.run(
        "INSERT INTO quartier.runs (layer_id, state, finished_at, counts, gates, sources)"
        " VALUES ('trees', 'refused', clock_timestamp(), '{\"read\": 50, \"quarantined\": 3}',"
        " CAST(:gates AS jsonb), CAST(:sources AS jsonb)), ('calls', 'published', now(), '{}',"
        " '[]', '[]')",
        gates=json.dumps([SHRUNK]),
        sources=json.dumps([{"name": "t.csv", "sha256": "ab", "bytes": 1, "path": "/srv/t.csv"}]),
    )
    for line in (3, 4, 5):
        database.run(
            "INSERT INTO quartier.quarantine (run_id, layer_id, file, line, row_number, reason,"
            " content) VALUES (1, 'trees', 't.csv', :line, :line, 'no key', '{\"genus\": \"=1\"}')",
            line=line,
        )


cities = copied(fill)


@pytest.fixture
def city(cities: Copies) -> Iterator[Database]:
    with cities() as database:
        yield database


@pytest.fixture
async def service(city: Database) -> AsyncIterator[Service]:
    async with serving(city) as running:
        yield running


def key(database: Database, *scopes: Scope, layers: tuple[str, ...] = (), **more: Any) -> str:
    new = NewKey(name="Ana's desk", scopes=scopes or tuple(Scope), layers=layers, **more)
    with database.transaction() as connection:
        return create_key(connection, new, by="Ana")


def bearer(key_: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key_}"}


async def post(service: Service, path: str, key_: str, body: object) -> Any:
    headers = bearer(key_) | {"content-type": "application/json"}
    return await service.client.post(path, content=json.dumps(body), headers=headers)


@pytest.mark.parametrize("path", [*READS, "/runs/key"])
async def test_without_a_key_and_with_a_wrong_one_it_is_401(service: Service, path: str) -> None:
    wrong = "qk_abcdefgh12_" + "s" * 43
    for headers in ({}, bearer(wrong), bearer("no key"), {"authorization": "Basic eDp5"}):
        answer = await service.get(path, **headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"
        assert wrong not in answer.text


@pytest.mark.parametrize("path", READS)
async def test_a_scope_opens_what_it_says_and_nothing_else(
    service: Service, city: Database, path: str
) -> None:
    scope = Scope.READ_QUARANTINE if "quarantine" in path else Scope.READ_RUNS
    others = [other for other in Scope if other is not scope]
    small = await service.get(path, **bearer(key(city, *others)))
    assert (small.status_code, small.json()["status"]) == (403, 403)
    assert scope in small.json()["detail"]
    large = await service.get(path, **bearer(key(city, scope)))
    assert large.status_code == 200
    assert large.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "body", "scope"),
    [
        ("/runs/1/accept", ACCEPT, Scope.ACCEPT),
        ("/runs/layers/trees/rollback", BACK, Scope.ROLL_BACK),
    ],
)
async def test_a_write_needs_its_scope_and_its_layer(
    service: Service, city: Database, path: str, body: object, scope: Scope
) -> None:
    others = [other for other in Scope if other is not scope]
    assert (await post(service, path, key(city, *others), body)).status_code == 403
    assert (await post(service, path, key(city, layers=("calls",)), body)).status_code == 404
    assert (await service.client.post(path, json=body)).status_code == 401
    done = await post(service, path, key(city, scope, layers=("trees",)), body)
    assert done.status_code == 200, done.text
    assert done.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", [path for path in READS if "1" in path or "trees" in path])
async def test_a_layer_out_of_reach_is_not_found(
    service: Service, city: Database, path: str
) -> None:
    answer = await service.get(path, **bearer(key(city, layers=("calls",))))
    assert answer.status_code == 404
    nowhere = await service.get(
        path.replace("1", "9").replace("trees", "tress"), **bearer(key(city))
    )
    assert nowhere.status_code == 404


async def test_lists_hold_what_the_key_reaches(service: Service, city: Database) -> None:
    mine = bearer(key(city, layers=("calls",)))
    assert [r["run"] for r in (await service.get("/runs", **mine)).json()["runs"]] == [2]
    fresh = (await service.get("/runs/freshness", **mine)).json()["layers"]
    assert [each["layer"] for each in fresh] == ["calls"]
    assert (await service.get("/runs?layer=trees", **mine)).status_code == 404


async def test_runs_are_paged_and_tell_gates_and_no_path_of_the_machine(
    service: Service, city: Database
) -> None:
    mine = bearer(key(city))
    first = (await service.get("/runs?limit=1", **mine)).json()
    [link] = first["links"]
    second = (await service.get(link["href"], **mine)).json()
    assert [first["runs"][0]["run"], second["runs"][0]["run"]] == [2, 1]
    [run] = second["runs"]
    assert (run["gates"], run["stopped_by"]) == ([SHRUNK], ["shrink"])
    assert run["sources"] == [{"name": "t.csv", "sha256": "ab", "bytes": 1}]
    whole = (await service.get("/runs/1", **mine)).json()
    assert whole == run | {"facts": []}


async def test_a_revoked_and_an_expired_key_are_refused_at_once(
    service: Service, city: Database
) -> None:
    mine = key(city, expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert (await service.get("/runs/key", **bearer(mine))).json()["name"] == "Ana's desk"
    city.run("UPDATE quartier.keys SET expires_at = now()")
    assert (await service.get("/runs/key", **bearer(mine))).status_code == 401
    city.run("UPDATE quartier.keys SET expires_at = NULL")
    with city.transaction() as connection:
        revoke_key(connection, KeyProof.of(mine).id, by="Bo", note="lost")
    refused = await service.get("/runs/key", **bearer(mine))
    assert refused.status_code == 401
    assert "revoked" in refused.json()["detail"]


async def test_the_quarantine_is_paged_and_safe_for_spreadsheets(
    service: Service, city: Database
) -> None:
    mine = bearer(key(city))
    page = (await service.get("/runs/1/quarantine?limit=2", **mine)).json()
    rest = (await service.get(page["links"][0]["href"], **mine)).json()
    assert [e["line"] for e in page["entries"] + rest["entries"]] == [3, 4, 5]
    sheet = await service.get("/runs/1/quarantine.csv", **mine)
    assert sheet.headers["content-disposition"] == 'attachment; filename="quarantine-1.csv"'
    rows = list(csv.DictReader(io.StringIO(sheet.content.decode("utf-8-sig"))))
    assert [row["line"] for row in rows] == ["3", "4", "5"]
    assert rows[0]["reason"] == "no key"
    told = "SELECT action, layer_id, run_id FROM quartier.key_audit WHERE action = 'read'"
    assert city.run(told) == [("read", "trees", 1)], "three pages within an hour are one reading"


async def test_a_body_that_is_too_large_is_refused_before_anybody_reads_it(
    service: Service,
) -> None:
    answer = await service.client.post("/runs/1/accept", content=b"x" * 70_000)
    assert (answer.status_code, answer.json()["detail"]) == (413, "a request holds at most 64 KiB")


async def test_signs_that_nobody_sees_are_in_no_name(service: Service, city: Database) -> None:
    for by in ("A\x1b[31m", "A\u202eb"):
        body = {"gates": ["shrink"], "by": by, "note": "n"}
        assert (await post(service, "/runs/1/accept", key(city), body)).status_code == 400


async def test_accepting_says_what_happens_next_and_is_kept(
    service: Service, city: Database
) -> None:
    mine = key(city)
    done = (await post(service, "/runs/1/accept", mine, ACCEPT)).json()
    assert (done["gates"], done["published"]) == (["shrink"], False)
    run = (await service.get("/runs/1", **bearer(mine))).json()
    assert run["acceptance"]["by"] == "Ana"
    again = await post(service, "/runs/1/accept", mine, ACCEPT)
    assert (again.status_code, "already" in again.json()["detail"]) == (409, True)
    assert (await post(service, "/runs/2/accept", mine, ACCEPT)).status_code == 409
    entries = city.run("SELECT action, run_id, note FROM quartier.key_audit ORDER BY id")
    assert entries[1:] == [("accept", 1, "it is right")]


async def test_a_rollback_makes_a_revision_unless_somebody_was_there_first(
    service: Service, city: Database
) -> None:
    mine = key(city)
    path = "/runs/layers/trees/rollback"
    late = await post(service, path, mine, BACK | {"seen": 1})
    assert (late.status_code, "look again" in late.json()["detail"]) == (409, True)
    done = await post(service, path, mine, BACK | {"seen": 2})
    assert done.json() == {
        "layer": "trees", "back_to": 1, "revision": 3, "inserted": 0, "updated": 1, "deleted": 0,
    }  # fmt: skip
    await service.caught_up()
    items = (await service.get("/collections/trees/items")).json()
    assert items["revision"] == 3
    listed = (await service.get("/runs/layers/trees/revisions", **bearer(mine))).json()
    assert listed["revisions"][0]["note"] == {"back_to": 1, "by": "Ana", "note": "it is right"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/runs/1/accept", {"gates": [], **SIGNED}),
        ("/runs/1/accept", {"gates": ["shrink"], "by": "Ana"}),
        ("/runs/1/accept", {"gates": ["shrink"], "by": " ", "note": "x"}),
        ("/runs/1/accept", ACCEPT | {"extra": 1}),
        ("/runs/1/accept", {"gates": ["shrink'; --"], **SIGNED}),
        ("/runs/1/accept", []),
        ("/runs/1/accept?force=1", ACCEPT),
        ("/runs/layers/trees/rollback", {"revision": -1, **SIGNED}),
        ("/runs/layers/trees/rollback", {"revision": 10**30, **SIGNED}),
        ("/runs/layers/trees/rollback", {"revision": 1, "by": "a\0b", "note": "x"}),
        ("/runs/layers/trees/rollback", {"revision": 1, "by": "a", "note": "\ud800"}),
        ("/runs/layers/trees/rollback", {"revision": "\ud800", "by": "a", "note": "x"}),
        ("/runs/layers/trees/rollback", {"revision": {"a": 10**30}, "by": "a", "note": "x"}),
    ],
)
async def test_bad_input_is_400_with_a_sentence(
    service: Service, city: Database, path: str, body: object
) -> None:
    answer = await post(service, path, key(city), body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["detail"]
    assert city.value("SELECT count(*) FROM quartier.key_audit WHERE action <> 'create'") == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/runs/x", 404), ("/runs/99999999999999999999", 404), ("/runs/-1", 404),
        ("/runs?state=done", 400), ("/runs?limit=0", 400), ("/runs?colour=red", 400),
        ("/runs?before=99999999999999999999", 400), ("/runs/layers/x%00y/revisions", 404),
        ("/runs/1/quarantine?after=-1", 400),
    ],
)  # fmt: skip
async def test_odd_addresses_cost_no_crash(
    service: Service, city: Database, path: str, status: int
) -> None:
    assert (await service.get(path, **bearer(key(city)))).status_code == status


async def test_too_many_wrong_keys_have_to_wait_and_the_right_one_has_not(
    service: Service, city: Database
) -> None:
    mine = key(city)
    assert (await service.get("/runs/key", **bearer(mine))).status_code == 200
    wrong = bearer("qk_abcdefgh12_" + "s" * 43)
    for _ in range(WRONG_KEYS):
        assert (await service.get("/runs", **wrong)).status_code == 401
    refused = await service.get("/runs", **wrong)
    assert (refused.status_code, int(refused.headers["retry-after"]) > 0) == (429, True)
    assert (await service.get("/runs/key", **bearer(mine))).status_code == 200


async def test_a_key_is_in_no_answer_no_log_and_no_link(
    service: Service, city: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = key(city)
    answers = [await service.get(path, **bearer(mine)) for path in (*READS, "/runs/key", "/runs/x")]
    answers.append(await post(service, "/runs/1/accept", mine, ACCEPT))
    city.run("DROP VIEW quartier.freshness", "owner")
    broken = await service.get("/runs/freshness", **bearer(mine))
    assert broken.status_code in (500, 503)
    city.run("ALTER FUNCTION quartier.officer_key RENAME TO officer_kay", "owner")
    broken = await service.get("/runs/key", **bearer(mine))
    assert broken.status_code == 500
    said = capfd.readouterr()
    told = said.out + said.err + "".join(f"{a.headers}{a.text}" for a in [*answers, broken])
    assert "unexpected error" in said.out + said.err
    for secret in (mine, mine.split("_", 2)[2], KeyProof.of(mine).digest.hex()):
        assert secret not in told


async def test_the_page_is_there_for_browsers_and_holds_nothing(
    service: Service, city: Database
) -> None:
    page = await service.get("/runs", accept=HTML)
    assert page.status_code in (200, 503)  # 503 where the pages are not built
    if page.status_code == 503:
        pytest.skip("the pages are not built")
    assert page.headers["cache-control"] == "no-store"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action 'none'" in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in page.headers
    assert "no key" not in page.text


async def test_without_an_officers_login_the_door_is_closed(city: Database) -> None:
    async with serving(city, officer_database_url=None) as service:
        answer = await service.get("/runs", **bearer(key(city)))
        assert answer.status_code == 503
        assert "QUARTIER_OFFICER_DATABASE_URL" in answer.json()["detail"]
        assert (await service.get("/collections/trees/items")).status_code == 200
