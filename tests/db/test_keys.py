"""Keys as the database keeps them, and what the officers' role may do with one and without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from layers.errors import ChangeRefused, LayerNotFound
from layers.keys import KeyProof, NewKey, Scope, create_key, list_keys, revoke_key, until
from tests.conftest import Copies, Database, copied
from tests.db.commands import City
from tests.examples import CALLS, TREES

pytestmark = pytest.mark.db
ALL = tuple(Scope)
NOTHING: Any = None
TABLES = (
    "keys", "key_uses", "key_audit", "acceptances", "runs", "quarantine", "run_reports",
    "withheld", "freshness",
)  # fmt: skip


def fill(database: Database) -> None:
    """Two layers; three trees at revision 1, one of them changed at revision 2; a run of each."""
    database.declare(TREES, CALLS)
    database.run(
        "INSERT INTO city.trees (number, genus, geom) SELECT n, 'Tilia',"
        " ST_Point(4.8 + n * 0.01, 45.2, 4326) FROM generate_series(1, 3) n"
    )
    database.run("UPDATE city.trees SET genus = 'Acer' WHERE number = '1'")
    for layer in ("trees", "calls"):
        database.run("INSERT INTO quartier.runs (layer_id) VALUES (:layer)", layer=layer)


cities = copied(fill)


@pytest.fixture
def city(cities: Copies) -> Iterator[Database]:
    with cities() as database:
        yield database


def made(database: Database, *scopes: Scope, layers: tuple[str, ...] = (), **more: Any) -> KeyProof:
    new = NewKey(name="Ana's desk", scopes=scopes or ALL, layers=layers, **more)
    with database.transaction() as connection:
        return KeyProof.of(create_key(connection, new, by="Ana"))


def ask(database: Database, proof: KeyProof, call: str, role: str = "officer", **more: Any) -> Any:
    """Call one of the officers' functions; the code of a refusal where there is one."""
    try:
        rows = database.run(
            f"SELECT to_jsonb(t) FROM quartier.{call} t", role,
            key=proof.id, digest=proof.digest, **more,
        )  # fmt: skip
    except DBAPIError as exc:
        return str(getattr(exc.orig, "sqlstate", None))
    return [row[0] for row in rows]


def test_the_database_keeps_a_hash_and_nothing_that_opens(city: Database) -> None:
    with city.transaction() as connection:
        key = create_key(connection, NewKey(name="x", scopes=ALL), by="Ana")
    proof = KeyProof.of(key)
    kept = city.value("SELECT hash FROM quartier.keys")
    assert bytes(kept) == proof.kept
    dump = json.dumps(
        [city.run(f"SELECT t::text FROM quartier.{name} t") for name in TABLES], default=str
    )
    for secret in (key, key.split("_", 2)[2], proof.digest.hex()):
        assert secret not in dump
    assert ask(city, KeyProof(proof.id, proof.kept), "officer_key(:key, :digest)") == "QK401"


def test_every_key_is_another_and_has_256_bits(city: Database) -> None:
    with city.transaction() as connection:
        keys = {create_key(connection, NewKey(name="x", scopes=ALL), by="Ana") for _ in range(20)}
    secrets = {key.split("_", 2)[2] for key in keys}
    assert len(secrets) == 20
    assert {len(secret) for secret in secrets} == {43}


def test_the_web_role_reads_none_of_it_and_calls_nothing(city: Database) -> None:
    proof = made(city)
    for name in TABLES:
        for role in ("web", "officer"):
            with pytest.raises(DBAPIError, match="permission denied"):
                city.run(f"SELECT * FROM quartier.{name}", role)
    assert ask(city, proof, "officer_key(:key, :digest)", "web") == "42501"
    assert ask(city, proof, "officer_freshness(:key, :digest)", "web") == "42501"


def test_officers_call_nothing_that_asks_for_no_key(city: Database) -> None:
    called = city.run(
        "SELECT p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE n.nspname = 'quartier' AND has_function_privilege('quartier_officer', p.oid,"
        " 'EXECUTE') AND NOT has_function_privilege('quartier_web', p.oid, 'EXECUTE')"
        " ORDER BY 1"
    )
    names = {name for (name,) in called}
    assert names == {
        f"officer_{name}"
        for name in (
            "key", "runs", "run", "quarantine", "freshness", "revisions", "accept", "roll_back",
        )
    }  # fmt: skip
    unpinned = city.run(
        "SELECT proname FROM pg_proc p WHERE prosecdef AND pronamespace = 'quartier'::regnamespace"
        " AND NOT coalesce(proconfig::text LIKE '%search_path=%', false)"
    )
    assert unpinned == []


