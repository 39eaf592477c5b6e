"""`quartier doctor`: what is wrong, and how to mend it. It changes nothing and starts nothing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from api import checks as web_checks
from api.serve import default_cache
from api.settings import ApiSettings
from api.web.assets import DIST
from layers.checks import database as db
from layers.checks import home, kept, machine
from layers.checks import tables as layer_tables
from layers.checks.finding import Finding, State, looked, plural, problem, warning
from layers.cluster import open_store, socket_directory
from layers.database_urls import DatabaseUrls, embedded_urls, existing_urls
from layers.engine import owner_engine
from layers.errors import LayersError
from layers.postgres_server import listens_in
from layers.schema_version import newest_schema
from layers.settings import StoreSettings
from tiles.checks import shared_cache

KINDS = (StoreSettings, ApiSettings)
STYLES = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "bold red"}


def doctor(
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every kept file and count every layer of points.")
    ] = False,
    wake: Annotated[
        bool, typer.Option("--wake", help="Start a stopped embedded PostGIS to look into it.")
    ] = False,
    settings: Annotated[
        bool, typer.Option("--settings", help="List the settings alone, without looking.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what is wrong with this machine, home, database and settings, and how to mend it.

    Changes nothing. Ends with an exit code other than 0 where something is a problem.

    Example: quartier doctor --deep
    """
    store, wrong = web_checks.read_settings(StoreSettings)
    web, wrong_too = web_checks.read_settings(ApiSettings)
    findings = [*wrong, *wrong_too, web_checks.unknown_variables(os.environ, *KINDS)]
    if not settings:
        findings = [*_beside(store, web, deep=deep), *_inside(store, web, deep, wake), *findings]
    _print(findings, web_checks.every_setting(store, web), as_json=as_json)
    if any(finding.state is State.PROBLEM for finding in findings):
        raise typer.Exit(1)


def _beside(store: StoreSettings, web: ApiSettings, *, deep: bool) -> list[Finding]:
    """All that can be looked at without a database."""
    url = web.cache_url.get_secret_value() if web.cache_url else default_cache(store.home)
    return [
        looked("Python", machine.python),
        looked("libraries", machine.libraries),
        looked("PostgreSQL programs", lambda: machine.postgres_programs(store)),
        looked("pg_dump", machine.backup_program),
        looked("home", lambda: home.home(store)),
        looked("system user", lambda: home.server_account(store)),
        looked("disk", lambda: home.disk(store)),
        looked("cluster", lambda: home.cluster(store)),
        looked("leftovers", lambda: home.leftovers(store)),
        looked("socket", lambda: home.socket_path(store)),
        looked("catalogue", lambda: home.catalogue(store)),
        looked("checksums", lambda: kept.whole(store, deep=deep)),
        looked("backup", lambda: kept.backup(store)),
        looked("cache", lambda: shared_cache(url, web.cache_disk_bytes)),
        looked("pages", lambda: web_checks.pages(DIST)),
        looked("fonts", lambda: web_checks.letters(DIST)),
        looked("port", lambda: web_checks.port(web)),
    ]


def _inside(store: StoreSettings, web: ApiSettings, deep: bool, wake: bool) -> list[Finding]:
    """All that takes the database; one finding where it cannot be reached."""
    try:
        with _reached(store, wake=wake) as urls:
            if isinstance(urls, Finding):
                return [urls]
            return [*_of_the_server(urls, store, web), *_of_the_layers(urls, store, deep=deep)]
    except (LayersError, sa.exc.SQLAlchemyError, OSError) as exc:
        said = " ".join(str(exc).split())
        mend = "start it, or correct QUARTIER_DATABASE_URL" if store.database_url else "see above"
        return [problem("database", said, mend)]


@contextmanager
def _reached(store: StoreSettings, *, wake: bool) -> Iterator[DatabaseUrls | Finding]:
    """The database where it is awake. Only `wake` starts anything, and never makes a cluster."""
    if store.database_url is not None:
        yield existing_urls(store)
        return
    root = store.home / "postgres"
    if not (root / "data" / "PG_VERSION").exists():
        yield warning("database", "there is none yet, so it was not looked at", "quartier up")
    elif listens_in(socket_directory(root.absolute())):
        yield embedded_urls(socket_directory(root.absolute()))
    elif wake:
        with open_store(store, tell=Console(stderr=True).print) as urls:
            yield urls
    else:
        said = "is stopped, so it was not looked at"
        yield warning("database", said, "quartier doctor --wake starts it for as long as it looks")


