"""The database as its owner sees it: versions, schema, encoding, clock, who may what."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import psycopg
import sqlalchemy as sa

from layers.checks.finding import Finding, listed, ok, plural, problem, warning
from layers.database_urls import DatabaseUrls
from layers.schema_version import newest_schema
from layers.settings import StoreSettings
from layers.setup import MINIMUM_POSTGIS, MINIMUM_POSTGRES, ROLES, SCHEMAS

REACH_TIMEOUT_S = 5
SKEW_S, BROKEN_SKEW_S = 2.0, 60.0
HIDDEN = (
    "city_raw",
    "city_stage",
    "city_history",
    "city_parts",
)  # schemas that readers of the web never read
OURS = [*SCHEMAS]
RELATIONS = """
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY (:ours) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
      AND has_schema_privilege(:role, n.oid, 'USAGE') AND {condition}
    ORDER BY 1"""
READABLE = RELATIONS.format(
    condition="""(n.nspname = ANY (:hidden) OR n.nspname = 'quartier' AND c.relname !~ '^public_')
      AND (has_table_privilege(:role, c.oid, 'SELECT')
           OR has_any_column_privilege(:role, c.oid, 'SELECT'))"""
)
WRITABLE = RELATIONS.format(
    condition="""(has_table_privilege(:role, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
           OR has_any_column_privilege(:role, c.oid, 'INSERT, UPDATE'))"""
)
ATTRIBUTES = """
    SELECT rolsuper AS "superuser", rolcreaterole AS "createrole", rolcreatedb AS "createdb",
           rolbypassrls AS "bypassrls", rolreplication AS "replication"
    FROM pg_roles WHERE rolname = :role"""
CREATES = """
    SELECT nspname FROM pg_namespace
    WHERE nspname = ANY (:ours) AND has_schema_privilege(:role, oid, 'CREATE') ORDER BY 1"""
INVALID = """
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT i.indisvalid AND n.nspname = ANY (:ours) ORDER BY 1"""


def server(connection: sa.Connection) -> Finding:
    about = "PostgreSQL"
    number = int(_value(connection, "SHOW server_version_num"))
    version = _value(connection, "SHOW server_version")
    if number < MINIMUM_POSTGRES:
        said = f"PostgreSQL {version} is too old; Quartier needs 15"
        return problem(about, said, "pg_upgrade, or another server in QUARTIER_DATABASE_URL")
    return ok(about, f"PostgreSQL {version} answers")


def postgis(connection: sa.Connection) -> Finding:
    about = "PostGIS"
    found = _value(connection, "SELECT extversion FROM pg_extension WHERE extname = 'postgis'")
    if found is None:
        said = "the database has no PostGIS"
        return problem(about, said, "quartier apply, or as a superuser: CREATE EXTENSION postgis")
    if tuple(int(part) for part in str(found).split(".")[:2]) < MINIMUM_POSTGIS:
        said = f"PostGIS {found} is too old; Quartier needs 3.3"
        return problem(about, said, "install a newer one, then SELECT postgis_extensions_upgrade()")
    offered = "SELECT default_version FROM pg_available_extensions WHERE name = 'postgis'"
    if (newer := _value(connection, offered)) not in (None, found):
        said = f"the database has PostGIS {found}, and the server's files are of {newer}"
        return warning(about, said, "as a superuser: SELECT postgis_extensions_upgrade()")
    return ok(about, f"PostGIS {found}")


def encoding(connection: sa.Connection) -> Finding:
    about = "encoding"
    found = _value(connection, "SHOW server_encoding")
    sorts = _value(
        connection, "SELECT datcollate FROM pg_database WHERE datname = current_database()"
    )
    if found != "UTF8":
        return problem(
            about, f"the database is encoded in {found}",
            "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and load it anew",
        )  # fmt: skip
    return ok(about, f"UTF8, sorts as {sorts}")


def schema(connection: sa.Connection) -> Finding:
    """The schema against the newest migration of this version."""
    about, wants = "schema", newest_schema()
    has = schema_number(connection)
    if has is None:
        return warning(about, "the database holds no layers yet", "quartier apply")
    if has < wants:
        said = f"is {has}, of an older version of Quartier; this one works on {wants}"
        return problem(about, said, "quartier backup FILE, then quartier apply")
    if has > wants:
        said = f"is {has}, of a newer version of Quartier; this one knows {wants}"
        return problem(about, said, "install the newer version")
    return ok(about, f"{has}, the newest")


def schema_number(connection: sa.Connection) -> str | None:
    """The last migration that the database had; None where it had none."""
    if _value(connection, "SELECT to_regclass('quartier.alembic_version')") is None:
        return None
    found = _value(connection, "SELECT version_num FROM quartier.alembic_version")
    return None if found is None else str(found)


def clock(connection: sa.Connection) -> Finding:
    """Times of runs and revisions are the server's, ages of caches this machine's."""
    about = "clock"
    before = time.time()
    theirs = float(_value(connection, "SELECT extract(epoch FROM clock_timestamp())"))
    skew = theirs - (before + time.time()) / 2
    said = f"the database's clock is {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'}"
    mend = "let both machines follow a time server: timedatectl set-ntp true"
    if abs(skew) > BROKEN_SKEW_S:
        return problem(about, said, mend)
    if abs(skew) > SKEW_S:
        return warning(about, said, mend)
    return ok(about, "this machine's and the database's agree")


def roles(connection: sa.Connection) -> Finding:
    about = "roles"
    there = set(connection.scalars(sa.text("SELECT rolname FROM pg_roles")))
    if missing := [role for role in ROLES if role not in there]:
        return problem(about, f"missing: {', '.join(missing)}", "quartier apply")
    member = sa.text("SELECT pg_has_role(current_user, :role, 'MEMBER')")
    if strange := [role for role in ROLES if not connection.scalar(member, {"role": role})]:
        who = _value(connection, "SELECT current_user")
        said = f"{who} is no member of {', '.join(strange)}"
        return problem(about, said, f"as a superuser: GRANT {', '.join(strange)} TO {who}")
    return ok(about, ", ".join(ROLES))


def indexes(connection: sa.Connection) -> Finding:
    about = "indexes"
    broken = list(connection.scalars(sa.text(INVALID), {"ours": OURS}))
    if broken:
        said = f"{plural(len(broken), 'index')} not valid, so not used: {listed(broken)}"
        return problem(about, said, f"in psql: REINDEX INDEX CONCURRENTLY {broken[0]}")
    return ok(about, "all are valid")


def web_rights(connection: sa.Connection, role: str) -> Finding:
    """The role of readers reads what is published, nothing else, and writes nothing."""
    about = "web's rights"
    asked = {"role": role, "ours": OURS, "hidden": list(HIDDEN)}
    powers = connection.execute(sa.text(ATTRIBUTES), asked).mappings().first()
    if powers is None:
        return problem(about, f"there is no role {role}", "quartier apply")
    if has := [name for name, on in powers.items() if on]:
        said = f"{role} is {', '.join(has)}: nothing is hidden from it"
        return problem(about, said, _revoke_attributes(role, has))
    if writes := list(connection.scalars(sa.text(WRITABLE), asked)):
        said = f"{role} may write {listed(writes)}"
        return problem(about, said, f"in psql: REVOKE ALL ON {writes[0]} FROM {role}")
    if reads := list(connection.scalars(sa.text(READABLE), asked)):
        said = f"{role} may read {listed(reads)}, which no reader is to see"
        return problem(about, said, f"in psql: REVOKE ALL ON {reads[0]} FROM {role}")
    if makes := list(connection.scalars(sa.text(CREATES), asked)):
        said = f"{role} may make tables in {', '.join(makes)}"
        return problem(about, said, f"in psql: REVOKE CREATE ON SCHEMA {makes[0]} FROM {role}")
    return ok(about, f"{role} reads what is published and writes nothing")


def _revoke_attributes(role: str, has: Sequence[str]) -> str:
    return f"in psql: ALTER ROLE {role} {' '.join(f'NO{name.upper()}' for name in has)}"


def web_login(urls: DatabaseUrls, settings: StoreSettings) -> Finding:
    """The login that the web uses works, and is one that cannot turn into the owner."""
    about = "web's login"
    login = _login(about, urls.web, "quartier_web", "QUARTIER_WEB_DATABASE_URL")
    if isinstance(login, Finding):
        return login
    if settings.database_url is not None and settings.web_database_url is None:
        return _weaker(about, login, "quartier_web", "city_reader", "QUARTIER_WEB_DATABASE_URL")
    return ok(about, login)


def officer_login(urls: DatabaseUrls, settings: StoreSettings) -> Finding:
    """The same of the login of requests that carry a key; it must not be the owner's either."""
    about, setting = "officers' login", "QUARTIER_OFFICER_DATABASE_URL"
    login = _login(about, urls.officer, "quartier_officer", setting)
    if isinstance(login, Finding):
        return login
    if settings.database_url is None:
        return ok(about, login)
    with psycopg.connect(urls.officer, connect_timeout=REACH_TIMEOUT_S) as connection:
        is_owner = connection.execute(
            "SELECT pg_has_role(session_user, 'quartier_ingest', 'MEMBER')"
        ).fetchone()
    if is_owner is not None and is_owner[0]:
        return _weaker(about, login, "quartier_officer", "city_officer", setting)
    return ok(about, login)


def _login(about: str, url: str, role: str, setting: str) -> str | Finding:
    """Who logs in there, if that works and lets them be the role."""
    try:
        with psycopg.connect(url, connect_timeout=REACH_TIMEOUT_S) as connection:
            found = connection.execute(
                "SELECT session_user::text, pg_has_role(session_user, %s, 'MEMBER')", [role]
            ).fetchone()
    except psycopg.Error as exc:
        said = " ".join(str(exc).split())
        return problem(
            about, f"does not work: {without_passwords(said, url)}", f"correct {setting}"
        )
    assert found is not None
    login, is_member = found
    if not is_member:
        return problem(
            about, f"{login} is no member of {role}, so it may do nothing",
            f"in psql: GRANT {role} TO {login}",
        )  # fmt: skip
    return str(login)


def _weaker(about: str, login: str, role: str, other: str, setting: str) -> Finding:
    return warning(
        about,
        f"{login}, who owns the data, takes the role {role}: SET ROLE is the weaker choice, because"
        " the session can give the role back",
        f"CREATE ROLE {other} LOGIN PASSWORD '…' IN ROLE {role}, and {setting}",
    )


def login_of_web(urls: DatabaseUrls, settings: StoreSettings) -> str:
    """The role whose rights the web has."""
    if settings.web_database_url is None:
        return "quartier_web"
    with psycopg.connect(urls.web, connect_timeout=REACH_TIMEOUT_S) as connection:
        found = connection.execute("SELECT current_user::text").fetchone()
    return str(found[0]) if found else "quartier_web"


def without_passwords(said: str, url: str) -> str:
    """The text without the URL's password."""
    password = psycopg.conninfo.conninfo_to_dict(url).get("password")
    return said.replace(str(password), "***") if password else said


def _value(connection: sa.Connection, sql: str) -> Any:
    return connection.scalar(sa.text(sql))