@pytest.mark.parametrize(
    "proof",
    [
        pytest.param(lambda p: KeyProof("aaaaaaaaaa", p.digest), id="another id"),
        pytest.param(lambda p: KeyProof(p.id, bytes(32)), id="another digest"),
        pytest.param(lambda p: KeyProof(p.id, b""), id="no digest"),
        pytest.param(lambda p: KeyProof(p.id, NOTHING), id="null"),
        pytest.param(lambda p: KeyProof(NOTHING, NOTHING), id="nulls"),
    ],
)
def test_a_wrong_key_opens_nothing(city: Database, proof: Any) -> None:
    wrong = proof(made(city))
    for call in ("officer_key(:key, :digest)", "officer_freshness(:key, :digest)"):
        assert ask(city, wrong, call) == "QK401"


def test_a_revoked_key_is_refused_at_once_and_an_expired_one_too(city: Database) -> None:
    proof = made(city, expires_at=datetime.now(UTC) + timedelta(hours=1))
    assert ask(city, proof, "officer_key(:key, :digest)")[0]["name"] == "Ana's desk"
    city.run("UPDATE quartier.keys SET expires_at = now()")
    assert ask(city, proof, "officer_key(:key, :digest)") == "QK401"
    city.run("UPDATE quartier.keys SET expires_at = NULL")
    with city.transaction() as connection:
        revoke_key(connection, proof.id, by="Bo", note="lost")
    assert ask(city, proof, "officer_key(:key, :digest)") == "QK401"
    with city.transaction() as connection, pytest.raises(ChangeRefused, match="no key"):
        revoke_key(connection, proof.id, by="Bo", note="again")
    with city.transaction() as connection:
        assert [key["state"] for key in list_keys(connection)] == ["revoked"]


@pytest.mark.parametrize(
    ("call", "scope"),
    [
        ("officer_runs(:key, :digest, NULL, NULL, NULL, 5)", Scope.READ_RUNS),
        ("officer_run(:key, :digest, 1)", Scope.READ_RUNS),
        ("officer_quarantine(:key, :digest, 1, 0, 5)", Scope.READ_QUARANTINE),
        ("officer_freshness(:key, :digest)", Scope.READ_RUNS),
        ("officer_revisions(:key, :digest, 'trees', NULL, 5)", Scope.READ_RUNS),
        ("officer_accept(:key, :digest, 1, ARRAY['shrink'], 'a', 'b')", Scope.ACCEPT),
        ("officer_roll_back(:key, :digest, 'trees', 1, NULL, 'a', 'b')", Scope.ROLL_BACK),
    ],
)
def test_each_function_needs_its_scope(city: Database, call: str, scope: Scope) -> None:
    others = tuple(other for other in Scope if other is not scope)
    assert ask(city, made(city, *others), call) == "QK403"
    assert ask(city, made(city, scope), call) != "QK403"


@pytest.mark.parametrize(
    "call",
    [
        "officer_runs(:key, :digest, 'trees', NULL, NULL, 5)",
        "officer_run(:key, :digest, 1)",
        "officer_quarantine(:key, :digest, 1, 0, 5)",
        "officer_revisions(:key, :digest, 'trees', NULL, 5)",
        "officer_accept(:key, :digest, 1, ARRAY['shrink'], 'a', 'b')",
        "officer_roll_back(:key, :digest, 'trees', 1, NULL, 'a', 'b')",
    ],
)
def test_a_layer_out_of_reach_is_as_if_it_were_not_there(city: Database, call: str) -> None:
    assert ask(city, made(city, layers=("calls",)), call) == "QK404"


def test_lists_leave_out_what_is_out_of_reach(city: Database) -> None:
    proof = made(city, layers=("calls",))
    runs = ask(city, proof, "officer_runs(:key, :digest, NULL, NULL, NULL, 5)")
    assert [run["layer"] for run in runs] == ["calls"]
    fresh = ask(city, proof, "officer_freshness(:key, :digest)")
    assert [one["layer"] for one in fresh] == ["calls"]