@contextmanager
def _looking(urls: DatabaseUrls) -> Iterator[sa.Connection]:
    """A connection of the owner's on which nothing can be written. Each statement stands alone, so
    that one that fails leaves the others.
    """
    engine = owner_engine(urls.owner)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("SET default_transaction_read_only = on"))
            connection.execute(sa.text("SET statement_timeout = '5min'"))
            yield connection
    finally:
        engine.dispose()


def _of_the_server(urls: DatabaseUrls, store: StoreSettings, web: ApiSettings) -> list[Finding]:
    with _looking(urls) as look:
        found = [
            looked("PostgreSQL", lambda: db.server(look)),
            looked("PostGIS", lambda: db.postgis(look)),
            looked("encoding", lambda: db.encoding(look)),
            looked("schema", lambda: db.schema(look)),
            looked("clock", lambda: db.clock(look)),
            looked("roles", lambda: db.roles(look)),
        ]
        if db.schema_number(look) is None:
            return found
        return [
            *found,
            looked("indexes", lambda: db.indexes(look)),
            looked("web's login", lambda: db.web_login(urls, store)),
            looked("officers' login", lambda: db.officer_login(urls, store)),
            looked("web's rights", lambda: db.web_rights(look, db.login_of_web(urls, store))),
            looked(
                "connections",
                lambda: web_checks.connections(look, web, db.login_of_web(urls, store)),
            ),
        ]


def _of_the_layers(urls: DatabaseUrls, store: StoreSettings, *, deep: bool) -> list[Finding]:
    """Looked at only where the database has just the schema that this version knows."""
    with _looking(urls) as look:
        if db.schema_number(look) != newest_schema():
            return []
        try:
            known = layer_tables.known_layers(look)
        except ValueError as exc:
            said = f"a declaration in the database cannot be read: {str(exc).splitlines()[0]}"
            return [problem("layers", said, "quartier apply")]
        return [
            looked("tables", lambda: layer_tables.tables(look, known)),
            looked("triggers", lambda: layer_tables.triggers(look, known)),
            looked("overviews", lambda: layer_tables.overviews_made(look, known)),
            *([looked("counts", lambda: layer_tables.overviews_true(look, known))] * deep),
            looked("last runs", lambda: layer_tables.last_runs(look)),
            looked("withdrawn", lambda: layer_tables.withdrawn(look)),
            looked("declared", lambda: layer_tables.declared(look, store)),
            looked("tilesets", lambda: layer_tables.tileset_files(look)),
            looked("kept files", lambda: kept.present(look, store)),
        ]


def _print(findings: list[Finding], listed: list[web_checks.Listed], *, as_json: bool) -> None:
    counts = {state: sum(f.state is state for f in findings) for state in State}
    if as_json:
        told = {
            "findings": [asdict(finding) for finding in findings],
            "settings": [asdict(each) for each in listed],
            "counts": counts,
        }
        sys.stdout.write(json.dumps(told) + "\n")
        return
    out = Console(highlight=False)
    out.print(_table_of_findings(findings))
    out.print(_table_of_settings(listed))
    out.print(
        f"{plural(counts[State.PROBLEM], 'problem')}, {plural(counts[State.WARNING], 'warning')},"
        f" {counts[State.OK]:,} in order"
    )


def _plain(said: str, style: str = "") -> Text:
    """Text in which brackets are no markup."""
    return Text(said, style=style)


def _table_of_findings(findings: list[Finding]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        says = finding.says if finding.mend is None else f"{finding.says}\n→ {finding.mend}"
        table.add_row(
            _plain(finding.state, STYLES[finding.state]), _plain(finding.about), _plain(says)
        )
    return table


def _table_of_settings(listed: list[web_checks.Listed]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), title="Settings", title_justify="left")
    for heading in ("variable", "value", "", "for"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "variable")
    for each in listed:
        origin = "set" if each.is_set else "default"
        table.add_row(*map(_plain, (each.name, each.value, origin, each.description)))
    return table