def test_a_rollback_by_key_is_a_revision_and_an_entry_of_the_audit(city: Database) -> None:
    call = "officer_roll_back(:key, :digest, 'trees', 1, :seen, 'Ana', 'wrong file')"
    proof = made(city)
    assert ask(city, proof, call, seen=1) == "QK409"
    [done] = ask(city, proof, call, seen=2)
    assert done == {
        "layer": "trees", "back_to": 1, "revision": 3, "inserted": 0, "updated": 1, "deleted": 0,
    }  # fmt: skip
    assert city.run("SELECT DISTINCT genus FROM city.trees") == [("Tilia",)]
    note = city.value("SELECT note FROM quartier.revisions WHERE revision = 3")
    assert note == {"back_to": 1, "by": "Ana", "note": "wrong file"}
    [entry] = city.run(
        "SELECT key_id, action, done_by, note, layer_id, details ->> 'revision', login"
        " FROM quartier.key_audit WHERE action <> 'create'"
    )
    assert entry[:6] == (proof.id, "rollback", "Ana", "wrong file", "trees", "3")


def test_a_write_that_fails_leaves_neither_a_change_nor_an_entry(city: Database) -> None:
    proof = made(city)
    call = "officer_roll_back(:key, :digest, 'trees', 1, NULL, 'Ana', '')"
    assert ask(city, proof, call) == "23514"
    assert city.value("SELECT revision FROM quartier.layer_state WHERE layer_id = 'trees'") == 2
    assert city.value("SELECT count(*) FROM quartier.key_audit WHERE action <> 'create'") == 0


@pytest.mark.parametrize("role", ["ingest", "owner"])
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE quartier.key_audit SET note = 'x'",
        "DELETE FROM quartier.key_audit",
        "TRUNCATE quartier.key_audit",
    ],
)
def test_the_audit_is_only_added_to(city: Database, change: str, role: str) -> None:
    made(city)
    with pytest.raises(DBAPIError, match=r"only ever added to|permission denied"):
        city.run(change, role)
    assert city.value("SELECT count(*) FROM quartier.key_audit") == 1


def test_use_is_remembered_and_a_key_at_work_can_be_revoked(city: Database) -> None:
    proof = made(city)
    with city.transaction("officer") as working:
        working.exec_driver_sql("SELECT quartier.officer_key(%s, %s)", (proof.id, proof.digest))
        with city.transaction() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
            revoke_key(connection, proof.id, by="Bo", note="lost")
    with city.transaction() as connection:
        assert list_keys(connection)[0]["last_used_at"] is not None


def test_a_key_for_a_layer_that_is_not_there_is_refused(city: Database) -> None:
    with pytest.raises(LayerNotFound, match="no layer 'tress'"):
        made(city, layers=("tress",))


def test_a_day_ends_at_its_end_and_what_is_no_time_is_refused() -> None:
    assert until("2027-06-30") == datetime(2027, 7, 1, tzinfo=UTC)
    assert until("2027-06-30T12:00:00+02:00").hour == 12
    for odd in ("soon", "2027-13-01", "2027-06-30T12:00:00", "9999-12-31"):
        with pytest.raises(ValueError, match=odd):
            until(odd)


def test_keys_are_made_listed_revoked_and_audited_by_the_command(
    city: Database, tmp_path: Any
) -> None:
    command = City(city, tmp_path / "catalogue", tmp_path)
    done = command.quartier(
        "keys", "create", "--name", "Ana's desk", "--scope", "runs:read", "--scope", "runs:accept",
        "--expires", "2099-01-01", "--layers", "trees", "--by", "Ana",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    key = done.stdout.strip()
    proof = KeyProof.of(key)
    assert ask(city, proof, "officer_key(:key, :digest)")[0]["layers"] == ["trees"]
    listed = command.quartier("keys", "list")
    assert f"{proof.id}  valid    Ana's desk: runs:read, runs:accept on trees" in listed.stdout
    assert key not in listed.output
    revoked = command.quartier("keys", "revoke", proof.id, "--by", "Bo", "--note", "lost")
    assert revoked.exit_code == 0, revoked.output
    told = json.loads(command.quartier("keys", "audit", "--json").stdout)
    assert [(e["action"], e["by"], e["note"]) for e in told] == [
        ("revoke", "Bo", "lost"),
        ("create", "Ana", "Ana's desk"),
    ]
    refused = command.quartier(
        "keys", "create", "--name", "x", "--scope", "runs:read", "--by", "A", "--expires", "soon"
    )
    assert refused.exit_code == 2
    assert "soon" in refused.output
